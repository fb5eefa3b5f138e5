#!/usr/bin/env bash
# Installs what the drivers need, unless it is there already: Debian's packages (nothing is installed where the
# program is there by other means), Python's and npm's below .cache/compat. A tool that cannot be had is an error.
#   tests/compat/tools.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/compat

need() { # need PROGRAM PACKAGE…: the packages, unless PROGRAM is in PATH
    local program=$1
    shift
    command -v "$program" > /dev/null || "$root/scripts/install-packages.sh" "$@"
}

# as_stamped NAME FILE COMMAND…: runs COMMAND unless it succeeded before with the same content of FILE.
as_stamped() {
    local stamp=$cache/$1.stamp file=$2
    shift 2
    ! cmp -s "$file" "$stamp" || return 0
    rm -f "$stamp"
    "$@"
    cp "$file" "$stamp"
}

python_packages() {
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
}

node_packages() {
    mkdir -p "$cache/node"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
    npm ci --silent --no-audit --no-fund --prefix "$cache/node"
}

mkdir -p "$cache"
"$root/scripts/install-toolchain.sh"
"$root/scripts/install-postgresql.sh"
need python3 python3 python3-venv
python3 -c 'import ensurepip' 2> /dev/null || "$root/scripts/install-packages.sh" python3-venv
need node nodejs
need npm npm
need javac default-jdk-headless
need openssl openssl
need setpriv util-linux
"$root/scripts/install-packages.sh" libpostgresql-jdbc-java
as_stamped python "$here/requirements.txt" python_packages
as_stamped node "$here/node/package-lock.json" node_packages
