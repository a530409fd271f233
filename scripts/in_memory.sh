#!/bin/sh
# Run a command whose temporary files are in memory, where there is room for them: tests make many
# small files and sync each. They are removed when the command succeeds; else they stay, to be read.
#
#     sh scripts/in_memory.sh COMMAND [ARGUMENT ...]
set -eu
memory=/dev/shm
kilobytes_min=6000000
free=$(df -Pk "$memory" 2>/dev/null | awk 'NR == 2 {print $4}')
available=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo 2>/dev/null || true)
if [ -n "${TMPDIR:-}" ] || [ ! -w "$memory" ] ||
    [ "${free:-0}" -lt "$kilobytes_min" ] || [ "${available:-0}" -lt "$kilobytes_min" ]; then
    exec "$@"
fi
folder=$(mktemp -d "$memory/tests-XXXX")
trap 'rm -rf "$folder"; exit 130' INT TERM
# As /tmp: servers of tests run as users of their own.
chmod 1777 "$folder"
if TMPDIR="$folder" "$@"; then
    rm -rf "$folder"
else
    code=$?
    echo "what the tests left is in $folder" >&2
    exit $code
fi
