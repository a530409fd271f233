#!/bin/sh
# Install what the tests need and pip cannot: etcd, MariaDB, and what renders and checks deploy/.
# PostgreSQL, S3 and the rest come from PyPI. Does nothing where it is there; where it cannot, it says
# what to run, and the tests that need it skip (in CI they fail).
#
#     sh scripts/services.sh
set -eu
there() { command -v "$1" >/dev/null 2>&1; }
missing=
there etcd || missing="$missing etcd-server"
there go || missing="$missing golang-go"
there ip || missing="$missing iproute2"
there mariadbd || missing="$missing mariadb-server"
there nft || missing="$missing nftables"
there yamllint || missing="$missing yamllint"
sources=/usr/share/gocode/src
[ -d $sources/github.com/Masterminds/sprig ] || missing="$missing golang-github-masterminds-sprig-dev"
[ -d $sources/sigs.k8s.io/yaml ] || missing="$missing golang-k8s-sigs-yaml-dev"
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && there apt-get; then
    echo "installing$missing ..."
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing
else
    echo "not installed, tests that need it are skipped; run: sudo apt-get install$missing" >&2
fi
