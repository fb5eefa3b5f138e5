//! Cancel requests, and what they must not reach.

use crate::stage::{Client, Setup, Stage, play};
use howdah::session::card::Card;
use howdah::session::run;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::spawn_local;

const CANCELLED: &str = "E:ERROR 57014 canceling statement due to user request";

/// A client, and what a cancel request finds of it.
async fn carded(stage: &Rc<Stage>) -> (Client, Arc<Card>) {
    let (arrival, pipe) = stage.arrival();
    let card = Arc::clone(&arrival.card);
    let mut client = Client::new(pipe, spawn_local(run(arrival, Rc::clone(&stage.worker))));
    assert_eq!(client.answer().await, "S K Z:I");
    (client, card)
}

/// PostgreSQL signals the process twice for one request; the second signal may come late.
async fn is_spared_by_a_late_signal(stage: Rc<Stage>, begin: &str, next: [&str; 2], ready: &str) {
    let (mut client, card) = carded(&stage).await;
    client.ask(begin).await;
    client.query("SLEEP").await;
    stage.breathe().await;
    let request = card.cancel().expect("a server");
    stage.process(1).cancel();
    assert_eq!(client.answer().await, format!("{CANCELLED} {ready}"));
    client.query(next[0]).await;
    stage.breathe().await;
    let last = stage.process(1).state.borrow().log.last().cloned();
    assert_eq!(last.as_deref(), Some("SLEEP"), "asked under a cancel request");
    stage.process(1).cancel();
    drop(request);
    assert_eq!(client.answer().await, next[1]);
    client.leave().await;
    stage.is_healthy().await;
    assert_eq!(stage.processes.borrow().len(), 1);
}

#[test]
fn the_next_query_waits_until_the_cancel_request_is_through() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let next = ["SELECT 1", "T D C:SELECT 1 Z:I"];
        is_spared_by_a_late_signal(stage, "SELECT 1", next, "Z:I").await;
    });
}

#[test]
fn the_rollback_waits_until_the_cancel_request_is_through() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let next = ["ROLLBACK", "C:ROLLBACK Z:I"];
        is_spared_by_a_late_signal(stage, "BEGIN", next, "Z:E").await;
    });
}
