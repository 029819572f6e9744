{{/* What values.schema.json cannot say: one value against another. Each is refused before anything reaches the cluster. */}}
{{- define "covaria.check" -}}
{{- include "covaria.checkVolumes" .Values.data.volumes -}}
{{- $kinds := dict -}}
{{- include "covaria.kinds" (dict "root" . "into" $kinds) -}}
{{- range $name, $kind := $kinds -}}
{{- $service := $kind.service -}}
{{- $path := $kind.pool | empty | ternary (printf "services.%s" $name) (printf "services.%s.pools.%s" $kind.stage $kind.pool) -}}
{{- include "covaria.checkPool" (dict "path" $path "kind" $kind) -}}
{{- include "covaria.checkResources" (dict "path" $path "resources" $service.resources) -}}
{{- range $key := tuple "shmSize" "tmpSize" "scratchSize" -}}
{{- with get $service $key }}{{ include "covaria.quantity" (dict "path" (printf "%s.%s" $path $key) "value" .) | trunc 0 }}{{ end -}}
{{- end -}}
{{- if and $service.enabled (ne (include "covaria.nodes" $service) "1") -}}
{{- if ne $kind.stage "reconstruction" }}{{ fail (printf "%s.gpu.nodes: only the reconstruction is shared between nodes" $path) }}{{ end -}}
{{- if ne (include "covaria.workload" (dict "root" $ "name" $name "kind" $kind "service" $service)) "job" -}}
{{- fail (printf "%s.gpu.nodes: a job of its own is needed for each message: autoscaling.enabled, and %s.autoscaling.kind: ScaledJob; else gpu.nodes: 1" $path $path) -}}
{{- end -}}
{{- end -}}
{{- with $service.autoscaling -}}
{{- if gt (int64 .minReplicas) (int64 .maxReplicas) -}}
{{- fail (printf "%s.autoscaling: minReplicas %d is more than maxReplicas %d" $path (int64 .minReplicas) (int64 .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- include "covaria.checkUnique" (dict "path" (printf "extraEnv and %s.extraEnv" $path) "key" "name" "items" (concat $.Values.extraEnv ($service.extraEnv | default list))) -}}
{{- include "covaria.checkUnique" (dict "path" (printf "%s.resourceClaims" $path) "key" "name" "items" ($service.resourceClaims | default list)) -}}
{{- end -}}
{{- if and .Values.ledgerDatabase.secret (not .Values.ledger) -}}
{{- fail "ledgerDatabase: ledger is needed too, the folder of notices" -}}
{{- end -}}
{{- with .Values.ledger -}}
{{- $ledger := . -}}
{{- $within := false -}}
{{- range $.Values.data.volumes -}}
{{- if and (hasPrefix (printf "%s/" .mountPath) $ledger) (not .readOnly) }}{{ $within = true }}{{ end -}}
{{- end -}}
{{- if not $within }}{{ fail (printf "ledger: %s is beneath no writable data.volumes[].mountPath" $ledger) }}{{ end -}}
{{- end -}}
{{- range $name, $trigger := .Values.triggers -}}
{{- $path := printf "triggers.%s" $name -}}
{{- include "covaria.checkResources" (dict "path" $path "resources" $trigger.resources) -}}
{{- include "covaria.checkUnique" (dict "path" (printf "%s.rules" $path) "key" "name" "items" $trigger.rules) -}}
{{- with $trigger.spool.size }}{{ include "covaria.quantity" (dict "path" (printf "%s.spool.size" $path) "value" .) | trunc 0 }}{{ end -}}
{{- end -}}
{{- range $name, $adapter := .Values.adapters -}}
{{- $path := printf "adapters.%s" $name -}}
{{- include "covaria.checkResources" (dict "path" $path "resources" $adapter.resources) -}}
{{- with $adapter.spool }}{{ include "covaria.quantity" (dict "path" (printf "%s.spool.size" $path) "value" .size) | trunc 0 }}{{ end -}}
{{- end -}}
{{- range $part := tuple "exporter" "gateway" "view" "toolbox" "reconcile" -}}
{{- include "covaria.checkResources" (dict "path" $part "resources" (get $.Values $part).resources) -}}
{{- end -}}
{{- end }}

{{/* What a pool's values and its service's make together. (dict "path" "where" "kind" $kind) */}}
{{- define "covaria.checkPool" -}}
{{- $needed := eq .kind.service.autoscaling.kind "ScaledJob" | ternary "activeDeadlineSeconds" "cooldownPeriod" -}}
{{- if not (hasKey .kind.service.autoscaling $needed) -}}
{{- fail (printf "%s.autoscaling: kind %s needs %s" .path .kind.service.autoscaling.kind $needed) -}}
{{- end -}}
{{- if and (eq .kind.pool "live") (hasKey .kind.service "takesFromGB") -}}
{{- fail (printf "%s.takesFromGB: the pool `live` serves the common queues, which have no bound" .path) -}}
{{- end -}}
{{- end }}

{{- define "covaria.checkVolumes" -}}
{{- include "covaria.checkUnique" (dict "path" "data.volumes" "key" "name" "items" .) -}}
{{- include "covaria.checkUnique" (dict "path" "data.volumes" "key" "mountPath" "items" .) -}}
{{- end }}

{{/* (dict "path" "where" "key" "name" "items" [{name: ...}]) */}}
{{- define "covaria.checkUnique" -}}
{{- $seen := dict -}}
{{- $key := .key -}}
{{- $path := .path -}}
{{- range .items -}}
{{- $value := get . $key -}}
{{- if hasKey $seen $value }}{{ fail (printf "%s: %s %q is there twice" $path $key $value) }}{{ end -}}
{{- $_ := set $seen $value true -}}
{{- end -}}
{{- end }}

{{/* Requests above limits, fractions of a byte. (dict "path" "services.ingest" "resources" {requests, limits}) */}}
{{- define "covaria.checkResources" -}}
{{- $path := .path -}}
{{- $limits := .resources.limits -}}
{{- range $name, $request := .resources.requests -}}
{{- $where := printf "%s.resources.requests.%s" $path $name -}}
{{- $asked := include "covaria.quantity" (dict "path" $where "value" $request) -}}
{{- if hasKey $limits $name -}}
{{- $limit := get $limits $name -}}
{{- $allowed := include "covaria.quantity" (dict "path" (printf "%s.resources.limits.%s" $path $name) "value" $limit) -}}
{{- if gt (float64 $asked) (float64 $allowed) -}}
{{- fail (printf "%s: %v is more than the limit %v" $where $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $limit := $limits -}}
{{- include "covaria.quantity" (dict "path" (printf "%s.resources.limits.%s" $path $name) "value" $limit) | trunc 0 -}}
{{- end -}}
{{- end }}

{{/* A Kubernetes quantity as a decimal number. Refuses a fraction of a byte. (dict "path" "where" "value" "1.5Gi") */}}
{{- define "covaria.quantity" -}}
{{- $text := kindIs "string" .value | ternary .value (toJson .value) -}}
{{- $suffix := regexFind "[a-zA-Z]*$" $text -}}
{{- $factors := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $factors = merge $factors (dict "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0) -}}
{{- $number := mulf (trimSuffix $suffix $text | float64) (get $factors $suffix) -}}
{{- if and (not (hasSuffix ".cpu" .path)) (ne $number (floor $number)) -}}
{{- fail (printf "%s: %s is no whole number of bytes" .path $text) -}}
{{- end -}}
{{- printf "%.3f" $number -}}
{{- end }}
