#!/bin/sh
# Running howdah against real PostgreSQL servers needs PostgreSQL's server, client and pgbench (Debian: package
# postgresql). Whatever installed them will do. Quiet when all is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

complete() { # has folder $1 all the programs?
    for program in initdb postgres pg_basebackup pg_ctl pgbench psql; do
        [ -x "$1/$program" ] || return 1
    done
}

for folder in $(printf '%s' "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
    ! complete "$folder" || exit 0
done
"$here/install-packages.sh" postgresql
