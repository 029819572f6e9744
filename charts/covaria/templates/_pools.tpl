{{/*
Every kind of worker: a service's own, and one of each of its pools. `into` is filled: the name, as components are called, ->
stage, pool ("" for the service's own), classes, queues, service (its values, those of a pool over them).
(dict "root" $ "into" dict)
*/}}
{{- define "covaria.kinds" -}}
{{- $into := .into -}}
{{- range $stage, $service := .root.Values.services -}}
{{- $own := omit $service "pools" -}}
{{- $_ := set $into $stage (dict "stage" $stage "pool" "" "classes" (list "live" "bulk") "service" $own) -}}
{{- range $pool, $values := $service.pools | default dict -}}
{{- $whole := deepCopy $own -}}
{{- range $key, $value := $values -}}
{{- if has $key (list "autoscaling" "gpu" "settings") -}}
{{- $part := get $whole $key | default dict -}}
{{- range $inner, $each := $value }}{{ $_ := set $part $inner $each }}{{ end -}}
{{- $_ := set $whole $key $part -}}
{{- else -}}
{{- $_ := set $whole $key $value -}}
{{- end -}}
{{- end -}}
{{- if $values.scratch }}{{ $_ := unset $whole "scratchSize" }}{{ else if $values.scratchSize }}{{ $_ := unset $whole "scratch" }}{{ end -}}
{{- $classes := eq $pool "live" | ternary (list "live") (list "live" "bulk") -}}
{{- $_ := set $into (printf "%s-%s" $stage $pool) (dict "stage" $stage "pool" $pool "classes" $classes "service" $whole) -}}
{{- end -}}
{{- end -}}
{{- range $name, $kind := $into -}}
{{- $own := or (eq $kind.pool "") (eq $kind.pool "live") -}}
{{- $queues := list -}}
{{- range $kind.classes -}}
{{- $queues = append $queues (printf "covaria.%s.%s%s" $kind.stage . ($own | ternary "" (printf ".%s" $kind.pool))) -}}
{{- end -}}
{{- $_ := set $kind "queues" $queues -}}
{{- end -}}
{{- end }}

{{/* Name of a kind's objects: at most 57 letters, for a Job's label adds six. (dict "root" $ "name" "ingest-large") */}}
{{- define "covaria.kindName" -}}
{{- $full := printf "%s-%s" (include "covaria.fullname" .root) .name -}}
{{- if gt (len $full) 57 }}{{ $full = printf "%s-%s" (trunc 48 $full | trimSuffix "-") (sha256sum $full | trunc 8) }}{{ end -}}
{{- $full -}}
{{- end }}

{{/* COVARIA_POOLS: every pool with queues of its own. (root) */}}
{{- define "covaria.pools" -}}
{{- $kinds := dict -}}
{{- include "covaria.kinds" (dict "root" . "into" $kinds) -}}
{{- $pools := list -}}
{{- range $name, $kind := $kinds -}}
{{- if and $kind.service.enabled (not (has $kind.pool (list "" "live"))) -}}
{{- $size := hasKey $kind.service "takesFromGB" | ternary (printf ":%s" (toJson $kind.service.takesFromGB)) "" -}}
{{- $pools = append $pools (printf "%s.%s%s" $kind.stage $kind.pool $size) -}}
{{- end -}}
{{- end -}}
{{- join "," $pools -}}
{{- end }}

{{/* Labels by which Kueue finds a workload: on the object, and on its pods. (service) */}}
{{- define "covaria.queueLabel" -}}
{{- with .queueName -}}
kueue.x-k8s.io/queue-name: {{ . }}
{{- end -}}
{{- end }}
