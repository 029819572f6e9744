{{- define "covaria.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "covaria.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "covaria.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "covaria.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
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
{{- end }}

{{- define "covaria.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "covaria.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* (dict "root" $ "image" "ingest") */}}
{{- define "covaria.image" -}}
{{- $image := .root.Values.image -}}
{{- printf "%s%s%s:%s" (empty $image.registry | ternary "" (printf "%s/" $image.registry)) $image.prefix .image (default .root.Chart.AppVersion $image.tag) -}}
{{- end }}

{{/* "deployment" or "job": how a service runs. (dict "root" $ "service" $service) */}}
{{- define "covaria.workload" -}}
{{- and .root.Values.autoscaling.enabled (eq .service.autoscaling.kind "ScaledJob") | ternary "job" "deployment" -}}
{{- end }}

{{/* Environment of every container. (dict "root" $ "settings" {own settings}) */}}
{{- define "covaria.env" -}}
{{- $root := .root -}}
{{- $broker := $root.Values.rabbitmq -}}
{{- $roots := list -}}
{{- range $root.Values.data.volumes }}{{ $roots = append $roots .mountPath }}{{ end -}}
- name: COVARIA_BROKER_URL
  value: {{ printf "%s://%s:%v/%s" ($broker.tls.enabled | ternary "amqps" "amqp") $broker.host $broker.port ($broker.vhost | urlquery | replace "+" "%20") | quote }}
- name: COVARIA_SECRETS_DIR
  value: /etc/covaria/secrets
- name: COVARIA_ROOTS
  value: {{ join ":" $roots | quote }}
- name: COVARIA_HTTP_PORT
  value: "8080"
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
{{- range $name, $value := merge (dict) .settings $root.Values.settings }}
- name: COVARIA_{{ upper $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* Mounts of every container. (dict "root" $ "readOnly" bool) */}}
{{- define "covaria.mounts" -}}
{{- $readOnly := .readOnly -}}
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
{{- range .root.Values.data.volumes }}
- name: data-{{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: {{ or $readOnly (.readOnly | default false) }}
  {{- with .subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Volumes of every pod. (dict "root" $ "login" "secret" "tmpSize" "4Gi") */}}
{{- define "covaria.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmpSize }}
- name: broker-login
  secret:
    secretName: {{ .login }}
    defaultMode: 0444
    items:
      - {key: username, path: covaria_broker_username}
      - {key: password, path: covaria_broker_password}
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
{{- range .root.Values.data.volumes }}
- name: data-{{ .name }}
  {{- if .existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .existingClaim }}
    readOnly: {{ .readOnly | default false }}
  {{- else if .nfs }}
  nfs:
    server: {{ .nfs.server }}
    path: {{ .nfs.path }}
    readOnly: {{ .readOnly | default false }}
  {{- else }}
  hostPath:
    path: {{ .hostPath.path }}
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
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "covaria.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Pod of a worker, for Deployments and ScaledJobs alike. (dict "root" $ "name" "ingest" "service" $service) */}}
{{- define "covaria.workerPod" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $workload := include "covaria.workload" . -}}
{{- $gpu := dig "gpu" "count" 0 $service | int -}}
{{- $gpuName := dig "gpu" "resourceName" "" $service | default $root.Values.gpu.resourceName -}}
{{- $settings := merge (dict "grace_s" (sub ($service.terminationGracePeriodSeconds | int) 15)) ($service.settings | default dict) -}}
{{- if $service.scratchSize }}{{ $_ := set $settings "scratch" "/scratch" }}{{ end -}}
metadata:
  labels:
    {{- include "covaria.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
    covaria/workload: {{ $workload }}
  annotations:
    kubectl.kubernetes.io/default-container: worker
    {{- if eq $workload "job" }}
    cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
    karpenter.sh/do-not-disrupt: "true"
    {{- end }}
    {{- with $service.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "covaria.serviceAccountName" $root }}
  {{- include "covaria.podCommon" $root | nindent 2 }}
  restartPolicy: {{ eq $workload "job" | ternary "Never" "Always" }}
  terminationGracePeriodSeconds: {{ $service.terminationGracePeriodSeconds }}
  {{- with $service.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if and $gpu $root.Values.gpu.runtimeClassName }}
  runtimeClassName: {{ $root.Values.gpu.runtimeClassName }}
  {{- end }}
  {{- with merge (dict) ($service.nodeSelector | default dict) (gt $gpu 0 | ternary $root.Values.gpu.nodeSelector dict) }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with concat ($service.tolerations | default list) (gt $gpu 0 | ternary $root.Values.gpu.tolerations list) }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $service.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ include "covaria.image" (dict "root" $root "image" .name) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - worker
        - {{ .name }}
        {{- if eq $workload "job" }}
        - --max-jobs=1
        - --idle-exit=30
        {{- end }}
      env:
        {{- include "covaria.env" (dict "root" $root "settings" $settings) | nindent 8 }}
      ports:
        - {name: http, containerPort: 8080, protocol: TCP}
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      {{- if eq $workload "deployment" }}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
      {{- end }}
      securityContext:
        {{- include "covaria.containerSecurity" $root | nindent 8 }}
      resources:
        requests:
          {{- toYaml $service.resources.requests | nindent 10 }}
        limits:
          {{- toYaml $service.resources.limits | nindent 10 }}
          {{- if $gpu }}
          {{ $gpuName }}: {{ $gpu | quote }}
          {{- end }}
      volumeMounts:
        {{- include "covaria.mounts" (dict "root" $root "readOnly" false) | nindent 8 }}
        {{- if $service.shmSize }}
        - name: shm
          mountPath: /dev/shm
        {{- end }}
        {{- if $service.scratchSize }}
        - name: scratch
          mountPath: /scratch
        {{- end }}
  volumes:
    {{- include "covaria.volumes" (dict "root" $root "login" (default $root.Values.rabbitmq.existingSecret $service.rabbitmqSecret) "tmpSize" ($service.tmpSize | default "4Gi")) | nindent 4 }}
    {{- if $service.shmSize }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ $service.shmSize }}
    {{- end }}
    {{- if $service.scratchSize }}
    - name: scratch
      emptyDir:
        sizeLimit: {{ $service.scratchSize }}
    {{- end }}
{{- end }}
