//! What is counted of clients, and how long things took.

use crate::stage::{Setup, play};
use howdah::session::route::Mode;
use howdah::wire::client;
use std::time::Duration;

const SECOND: u64 = 1_000_000;

/// A fake server answers within the millisecond that a test lets pass.
fn is_about(micros: u64, seconds: u64) -> bool {
    (seconds * SECOND..seconds * SECOND + SECOND / 10).contains(&micros)
}

fn batch(out: &mut Vec<u8>, name: &[u8]) {
    client::bind_head(out, b"", name, 6);
    out.extend([0; 6]);
    out.extend(b"E\0\0\0\x09\0\0\0\0\0");
    client::bare(out, client::SYNC);
}

#[test]
fn queries_transactions_and_waits() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let (mut holder, mut waiter) = (stage.client().await, stage.client().await);
        let before = stage.totals();
        holder.ask("BEGIN").await;
        waiter.query("SELECT 1").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        holder.ask("SELECT 2").await;
        holder.ask("COMMIT").await;
        waiter.answer().await;
        let counted = stage.totals().since(&before);
        assert_eq!((counted.query.count(), counted.transaction.count()), (4, 2));
        assert_eq!((counted.assignments, counted.wait.count(), counted.errors), (2, 2, 0));
        // The silence in the transaction is no query's time.
        assert!(counted.query.sum < SECOND / 10, "{}", counted.query.sum);
        assert!(is_about(counted.transaction.sum, 3), "{}", counted.transaction.sum);
        assert!(is_about(counted.wait.sum, 3), "{}", counted.wait.sum);
        holder.leave().await;
        waiter.leave().await;
        stage.is_healthy().await;
    });
}

#[test]
fn a_long_query_and_its_error() {
    play(Setup::default(), async |stage| {
        let mut client = stage.client().await;
        let before = stage.totals();
        client.query("SLEEP").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.process(1).cancel();
        client.answer().await;
        let counted = stage.totals().since(&before);
        assert_eq!((counted.query.count(), counted.errors), (1, 1));
        assert!(is_about(counted.query.sum, 2), "{}", counted.query.sum);
        assert_eq!(counted.query.sum, counted.transaction.sum);
        client.leave().await;
    });
}

#[test]
fn a_session_s_own_server_counts_transactions_too() {
    let mut setup = Setup::default();
    setup.options.mode = Mode::Session;
    play(setup, async |stage| {
        let mut client = stage.client().await;
        let before = stage.totals();
        for _ in 0..3 {
            client.ask("SELECT 1").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let counted = stage.totals().since(&before);
        assert_eq!((counted.query.count(), counted.transaction.count()), (3, 3));
        // Silence between transactions is nobody's time.
        assert!(counted.transaction.sum < SECOND / 10, "{}", counted.transaction.sum);
        client.leave().await;
    });
}

#[test]
fn bytes_and_prepared_statements() {
    play(Setup::default(), async |stage| {
        let mut client = stage.client().await;
        let before = stage.totals();
        let mut bytes = Vec::new();
        client::parse(&mut bytes, b"s1", b"SELECT 1", &[0, 0]);
        batch(&mut bytes, b"s1");
        client.send(&bytes).await;
        client.answer().await;
        // The server has it under our name: one Parse went there, and both Binds.
        let mut again = Vec::new();
        batch(&mut again, b"s1");
        client.send(&again).await;
        client.answer().await;
        let counted = stage.totals().since(&before);
        assert_eq!((counted.client_parses, counted.server_parses, counted.binds), (1, 1, 2));
        assert_eq!(counted.received, (bytes.len() + again.len()) as u64);
        // Two of ParseComplete, BindComplete, DataRow, CommandComplete and ReadyForQuery at least.
        assert!(counted.sent > 60, "{}", counted.sent);
        client.leave().await;
    });
}
