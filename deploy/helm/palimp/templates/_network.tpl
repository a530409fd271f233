{{/* Names are asked for wherever the cluster keeps its servers for that. */}}
{{- define "palimp.names" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* To pods of a part: a list of the chart, the word for the part, and its port. */}}
{{- define "palimp.towards" -}}
- ports:
    - port: {{ index . 2 }}
  to:
    - podSelector:
        matchLabels:
          {{- include "palimp.selector" (list (index . 0) (index . 1)) | nindent 10 }}
{{- end -}}

{{/* What nodes and gateways reach: a list of the chart and the word for the part. */}}
{{- define "palimp.outgoing" -}}
{{- $chart := index . 0 }}{{- $v := $chart.Values -}}
{{ include "palimp.names" $chart }}
{{ include "palimp.towards" (list $chart "node" 8080) }}
{{- if $v.minio.enabled }}
{{ include "palimp.towards" (list $chart "minio" 9000) }}
{{- else }}
- ports:
    - port: {{ $v.objectStore.port }}
  to:
    {{- range $v.objectStore.cidrs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
{{- end }}
{{- if $v.etcd.enabled }}
{{ include "palimp.towards" (list $chart "etcd" 2379) }}
{{- else if eq $v.leases.store "etcd" }}
- ports:
    - port: {{ $v.etcd.port }}
{{- end }}
{{- if or (eq (index . 1) "node") (eq $v.leases.store "sql") }}
{{- if $v.postgresql.enabled }}
{{ include "palimp.towards" (list $chart "postgresql" 5432) }}
{{- else if $v.catalog.existingSecret }}
- ports:
    - port: {{ $v.catalog.port }}
{{- end }}
{{- end }}
{{- with $v.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A server that only our parts reach and that reaches nothing: chart, its word, its port, them. */}}
{{- define "palimp.guarded" -}}
{{- $chart := index . 0 }}{{- $word := index . 1 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "palimp.name" $chart }}-{{ $word }}
  labels:
    {{- include "palimp.labels" (list $chart $word) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "palimp.selector" (list $chart $word) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: {{ index . 2 }}
      from:
        {{- range index . 3 }}
        - podSelector:
            matchLabels:
              {{- include "palimp.selector" (list $chart .) | nindent 14 }}
        {{- end }}
{{- end -}}

{{/* Clients, to the part they come to first: a list of the chart and the word for the part. */}}
{{- define "palimp.incoming" -}}
{{- $chart := index . 0 -}}
- ports:
    - port: 8080
    {{- if ne (index . 1) "mcp" }}
    {{- range $chart.Values.dialects }}
    - port: {{ . }}
    {{- end }}
    {{- end }}
  {{- with $chart.Values.networkPolicy.clients }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
