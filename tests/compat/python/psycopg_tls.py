"""psycopg 3 over TLS: the same queries, large answers, COPY and cancel through an encrypted connection."""

import os
import threading

import psycopg

from checks import POOL_SIZE, fail, ok, quick, same, shared_servers, true

CA = os.path.join(os.environ["COMPAT_STAGE"], "tls", "ca.crt")


def connect(**options):
    return psycopg.connect(autocommit=True, sslrootcert=CA, **options)


def sleeping(conn):
    return conn.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone()[0]


def session(mode):
    with connect(sslmode=mode) as conn, connect(sslmode=mode) as other:
        true(f"{mode}: it is TLS", conn.pgconn.ssl_in_use)
        same(f"{mode}: a query", 42, conn.execute("SELECT %s::int", [42], prepare=True).fetchone()[0])
        same(f"{mode}: 50 MB down", 50_000_000, len(conn.execute("SELECT repeat('x', 50000000)").fetchone()[0]))
        same(f"{mode}: 50 MB up", 50_000_000, conn.execute("SELECT length(%s)", ["y" * 50_000_000]).fetchone()[0])
        same(f"{mode}: 100,000 rows", 100_000, len(conn.execute("SELECT generate_series(1, 100000)").fetchall()))
        try:
            conn.execute("SELECT 1/0")
            fail(f"{mode}: an error", "nothing raised")
        except psycopg.errors.DivisionByZero as error:
            same(f"{mode}: its SQLSTATE", "22012", error.sqlstate)
        same(f"{mode}: the session goes on", 1, conn.execute("SELECT 1").fetchone()[0])
        with conn.transaction():
            conn.execute("CREATE TEMP TABLE tls_copy (i int) ON COMMIT DROP")
            with conn.cursor().copy("COPY tls_copy FROM STDIN") as copy:
                for i in range(50_000):
                    copy.write_row((i,))
            same(f"{mode}: COPY in", 50_000, conn.execute("SELECT count(*) FROM tls_copy").fetchone()[0])
            with conn.cursor().copy("COPY tls_copy TO STDOUT") as copy:
                same(f"{mode}: COPY out", 50_000, sum(1 for _ in copy.rows()))
            raise psycopg.Rollback
        same(f"{mode}: rolled back", None, conn.execute("SELECT to_regclass('tls_copy')").fetchone()[0])
        with conn.pipeline():
            cursors = [conn.execute("SELECT %s::int", [i]) for i in range(2000)]
            same(f"{mode}: a pipeline", list(range(2000)), [c.fetchone()[0] for c in cursors])

        def cancel():
            try:
                while not sleeping(other):
                    pass
                conn.cancel_safe(timeout=10)
            except psycopg.Error as error:
                fail(f"{mode}: a cancel over TLS", repr(error))
        thread = threading.Thread(target=cancel)
        thread.start()
        with quick("a cancel"):
            try:
                conn.execute("SELECT pg_sleep(60)")
                fail("a cancel", "the query ended normally")
            except psycopg.errors.QueryCanceled:
                ok(f"{mode}: a cancel over TLS")
        thread.join()
        ok(f"{mode}: the cancel request's connection ends properly")


def many():
    pids = [set() for _ in range(4 * POOL_SIZE)]

    def work(number):
        with connect(sslmode="verify-full") as conn:
            for turn in range(100):
                got, pid = conn.execute("SELECT %s::int, pg_backend_pid()", [number * turn], prepare=True).fetchone()
                if got != number * turn:
                    fail("clients over TLS", f"client {number} got {got}")
                pids[number].add(pid)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4 * POOL_SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared_servers("prepared statements over TLS", pids)


session("require")
session("verify-full")
many()
with connect(sslmode="require", sslnegotiation="postgres", channel_binding="disable") as conn:
    same("without channel binding", 1, conn.execute("SELECT 1").fetchone()[0])
