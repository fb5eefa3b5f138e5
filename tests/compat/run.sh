#!/usr/bin/env bash
# Runs real drivers against howdah in transaction mode, in front of PostgreSQL 15 and 18; see README.md beside it.
#   tests/compat/run.sh [--verbose] [--replicas N] [--pg 15|18] [--howdah FILE] [DRIVER…]
# With --replicas reads go to so many replicas; SHOW ROUTES behind each driver says where its statements went, and why.
# Prints what a driver says only if it fails (--verbose: always), then a table of drivers and servers, and as its last
# line the number of checks that passed and of drivers that failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/compat
cd "$root"

ALL_DRIVERS="psql pgbench psycopg psycopg_async asyncpg node jdbc tokio tls regress"
POOL_SIZE=4
BENCH_POOL_SIZE=16
DRIVER_SECONDS=300 # one driver on one server; they need a few
REGRESS_SECONDS=1800 # PostgreSQL's whole suite three times: four minutes on two free cores

. "$here/stage.sh"
. "$here/drivers.sh"

usage() { echo "usage: tests/compat/run.sh [--verbose] [--replicas N] [--pg 15|18] [--howdah FILE] [DRIVER…], DRIVER one of: $ALL_DRIVERS" >&2; exit 2; }

servers= drivers= howdah= verbose= replicas=0
while [ $# -gt 0 ]; do
    case $1 in
    --pg) [ $# -ge 2 ] || usage; servers="$servers $2"; shift ;;
    --howdah) [ $# -ge 2 ] || usage; howdah=$(realpath "$2"); shift ;;
    --verbose) verbose=yes ;;
    --replicas) [ $# -ge 2 ] || usage; replicas=$2; shift ;;
    -*) usage ;;
    *)
        case " $ALL_DRIVERS " in *" $1 "*) drivers="$drivers $1" ;; *) usage ;; esac
        ;;
    esac
    shift
done
servers=${servers:-15 18} drivers=${drivers:-$ALL_DRIVERS}

"$here/tools.sh"
if [ -z "$howdah" ]; then
    cargo build --release --locked --bin howdah
    howdah=$(realpath "${CARGO_TARGET_DIR:-target}/release/howdah")
fi
# Before any clock runs: a build, or its wait for another build, may take longer than a driver may.
tokio_test=
case " $drivers " in
*" tokio "*)
    cargo test --locked --test compat_tokio --no-run
    tokio_test=$(realpath "$(cargo test --locked --test compat_tokio --no-run 2>&1 | sed -n 's/.*Executable .*(\(.*\))$/\1/p')")
    ;;
esac

logs=$cache/logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0
declare -A result
trap stop_stage EXIT
trap 'exit 130' INT TERM

# Runs one driver against the servers that are up, and notes its result.
run_driver() { # run_driver DRIVER VERSION
    local log=$logs/$1-$2.log began=$SECONDS limit=$DRIVER_SECONDS checks status=0
    [ "$1" != regress ] || limit=$REGRESS_SECONDS
    echo "== $1, PostgreSQL $2"
    (driver_environment "$2"; exec timeout --kill-after=30 "$limit" bash -c ". '$here/drivers.sh'; driver_$1") \
        < /dev/null > "$log" 2>&1 || status=$?
    [ "$status" != 124 ] || echo "FAILED: not finished after $limit s" >> "$log"
    checks=$(grep -c '^ok - ' "$log" || true)
    if [ "$status" = 0 ] && [ "$checks" = 0 ]; then
        echo "FAILED: it checked nothing" >> "$log"
        status=1
    fi
    if ! kill -0 "$howdah_pid" 2> /dev/null; then
        echo "FAILED: howdah is gone" >> "$log"
        status=1
    elif grep -q 'panicked at' "$stage/howdah/log"; then
        echo "FAILED: howdah panicked: $(grep -m 1 -A 1 'panicked at' "$stage/howdah/log")" >> "$log"
        status=1
    fi
    if [ "$status" != 0 ] || [ -n "$verbose" ]; then cat "$log"; fi
    if [ "$replicas" -gt 0 ] && [ "$1" != regress ]; then show_routes; fi
    passed=$((passed + checks))
    if [ "$status" = 0 ]; then
        result[$1,$2]="$checks passed, $((SECONDS - began)) s"
    else
        failed=$((failed + 1))
        result[$1,$2]="FAILED after $checks"
        cp "$stage/howdah/log" "$logs/howdah-$1-$2.log"
        echo "== $1 FAILED on PostgreSQL $2 with exit code $status; howdah's log: $logs/howdah-$1-$2.log"
    fi
}

for version in $servers; do
    stage=$(mktemp -d /tmp/howdah-compat-XXXXXX)
    chmod 755 "$stage"
    server_sslmode=prefer
    if [ "$version" = 15 ]; then server_sslmode=verify-full; fi
    make_certificates
    start_postgres "$version"
    start_replicas
    start_howdah
    for driver in $drivers; do
        # Its source is that of the installed PostgreSQL.
        if [ "$driver" = regress ] && [ "$version" != 15 ]; then result[$driver,$version]="not for it"; continue; fi
        if [ -z "$howdah_pid" ] || ! kill -0 "$howdah_pid" 2> /dev/null; then start_howdah; fi
        run_driver "$driver" "$version"
    done
    stop_stage
done

echo
printf '%-16s' driver
for version in $servers; do printf '%-24s' "PostgreSQL $version"; done
printf '\n'
for driver in $drivers; do
    printf '%-16s' "$driver"
    for version in $servers; do printf '%-24s' "${result[$driver,$version]}"; done
    printf '\n'
done
echo "drivers took $SECONDS s, tools and build included"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
