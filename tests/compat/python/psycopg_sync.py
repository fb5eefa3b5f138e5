"""psycopg 3, the blocking interface: libpq below it."""

import datetime
import decimal
import os
import sys
import threading
import traceback
import uuid

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from checks import POOL_SIZE, VERSION, fail, ok, quick, same, shared_servers, true


def connect(**options):
    return psycopg.connect(autocommit=True, **options)


def error_of(conn, query, args=None):
    try:
        conn.execute(query, args)
    except psycopg.Error as error:
        return error
    fail("an error", f"{query!r} succeeded")


def many(clients, work):
    """Runs work(number) in as many threads; gives the results."""
    results = [None] * clients
    barrier = threading.Barrier(clients)

    def run(number):
        try:
            barrier.wait(20)
            results[number] = work(number)
        except BaseException as error:
            traceback.print_exc(file=sys.stdout)
            fail(f"client {number} of {clients}", repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def values():
    with connect() as conn:
        same("server_version", VERSION, conn.info.server_version // 10000)
        same("the welcome's parameters", ("UTF8", "UTF8", "on", "on"), tuple(
            conn.info.parameter_status(name)
            for name in ("server_encoding", "client_encoding", "integer_datetimes", "standard_conforming_strings")))
        row = (1, -(2**62), 1.5, "ünïcode ' \\ \"", b"\x00\xff", None, True, [1, None, 3],
               decimal.Decimal("12345678901234567890.123456789"), datetime.date(2024, 2, 29),
               datetime.datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=datetime.timezone.utc), uuid.UUID(int=5))
        for binary in (False, True):
            marks = sql.SQL(",").join([sql.SQL("%b" if binary else "%s")] * len(row))
            cast = sql.SQL("SELECT * FROM (VALUES ({})) t").format(marks)
            same(f"values there and back, binary={binary}", row, conn.cursor(binary=binary).execute(cast, row).fetchone())
        same("jsonb", {"a": [1, "x"]}, conn.execute("SELECT %s", [Jsonb({"a": [1, "x"]})]).fetchone()[0])
        same("several statements in one string", [1, 2], [
            r.fetchone()[0] for r in conn.execute("SELECT 1; SELECT 2").results()])
        same("no rows", [], conn.execute("SELECT 1 WHERE false").fetchall())
        same("no statement", None, conn.execute("").description)
        same("a row of 50 MB", 50_000_000, len(conn.execute("SELECT repeat('x', 50000000)").fetchone()[0]))
        same("a parameter of 50 MB", 50_000_000, conn.execute("SELECT length(%s)", ["y" * 50_000_000]).fetchone()[0])
        same("1,000 columns", 1000, len(conn.execute("SELECT " + ",".join(map(str, range(1000)))).fetchone()))
        same("10,000 parameters", 10_000, len(conn.execute(
            "SELECT ARRAY[" + ",".join(["%s::int"] * 10_000) + "]", list(range(10_000))).fetchone()[0]))
        same("rows by name", {"a": 1}, conn.cursor(row_factory=dict_row).execute("SELECT 1 AS a").fetchone())


def failures():
    with connect() as conn:
        conn.execute("DROP TABLE IF EXISTS psy_unique; CREATE TABLE psy_unique (id int CONSTRAINT only_one PRIMARY KEY)")
        for state, query, args in (
            ("42601", "SELEC 1", None), ("42P01", "SELECT * FROM missing", None), ("22012", "SELECT 1/%s", [0]),
            ("22P02", "SELECT %s::int", ["x"]), ("42883", "SELECT missing(%s)", [1]), ("42703", "SELECT missing", None),
            ("25001", "SELECT 1; VACUUM", None), ("22023", "SET timezone = 'Mars/Olympus'", None),
            ("23505", "INSERT INTO psy_unique VALUES (%s), (%s)", [1, 1]), ("P0001", "DO $$BEGIN RAISE 'x'; END$$", None),
        ):
            same(f"SQLSTATE of {query}", state, error_of(conn, query, args).sqlstate)
            same("and the session goes on", (1,), conn.execute("SELECT 1").fetchone())
        diag = error_of(conn, "INSERT INTO psy_unique VALUES (%s), (%s)", [1, 1]).diag
        same("an error's fields", ("ERROR", "psy_unique", "only_one", "public"), (
            diag.severity, diag.table_name, diag.constraint_name, diag.schema_name))
        same("an error's position", "8", error_of(conn, "SELECT missing").diag.statement_position)
        conn.execute("DROP TABLE psy_unique")
    try:
        psycopg.connect(password="wrong")
        fail("a wrong password", "let in")
    except psycopg.OperationalError as error:
        true("a wrong password is refused", "password authentication failed" in str(error), str(error))


def prepared():
    def work(number):
        pids = set()
        with connect(prepare_threshold=0 if number % 2 else 3, application_name=f"rider {number}") as conn:
            for turn in range(60):
                with conn.transaction():
                    got = conn.execute("SELECT %s::int + %s::int, pg_backend_pid(), %s::text",
                                       [number, turn, "x" * number]).fetchone()
                    pids.add(got[1])
                    if got != (number + turn, got[1], "x" * number):
                        fail("prepared statements", f"client {number} got {got}")
                    # The same name on every connection for another text: psycopg counts names from 0.
                    got = conn.execute(f"SELECT {number}, %s::int, current_setting('application_name')", [turn]).fetchone()
                    if got != (number, turn, f"rider {number}"):
                        fail("prepared statements", f"client {number} got {got}")
        return pids
    shared_servers("prepared statements", many(3 * POOL_SIZE, work))

    with connect(prepare_threshold=0) as conn:
        conn.prepared_max = 3
        for turn in range(60):
            got = conn.execute(f"SELECT %s::int * {turn % 7}", [turn]).fetchone()[0]
            if got != turn * (turn % 7):
                fail("more statements than prepared_max", got)
        ok("more statements than prepared_max: old ones are closed")
        same("one query asked again", 7, conn.execute("SELECT %s::int + 0", [7]).fetchone()[0])
        for word in ("DEALLOCATE ALL", "DISCARD ALL"):
            conn.execute(word)
            same(f"after {word}", 8, conn.execute("SELECT %s::int + 0", [8]).fetchone()[0])
        with conn.transaction():
            conn.execute("DEALLOCATE ALL")
            same("DEALLOCATE ALL in a transaction", 9, conn.execute("SELECT %s::int + 0", [9]).fetchone()[0])
        try:
            with conn.transaction():
                conn.execute("SELECT %s::int + 1", [1])
                conn.execute("SELECT 1/%s", [0])
        except errors.DivisionByZero:
            pass
        same("prepared in a transaction that was rolled back", 3, conn.execute("SELECT %s::int + 1", [2]).fetchone()[0])
        conn.execute("CREATE TABLE psy_shape (a int)")
        same("* of one column", 1, len(conn.execute("SELECT * FROM psy_shape WHERE a = %s OR true", [1]).description))
        with connect() as other:  # psycopg forgets what it prepared when it sees an ALTER of its own
            other.execute("ALTER TABLE psy_shape ADD b text")
        state = error_of(conn, "SELECT * FROM psy_shape WHERE a = %s OR true", [1]).sqlstate
        same("a prepared statement whose columns changed", "0A000", state)
        conn.execute("DROP TABLE psy_shape")

    # libpq's own functions: name and text are ours.
    with connect() as conn:
        pg = conn.pgconn
        same("PQprepare", "COMMAND_OK", pg.prepare(b"mine", b"SELECT $1::int").status and
             psycopg.pq.ExecStatus(pg.describe_prepared(b"mine").status).name)
        again = pg.prepare(b"mine", b"SELECT 2")
        same("the same name twice", b"42P05", again.error_field(psycopg.pq.DiagnosticField.SQLSTATE))
        same("PQexecPrepared", b"5", pg.exec_prepared(b"mine", [b"5"]).get_value(0, 0))
        same("an unknown name", b"26000", pg.exec_prepared(b"nobody", []).error_field(psycopg.pq.DiagnosticField.SQLSTATE))
        conn.execute("DEALLOCATE mine")
        same("a name after DEALLOCATE", b"26000",
             pg.exec_prepared(b"mine", [b"5"]).error_field(psycopg.pq.DiagnosticField.SQLSTATE))


def pipelines():
    with connect(prepare_threshold=2) as conn:
        with conn.pipeline():
            cursors = [conn.execute("SELECT %s::int", [i]) for i in range(500)]
            same("500 queries in a pipeline", list(range(500)), [c.fetchone()[0] for c in cursors])
        with conn.pipeline() as pipe:
            first = conn.execute("SELECT 1")
            pipe.sync()
            after = conn.cursor()
            try:
                # PostgreSQL sends an error at once: it is raised by whatever the driver does next.
                wrong = conn.execute("SELECT 1/%s", [0])
                after.execute("SELECT 2")
                pipe.sync()
                fail("an error in a pipeline", "nothing raised")
            except errors.DivisionByZero:
                same("before the error", 1, first.fetchone()[0])
            try:
                after.fetchone()
                fail("after an error in a pipeline", "a row")
            except (errors.PipelineAborted, psycopg.ProgrammingError):
                ok("what follows an error in a pipeline is skipped")
            del wrong
        same("a pipeline's session goes on", 3, conn.execute("SELECT 3").fetchone()[0])
        conn.execute("CREATE TABLE psy_pipe (id int PRIMARY KEY)")
        with conn.pipeline():
            with conn.transaction():
                conn.cursor().executemany("INSERT INTO psy_pipe VALUES (%s)", [(i,) for i in range(1000)])
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO psy_pipe VALUES (5000)")
                    conn.execute("INSERT INTO psy_pipe VALUES (1)")
                fail("a duplicate in a pipeline", "nothing raised")
            except errors.UniqueViolation:
                pass
        same("transactions in a pipeline", (1000, 999), conn.execute("SELECT count(*), max(id) FROM psy_pipe").fetchone())
        cur = conn.cursor()
        cur.executemany("INSERT INTO psy_pipe VALUES (%s) RETURNING id", [(i,) for i in range(2000, 2300)], returning=True)
        same("executemany with RETURNING", list(range(2000, 2300)), [c.fetchone()[0] for c in cur.results()])
        conn.execute("DROP TABLE psy_pipe")

    def work(number):
        pids = set()
        with connect(prepare_threshold=0) as conn:
            for turn in range(30):
                with conn.pipeline():
                    cursors = [conn.execute("SELECT %s::int, pg_backend_pid()", [number * 1000 + i]) for i in range(20)]
                    rows = [c.fetchone() for c in cursors]
                if [row[0] for row in rows] != [number * 1000 + i for i in range(20)]:
                    fail("concurrent pipelines", f"client {number} got {rows}")
                pids.update(row[1] for row in rows)
        return pids
    shared_servers("concurrent pipelines", many(2 * POOL_SIZE, work))


def copies():
    with connect() as conn:
        conn.execute("CREATE TABLE psy_copy (id int, name text)")
        with conn.cursor().copy("COPY psy_copy FROM STDIN") as copy:
            for i in range(100_000):
                copy.write_row((i, f"name\t{i}" if i % 3 else None))
        same("COPY FROM STDIN, text", (100_000, 33334), conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE name IS NULL) FROM psy_copy").fetchone())
        with conn.cursor().copy("COPY psy_copy TO STDOUT") as copy:
            same("COPY TO STDOUT, text", 100_000, sum(1 for _ in copy.rows()))
        with conn.cursor().copy("COPY (SELECT id, name FROM psy_copy WHERE id < %s) TO STDOUT (FORMAT binary)", [10]) as copy:
            copy.set_types(["int4", "text"])
            same("COPY TO STDOUT, binary", list(range(10)), sorted(row[0] for row in copy.rows()))
        with conn.cursor().copy("COPY psy_copy FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((-1, "binary"))
        same("COPY FROM STDIN, binary", 1, conn.execute("SELECT count(*) FROM psy_copy WHERE id = -1").fetchone()[0])
        try:
            with conn.cursor().copy("COPY psy_copy FROM STDIN") as copy:
                copy.write("1\tx\nnot a number\ty\n" + "2\tz\n" * 100_000)
            fail("bad COPY data", "accepted")
        except errors.InvalidTextRepresentation:
            ok("bad COPY data: 22P02, while the client still sends")
        try:
            with conn.cursor().copy("COPY psy_copy FROM STDIN") as copy:
                copy.write("1\tx\n")
                raise KeyError("mine")
        except KeyError:
            ok("the client gives a COPY up")
        try:  # psycopg sends a cancel request, then reads to the end
            with conn.cursor().copy("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT") as copy:
                for block in copy:
                    raise KeyError("enough")
        except KeyError:
            pass
        same("the client stops reading a COPY", 100_001, conn.execute("SELECT count(*) FROM psy_copy").fetchone()[0])
        same("COPY of a missing table", "42P01", error_of_copy(conn, "COPY missing FROM STDIN"))
        same("an empty COPY", 0, copy_nothing(conn))
        conn.execute("DROP TABLE psy_copy")


def error_of_copy(conn, query):
    try:
        with conn.cursor().copy(query):
            pass
    except psycopg.Error as error:
        return error.sqlstate


def copy_nothing(conn):
    cur = conn.cursor()
    with cur.copy("COPY psy_copy FROM STDIN"):
        pass
    return cur.rowcount


def cursors():
    with psycopg.connect() as conn:
        with conn.cursor("server_side") as cur:
            cur.itersize = 100
            cur.execute("SELECT i FROM generate_series(1, %s) i", [1050])
            same("a server-side cursor", list(range(1, 1051)), [row[0] for row in cur])
        with conn.cursor("scrolls", scrollable=True) as cur:
            cur.execute("SELECT i FROM generate_series(1, 100) i")
            cur.scroll(50)
            same("scrolled", 51, cur.fetchone()[0])
            cur.scroll(10, mode="absolute")
            same("scrolled back", 11, cur.fetchone()[0])
        conn.commit()
        with conn.cursor("held", withhold=True) as cur:
            cur.execute("SELECT i FROM generate_series(1, 100) i")
            conn.commit()
            same("a cursor WITH HOLD after its transaction", [1, 2, 3], [row[0] for row in cur.fetchmany(3)])
            conn.commit()
            same("and after the next", [4, 5], [row[0] for row in cur.fetchmany(2)])
        conn.commit()
    with connect() as conn:
        cur = conn.cursor()
        same("row by row (single-row mode)", 50_000, sum(1 for _ in cur.stream("SELECT generate_series(1, 50000)")))
        try:
            for row in cur.stream("SELECT 1/(5 - i) FROM generate_series(1, 10) i"):
                pass
            fail("an error between rows", "nothing raised")
        except errors.DivisionByZero:
            ok("an error between rows")
        for row in cur.stream("SELECT repeat('x', 1000), generate_series(1, 100000)"):
            break
        same("the client leaves a stream early", 1, conn.execute("SELECT 1").fetchone()[0])


def notices():
    with connect() as conn:
        said = []
        conn.add_notice_handler(lambda diag: said.append((diag.severity, diag.message_primary, diag.message_hint)))
        conn.execute("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two' USING HINT = 'three'; END$$")
        same("notices", [("NOTICE", "one", None), ("WARNING", "two", "three")], said)
        conn.execute("SET client_min_messages = error")
        with conn.transaction():
            conn.execute("DO $$BEGIN RAISE NOTICE 'one'; END$$")
        same("no notices below client_min_messages", 2, len(said))


def cancels():
    with connect() as conn, connect() as other:
        for name, cancel in (("cancel()", conn.cancel), ("cancel_safe()", lambda: conn.cancel_safe(timeout=10))):
            timer = threading.Thread(target=cancel_when_asleep, args=(other, f"-- {name}", cancel))
            timer.start()
            with quick(name):
                state = error_of(conn, f"SELECT pg_sleep(60), pg_backend_pid() -- {name}").sqlstate
            timer.join()
            same(f"{name}: SQLSTATE", "57014", state)
            same(f"{name}: the session goes on", 1, conn.execute("SELECT 1").fetchone()[0])
        with conn.transaction():
            conn.cancel()
            same("a cancel with nothing to cancel, in a transaction", 1, conn.execute("SELECT 1").fetchone()[0])

    # Each round, one client's query is cancelled while seven others ask theirs.
    stop = threading.Event()

    def work(number):
        with connect() as conn:
            if number == 0:
                with connect() as other:
                    for turn in range(15):
                        mark = f"-- round {turn}"
                        thread = threading.Thread(target=cancel_when_asleep, args=(other, mark, conn.cancel))
                        thread.start()
                        if error_of(conn, f"SELECT pg_sleep(60), pg_backend_pid() {mark}").sqlstate != "57014":
                            fail("cancel among others", "another error")
                        thread.join()
                stop.set()
            else:
                turn = 0
                while not stop.is_set():
                    turn += 1
                    if conn.execute("SELECT %s::int, pg_sleep(0.002)", [turn]).fetchone()[0] != turn:
                        fail("cancel among others", "a wrong answer")
    many(2 * POOL_SIZE, work)
    ok("15 cancels hit their own query and nobody else's")


def cancel_when_asleep(other, mark, cancel):
    """Waits until a server shows the marked query as running, then cancels it."""
    try:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND state = 'active' AND wait_event = 'PgSleep'"
        with quick("the query to cancel begins"):
            for _ in range(10_000):
                if other.execute(asleep, [f"SELECT pg_sleep%{mark}"]).fetchone()[0]:
                    break
        cancel()
    except BaseException as error:
        fail("cancel", repr(error))


def transactions():
    with connect() as conn:
        conn.execute("CREATE TABLE psy_tx (id int)")
        with conn.transaction():
            conn.execute("INSERT INTO psy_tx VALUES (1)")
            try:
                with conn.transaction("inner"):
                    conn.execute("INSERT INTO psy_tx VALUES (2)")
                    conn.execute("SELECT 1/0")
            except errors.DivisionByZero:
                pass
            with conn.transaction():
                conn.execute("INSERT INTO psy_tx VALUES (3)")
        same("savepoints", [(1,), (3,)], conn.execute("SELECT id FROM psy_tx ORDER BY id").fetchall())
        try:
            with conn.transaction():
                conn.execute("INSERT INTO psy_tx VALUES (4)")
                raise psycopg.Rollback
        finally:
            same("rolled back", 2, conn.execute("SELECT count(*) FROM psy_tx").fetchone()[0])
        with connect() as other, conn.transaction():
            conn.execute("INSERT INTO psy_tx VALUES (5)")
            same("nobody sees what is not committed", 2, other.execute("SELECT count(*) FROM psy_tx").fetchone()[0])
        conn.execute("BEGIN")
        error_of(conn, "SELECT 1/0")
        same("in a failed transaction", "25P02", error_of(conn, "SELECT 1").sqlstate)
        same("its state", psycopg.pq.TransactionStatus.INERROR, conn.info.transaction_status)
        conn.execute("ROLLBACK")
        same("its state after", psycopg.pq.TransactionStatus.IDLE, conn.info.transaction_status)
    with psycopg.connect() as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        same("isolation", "serializable", conn.execute("SHOW transaction_isolation").fetchone()[0])
        same("read only", "25006", error_of(conn, "INSERT INTO psy_tx VALUES (1)").sqlstate)
        conn.rollback()
        conn.isolation_level, conn.read_only = None, None
        conn.tpc_begin("psy two phases")
        conn.execute("INSERT INTO psy_tx VALUES (6)")
        conn.tpc_prepare()
        conn.tpc_commit()
        conn.tpc_begin("psy two phases")
        conn.execute("INSERT INTO psy_tx VALUES (7)")
        conn.tpc_prepare()
        with psycopg.connect() as other:
            same("prepared transactions are seen", ["psy two phases"], [str(xid) for xid in other.tpc_recover()])
        conn.tpc_rollback()
        same("two-phase commit", [5, 6], [r[0] for r in conn.execute("SELECT id FROM psy_tx WHERE id > 4 ORDER BY id")])
        conn.execute("DROP TABLE psy_tx")


def settings():
    def work(number):
        wanted = {"statement_timeout": f"{number + 10}s", "search_path": f"s{number}, public", "timezone": f"Etc/GMT+{number + 1}",
                  "application_name": f"app {number}", "datestyle": "SQL, DMY" if number % 2 else "ISO, MDY"}
        pids = set()
        options = f"-c statement_timeout={number + 10}s -c search_path=s{number},\\ public"
        with connect(options=options, application_name=f"app {number}") as conn:
            conn.execute(f"SET timezone = 'Etc/GMT+{number + 1}'")
            conn.execute(f"SET DateStyle = '{wanted['datestyle']}'")
            for turn in range(40):
                got = {name: conn.execute(f"SHOW {name}").fetchone()[0] for name in wanted}
                if got != wanted:
                    fail("settings", f"client {number}, turn {turn}: expected {wanted}, got {got}")
                pids.add(conn.execute("SELECT pg_backend_pid()").fetchone()[0])
                if turn == 20:
                    try:
                        with conn.transaction():
                            conn.execute("SET timezone = 'UTC'")
                            raise psycopg.Rollback
                    finally:
                        pass
            conn.execute("RESET ALL")
            same_or_fail("RESET ALL goes back to the startup packet", f"{number + 10}s", conn.execute("SHOW statement_timeout").fetchone()[0])
            if conn.info.parameter_status("application_name") != f"app {number}":
                fail("ParameterStatus", conn.info.parameter_status("application_name"))
        return pids
    shared_servers("settings stay with their session", many(2 * POOL_SIZE, work))


def same_or_fail(name, want, got):
    if want != got:
        fail(name, f"expected {want!r}, got {got!r}")


def session_state():
    def work(number):
        with connect() as conn:
            conn.execute("CREATE TEMP TABLE mine (n int)")
            for turn in range(10):
                conn.execute("INSERT INTO mine VALUES (%s)", [number])
            same_or_fail("temporary tables", (10, 10 * number), conn.execute("SELECT count(*), sum(n) FROM mine").fetchone())
            conn.execute("DROP TABLE mine")
            conn.execute("SELECT pg_advisory_lock(%s)", [number])
            same_or_fail("advisory locks", True, conn.execute("SELECT pg_advisory_unlock(%s)", [number]).fetchone()[0])
    many(2 * POOL_SIZE, work)
    ok("temporary tables and advisory locks of 8 clients")

    def statements(number):
        with connect() as conn:
            conn.execute(f"PREPARE mine(int) AS SELECT $1 + {number}")
            for turn in range(20):
                same_or_fail("SQL PREPARE", turn + number, conn.execute(f"EXECUTE mine({turn})").fetchone()[0])
            conn.execute("DEALLOCATE mine")
            same_or_fail("DEALLOCATE", "26000", error_of(conn, "EXECUTE mine(1)").sqlstate)
    many(2 * POOL_SIZE, statements)
    ok("SQL's PREPARE, EXECUTE and DEALLOCATE of 8 clients")


def console():
    with connect(dbname="howdah") as conn:
        pools = conn.execute("SHOW POOLS")
        true("the console's columns", [column.name for column in pools.description][:3] == ["database", "user", "cl_active"])
        true("the console's pools", any(row[0] == "app" for row in pools))
        prepared = conn.execute("SHOW LISTS", prepare=True).fetchall()
        true("prepared", ("databases", 2) in prepared, prepared)
        same("what is not known", "42601", error_of(conn, "SHOW NOTHING").sqlstate)
        with conn.cursor(binary=True) as binary:
            true("binary", binary.execute("SHOW STATS").fetchone()[1] > 0)


if __name__ == "__main__":
    print(f"psycopg {psycopg.__version__}, libpq {psycopg.pq.version()}, {psycopg.pq.__impl__}")
    chosen = sys.argv[1:] or ["values", "failures", "prepared", "pipelines", "copies", "cursors", "notices", "cancels",
                              "transactions", "settings", "session_state", "console"]
    for part in chosen:
        globals()[part]()
