{{/* What pods and containers are allowed: nothing. */}}
{{- define "palimp.pod" -}}
automountServiceAccountToken: false
# A Service called palimp would set PALIMP_PORT and the like, which no setting is called.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "palimp.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where a pod may be: a list of the chart, the word for the part, and its values. */}}
{{- define "palimp.scheduling" -}}
{{- $part := index . 2 -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "palimp.selector" (list (index . 0) (index . 1)) | nindent 8 }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Settings that nodes and gateways share and that are no secret. */}}
{{- define "palimp.settings" -}}
PALIMP_AUTH: "on"
PALIMP_LEASES: {{ .Values.leases.store }}
PALIMP_LEASE_TTL: {{ .Values.leases.ttlSeconds | quote }}
PALIMP_LISTEN: 0.0.0.0:8080
PALIMP_OBJECT_STORE: {{ include "palimp.store" . | quote }}
{{- if eq .Values.leases.store "single" }}
PALIMP_SINGLE_NODE: "true"
{{- end }}
{{- if .Values.etcd.enabled }}
PALIMP_ETCD: http://{{ include "palimp.name" . }}-etcd:2379
{{- else if .Values.etcd.endpoints }}
PALIMP_ETCD: {{ .Values.etcd.endpoints | quote }}
{{- end }}
{{- if .Values.minio.enabled }}
AWS_ALLOW_HTTP: "true"
AWS_ENDPOINT: http://{{ include "palimp.name" . }}-minio:9000
AWS_REGION: us-east-1
{{- end }}
{{- range $name, $value := .Values.objectStore.env }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "palimp.secret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end -}}

{{/* Credentials of the object store. */}}
{{- define "palimp.credentials" -}}
{{- if .Values.minio.enabled }}
{{ include "palimp.secret" (list "AWS_ACCESS_KEY_ID" .Values.minio.existingSecret "MINIO_ROOT_USER") }}
{{ include "palimp.secret" (list "AWS_SECRET_ACCESS_KEY" .Values.minio.existingSecret "MINIO_ROOT_PASSWORD") }}
{{- else if .Values.objectStore.existingSecret }}
{{- range .Values.objectStore.secretKeys }}
{{ include "palimp.secret" (list . $.Values.objectStore.existingSecret .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Secrets that nodes and gateways share: each by reference. */}}
{{- define "palimp.secrets" -}}
{{ include "palimp.secret" (list "PALIMP_PLATFORM_KEY" .Values.auth.existingSecret "PALIMP_PLATFORM_KEY") }}
{{- include "palimp.credentials" . }}
{{- if .Values.etcd.existingSecret }}
{{ include "palimp.secret" (list "PALIMP_ETCD" .Values.etcd.existingSecret "PALIMP_ETCD") }}
{{- end }}
{{- end -}}

{{/* The catalog, for nodes, and for gateways where leases are in it. */}}
{{- define "palimp.catalog" -}}
{{- if .Values.postgresql.enabled }}
{{ include "palimp.secret" (list "PGPASSWORD" .Values.postgresql.existingSecret "POSTGRES_PASSWORD") }}
- name: PALIMP_CATALOG_URL
  value: postgresql://palimp@{{ include "palimp.name" . }}-postgresql:5432/palimp
{{- else if .Values.catalog.existingSecret }}
{{ include "palimp.secret" (list "PALIMP_CATALOG_URL" .Values.catalog.existingSecret "PALIMP_CATALOG_URL") }}
{{- end }}
{{- end -}}
