# Sourced by run.sh, and by the shell that runs one driver: what each driver needs in its environment and how it
# is started. A driver prints a line "ok - …" for each check and ends with an error at the first that fails.

driver_environment() { # driver_environment VERSION: the variables every driver reads
    # Nothing of the caller's own libpq settings.
    local name
    for name in $(compgen -e PG); do unset "$name"; done
    export PGHOST=127.0.0.1 PGPORT=$howdah_port PGUSER=app PGPASSWORD=$password PGDATABASE=app PGSSLMODE=disable
    export COMPAT_VERSION=$1 COMPAT_ROOT=$root COMPAT_CACHE=$cache COMPAT_STAGE=$stage COMPAT_HOWDAH=$howdah
    export COMPAT_POOL_SIZE=$POOL_SIZE COMPAT_BENCH_POOL_SIZE=$BENCH_POOL_SIZE
    export COMPAT_DIRECT_PORT=$postgres_port COMPAT_DIRECT_SOCKET=$stage/postgres COMPAT_POSTGRES_BIN=$postgres_bin
    export COMPAT_TOKIO_TEST=$tokio_test COMPAT_REPLICAS=$replicas COMPAT_REPLICA_PORTS=$replica_ports
    export LC_ALL=C.UTF-8 PSQL_HISTORY=/dev/null
}

driver_psql() { bash "$COMPAT_ROOT/tests/compat/psql/run.sh"; }
driver_pgbench() { bash "$COMPAT_ROOT/tests/compat/pgbench.sh"; }
driver_psycopg() { "$COMPAT_CACHE/venv/bin/python" -B "$COMPAT_ROOT/tests/compat/python/psycopg_sync.py"; }
driver_psycopg_async() { "$COMPAT_CACHE/venv/bin/python" -B "$COMPAT_ROOT/tests/compat/python/psycopg_async.py"; }
driver_asyncpg() { "$COMPAT_CACHE/venv/bin/python" -B "$COMPAT_ROOT/tests/compat/python/asyncpg_driver.py"; }
driver_node() { NODE_PATH=$COMPAT_CACHE/node/node_modules node "$COMPAT_ROOT/tests/compat/node/driver.cjs"; }

driver_jdbc() {
    local jar=/usr/share/java/postgresql.jar classes=$COMPAT_CACHE/jdbc
    mkdir -p "$classes"
    javac -Xlint:all -Werror -cp "$jar" -d "$classes" "$COMPAT_ROOT/tests/compat/jdbc/Driver.java" || return 1
    java -Xmx512m -cp "$jar:$classes" Driver
}

# A cargo test, built by run.sh: "make test" runs it too, then with the servers of its own.
driver_tokio() {
    "$COMPAT_TOKIO_TEST" --test-threads=1 | sed "s/^test \(.*\) \.\.\. ok$/ok - \1/"
    return "${PIPESTATUS[0]}"
}

driver_tls() { bash "$COMPAT_ROOT/tests/compat/tls/run.sh"; }

# PostgreSQL's own regression suite, with clusters of its own; HOWDAH_BIN names another howdah.
driver_regress() {
    local ways=direct,session,transaction
    [ "$COMPAT_REPLICAS" = 0 ] || ways=direct,replicas
    "$COMPAT_ROOT/tests/compat/regress/run.py" --ways "$ways"
}
