{{/* Environment of every container. (dict "root" $ "settings" {own settings} "extra" [own extraEnv]) */}}
{{- define "covaria.env" -}}
{{- $root := .root -}}
{{- $broker := $root.Values.rabbitmq -}}
{{- $roots := list -}}
{{- range $root.Values.data.volumes }}{{ $roots = append $roots .mountPath }}{{ end -}}
{{- $settings := merge (dict) .settings $root.Values.settings -}}
{{- with $root.Values.securityContext.runAsUser }}{{ $settings = merge $settings (dict "service_uid" (int64 .)) }}{{ end -}}
{{- with include "covaria.pools" $root }}{{ $settings = merge (dict "pools" .) $settings }}{{ end -}}
{{- $listeners := list -}}
{{- if $root.Values.gateway.enabled }}{{ $listeners = append $listeners "gateway" }}{{ end -}}
{{- range tuple "ispyb" "webhook" -}}
{{- if (get $root.Values.adapters .).enabled }}{{ $listeners = append $listeners . }}{{ end -}}
{{- end -}}
{{- if $listeners -}}
{{- with $settings.event_listeners }}{{ $listeners = splitList "," . | concat $listeners | uniq }}{{ end -}}
{{- $settings = merge (dict "event_listeners" (join "," $listeners)) $settings -}}
{{- end -}}
- name: COVARIA_BROKER_URL
  value: {{ printf "%s://%s:%d/%s" ($broker.tls.enabled | ternary "amqps" "amqp") $broker.host (int $broker.port) ($broker.vhost | urlquery | replace "+" "%20") | quote }}
- name: COVARIA_SECRETS_DIR
  value: /etc/covaria/secrets
- name: COVARIA_ROOTS
  value: {{ join ":" $roots | quote }}
- name: COVARIA_HTTP_PORT
  value: "8080"
{{- with $root.Values.ledger }}
- name: COVARIA_LEDGER
  value: {{ . | quote }}
{{- end }}
{{- if not $broker.tls.enabled }}
- name: COVARIA_BROKER_ALLOW_PLAINTEXT
  value: "true"
{{- else if $broker.tls.caSecret }}
- name: COVARIA_BROKER_CA_FILE
  value: /etc/covaria/ca/ca.crt
{{- end }}
{{- if and $broker.tls.enabled $broker.tls.clientSecret }}
- name: COVARIA_BROKER_CERT_FILE
  value: /etc/covaria/client/tls.crt
- name: COVARIA_BROKER_KEY_FILE
  value: /etc/covaria/client/tls.key
{{- end }}
{{- /* JSON writes whole numbers out; Go would write a million as 1e+06. */}}
{{- range $name, $value := $settings }}
- name: COVARIA_{{ upper $name }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- with concat $root.Values.extraEnv (.extra | default list) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Mounts of every container. (dict "root" $ "readOnly" bool) */}}
{{- define "covaria.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: broker-login
  mountPath: /etc/covaria/secrets
  readOnly: true
{{- with .root.Values.rabbitmq.tls }}
{{- if and .enabled .caSecret }}
- name: broker-ca
  mountPath: /etc/covaria/ca
  readOnly: true
{{- end }}
{{- if and .enabled .clientSecret }}
- name: broker-client
  mountPath: /etc/covaria/client
  readOnly: true
{{- end }}
{{- end }}
{{- include "covaria.dataMounts" . }}
{{- end }}

{{/* The shared filesystem in a container. (dict "root" $ "readOnly" true) */}}
{{- define "covaria.dataMounts" -}}
{{- $readOnly := .readOnly -}}
{{- range .root.Values.data.volumes }}
- name: data-{{ .name }}
  mountPath: {{ .mountPath | quote }}
  readOnly: {{ or $readOnly (.readOnly | default false) }}
  {{- with .subPath }}
  subPath: {{ . | quote }}
  {{- end }}
  {{- with .mountPropagation }}
  mountPropagation: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Volumes of every pod. (dict "root" $ "login" "secret" "tmpSize" "4Gi" "secrets" [{"name", "key", "path"}, each put beside it]) */}}
{{- define "covaria.volumes" -}}
{{- $secrets := .secrets | default list -}}
{{- with .root.Values.ledgerDatabase.secret -}}
{{- $secrets = append $secrets (dict "name" . "key" "url" "path" "covaria_ledger_url") -}}
{{- end -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ toJson .tmpSize }}
- name: broker-login
  {{- if $secrets }}
  projected:
    defaultMode: 0444
    sources:
      - secret:
          name: {{ .login }}
          items:
            - {key: username, path: covaria_broker_username}
            - {key: password, path: covaria_broker_password}
      {{- range $secrets }}
      - secret:
          name: {{ .name }}
          items:
            - {key: {{ .key }}, path: {{ .path }}}
      {{- end }}
  {{- else }}
  secret:
    secretName: {{ .login }}
    defaultMode: 0444
    items:
      - {key: username, path: covaria_broker_username}
      - {key: password, path: covaria_broker_password}
  {{- end }}
{{- with .root.Values.rabbitmq.tls }}
{{- if and .enabled .caSecret }}
- name: broker-ca
  secret:
    secretName: {{ .caSecret }}
    defaultMode: 0444
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- if and .enabled .clientSecret }}
- name: broker-client
  secret:
    secretName: {{ .clientSecret }}
    defaultMode: 0444
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}
{{- end }}
{{- include "covaria.dataVolumes" .root }}
{{- end }}

{{/* The shared filesystem's volumes. */}}
{{- define "covaria.dataVolumes" -}}
{{- range .Values.data.volumes }}
- name: data-{{ .name }}
  {{- if .existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
    readOnly: {{ .readOnly | default false }}
  {{- else if .nfs }}
  nfs:
    server: {{ .nfs.server | quote }}
    path: {{ .nfs.path | quote }}
    readOnly: {{ .readOnly | default false }}
  {{- else if .csi }}
  csi:
    {{- toYaml .csi | nindent 4 }}
    readOnly: {{ .readOnly | default false }}
  {{- else }}
  hostPath:
    path: {{ .hostPath.path | quote }}
    type: Directory
  {{- end }}
{{- end }}
{{- end }}

{{- define "covaria.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- range $name, $value := .Values.securityContext }}
{{- if not (and (kindIs "slice" $value) (empty $value)) }}
{{ $name }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{- define "covaria.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Head of every pod's spec. */}}
{{- define "covaria.podCommon" -}}
{{- include "covaria.podCommonWith" (dict "root" . "ownVolume" false) -}}
{{- end }}

{{/* The same, of a pod that writes in a volume of its own: that belongs to its group. (dict "root" $ "ownVolume" bool) */}}
{{- define "covaria.podCommonWith" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "covaria.podSecurity" .root | nindent 2 }}
  {{- if and .ownVolume .root.Values.securityContext.runAsGroup (not .root.Values.securityContext.fsGroup) }}
  fsGroup: {{ toJson .root.Values.securityContext.runAsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where a pod may go. (dict "priorityClassName" "nodeSelector" "tolerations" "affinity" "schedulerName"), each may be empty */}}
{{- define "covaria.placement" -}}
{{- range $name, $value := . }}
{{- if $value }}
{{ $name }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* Head of the spec of every pod that is no worker. */}}
{{- define "covaria.auxiliaryPod" -}}
{{- include "covaria.podCommon" . }}
{{- include "covaria.placement" .Values.auxiliary }}
{{- end }}
