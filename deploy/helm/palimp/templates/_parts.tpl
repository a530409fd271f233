{{/* A Service: a list of the chart, the word for the part, and its values. */}}
{{- define "palimp.service" -}}
{{- $chart := index . 0 }}{{- $word := index . 1 }}{{- $part := index . 2 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "palimp.name" $chart }}-{{ $word }}
  labels:
    {{- include "palimp.labels" (list $chart $word) | nindent 4 }}
  {{- with $part.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $part.service.type }}
  selector:
    {{- include "palimp.selector" (list $chart $word) | nindent 4 }}
  ports:
    - name: http
      port: {{ $part.service.port }}
      targetPort: http
    {{- if ne $word "mcp" }}
    {{- range $name, $port := $chart.Values.dialects }}
    - name: {{ $name }}
      port: {{ $port }}
      targetPort: {{ $name }}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* Arguments and ports of a container: a list of the chart, the word for the part, its command. */}}
{{- define "palimp.doors" -}}
{{- $dialects := ternary dict (index . 0).Values.dialects (eq (index . 1) "mcp") -}}
args:
  - {{ index . 2 }}
  {{- range $name, $port := $dialects }}
  - --dialect={{ $name }}={{ $port }}
  {{- end }}
ports:
  - name: http
    containerPort: 8080
  {{- range $name, $port := $dialects }}
  - name: {{ $name }}
    containerPort: {{ $port }}
  {{- end }}
{{- end -}}

{{/* What keeps too many pods of a part from going at once. */}}
{{- define "palimp.budget" -}}
{{- $chart := index . 0 }}{{- $word := index . 1 }}{{- $part := index . 2 -}}
{{- if and $chart.Values.podDisruptionBudget.enabled (gt (int $part.replicas) 1) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "palimp.name" $chart }}-{{ $word }}
  labels:
    {{- include "palimp.labels" (list $chart $word) | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "palimp.selector" (list $chart $word) | nindent 6 }}
{{- end -}}
{{- end -}}

{{/* Labels and annotations of the pods of a part; a changed setting makes new pods. */}}
{{- define "palimp.template" -}}
{{- $chart := index . 0 }}{{- $word := index . 1 }}{{- $part := index . 2 -}}
labels:
  {{- include "palimp.labels" (list $chart $word) | nindent 2 }}
  {{- with $part.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  palimp/settings: {{ include "palimp.settings" $chart | sha256sum }}
  {{- with $part.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "palimp.probes" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* A Deployment of gateways. */}}
{{- define "palimp.gateway" -}}
{{- $chart := index . 0 }}{{- $word := index . 1 }}{{- $part := index . 2 -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "palimp.name" $chart }}-{{ $word }}
  labels:
    {{- include "palimp.labels" (list $chart $word) | nindent 4 }}
spec:
  replicas: {{ $part.replicas }}
  selector:
    matchLabels:
      {{- include "palimp.selector" (list $chart $word) | nindent 6 }}
  template:
    metadata:
      {{- include "palimp.template" . | nindent 6 }}
    spec:
      serviceAccountName: {{ include "palimp.account" $chart }}
      {{- include "palimp.pod" $chart | nindent 6 }}
      terminationGracePeriodSeconds: {{ add $part.shutdownSeconds 10 }}
      {{- include "palimp.scheduling" . | nindent 6 }}
      containers:
        - name: {{ $word }}
          image: {{ include "palimp.image" $chart }}
          imagePullPolicy: {{ $chart.Values.image.pullPolicy }}
          {{- include "palimp.doors" (list $chart $word "gateway") | nindent 10 }}
          {{- include "palimp.container" $chart | nindent 10 }}
          envFrom:
            - configMapRef:
                name: {{ include "palimp.name" $chart }}
          env:
            - name: PALIMP_SHUTDOWN_TIMEOUT
              value: {{ $part.shutdownSeconds | quote }}
            {{- include "palimp.secrets" $chart | nindent 12 }}
            {{- if eq $chart.Values.leases.store "sql" }}
            {{- include "palimp.catalog" $chart | trim | nindent 12 }}
            {{- end }}
          {{- include "palimp.probes" $chart | nindent 10 }}
          resources:
            {{- toYaml $part.resources | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
      volumes:
        - name: tmp
          emptyDir:
            medium: Memory
            sizeLimit: {{ $part.tmpSize }}
{{- end -}}
