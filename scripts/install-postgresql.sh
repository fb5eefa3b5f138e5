#!/bin/sh
# What building howdah and running it against real PostgreSQL servers needs: a C compiler, and PostgreSQL's
# server, client and pgbench (Debian: package postgresql). Quiet when all is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# The newest PostgreSQL on this machine that can make and run a cluster, whatever installed it.
have_postgresql() {
    for folder in $(printf '%s' "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/pg_basebackup" ] &&
            [ -x "$folder/pgbench" ] && [ -x "$folder/psql" ] && return 0
    done
    return 1
}

missing=
command -v cc > /dev/null && command -v make > /dev/null || missing="build-essential"
have_postgresql || missing="$missing postgresql"
# shellcheck disable=SC2086
[ -z "$missing" ] || "$here/install-packages.sh" $missing
command -v cargo > /dev/null || {
    echo "howdah is built with Rust 1.95 or newer and there is no cargo in PATH: install Rust from https://rustup.rs" >&2
    exit 1
}
