"""asyncpg: its own implementation of the protocol, binary everywhere, every query prepared by name."""

import asyncio
import datetime
import decimal
import uuid

import asyncpg

from checks import POOL_SIZE, USER, VERSION, fail, ok, quick, same, shared_servers, true


async def connect(**options):
    return await asyncpg.connect(**options)


async def error_of(work):
    try:
        await work
    except asyncpg.PostgresError as error:
        return error
    fail("an error", "it succeeded")


async def queries():
    conn = await connect()
    same("server_version", VERSION, conn.get_server_version().major)
    row = (1, -(2**62), 1.5, "ünïcode", b"\x00\xff", None, True, [1, None, 3], decimal.Decimal("1234567890.123456789"),
           datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc), uuid.UUID(int=5),
           datetime.timedelta(days=1, seconds=2))
    types = "int int8 float8 text bytea text bool int[] numeric date timestamptz uuid interval".split()
    query = "SELECT " + ", ".join(f"${i}::{kind}" for i, kind in enumerate(types, 1))
    same("values there and back", row, tuple(await conn.fetchrow(query, *row)))
    same("fetchval", 5, await conn.fetchval("SELECT $1::int + 2", 3))
    same("100,000 rows", 100_000, len(await conn.fetch("SELECT i, repeat('x', 50) FROM generate_series(1, 100000) i")))
    same("execute without arguments, several statements", "SELECT 1", await conn.execute("SELECT 1; SELECT 2"))
    same("a row of 50 MB", 50_000_000, len(await conn.fetchval("SELECT repeat('x', 50000000)")))
    for state, query, args in (
        ("42601", "SELEC 1", ()), ("42P01", "SELECT * FROM missing", ()), ("22012", "SELECT 1/$1::int", (0,)),
        ("42883", "SELECT missing()", ()), ("25001", "VACUUM; SELECT 1", ()), ("P0001", "DO $$BEGIN RAISE 'x'; END$$", ()),
    ):
        work = conn.fetch(query, *args) if args else conn.execute(query)
        same(f"SQLSTATE of {query}", state, (await error_of(work)).sqlstate)
        same("and the session goes on", 1, await conn.fetchval("SELECT 1"))
    await conn.close()
    same("a wrong password", "28P01", (await error_of(connect(password="wrong"))).sqlstate)
    same("a missing database", "3D000", (await error_of(connect(database="nowhere"))).sqlstate)


async def introspection():
    conn = await connect()
    await conn.execute("""CREATE TYPE apg_mood AS ENUM ('sad', 'happy'); CREATE TYPE apg_pair AS (a int, m apg_mood);
        CREATE DOMAIN apg_small AS int CHECK (value < 10); CREATE TABLE apg_types (p apg_pair, ps apg_pair[], s apg_small, r int4range)""")
    await conn.execute("INSERT INTO apg_types VALUES ($1, $2, $3, $4)", (1, "sad"), [(2, "happy"), None], 3, asyncpg.Range(1, 5))
    want = ((1, "sad"), [(2, "happy"), None], 3, asyncpg.Range(1, 5))

    async def work(number):
        mine = await connect()
        got = await mine.fetchrow("SELECT * FROM apg_types")
        if (tuple(got["p"]), [p and tuple(p) for p in got["ps"]], got["s"], got["r"]) != want:
            fail("types of one's own", f"client {number} got {got}")
        if (jit := await mine.fetchval("SHOW jit")) != "on":
            fail("jit after the driver switched it off and on again", jit)
        await mine.close()
    await asyncio.gather(*map(work, range(2 * POOL_SIZE)))
    ok("enums, composites, domains, ranges and arrays of them, looked up by 8 clients")
    await conn.set_type_codec("apg_mood", encoder=str.lower, decoder=str.upper, format="text")
    same("a codec of one's own", "HAPPY", await conn.fetchval("SELECT 'happy'::apg_mood"))
    await conn.reload_schema_state()
    same("after reload_schema_state()", "HAPPY", await conn.fetchval("SELECT $1::apg_mood", "HAPPY"))
    await conn.execute("DROP TABLE apg_types; DROP TYPE apg_pair, apg_mood; DROP DOMAIN apg_small")
    await conn.close()


async def prepared():
    async def work(number):
        conn = await connect(server_settings={"application_name": f"rider {number}"}, statement_cache_size=5)
        pids = set()
        mine = await conn.prepare(f"SELECT $1::int + {number}, pg_backend_pid()")
        for turn in range(60):
            got = await mine.fetchrow(turn)
            pids.add(got[1])
            if got[0] != turn + number:
                fail("a prepared statement", f"client {number} got {got}")
            # More texts than the cache holds: asyncpg closes the oldest.
            if (got := await conn.fetchval(f"SELECT $1::int * {turn % 8}", number)) != number * (turn % 8):
                fail("the statement cache", f"client {number} got {got}")
            async with conn.transaction():
                if (got := await conn.fetchval("SELECT current_setting('application_name')")) != f"rider {number}":
                    fail("server_settings", f"client {number} got {got}")
        await conn.close()
        return pids
    shared_servers("prepared statements", await asyncio.gather(*map(work, range(4 * POOL_SIZE))))

    conn = await connect()
    statement = await conn.prepare("SELECT $1::int AS a, $2::text AS b")
    same("its parameters", ["int4", "text"], [kind.name for kind in statement.get_parameters()])
    same("its columns", ["a", "b"], [column.name for column in statement.get_attributes()])
    same("EXPLAIN of it", True, "Plan" in (await statement.explain(1, "x", analyze=True))[0])
    named = await conn.prepare("SELECT 'by name'", name="mine")
    same("a name of one's own", "by name", await named.fetchval())
    same("that name again", "42P05", (await error_of(conn.prepare("SELECT 2", name="mine"))).sqlstate)
    # asyncpg knows by SQLSTATE and routine that columns changed, throws its caches away and asks again: on the
    # server that had the statement, where PostgreSQL says so, and on one that had not, where howdah does.
    await conn.execute("CREATE TABLE apg_shape (a int)")
    await conn.execute("INSERT INTO apg_shape VALUES (1)")
    riders = [await connect() for _ in range(2 * POOL_SIZE)]
    shape = "SELECT s.*, pg_sleep(0.01)::text IS NULL FROM apg_shape s"
    for columns in (2, 3, 4):
        got = [len(row) for _ in range(3) for row in await asyncio.gather(*(rider.fetchrow(shape) for rider in riders))]
        same(f"{columns} columns for 8 clients, three times", [columns] * len(got), got)
        await conn.execute(f"ALTER TABLE apg_shape ADD c{columns} text")
    for rider in riders:
        await rider.close()
    await conn.execute("DROP TABLE apg_shape")
    await conn.close()

    conn = await connect(statement_cache_size=0)
    same("without a cache (unnamed statements)", list(range(50)), [await conn.fetchval("SELECT $1::int", i) for i in range(50)])
    await conn.close()


async def many_at_once():
    conn = await connect()
    await conn.execute("CREATE TABLE apg_many (id int PRIMARY KEY, name text)")
    await conn.executemany("INSERT INTO apg_many VALUES ($1, $2)", [(i, f"n{i}") for i in range(20_000)])
    same("executemany", 20_000, await conn.fetchval("SELECT count(*) FROM apg_many"))
    error = await error_of(conn.executemany("INSERT INTO apg_many VALUES ($1, 'x')", [(30_000,), (1,), (30_001,)]))
    same("an error in executemany", "23505", error.sqlstate)
    same("nothing of it stays", 20_000, await conn.fetchval("SELECT count(*) FROM apg_many"))
    same("fetchmany", [1, 2, 3], [r[0] for r in await conn.fetchmany("SELECT $1::int", [(1,), (2,), (3,)])])
    await conn.execute("DROP TABLE apg_many")
    await conn.close()


async def copies():
    conn = await connect()
    await conn.execute("CREATE TABLE apg_copy (id int, name text)")
    same("copy_records_to_table (binary)", "COPY 50000", await conn.copy_records_to_table(
        "apg_copy", records=[(i, f"name {i}" if i % 2 else None) for i in range(50_000)]))
    chunks = []

    async def collect(data):
        chunks.append(data)
    same("copy_from_table", "COPY 50000", await conn.copy_from_table("apg_copy", output=collect, format="csv"))
    same("its lines", 50_000, b"".join(chunks).count(b"\n"))

    async def lines():
        for i in range(1000):
            yield f"{i},again\n".encode()
    same("copy_to_table", "COPY 1000", await conn.copy_to_table("apg_copy", source=lines(), format="csv"))
    same("copy_from_query with arguments", "COPY 1000", await conn.copy_from_query(
        "SELECT * FROM apg_copy WHERE name = $1", "again", output=collect))

    async def broken():
        yield b"1,one\n"
        yield b"two,two\n" * 10_000
    same("bad data", "22P02", (await error_of(conn.copy_to_table("apg_copy", source=broken(), format="csv"))).sqlstate)

    async def gives_up():
        yield b"1,one\n"
        raise KeyError("mine")
    try:
        await conn.copy_to_table("apg_copy", source=gives_up(), format="csv")
        fail("the source gives up", "accepted")
    except KeyError:
        ok("the source gives up")
    same("only whole copies stay", 51_000, await conn.fetchval("SELECT count(*) FROM apg_copy"))

    async def stops(data):
        raise KeyError("mine")
    try:
        await conn.copy_from_query("SELECT repeat('x', 1000) FROM generate_series(1, 50000)", output=stops)
        fail("the sink gives up", "accepted")
    except KeyError:
        ok("the sink gives up")
    same("and the session goes on", 1, await conn.fetchval("SELECT 1"))
    await conn.execute("DROP TABLE apg_copy")
    await conn.close()


async def cursors():
    conn = await connect()
    async with conn.transaction():
        same("a cursor", list(range(1, 1001)), [r[0] async for r in conn.cursor("SELECT generate_series(1, 1000)", prefetch=30)])
        cur = await conn.cursor("SELECT generate_series(1, 100)")
        await cur.forward(10)
        same("fetched after forward()", [11, 12, 13], [r[0] for r in await cur.fetch(3)])
        other = await conn.cursor("SELECT $1::text", "second")
        same("two cursors at once", ("second", 14), ((await other.fetchrow())[0], (await cur.fetchrow())[0]))
    await conn.close()


async def asleep(other, mark):
    """Waits until a server runs the query with this mark: PostgreSQL loses a request that comes earlier."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1 AND wait_event = 'PgSleep'"
    with quick("the query to cancel begins"):
        while not await other.fetchval(count, f"%{mark}"):
            pass


async def cancels():
    conn, other = await connect(), await connect()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with quick("a time limit"):
        try:
            await conn.fetch("SELECT pg_sleep(60), pg_backend_pid()", timeout=1)
            fail("a time limit", "ended normally")
        except asyncio.TimeoutError:
            ok("a time limit")
        same("its session goes on", 1, await conn.fetchval("SELECT 1"))
    same("its query is cancelled", 0, await other.fetchval(sleeping))
    task = asyncio.create_task(conn.fetch("SELECT pg_sleep(60), pg_backend_pid() -- a task"))
    await asleep(other, "-- a task")
    with quick("a cancelled task"):
        task.cancel()
        try:
            await task
            fail("a cancelled task", "ended normally")
        except asyncio.CancelledError:
            ok("a cancelled task")
        same("its session goes on", 1, await conn.fetchval("SELECT 1"))
    await conn.execute("SET statement_timeout = 100")
    same("statement_timeout", "57014", (await error_of(conn.fetch("SELECT pg_sleep(60)"))).sqlstate)
    await conn.execute("RESET statement_timeout")

    async def work(number):
        mine = await connect()
        for turn in range(15):
            if number == 0:
                mark = f"-- round {turn}"
                task = asyncio.create_task(mine.fetch(f"SELECT pg_sleep(60), pg_backend_pid() {mark}"))
                await asleep(other, mark)
                with quick("cancel among others"):
                    task.cancel()
                    try:
                        await task
                        fail("cancel among others", "ended normally")
                    except asyncio.CancelledError:
                        pass
                    await mine.fetchval("SELECT 1")
            elif number < 4:
                # At any moment: before a server runs the query (then it sleeps to its end) or while it does.
                try:
                    await mine.fetch("SELECT pg_sleep(1)", timeout=0.02)
                    fail("a time limit among others", "ended normally")
                except asyncio.TimeoutError:
                    pass
            for i in range(5):
                if (got := await mine.fetchval("SELECT $1::int", number * 100 + i)) != number * 100 + i:
                    fail("cancel among others", f"client {number} got {got}")
        await mine.close()
    await asyncio.gather(*map(work, range(2 * POOL_SIZE)))
    ok("15 cancels and 45 time limits hit their own query and nobody else's")
    await other.close()
    await conn.close()


async def transactions():
    conn = await connect()
    await conn.execute("CREATE TABLE apg_tx (id int)")
    async with conn.transaction():
        await conn.execute("INSERT INTO apg_tx VALUES (1)")
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO apg_tx VALUES (2)")
                await conn.fetchval("SELECT 1/0")
        except asyncpg.DivisionByZeroError:
            pass
        async with conn.transaction():
            await conn.execute("INSERT INTO apg_tx VALUES (3)")
    try:
        async with conn.transaction():
            await conn.execute("INSERT INTO apg_tx VALUES (4)")
            raise KeyError("mine")
    except KeyError:
        pass
    same("rolled back", 2, await conn.fetchval("SELECT count(*) FROM apg_tx"))
    same("savepoints", [1, 3], [r[0] for r in await conn.fetch("SELECT id FROM apg_tx ORDER BY id")])
    tx = conn.transaction(isolation="serializable", readonly=True)
    await tx.start()
    same("isolation", "serializable", await conn.fetchval("SHOW transaction_isolation"))
    same("read only", "25006", (await error_of(conn.execute("INSERT INTO apg_tx VALUES (9)"))).sqlstate)
    same("in a failed transaction", "25P02", (await error_of(conn.fetchval("SELECT 1"))).sqlstate)
    await tx.rollback()
    same("after it", 2, await conn.fetchval("SELECT count(*) FROM apg_tx"))
    await conn.execute("DROP TABLE apg_tx")
    said = []
    conn.add_log_listener(lambda conn, message: said.append(message.message))
    await conn.execute("DO $$BEGIN RAISE NOTICE 'noticed'; END$$")
    await conn.fetchval("SELECT 1")
    same("notices", ["noticed"], said)
    await conn.close()


async def pool():
    # On release the pool sends its reset query (advisory locks, CLOSE ALL, UNLISTEN *, RESET ALL).
    async with asyncpg.create_pool(min_size=2, max_size=4 * POOL_SIZE, max_inactive_connection_lifetime=0) as pool:
        pids = [set() for _ in range(6 * POOL_SIZE)]

        async def work(number):
            for turn in range(25):
                async with pool.acquire() as conn:
                    if (zone := await conn.fetchval("SHOW timezone")) == "Asia/Tokyo":
                        fail("the pool's reset query", f"client {number} got {zone}")
                    await conn.execute("SET timezone = 'Asia/Tokyo'")
                    async with conn.transaction():
                        got = await conn.fetchrow("SELECT $1::int, pg_backend_pid(), current_setting('timezone')", number)
                    if (got[0], got[2]) != (number, "Asia/Tokyo"):
                        fail("the driver's own pool", f"client {number} got {got}")
                    pids[number].add(got[1])
        await asyncio.gather(*map(work, range(6 * POOL_SIZE)))
        shared_servers("the driver's own pool", pids)


async def console():
    # Extended protocol and binary results only.
    conn = await connect(database="howdah")
    pools = await conn.fetch("SHOW POOLS")
    true("the console's pools", any(row["database"] == "app" and row["cl_active"] >= 0 for row in pools), pools)
    stats = await conn.fetchrow("SHOW STATS")
    true("numbers are numbers", stats["total_query_count"] > 0, stats)
    same("a command", "RELOAD", (await conn.execute("RELOAD")).split()[0])
    same("what is not known", "42601", (await error_of(conn.fetch("SHOW NOTHING"))).sqlstate)
    true("and goes on", (await conn.fetchval("SHOW VERSION")).startswith("howdah "))
    await conn.close()


async def main():
    print(f"asyncpg {asyncpg.__version__}")
    for part in (queries, introspection, prepared, many_at_once, copies, cursors, cancels, transactions, pool, console):
        await part()


asyncio.run(main())
