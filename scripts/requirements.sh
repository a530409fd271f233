#!/bin/sh
# Write requirements/*.txt: hash-pinned, without host names. Needs `uv`; uv.lock itself stays out of
# the repository, because it names the index it was made with.
set -eu
cd "$(dirname "$0")/.."
uv lock --no-python-downloads "$@"
for group in base build test dev; do
    if [ "$group" = base ]; then only="--no-default-groups"; else only="--no-default-groups --group $group"; fi
    # shellcheck disable=SC2086
    uv export --frozen --no-emit-project --no-annotate --no-header $only -q \
        -o "requirements/$group.txt"
done
# What the container image has: the product with the extras of a node.
uv export --frozen --no-emit-project --no-annotate --no-header --no-default-groups \
    --extra server --extra cloud --extra mcp --extra otel -q -o requirements/image.txt
if grep -nE 'https?://' requirements/*.txt; then
    echo "a host name is in requirements/" >&2
    exit 1
fi
