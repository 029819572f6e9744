{{/*
What must be there before anything starts: secrets with their keys, claims, classes. Without them Helm would wait in its first
hook until its own time is over, or pods never come, and nothing would say why. Only where a cluster answers: `helm template`
asks none.
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
{{- range $name, $trigger := .Values.triggers -}}
{{- with $trigger.spool.existingClaim -}}
{{- if not (lookup "v1" "PersistentVolumeClaim" $namespace .) -}}
{{- $missing = append $missing (printf "persistent volume claim %s (triggers.%s.spool)" . $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.gateway -}}
{{- if and .enabled .spool.existingClaim (not (lookup "v1" "PersistentVolumeClaim" $namespace .spool.existingClaim)) -}}
{{- $missing = append $missing (printf "persistent volume claim %s (gateway.spool)" .spool.existingClaim) -}}
{{- end -}}
{{- end -}}
{{- range $kind, $adapter := .Values.adapters -}}
{{- with and $adapter.enabled $adapter.spool -}}
{{- if and .existingClaim (not (lookup "v1" "PersistentVolumeClaim" $namespace .existingClaim)) -}}
{{- $missing = append $missing (printf "persistent volume claim %s (adapters.%s.spool)" .existingClaim $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.preflight.clusterWide -}}
{{- range $kind, $users := include "covaria.neededClasses" . | fromYaml -}}
{{- range $name, $user := $users -}}
{{- if not (lookup (eq $kind "PriorityClass" | ternary "scheduling.k8s.io/v1" "node.k8s.io/v1") $kind "" $name) -}}
{{- $missing = append $missing (printf "%s %s (%s), which an administrator makes" $kind $name $user) -}}
{{- end -}}
{{- end -}}
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
{{- if or $values.reconcile.enabled $values.triggers }}{{ $logins = append $logins $broker.submitSecret }}{{ end -}}
{{- with $values.gateway -}}
{{- if .enabled -}}
{{- $logins = append $logins .existingSecret -}}
{{- with .tokenSecret }}{{ $_ := set $needed . (list "tokens") }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $values.ledgerDatabase.secret }}{{ $_ := set $needed . (list "url") }}{{ end -}}
{{- range $kind, $adapter := $values.adapters -}}
{{- if $adapter.enabled -}}
{{- $logins = append $logins $adapter.existingSecret -}}
{{- $_ := set $needed $adapter.secret (list (eq $kind "webhook" | ternary "secret" "url") | concat (get $needed $adapter.secret | default list) | uniq) -}}
{{- end -}}
{{- end -}}
{{- if $values.toolbox.enabled }}{{ $logins = append $logins (include "covaria.toolboxLogin" .) }}{{ end -}}
{{- $kinds := dict -}}
{{- include "covaria.kinds" (dict "root" . "into" $kinds) -}}
{{- range $kinds -}}
{{- if .service.enabled }}{{ $logins = append $logins .service.rabbitmqSecret }}{{ end -}}
{{- end -}}
{{- if and $values.view.enabled (not $values.view.userHeader) }}{{ $_ := set $needed $values.view.tokenSecret (list "token") }}{{ end -}}
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

{{/* Kind of class -> name -> the value that names it, as YAML. */}}
{{- define "covaria.neededClasses" -}}
{{- $priority := dict -}}
{{- $runtime := dict -}}
{{- with .Values.auxiliary.priorityClassName }}{{ $_ := set $priority . "auxiliary.priorityClassName" }}{{ end -}}
{{- $kinds := dict -}}
{{- include "covaria.kinds" (dict "root" . "into" $kinds) -}}
{{- range $name, $kind := $kinds -}}
{{- $service := $kind.service -}}
{{- if $service.enabled -}}
{{- $path := $kind.pool | empty | ternary $name (printf "%s.pools.%s" $kind.stage $kind.pool) -}}
{{- with $service.priorityClassName -}}
{{- if not (hasKey $priority .) }}{{ $_ := set $priority . (printf "services.%s.priorityClassName" $path) }}{{ end -}}
{{- end -}}
{{- if and $.Values.gpu.runtimeClassName (gt (dig "gpu" "count" 0 $service | int) 0) -}}
{{- $_ := set $runtime $.Values.gpu.runtimeClassName "gpu.runtimeClassName" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "PriorityClass" $priority "RuntimeClass" $runtime | toYaml -}}
{{- end }}

{{/* A line for each service that no node of today has a device for. A cluster may make one when a pod asks: no refusal. */}}
{{- define "covaria.deviceNotes" -}}
{{- if .Values.preflight.clusterWide -}}
{{- $nodes := (lookup "v1" "Node" "" "").items | default list -}}
{{- $kinds := dict -}}
{{- include "covaria.kinds" (dict "root" . "into" $kinds) -}}
{{- range $name, $kind := $kinds -}}
{{- $service := $kind.service -}}
{{- $count := dig "gpu" "count" 0 $service | int -}}
{{- if and $nodes $service.enabled (gt $count 0) -}}
{{- $resource := dig "gpu" "resourceName" "" $service | default $.Values.gpu.resourceName -}}
{{- $selector := merge (dict) ($service.nodeSelector | default dict) $.Values.gpu.nodeSelector -}}
{{- $fit := false -}}
{{- range $node := $nodes -}}
{{- $own := ge (dig "status" "allocatable" $resource "0" $node | int) $count -}}
{{- range $key, $value := $selector -}}
{{- if ne (dig "metadata" "labels" $key "" $node) $value }}{{ $own = false }}{{ end -}}
{{- end -}}
{{- if $own }}{{ $fit = true }}{{ end -}}
{{- end -}}
{{- if not $fit }}
No node offers {{ $count }} {{ $resource }}{{ range $key, $value := $selector }}, {{ $key }}={{ $value }}{{ end }}: {{ $name }} waits until one does (device plugin, node labels,
services.{{ $kind.pool | empty | ternary $name (printf "%s.pools.%s" $kind.stage $kind.pool) }}.gpu.resourceName, nodeSelector).
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Pod Security level that the volumes ask of the namespace: restricted, baseline (nfs) or privileged (hostPath). */}}
{{- define "covaria.podSecurityLevel" -}}
{{- $level := "restricted" -}}
{{- range .Values.data.volumes -}}
{{- if .hostPath }}{{ $level = "privileged" }}{{ else if and .nfs (eq $level "restricted") }}{{ $level = "baseline" }}{{ end -}}
{{- end -}}
{{- $kinds := dict -}}
{{- include "covaria.kinds" (dict "root" . "into" $kinds) -}}
{{- range $kinds -}}
{{- if and .service.enabled .service.scratch .service.scratch.hostPath }}{{ $level = "privileged" }}{{ end -}}
{{- end -}}
{{- $level -}}
{{- end }}
