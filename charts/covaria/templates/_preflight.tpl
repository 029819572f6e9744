{{/*
What must be in the namespace before anything starts: secrets with their keys, claims. Without them Helm would wait in its
first hook until its own time is over, and say nothing. Only where a cluster answers: `helm template` asks none.
*/}}
{{- define "covaria.preflight" -}}
{{- $namespace := .Release.Namespace -}}
{{- if and .Values.preflight.enabled (lookup "v1" "ConfigMap" $namespace "kube-root-ca.crt") -}}
{{- $missing := list -}}
{{- range $name, $keys := include "covaria.neededSecrets" . | fromYaml -}}
{{- $found := lookup "v1" "Secret" $namespace $name -}}
{{- if not $found -}}
{{- $missing = append $missing (printf "secret %s (keys %s)" $name (join ", " $keys)) -}}
{{- else -}}
{{- range $key := $keys -}}
{{- if not (hasKey ($found.data | default dict) $key) -}}
{{- $missing = append $missing (printf "key %s in secret %s" $key $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.data.volumes -}}
{{- if and .existingClaim (not (lookup "v1" "PersistentVolumeClaim" $namespace .existingClaim)) -}}
{{- $missing = append $missing (printf "persistent volume claim %s (data.volumes, %s)" .existingClaim .name) -}}
{{- end -}}
{{- end -}}
{{- if $missing -}}
{{- fail (printf "\n\nnamespace %s lacks what the pods need to start:\n  - %s\n\ndocs/deploy.md, On Kubernetes, makes them; preflight.enabled=false installs without looking.\n" $namespace (join "\n  - " $missing)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Name of each secret that a pod or KEDA reads -> its keys, as YAML. */}}
{{- define "covaria.neededSecrets" -}}
{{- $values := .Values -}}
{{- $broker := $values.rabbitmq -}}
{{- $login := list "password" "username" -}}
{{- $needed := dict $broker.existingSecret $login -}}
{{- $logins := list -}}
{{- if $broker.topology.enabled }}{{ $logins = append $logins $broker.topology.existingSecret }}{{ end -}}
{{- if $values.exporter.enabled }}{{ $logins = append $logins $broker.monitorSecret }}{{ end -}}
{{- if $values.reconcile.enabled }}{{ $logins = append $logins $broker.submitSecret }}{{ end -}}
{{- if $values.toolbox.enabled }}{{ $logins = append $logins (include "covaria.toolboxLogin" .) }}{{ end -}}
{{- range $name, $service := $values.services -}}
{{- if $service.enabled }}{{ $logins = append $logins $service.rabbitmqSecret }}{{ end -}}
{{- end -}}
{{- range compact $logins }}{{ $_ := set $needed . $login }}{{ end -}}
{{- with $broker.tls -}}
{{- if and .enabled .caSecret }}{{ $_ := set $needed .caSecret (list "ca.crt") }}{{ end -}}
{{- if and .enabled .clientSecret }}{{ $_ := set $needed .clientSecret (list "tls.crt" "tls.key") }}{{ end -}}
{{- end -}}
{{- if $values.autoscaling.enabled -}}
{{- $keys := list "amqpUri" "httpUri" -}}
{{- if $values.autoscaling.tls }}{{ $keys = concat $keys (list "tls" "ca") }}{{ end -}}
{{- $_ := set $needed $values.autoscaling.existingSecret $keys -}}
{{- end -}}
{{- range $values.image.pullSecrets }}{{ $_ := set $needed . (list ".dockerconfigjson") }}{{ end -}}
{{- toYaml $needed -}}
{{- end }}

{{/* The Pod Security level that the volumes ask of the namespace: restricted, baseline (nfs) or privileged (hostPath). */}}
{{- define "covaria.podSecurityLevel" -}}
{{- $level := "restricted" -}}
{{- range .Values.data.volumes -}}
{{- if .hostPath }}{{ $level = "privileged" }}{{ else if and .nfs (eq $level "restricted") }}{{ $level = "baseline" }}{{ end -}}
{{- end -}}
{{- range .Values.services -}}
{{- if and .enabled .scratch .scratch.hostPath }}{{ $level = "privileged" }}{{ end -}}
{{- end -}}
{{- $level -}}
{{- end }}
