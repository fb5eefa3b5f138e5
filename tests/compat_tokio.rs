//! tokio-postgres as a client, in transaction mode, with more clients than servers.
//!
//! By itself this test starts PostgreSQL and howdah; `tests/compat/run.sh` gives it servers of its own
//! choice by the variables of libpq.

mod support;

use std::collections::HashSet;
use std::env;
use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Config, IsolationLevel, NoTls, SimpleQueryMessage};

use support::howdah::{Howdah, Settings};
use support::postgres::{Postgres, RIDER};

const POOL_SIZE: usize = 4;
const CLIENTS: usize = 2 * POOL_SIZE;

/// Where howdah is: given by the environment, or started once for all tests here.
fn config() -> Config {
    static HOWDAH: OnceLock<Howdah> = OnceLock::new();
    let mut config = Config::new();
    let given = |name| env::var(name).expect(name);
    if env::var_os("COMPAT_STAGE").is_some() {
        assert_eq!(given("COMPAT_POOL_SIZE"), POOL_SIZE.to_string());
        config.host(given("PGHOST")).port(given("PGPORT").parse().expect("a port"));
        config.user(given("PGUSER")).password(given("PGPASSWORD")).dbname(given("PGDATABASE"));
        return config;
    }
    let howdah = HOWDAH.get_or_init(|| {
        let size = i64::try_from(POOL_SIZE).expect("a small number");
        let settings = Settings::new("transaction").set("pool.default_pool_size", size);
        Howdah::start(&settings.database("app", Postgres::shared().address()))
    });
    config.host("127.0.0.1").port(howdah.address().port()).user(RIDER).dbname("app");
    config
}

/// Runs one test on one thread; what hangs has failed.
fn drive<F: Future>(work: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    let limited = async { tokio::time::timeout(Duration::from_secs(60), work).await };
    tasks.block_on(&runtime, limited).expect("an end within a minute")
}

async fn connect_as(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a login");
    tokio::task::spawn_local(async { connection.await.expect("a connection without errors") });
    client
}

async fn connect() -> Client {
    connect_as(&config()).await
}

fn state_of<T>(result: Result<T, tokio_postgres::Error>) -> String {
    let error = result.err().expect("an error");
    error.code().map_or_else(|| format!("no SQLSTATE: {error}"), |code| code.code().to_owned())
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.expect("a row").get(0)
}

/// The clients met the same few servers, and some client more than one of them.
fn assert_shared(pids: &[HashSet<i32>]) {
    let all: HashSet<i32> = pids.iter().flatten().copied().collect();
    assert!((2..=POOL_SIZE).contains(&all.len()), "{} servers", all.len());
    assert!(pids.iter().any(|mine| mine.len() > 1), "no client changed servers");
}

#[test]
fn values_there_and_back() {
    drive(async {
        let client = connect().await;
        let query =
            "SELECT $1::int4, $2::int8, $3::text, $4::bytea, $5::int4[], $6::bool, $7::float8";
        let array = vec![Some(1), None, Some(3)];
        let bytes: &[u8] = &[0, 255];
        let row = client
            .query_one(
                query,
                &[&1i32, &i64::MIN, &"ünïcode", &bytes, &array, &None::<bool>, &1.5f64],
            )
            .await
            .expect("a row");
        assert_eq!((row.get(0), row.get(1), row.get(2)), (1i32, i64::MIN, "ünïcode"));
        assert_eq!((row.get::<_, &[u8]>(3), row.get::<_, Vec<Option<i32>>>(4)), (bytes, array));
        assert_eq!((row.get::<_, Option<bool>>(5), row.get::<_, f64>(6)), (None, 1.5));
        let typed = client.query_typed("SELECT $1 || '!'", &[(&"typed", Type::TEXT)]).await;
        assert_eq!(typed.expect("a row")[0].get::<_, &str>(0), "typed!");
    });
}

#[test]
fn simple_queries_of_several_statements() {
    drive(async {
        let client = connect().await;
        let messages =
            client.simple_query("SELECT 1; SELECT 2 WHERE false; SELECT 3").await.expect("rows");
        let rows = messages.iter().filter_map(|message| {
            if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None }
        });
        assert_eq!(rows.collect::<Vec<_>>(), ["1", "3"]);
        client.batch_execute("").await.expect("an empty query");
        assert_eq!(state_of(client.batch_execute("SELECT 1; SELECT 1/0; SELECT 2").await), "22012");
        client.check_connection().await.expect("a session that goes on");
    });
}

#[test]
fn errors_have_postgresql_s_sqlstate_and_the_session_goes_on() {
    drive(async {
        let client = connect().await;
        for (query, state) in [
            ("SELEC", "42601"),
            ("TABLE missing", "42P01"),
            ("SELECT 1/0", "22012"),
            ("SELECT 'x'::int", "22P02"),
            ("DO $$BEGIN RAISE 'x'; END$$", "P0001"),
        ] {
            assert_eq!(state_of(client.query(query, &[]).await), state, "{query}");
            assert_eq!(number(&client, "SELECT 1::int8").await, 1);
        }
        let error = client.query("SELECT missing", &[]).await.expect_err("no such column");
        let error = error.as_db_error().expect("PostgreSQL's error");
        assert_eq!(error.code(), &SqlState::UNDEFINED_COLUMN);
        assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(8)));
    });
}

#[test]
fn a_missing_database_is_said_at_login() {
    drive(async {
        let mut config = config();
        let nowhere = config.dbname("nowhere").connect(NoTls).await;
        assert_eq!(state_of(nowhere), "3D000");
    });
}

#[test]
fn a_thousand_queries_in_one_pipeline() {
    drive(async {
        let client = connect().await;
        let statement = client.prepare("SELECT $1::int4").await.expect("a statement");
        let ask = |i: i32| {
            let (client, statement) = (&client, &statement);
            async move { client.query_one(statement, &[&i]).await.map(|row| row.get::<_, i32>(0)) }
        };
        let answers = try_join_all((0..1000).map(ask)).await.expect("answers");
        assert_eq!(answers, (0..1000).collect::<Vec<_>>());
    });
}

#[test]
fn errors_within_a_pipeline_hit_their_own_query() {
    drive(async {
        let client = connect().await;
        let ask = async |i: i32| match client.query_one("SELECT 10 / $1::int4", &[&i]).await {
            Ok(row) => row.get::<_, i32>(0).to_string(),
            Err(error) => state_of::<()>(Err(error)),
        };
        let answers = join_all([1, 0, 2, 0, 5].map(ask)).await;
        assert_eq!(answers, ["10", "22012", "5", "22012", "2"]);
    });
}

#[test]
fn prepared_statements_while_servers_change() {
    drive(async {
        let work = async |me: usize| {
            let me = i32::try_from(me).expect("a small number");
            let mut config = config();
            let client = connect_as(config.application_name(format!("rider {me}"))).await;
            let query = format!(
                "SELECT $1::int4 + {me}, pg_backend_pid(), current_setting('application_name')"
            );
            let mine = client.prepare(&query).await.expect("a statement");
            let mut pids = HashSet::new();
            for turn in 0..60 {
                let row = client.query_one(&mine, &[&turn]).await.expect("a row");
                assert_eq!((row.get(0), row.get(2)), (turn + me, format!("rider {me}").as_str()));
                pids.insert(row.get(1));
                // A statement that lives for one query: prepared, asked, closed.
                let query = format!("SELECT $1::text || '{}'", turn % 7);
                let row = client.query_one(&query, &[&"x"]).await.expect("a row");
                assert_eq!(row.get::<_, String>(0), format!("x{}", turn % 7));
            }
            pids
        };
        assert_shared(&join_all((0..3 * CLIENTS).map(work)).await);
    });
}

#[test]
fn a_statement_whose_columns_changed_is_refused() {
    drive(async {
        let (client, other) = (connect().await, connect().await);
        client.batch_execute("CREATE TABLE tokio_shape (a int)").await.expect("a table");
        let all = client.prepare("SELECT * FROM tokio_shape").await.expect("a statement");
        assert_eq!(client.query(&all, &[]).await.expect("no rows").len(), 0);
        other.batch_execute("ALTER TABLE tokio_shape ADD b int").await.expect("a column more");
        assert_eq!(state_of(client.query(&all, &[]).await), "0A000");
        other.batch_execute("DROP TABLE tokio_shape").await.expect("no table");
    });
}

#[test]
fn transactions_and_savepoints() {
    drive(async {
        let mut client = connect().await;
        client.batch_execute("CREATE TABLE tokio_tx (id int PRIMARY KEY)").await.expect("a table");
        let mut outer = client.transaction().await.expect("BEGIN");
        outer.execute("INSERT INTO tokio_tx VALUES (1)", &[]).await.expect("a row");
        let inner = outer.savepoint("within").await.expect("SAVEPOINT");
        assert_eq!(state_of(inner.execute("INSERT INTO tokio_tx VALUES (1)", &[]).await), "23505");
        assert_eq!(state_of(inner.query("SELECT 1", &[]).await), "25P02");
        inner.rollback().await.expect("ROLLBACK TO");
        outer.execute("INSERT INTO tokio_tx VALUES (2)", &[]).await.expect("a row");
        outer.commit().await.expect("COMMIT");
        let dropped = client.transaction().await.expect("BEGIN");
        dropped.execute("INSERT INTO tokio_tx VALUES (3)", &[]).await.expect("a row");
        drop(dropped); // sends ROLLBACK
        assert_eq!(number(&client, "SELECT count(*) FROM tokio_tx").await, 2);
        let builder = client.build_transaction().isolation_level(IsolationLevel::Serializable);
        let reader = builder.read_only(true).start().await.expect("BEGIN");
        let level = reader.query_one("SHOW transaction_isolation", &[]).await.expect("a row");
        assert_eq!(level.get::<_, &str>(0), "serializable");
        assert_eq!(state_of(reader.execute("INSERT INTO tokio_tx VALUES (4)", &[]).await), "25006");
        reader.rollback().await.expect("ROLLBACK");
        client.batch_execute("DROP TABLE tokio_tx").await.expect("no table");
    });
}

#[test]
fn portals_of_concurrent_transactions() {
    drive(async {
        let work = async |me: usize| {
            let me = i32::try_from(me).expect("a small number");
            let mut client = connect().await;
            for _ in 0..10 {
                let transaction = client.transaction().await.expect("BEGIN");
                let query = "SELECT $1::int4 FROM generate_series(1, 100)";
                let portal = transaction.bind(query, &[&me]).await.expect("a portal");
                let mut count = 0;
                for size in [30, 30, 30, 10] {
                    let rows = transaction.query_portal(&portal, 30).await.expect("rows");
                    let mine = rows.iter().all(|row| row.get::<_, i32>(0) == me);
                    assert!(mine && rows.len() == size, "somebody else's rows");
                    count += rows.len();
                }
                assert_eq!(count, 100);
                transaction.commit().await.expect("COMMIT");
            }
        };
        join_all((0..CLIENTS).map(work)).await;
    });
}

#[test]
fn copy_in_and_out() {
    drive(async {
        let client = connect().await;
        client.batch_execute("CREATE TABLE tokio_copy (id int, name text)").await.expect("a table");
        let mut sink = pin!(client.copy_in("COPY tokio_copy FROM STDIN").await.expect("COPY"));
        for block in 0..100 {
            let rows: String = (0..1000).map(|i| format!("{}\tname\n", block * 1000 + i)).collect();
            sink.send(bytes::Bytes::from(rows)).await.expect("room");
        }
        assert_eq!(sink.finish().await.expect("the number of rows"), 100_000);
        let out = client.copy_out("COPY tokio_copy TO STDOUT").await.expect("COPY");
        let size = out.try_fold(0, async |size, block| Ok(size + block.len())).await.expect("data");
        assert_eq!(size, (0..100_000).map(|i| format!("{i}\tname\n").len()).sum::<usize>());

        let sink =
            client.copy_in("COPY tokio_copy FROM STDIN (FORMAT binary)").await.expect("COPY");
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
        writer.as_mut().write(&[&-1i32, &"binary"]).await.expect("room");
        assert_eq!(writer.finish().await.expect("the number of rows"), 1);
        let query = "COPY (SELECT * FROM tokio_copy WHERE id = -1) TO STDOUT (FORMAT binary)";
        let out = client.copy_out(query).await.expect("COPY");
        let rows = BinaryCopyOutStream::new(out, &[Type::INT4, Type::TEXT]);
        let rows: Vec<_> = rows.try_collect().await.expect("rows");
        assert_eq!((rows.len(), rows[0].get::<&str>(1)), (1, "binary"));
        client.batch_execute("DROP TABLE tokio_copy").await.expect("no table");
    });
}

#[test]
fn copies_that_fail() {
    drive(async {
        let client = connect().await;
        client.batch_execute("CREATE TABLE tokio_bad (id int)").await.expect("a table");
        let mut sink = pin!(client.copy_in("COPY tokio_bad FROM STDIN").await.expect("COPY"));
        // Few rows: when the server's error arrives while it still sends, tokio-postgres 0.7 loses count
        // of the answers, with PostgreSQL itself too.
        sink.send(bytes::Bytes::from("1\nx\n")).await.expect("room");
        assert_eq!(state_of(sink.finish().await), "22P02");
        {
            let given_up = client.copy_in("COPY tokio_bad FROM STDIN").await.expect("COPY");
            pin!(given_up).send(bytes::Bytes::from("1\n")).await.expect("room");
        } // dropped: sends CopyFail
        // As a simple query: after a copy_in that the server refuses, tokio-postgres 0.7 loses count of
        // the answers, with PostgreSQL itself too.
        assert_eq!(state_of(client.batch_execute("COPY missing FROM STDIN").await), "42P01");
        {
            let query = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT";
            let left = client.copy_out(query).await.expect("COPY");
            assert!(pin!(left).next().await.is_some(), "no first block");
        } // dropped: the rest is read and thrown away
        assert_eq!(number(&client, "SELECT count(*) FROM tokio_bad").await, 0);
        client.batch_execute("DROP TABLE tokio_bad").await.expect("no table");
    });
}

/// Waits until a server runs the query with this mark.
async fn asleep(other: &Client, mark: &str) {
    let query =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE $1";
    let pattern = format!("%{mark}");
    while other.query_one(query, &[&pattern]).await.expect("a row").get::<_, i64>(0) == 0 {}
}

/// Cancelled queries in a row of one client.
const CANCEL_TURNS: i32 = 15;

#[test]
fn a_cancel_hits_its_own_query_and_nobody_else_s() {
    drive(async {
        let stop = std::cell::Cell::new(false);
        let canceller = async {
            let (client, other) = (connect().await, connect().await);
            for turn in 0..CANCEL_TURNS {
                let query = format!("SELECT pg_sleep(50), pg_backend_pid() -- tokio {turn}");
                let token = client.cancel_token();
                let sleep = client.batch_execute(&query);
                let cancel = async {
                    asleep(&other, &format!("-- tokio {turn}")).await;
                    token.cancel_query(NoTls).await.expect("a cancel request");
                };
                assert_eq!(state_of(tokio::join!(sleep, cancel).0), "57014");
                assert_eq!(number(&client, "SELECT 5::int8").await, 5);
            }
            stop.set(true);
        };
        let bystander = async |_: usize| {
            let client = connect().await;
            let mut turn = 0i32;
            while !stop.get() {
                turn += 1;
                let row =
                    client.query_one("SELECT $1::int4, pg_sleep(0.002)::text", &[&turn]).await;
                assert_eq!(row.expect("a row").get::<_, i32>(0), turn);
            }
        };
        tokio::join!(canceller, join_all((1..CLIENTS).map(bystander)));
    });
}

#[test]
fn notices_arrive_and_settings_stay() {
    drive(async {
        let mut config = config();
        config.options("-c statement_timeout=12345");
        let (client, mut connection) = config.connect(NoTls).await.expect("a login");
        let (said, mut heard) = tokio::sync::mpsc::channel(4);
        tokio::task::spawn_local(async move {
            let mut messages = std::pin::pin!(futures_util::stream::poll_fn(
                move |cx| connection.poll_message(cx)
            ));
            while let Some(message) = messages.next().await {
                if let AsyncMessage::Notice(notice) = message.expect("a message") {
                    said.send(notice.message().to_owned()).await.expect("a listener");
                }
            }
        });
        client.batch_execute("DO $$BEGIN RAISE NOTICE 'noticed'; END$$").await.expect("DO");
        assert_eq!(heard.recv().await.as_deref(), Some("noticed"));
        client.batch_execute("SET timezone = 'Asia/Tokyo'").await.expect("SET");
        for _ in 0..10 {
            let row = client
                .query_one(
                    "SELECT current_setting('timezone'), current_setting('statement_timeout')",
                    &[],
                )
                .await
                .expect("a row");
            assert_eq!((row.get(0), row.get(1)), ("Asia/Tokyo", "12345ms"));
        }
        assert_eq!(number(&connect().await, "SELECT 1::int8").await, 1);
    });
}
