{{- define "palimp.name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "palimp" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-palimp" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Which pods a part has: a list of the chart and the word for the part. */}}
{{- define "palimp.selector" -}}
{{- $chart := index . 0 -}}
app.kubernetes.io/name: palimp
app.kubernetes.io/instance: {{ $chart.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "palimp.labels" -}}
{{- $chart := index . 0 -}}
{{ include "palimp.selector" . }}
app.kubernetes.io/version: {{ $chart.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $chart.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $chart.Chart.Name $chart.Chart.Version }}
{{- end -}}

{{- define "palimp.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "palimp.account" -}}
{{ .Values.serviceAccount.name | default (include "palimp.name" .) }}
{{- end -}}

{{- define "palimp.store" -}}
{{- if .Values.minio.enabled -}}
s3://{{ .Values.minio.bucket }}
{{- else -}}
{{ .Values.objectStore.url }}
{{- end -}}
{{- end -}}
