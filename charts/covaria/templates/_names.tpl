{{- define "covaria.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, the start of a Service's name: no dot, no digit in front, both of which a release's name may have. */}}
{{- define "covaria.fullname" -}}
{{- $name := include "covaria.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- $full = .Values.fullnameOverride | default $full | replace "." "-" -}}
{{- regexMatch "^[0-9]" $full | ternary (printf "covaria-%s" $full) $full | trunc 40 | trimAll "-" }}
{{- end }}

{{- define "covaria.selectorLabels" -}}
app.kubernetes.io/name: {{ include "covaria.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "covaria.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "covaria.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: covaria
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "covaria.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "covaria.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* A service's own image, else the common one of its name. (dict "root" $ "image" "ingest" "own" {} of a pool) */}}
{{- define "covaria.image" -}}
{{- $common := .root.Values.image -}}
{{- $own := eq .image "gateway" | ternary (.root.Values.gateway.image | default dict) (.own | default (dig .image "image" dict .root.Values.services)) -}}
{{- $repository := printf "%s%s%s" (empty $common.registry | ternary "" (printf "%s/" $common.registry)) $common.prefix .image -}}
{{- $repository = $own.repository | default $repository -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $repository $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($own.tag | default $common.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* "deployment" or "job": how a service runs. (dict "root" $ "service" $service) */}}
{{- define "covaria.workload" -}}
{{- and .root.Values.autoscaling.enabled (eq .service.autoscaling.kind "ScaledJob") | ternary "job" "deployment" -}}
{{- end }}

{{/* The secret of a role, the common one where it has none of its own. (dict "root" $ "own" "name or empty") */}}
{{- define "covaria.login" -}}
{{- .own | default .root.Values.rabbitmq.existingSecret -}}
{{- end }}

{{/* Paths of the chart's files of a kind, as YAML. A package without them would render an alert-free rule that is valid. */}}
{{- define "covaria.files" -}}
{{- $found := dict -}}
{{- range $path, $_ := .root.Files.Glob .glob }}{{ $_ := set $found $path true }}{{ end -}}
{{- if not $found }}{{ fail (printf "the chart has no %s: it was packaged or copied without its files" .glob) }}{{ end -}}
{{- toYaml $found -}}
{{- end }}
