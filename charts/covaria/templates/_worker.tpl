{{/* Pod of a worker, for Deployments and ScaledJobs alike. (dict "root" $ "name" "ingest-large" "kind" $kind "service" $service) */}}
{{- define "covaria.workerPod" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $workload := include "covaria.workload" . -}}
{{- $gpu := dig "gpu" "count" 0 $service | int -}}
{{- $nodes := include "covaria.nodes" $service -}}
{{- $together := printf "%s-nodes" (include "covaria.kindName" (dict "root" $root "name" .name)) -}}
{{- $gpuName := dig "gpu" "resourceName" "" $service | default $root.Values.gpu.resourceName -}}
{{- $image := include "covaria.image" (dict "root" $root "image" .kind.stage "own" $service.image) -}}
{{- $settings := merge (dict "grace_s" (sub ($service.terminationGracePeriodSeconds | int) 15) "image" $image) ($service.settings | default dict) -}}
{{- if and (gt $gpu 0) (not (or (hasKey $settings "device") (hasKey $root.Values.settings "device"))) }}{{ $_ := set $settings "device" "cuda" }}{{ end -}}
{{- if not (has .kind.pool (list "" "live")) }}{{ $_ := set $settings "pool" .kind.pool }}{{ end -}}
{{- $scratch := or $service.scratch $service.scratchSize -}}
{{- if $scratch }}{{ $_ := set $settings "scratch" "/scratch" }}{{ end -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" "worker" -}}
{{- if eq $workload "job" }}
{{- $_ := set $annotations "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" -}}
{{- $_ := set $annotations "karpenter.sh/do-not-disrupt" "true" -}}
{{- end -}}
{{- $placement := pick $service "priorityClassName" "schedulerName" "affinity" -}}
{{- $_ := set $placement "nodeSelector" (merge (dict) ($service.nodeSelector | default dict) (gt $gpu 0 | ternary $root.Values.gpu.nodeSelector dict)) -}}
{{- $_ := set $placement "tolerations" (concat ($service.tolerations | default list) (gt $gpu 0 | ternary $root.Values.gpu.tolerations list)) -}}
{{- $_ := set $placement "runtimeClassName" (gt $gpu 0 | ternary $root.Values.gpu.runtimeClassName "") -}}
metadata:
  labels:
    {{- include "covaria.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
    covaria/workload: {{ $workload }}
    {{- with include "covaria.queueLabel" $service }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $service.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- toYaml (merge (dict) ($service.podAnnotations | default dict) $annotations) | nindent 4 }}
spec:
  serviceAccountName: {{ include "covaria.serviceAccountName" $root }}
  {{- include "covaria.podCommon" $root | nindent 2 }}
  {{- if ne $nodes "1" }}
  subdomain: {{ $together }}
  {{- end }}
  restartPolicy: {{ eq $workload "job" | ternary "Never" "Always" }}
  terminationGracePeriodSeconds: {{ $service.terminationGracePeriodSeconds | int64 }}
  {{- include "covaria.placement" $placement | nindent 2 }}
  {{- with $service.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels:
          {{- include "covaria.selectorLabels" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.name }}
    {{- end }}
  {{- end }}
  {{- with $service.resourceClaims }}
  resourceClaims:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ $image }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - worker
        - {{ .kind.stage }}
        {{- if eq (len .kind.classes) 1 }}
        - --class={{ first .kind.classes }}
        {{- end }}
        {{- if eq $workload "job" }}
        - --max-jobs=1
        - --idle-exit=30
        {{- end }}
      env:
        {{- if ne $nodes "1" }}
        - name: KUBE_JOB
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
        - name: COVARIA_RENDEZVOUS
          value: $(KUBE_JOB)-0.{{ $together }}:29400
        - name: COVARIA_NODE
          valueFrom: {fieldRef: {fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
        - name: COVARIA_NODES
          value: {{ $nodes | quote }}
        {{- end }}
        {{- include "covaria.env" (dict "root" $root "settings" $settings "extra" $service.extraEnv) | nindent 8 }}
      ports:
        - {name: http, containerPort: 8080, protocol: TCP}
      {{- if eq $nodes "1" }}{{/* of several only the first serves HTTP, and is ready */}}
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      {{- end }}
      readinessProbe:
        {{- if eq $workload "deployment" }}
        httpGet: {path: /readyz, port: http}
        periodSeconds: 10
        {{- else }}
        httpGet: {path: /takenz, port: http}
        periodSeconds: 2
        {{- end }}
        timeoutSeconds: 5
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
        {{- with $service.resourceClaims }}
        claims:
          {{- range . }}
          - name: {{ .name }}
          {{- end }}
        {{- end }}
      volumeMounts:
        {{- include "covaria.mounts" (dict "root" $root "readOnly" false) | nindent 8 }}
        {{- if $service.shmSize }}
        - name: shm
          mountPath: /dev/shm
        {{- end }}
        {{- if $scratch }}
        - name: scratch
          mountPath: /scratch
        {{- end }}
  volumes:
    {{- include "covaria.volumes" (dict "root" $root "login" (include "covaria.login" (dict "root" $root "own" $service.rabbitmqSecret)) "tmpSize" ($service.tmpSize | default "4Gi")) | nindent 4 }}
    {{- if $service.shmSize }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ toJson $service.shmSize }}
    {{- end }}
    {{- if $scratch }}
    - name: scratch
      {{- include "covaria.scratchSource" $service | nindent 6 }}
    {{- end }}
{{- end }}

{{/* The volume behind /scratch: what `scratch` names, else a part of the node's disk. */}}
{{- define "covaria.scratchSource" -}}
{{- with .scratch -}}
{{- if .hostPath -}}
hostPath: {path: {{ .hostPath.path | quote }}, type: Directory}
{{- else -}}
ephemeral:
  volumeClaimTemplate:
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .ephemeral.storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ toJson .ephemeral.size }}}
{{- end -}}
{{- else -}}
emptyDir:
  sizeLimit: {{ toJson .scratchSize }}
{{- end -}}
{{- end }}

{{/* How many pods share one job. */}}
{{- define "covaria.nodes" -}}
{{- dig "gpu" "nodes" 1 . | int -}}
{{- end }}

{{/* Not empty where a pod of the service needs a device of its own. */}}
{{- define "covaria.asksForDevices" -}}
{{- if or (gt (dig "gpu" "count" 0 . | int) 0) .resourceClaims }}yes{{ end -}}
{{- end }}
