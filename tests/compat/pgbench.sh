#!/usr/bin/env bash
# pgbench: every way of sending a statement, short and long transactions, a connection for each transaction, and
# many more clients than servers. Started by run.sh.
set -euo pipefail
export PGUSER=bench PGDATABASE=bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED - $*"; exit 1; }

direct() { PGSSLMODE=disable psql -X -q -A -t -h "$COMPAT_DIRECT_SOCKET" -p "$COMPAT_DIRECT_PORT" -U postgres -d bench -c "$1"; }

bench() { # bench NAME TRANSACTIONS ARGUMENTS…
    local name=$1 count=$2 out=$work/out
    shift 2
    pgbench -n "$@" > "$out" 2>&1 || { cat "$out"; fail "$name: pgbench $* ended with an error"; }
    if ! grep -q "actually processed: $count/$count" "$out"; then cat "$out"; fail "$name: not $count transactions"; fi
    if ! grep -q "number of failed transactions: 0 " "$out"; then cat "$out"; fail "$name: failed transactions"; fi
    if grep -qE 'error|aborted' "$out"; then cat "$out"; fail "$name: an error"; fi
    echo "ok - $name: $count transactions, $(sed -n 's/^tps = \([0-9]*\).*/\1/p' "$out") a second"
}

balances() { # the money must be the same in all four tables
    direct 'SELECT count(DISTINCT sum) FROM (SELECT sum(abalance) FROM pgbench_accounts
        UNION ALL SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(bbalance) FROM pgbench_branches
        UNION ALL SELECT sum(delta) FROM pgbench_history) s'
}

pgbench -i -q -s 4 --foreign-keys > "$work/init" 2>&1 || { cat "$work/init"; fail "pgbench -i"; }
[ "$(direct 'SELECT count(*) FROM pgbench_accounts')" = 400000 ] || fail "pgbench -i loaded another number of rows"
echo "ok - pgbench -i (COPY, VACUUM, foreign keys)"

clients=$((2 * COMPAT_BENCH_POOL_SIZE))
for mode in simple extended prepared; do
    bench "-S -M $mode" $((clients * 150)) -S -M "$mode" -c "$clients" -j 2 -t 150
    # pgbench waits for the answer to each of its Parse messages while its thread's other clients stand still, some
    # of them within a transaction: more clients than servers and fewer threads than clients would never end.
    bench "TPC-B -M $mode" $((clients * 30)) -M "$mode" -c "$clients" -j "$clients" -t 30
    [ "$(balances)" = 1 ] || fail "the balances differ after TPC-B -M $mode"
    bench "-S -C -M $mode" $((8 * 20)) -S -C -M "$mode" -c 8 -j 2 -t 20
done
[ "$(direct 'SELECT count(*) FROM pgbench_history')" = $((3 * clients * 30)) ] || fail "lost or repeated transactions"
echo "ok - the balances of all TPC-B transactions agree, none is lost or repeated"

cat > "$work/pipeline.sql" <<'EOF'
\set aid random(1, 400000)
\startpipeline
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_accounts SET abalance = abalance + 0 WHERE aid = :aid;
SELECT :aid;
\endpipeline
EOF
bench "pipelines, -M extended" $((clients * 50)) -f "$work/pipeline.sql" -M extended -c "$clients" -j "$clients" -t 50
bench "pipelines, -M prepared" $((clients * 50)) -f "$work/pipeline.sql" -M prepared -c "$clients" -j "$clients" -t 50

for mode in simple prepared; do
    bench "1,000 clients on $COMPAT_BENCH_POOL_SIZE servers, -S -M $mode" 20000 -S -M "$mode" -c 1000 -j 2 -t 20
done
open=$(direct "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bench'")
if [ "$open" -lt 2 ] || [ "$open" -gt "$COMPAT_BENCH_POOL_SIZE" ]; then fail "$open servers instead of 2 to $COMPAT_BENCH_POOL_SIZE"; fi
echo "ok - no more servers than the pool's size ($open)"
