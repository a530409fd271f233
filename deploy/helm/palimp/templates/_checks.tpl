{{/* What no deployment should be made with. Every message says what to set. */}}
{{- define "palimp.checks" -}}
{{- $v := .Values -}}
{{- $several := ne $v.leases.store "single" -}}
{{- if not $v.auth.existingSecret }}
{{- fail "auth.existingSecret is empty: name a Secret with PALIMP_PLATFORM_KEY, PALIMP_AUTH_KEY and PALIMP_CLUSTER_KEY" }}
{{- end }}
{{- if not (has $v.leases.store (list "single" "sql" "etcd")) }}
{{- fail (printf "leases.store is %q: give single, sql or etcd" $v.leases.store) }}
{{- end }}
{{- if and (gt (int $v.node.replicas) 1) (not $several) }}
{{- fail (printf "node.replicas is %d and there is no lease store: the nodes would take each other's databases (split brain). Set leases.store to etcd or sql, or node.replicas to 1" (int $v.node.replicas)) }}
{{- end }}
{{- if and (or $v.gateway.enabled $v.mcp.enabled) (not $several) }}
{{- fail "gateway.enabled and mcp.enabled need a lease store, from which gateways know the nodes: set leases.store to etcd or sql; a single node is reached by its own Service" }}
{{- end }}
{{- $etcd := len (compact (list (ternary "x" "" $v.etcd.enabled) $v.etcd.endpoints $v.etcd.existingSecret)) }}
{{- if and (eq $v.leases.store "etcd") (ne $etcd 1) }}
{{- fail "leases.store is etcd: set one of etcd.enabled, etcd.endpoints and etcd.existingSecret" }}
{{- end }}
{{- if and (ne $v.leases.store "etcd") (gt $etcd 0) }}
{{- fail (printf "etcd is given and leases.store is %s: set leases.store to etcd" $v.leases.store) }}
{{- end }}
{{- if contains "@" $v.etcd.endpoints }}
{{- fail "etcd.endpoints has a password: put it into a Secret with the key PALIMP_ETCD and name that in etcd.existingSecret" }}
{{- end }}
{{- if and $v.postgresql.enabled $v.catalog.existingSecret }}
{{- fail "postgresql.enabled and catalog.existingSecret are both set: take one of them out" }}
{{- end }}
{{- if and (eq $v.leases.store "sql") (not $v.postgresql.enabled) (not $v.catalog.existingSecret) }}
{{- fail "leases.store is sql: set catalog.existingSecret to a Secret with PALIMP_CATALOG_URL, or postgresql.enabled" }}
{{- end }}
{{- if and $v.postgresql.enabled (not $v.postgresql.existingSecret) }}
{{- fail "postgresql.enabled needs postgresql.existingSecret: a Secret with POSTGRES_PASSWORD" }}
{{- end }}
{{- if and $v.minio.enabled (not $v.minio.existingSecret) }}
{{- fail "minio.enabled needs minio.existingSecret: a Secret with MINIO_ROOT_USER and MINIO_ROOT_PASSWORD" }}
{{- end }}
{{- if and $v.minio.enabled $v.objectStore.url }}
{{- fail "minio.enabled and objectStore.url are both set: take one of them out" }}
{{- end }}
{{- if and (not $v.minio.enabled) (not (regexMatch "^(s3|gs|az)://." $v.objectStore.url)) }}
{{- fail (printf "objectStore.url is %q: give s3://, gs:// or az:// (pods keep nothing), or minio.enabled to try it out" $v.objectStore.url) }}
{{- end }}
{{- if gt (len (include "palimp.name" .)) 40 }}
{{- fail "fullnameOverride has more than 40 characters: the names of nodes are made from it" }}
{{- end }}
{{- range $name := list "PALIMP_PLATFORM_KEY" "PALIMP_AUTH_KEY" "PALIMP_CLUSTER_KEY" "PALIMP_API_KEY_SECRET" "PALIMP_MASTER_KEY" "PALIMP_MASTER_KEY_COMMAND" "PALIMP_CATALOG_URL" "PALIMP_ETCD" "PALIMP_EMBED_API_KEY" "PALIMP_EMBED_ENDPOINTS" "PALIMP_EMBED_BASE_URL" "PALIMP_EXTRACT_API_KEY" "PALIMP_EXTRACT_BASE_URL" "PALIMP_ASSISTANT_API_KEY" "PALIMP_ASSISTANT_BASE_URL" "PALIMP_MEMTRACE_ARC_URL" "PALIMP_MEMTRACE_ARC_API_KEY" }}
{{- if hasKey $v.settings $name }}
{{- fail (printf "settings.%s is a secret: put it into a Secret and name that in secretSettings" $name) }}
{{- end }}
{{- end }}
{{- range $name := list "PALIMP_ADVERTISE" "PALIMP_AUTH" "PALIMP_DATA_DIR" "PALIMP_DISK_BUDGET_BYTES" "PALIMP_DURABILITY" "PALIMP_LEASES" "PALIMP_LEASE_TTL" "PALIMP_LISTEN" "PALIMP_NODE_ID" "PALIMP_OBJECT_STORE" "PALIMP_PAST_CACHE_BYTES" "PALIMP_SHIP_INTERVAL" "PALIMP_SHUTDOWN_TIMEOUT" "PALIMP_SINGLE_NODE" }}
{{- if hasKey $v.settings $name }}
{{- fail (printf "settings.%s is what the chart itself sets; there is a value for it, or it has to be so" $name) }}
{{- end }}
{{- end }}
{{- end -}}
