"""psycopg 3, the asyncio interface: many connections in one thread."""

import asyncio

import psycopg
from psycopg import errors

from checks import POOL_SIZE, fail, ok, quick, same, shared_servers, true


async def connect(**options):
    return await psycopg.AsyncConnection.connect(autocommit=True, **options)


async def value(conn, query, args=None):
    return (await (await conn.execute(query, args)).fetchone())[0]


async def error_of(conn, query, args=None):
    try:
        await conn.execute(query, args)
    except psycopg.Error as error:
        return error
    fail("an error", f"{query!r} succeeded")


async def queries():
    async with await connect() as conn:
        same("a query", 42, await value(conn, "SELECT %s::int", [42]))
        for state, query in (("42601", "SELEC"), ("22012", "SELECT 1/0"), ("42P01", "TABLE missing")):
            same(f"SQLSTATE of {query}", state, (await error_of(conn, query)).sqlstate)
            same("and the session goes on", 1, await value(conn, "SELECT 1"))
        cur = await conn.execute("SELECT generate_series(1, 20000)")
        same("rows", 20000, sum([1 async for _ in cur]))
    try:
        await psycopg.AsyncConnection.connect(password="wrong")
        fail("a wrong password", "let in")
    except psycopg.OperationalError as error:
        true("a wrong password is refused", "password authentication failed" in str(error), str(error))


async def prepared():
    async def work(number):
        pids = set()
        async with await connect(prepare_threshold=1, application_name=f"rider {number}") as conn:
            for turn in range(50):
                async with conn.transaction():
                    pids.add(await value(conn, "SELECT pg_backend_pid()"))
                    if (got := await value(conn, f"SELECT %s::int + {number}", [turn])) != turn + number:
                        fail("prepared statements", f"client {number} got {got}")
                    if (got := await value(conn, "SHOW application_name")) != f"rider {number}":
                        fail("settings", f"client {number} got {got}")
        return pids
    shared_servers("prepared statements", await asyncio.gather(*map(work, range(5 * POOL_SIZE))))


async def pipelines():
    async def work(number):
        pids = set()
        async with await connect(prepare_threshold=1) as conn:
            for turn in range(20):
                async with conn.pipeline():
                    cursors = [await conn.execute("SELECT %s::int, pg_backend_pid()", [i + number]) for i in range(50)]
                    rows = [await cur.fetchone() for cur in cursors]
                if [row[0] for row in rows] != [i + number for i in range(50)]:
                    fail("pipelines", f"client {number} got {rows}")
                pids.update(row[1] for row in rows)
                try:
                    async with conn.pipeline():
                        await conn.execute("SELECT 1")
                        await conn.execute("SELECT 1/%s", [0])
                        await conn.execute("SELECT 2")
                    fail("an error in a pipeline", "nothing raised")
                except errors.DivisionByZero:
                    pass
        return pids
    shared_servers("pipelines with errors", await asyncio.gather(*map(work, range(3 * POOL_SIZE))))


async def copies():
    async with await connect() as conn:
        await conn.execute("CREATE TABLE psya_copy (id int, number int)")

        async def work(number):
            async with await connect() as mine:
                async with mine.cursor().copy("COPY psya_copy FROM STDIN") as copy:
                    for i in range(2000):
                        await copy.write_row((i, number))
                async with mine.cursor().copy("COPY (SELECT * FROM psya_copy WHERE number = %s) TO STDOUT", [number]) as copy:
                    rows = [row async for row in copy.rows()]
                if {row[1] for row in rows} != {str(number)} or len(rows) != 2000:
                    fail("COPY", f"client {number} got {len(rows)} rows")
                try:
                    async with mine.cursor().copy("COPY psya_copy FROM STDIN") as copy:
                        await copy.write("x\ty\n")
                    fail("bad COPY data", "accepted")
                except errors.InvalidTextRepresentation:
                    pass
        await asyncio.gather(*map(work, range(2 * POOL_SIZE)))
        same("COPY in and out by 8 clients at once", 16000, await value(conn, "SELECT count(*) FROM psya_copy"))
        await conn.execute("DROP TABLE psya_copy")


async def transactions():
    async with await connect() as conn, await connect() as other:
        await conn.execute("CREATE TABLE psya_tx (id int PRIMARY KEY)")
        count = "SELECT count(*) FROM psya_tx"
        async with conn.transaction():
            await conn.execute("INSERT INTO psya_tx VALUES (1)")
            try:
                async with conn.transaction():
                    await conn.execute("INSERT INTO psya_tx VALUES (2)")
                    await conn.execute("INSERT INTO psya_tx VALUES (1)")
                fail("a duplicate", "accepted")
            except errors.UniqueViolation:
                pass
            same("nobody sees what is not committed", 0, await value(other, count))
        same("committed, but for the savepoint", 1, await value(other, count))
        async with conn.transaction() as outer:
            await conn.execute("INSERT INTO psya_tx VALUES (3)")
            raise psycopg.Rollback(outer)
        same("rolled back", 1, await value(conn, count))
        await conn.execute("BEGIN")
        await error_of(conn, "SELECT 1/0")
        same("in a failed transaction", "25P02", (await error_of(conn, "SELECT 1")).sqlstate)
        same("COMMIT of it", "ROLLBACK", (await conn.execute("COMMIT")).statusmessage)
        same("and the session goes on", 1, await value(conn, count))
        await conn.execute("DROP TABLE psya_tx")


async def cursors():
    async with await psycopg.AsyncConnection.connect() as conn:
        async with conn.cursor("server_side") as cur:
            await cur.execute("SELECT generate_series(1, 550)")
            same("a server-side cursor", 550, len(await cur.fetchall()))


async def cancels():
    async with await connect() as conn, await connect() as other:
        async def asleep(mark):
            count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND wait_event = 'PgSleep'"
            with quick("the query to cancel begins"):
                for _ in range(10_000):
                    if await value(other, count, [f"%{mark}"]):
                        return
        # psycopg turns the task's cancellation into a cancel request.
        task = asyncio.create_task(error_of(conn, "SELECT pg_sleep(60), pg_backend_pid() -- cancel the task"))
        await asleep("-- cancel the task")
        with quick("a cancelled task"):
            task.cancel()
            try:
                await task
                fail("a cancelled task", "ended normally")
            except asyncio.CancelledError:
                ok("a cancelled task")
        same("its session goes on", 1, await value(conn, "SELECT 1"))
        same("nothing sleeps on", 0, await value(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        task = asyncio.create_task(error_of(conn, "SELECT pg_sleep(60), pg_backend_pid() -- cancel_safe"))
        await asleep("-- cancel_safe")
        with quick("cancel_safe()"):
            await conn.cancel_safe(timeout=10)
            same("cancel_safe(): SQLSTATE", "57014", (await task).sqlstate)
        same("cancel_safe(): the session goes on", 1, await value(conn, "SELECT 1"))


async def main():
    for part in (queries, prepared, pipelines, copies, transactions, cursors, cancels):
        await part()


asyncio.run(main())
