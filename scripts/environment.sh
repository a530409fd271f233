#!/bin/sh
# Make .venv with what GROUP (build, test or dev) needs, pinned and checked by hash, and palimp
# itself in editable form. Does nothing when that was done before and nothing changed.
#
#     sh scripts/environment.sh GROUP
set -eu
cd "$(dirname "$0")/.."
group=${1:?"usage: sh scripts/environment.sh build|test|dev"}
requirements="requirements/$group.txt"
stamp=".venv/.installed-$group"
wanted=$(cat "$requirements" pyproject.toml | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

python=${PYTHON:-}
if [ -z "$python" ]; then
    for name in python3.13 python3.12 python3.11 python3 python3.14; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$name
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "no Python 3.11 or newer found; install one, or name it: make demo PYTHON=/path/to/python3" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ]; then
    # Debian and Ubuntu ship Python without the part that makes environments.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            apt-get update -qq && apt-get install -y -qq --no-install-recommends "$package"
        else
            echo "$python cannot make environments; run: sudo apt-get install $package" >&2
            exit 1
        fi
    fi
    "$python" -m venv .venv
fi
echo "installing $requirements into .venv ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r "$requirements"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --no-deps --no-build-isolation -e .
# What a group includes is there too.
case $group in
dev) there="build test dev" ;;
test) there="build test" ;;
*) there=$group ;;
esac
for one in $there; do
    cat "requirements/$one.txt" pyproject.toml | cksum >".venv/.installed-$one"
done
