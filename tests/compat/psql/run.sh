#!/usr/bin/env bash
# psql: every script beside this one gives, through howdah, what PostgreSQL itself gives; then signals, exit codes
# and COPY from and to files. Started by run.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED - $*"; exit 1; }
ok() { echo "ok - $*"; }
through() { psql -X "$@"; }
direct() { PGPORT=$COMPAT_DIRECT_PORT psql -X "$@"; }
# The sum of what each node says.
everywhere() {
    local port sum=0
    for port in $COMPAT_DIRECT_PORT $COMPAT_REPLICA_PORTS; do
        sum=$((sum + $(PGPORT=$port psql -X -A -t -c "$1")))
    done
    echo "$sum"
}
same() { # same NAME EXPECTED GOT
    [ "$2" = "$3" ] || fail "$1: expected: $2, got: $3"
    ok "$1"
}

for script in "$here"/*.sql; do
    name=$(basename "$script" .sql)
    for way in direct through; do
        mkdir "$work/$way"
        code=0
        (cd "$work/$way" && "$way" -f "$script" > out 2>&1) || code=$?
        echo "exit code $code" >> "$work/$way/out"
    done
    if ! diff -r "$work/direct" "$work/through" > "$work/diff"; then
        cat "$work/diff"
        fail "$name.sql answers differently (< PostgreSQL, > howdah)"
    fi
    ok "$name.sql: $(wc -l < "$work/direct/out") lines as from PostgreSQL itself"
    rm -r "$work/direct" "$work/through"
done

code=0
through -v ON_ERROR_STOP=1 -c 'SELECT 1' -c 'SELECT 1/0' -c 'SELECT 2' > "$work/out" 2>&1 || code=$?
same "an error ends -c with code 1" 1 "$code"
grep -q 'division by zero' "$work/out" || fail "the error's text is missing"
code=0
printf 'SELECT 1;\nSELECT 1/0;\nSELECT 2;\n' | through -v ON_ERROR_STOP=1 > /dev/null 2>&1 || code=$?
same "ON_ERROR_STOP ends a script with code 3" 3 "$code"
same "without it the script goes on" 2 "$(printf 'SELECT 1/0;\nSELECT 2;\n' | through -A -t 2> /dev/null)"
code=0
through -1 -v ON_ERROR_STOP=1 -c 'CREATE TABLE psql_single(a int)' -c 'SELECT 1/0' > /dev/null 2>&1 || code=$?
same "--single-transaction rolls everything back" "1 f" \
    "$code $(through -A -t -c "SELECT to_regclass('psql_single') IS NOT NULL")"
code=0
PGPASSWORD=wrong through -c 'SELECT 1' > "$work/out" 2>&1 || code=$?
same "a wrong password is refused" "2 1" "$code $(grep -c 'password authentication failed for user "app"' "$work/out")"
code=0
through -d nowhere -c 'SELECT 1' > "$work/out" 2>&1 || code=$?
same "a database that is not there" "2 1" "$code $(grep -c 'database "nowhere" does not exist' "$work/out")"

same "a million rows by a cursor (FETCH_COUNT)" 1000000 \
    "$(through -A -t -v FETCH_COUNT=1000 -c "SELECT i, repeat('x', 50) FROM generate_series(1, 1000000) i" | wc -l)"
same "300 MB in rows of 1 MB" 300 \
    "$(through -A -t -c "SELECT repeat('x', 1000000) FROM generate_series(1, 300)" | awk 'length == 1000000' | wc -l)"
same "a script of 20,000 statements" 20000 \
    "$(for i in $(seq 20000); do echo "SELECT $i;"; done | through -A -t | sort -n -u | wc -l)"

# SIGINT: psql sends a cancel request on a second connection. The query is running once a server shows it.
mkfifo "$work/in"
psql -X -A -t < "$work/in" > "$work/out" 2>&1 &
client=$!
exec 7> "$work/in"
echo "SELECT 'begun'; SELECT pg_sleep(60) /* cancel me */; SELECT 'alive';" >&7
sleeping="SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%cancel me%'"
began=$SECONDS
until [ "$(everywhere "$sleeping")" = 1 ]; do
    [ $((SECONDS - began)) -lt 20 ] || fail "the query to cancel did not begin"
done
kill -INT "$client"
exec 7>&-
code=0
wait "$client" || code=$?
grep -q 'canceling statement due to user request' "$work/out" || { cat "$work/out"; fail "SIGINT did not cancel"; }
[ $((SECONDS - began)) -lt 30 ] || fail "SIGINT did not cancel in time"
ok "SIGINT cancels the query"
same "nothing sleeps on" 0 "$(everywhere "$sleeping")"

# Eight at once on four servers: each keeps what it has set, and its own answers.
for client in 1 2 3 4 5 6 7 8; do
    {
        echo "SET application_name = 'psql$client'; SET search_path = s$client, public;"
        for i in $(seq 100); do
            echo "BEGIN; SELECT '$client-$i', current_setting('application_name'), current_setting('search_path'); COMMIT;"
        done
    } | through -q -A -t > "$work/client$client" 2>&1 &
    pids[client]=$!
done
for client in 1 2 3 4 5 6 7 8; do
    wait "${pids[client]}" || fail "client $client of 8 failed: $(tail -1 "$work/client$client")"
    for i in $(seq 100); do echo "$client-$i|psql$client|s$client, public"; done > "$work/want"
    diff "$work/want" "$work/client$client" || fail "client $client of 8 got somebody else's answer or setting"
done
ok "8 clients on $COMPAT_POOL_SIZE servers: own answers, own settings"

pools=$(PGDATABASE=howdah through -A -t -c "SHOW POOLS" | cut -d '|' -f 1 | sort -u | tr '\n' ' ')
case $pools in *app*) ok "the console shows the pools" ;; *) fail "SHOW POOLS: $pools" ;; esac
same "and takes orders" "" "$(PGDATABASE=pgbouncer through -A -t -q -c "PAUSE bench" -c "RESUME bench" 2>&1)"
