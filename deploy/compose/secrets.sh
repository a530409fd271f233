#!/bin/sh
# Print new secrets for the compose files beside this, as a .env file. Needs openssl.
set -eu
umask 077
# Ed25519 in PKCS#8, as `palimp keygen` makes it.
signing=$(openssl genpkey -algorithm ed25519 -outform DER | openssl base64 -A)
cat <<EOF
PALIMP_PLATFORM_KEY=$(openssl rand -hex 24)
PALIMP_CLUSTER_KEY=$(openssl rand -hex 24)
PALIMP_AUTH_KEY=$signing
PALIMP_MASTER_KEY=
POSTGRES_PASSWORD=$(openssl rand -hex 24)
MINIO_ROOT_USER=palimp
MINIO_ROOT_PASSWORD=$(openssl rand -hex 24)
EOF
