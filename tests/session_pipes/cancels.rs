//! Cancel requests, and what they must not reach.

use crate::stage::{Client, Setup, Stage, batch, play};
use howdah::session::client_handle::ClientHandle;
use howdah::session::route::Mode;
use howdah::session::run;
use howdah::wire;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::timeout;

const CANCELLED: &str = "E:ERROR 57014 canceling statement due to user request";

/// A client, and what a cancel request finds of it.
async fn with_handle(stage: &Rc<Stage>) -> (Client, Arc<ClientHandle>) {
    let (session_start, pipe) = stage.session_start();
    let handle = Arc::clone(&session_start.handle);
    let mut client = Client::new(pipe, spawn_local(run(session_start, Rc::clone(&stage.worker))));
    assert_eq!(client.answer().await, "S K Z:I");
    (client, handle)
}

/// PostgreSQL signals the process twice for one request; the second signal may come late.
async fn is_spared_by_a_late_signal(stage: Rc<Stage>, begin: &str, next: [&str; 2], ready: &str) {
    let (mut client, handle) = with_handle(&stage).await;
    client.ask(begin).await;
    client.query("SLEEP").await;
    stage.breathe().await;
    let request = handle.cancel().await.expect("a server");
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

/// Somebody without settings of its own uses the only server.
async fn somebody_else(stage: &Rc<Stage>) {
    let mut other = stage.client().await;
    assert_eq!(other.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    other.leave().await;
}

/// The client's statement waits behind a question of ours that the server is slow to answer. A
/// cancel request is for the statement, which is never sent.
async fn ends_behind_a_question(stage: Rc<Stage>, settings: &[(&str, &str)], question: &str) {
    let (mut session_start, pipe) = stage.session_start();
    let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    session_start.settings = stage.worker.common.settings.intern(settings);
    let handle = Arc::clone(&session_start.handle);
    let mut client = Client::new(pipe, spawn_local(run(session_start, Rc::clone(&stage.worker))));
    assert_eq!(client.answer().await, "S K Z:I");
    let mut query = Vec::new();
    wire::client::query(&mut query, b"SLEEP");
    for statement in [query, batch("SLEEP")] {
        somebody_else(&stage).await;
        stage.process(1).state.borrow_mut().deaf = true;
        client.send(&statement).await;
        stage.breathe().await;
        assert!(handle.cancel().await.is_none(), "nothing of the client's runs on a server");
        stage.process(1).listen();
        assert_eq!(client.answer().await, format!("{CANCELLED} Z:I"));
        let last = stage.process(1).state.borrow().log.last().cloned().expect("a question");
        assert!(last.contains(question), "asked last: {last}");
        // It was for that statement, and for no other.
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    }
    assert_eq!(stage.process(1).state.borrow().cancels, 0);
    client.leave().await;
    stage.is_healthy().await;
    assert_eq!(stage.processes.borrow().len(), 1);
}

#[test]
fn a_statement_that_waits_for_its_settings_is_cancelled() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        ends_behind_a_question(stage, &[("work_mem", "1MB")], "work_mem").await;
    });
}

#[test]
fn a_statement_that_waits_for_the_check_of_its_server_is_cancelled() {
    let mut setup = Setup { pool_size: 1, ..Setup::default() };
    setup.options.server_check_query = Some("SELECT 'alive'".into());
    setup.options.server_check_delay = Duration::ZERO;
    play(setup, async |stage| {
        ends_behind_a_question(stage, &[], "alive").await;
    });
}

/// The defaults of the client's startup packet are restored before ReadyForQuery, cancel request or
/// not: at ReadyForQuery a client knows of every change.
#[test]
fn a_cancel_request_for_nothing_hides_no_restored_setting() {
    for mode in [Mode::Session, Mode::Transaction] {
        let mut setup = Setup { pool_size: 1, ..Setup::default() };
        setup.options.mode = mode;
        play(setup, async |stage| {
            let (session_start, pipe) = stage.session_start_with_settings();
            let handle = Arc::clone(&session_start.handle);
            let mut client =
                Client::new(pipe, spawn_local(run(session_start, Rc::clone(&stage.worker))));
            assert_eq!(client.answer().await, "S K Z:I");
            stage.process(1).state.borrow_mut().deaf = true;
            client.query("DISCARD ALL").await;
            stage.breathe().await;
            // It comes too late for the statement, and goes slowly.
            let request = handle.cancel().await.expect("a server");
            stage.process(1).listen();
            let done = client.message().await.map(|(tag, _)| tag);
            assert_eq!(done, Some(wire::server::COMMAND_COMPLETE));
            let more = timeout(Duration::from_millis(1), client.message()).await;
            assert!(more.is_err(), "ready before its settings are back: {more:?}");
            drop(request);
            assert_eq!(client.answer().await, "Z:I");
            let settings = stage.process(1).state.borrow().settings.clone();
            let name = settings.get("application_name").map(String::as_str);
            assert_eq!(name, Some("own"), "{mode:?}");
            client.leave().await;
            stage.is_healthy().await;
        });
    }
}

/// The server of a client whose copy has failed behind a Sync is asked whether it owes anything; it
/// does not hear it yet.
async fn asked_behind_a_copy(stage: &Rc<Stage>) -> (Client, Arc<ClientHandle>) {
    let (mut client, handle) = with_handle(stage).await;
    client.query("COPY t FROM STDIN").await;
    assert_eq!(client.message().await.map(|(tag, _)| tag), Some(wire::server::COPY_IN));
    let mut sync = Vec::new();
    wire::client::bare(&mut sync, wire::client::SYNC);
    client.send(&sync).await;
    stage.process(1).state.borrow_mut().deaf_behind_copy = true;
    let mut fail = Vec::new();
    wire::client::copy_fail(&mut fail, "no more");
    client.send(&fail).await;
    assert_eq!(client.answer().await, "E:ERROR 57014 COPY from stdin failed Z:I");
    stage.breathe().await;
    (client, handle)
}

#[test]
fn a_cancel_request_behind_a_copy_is_late() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let (mut client, handle) = asked_behind_a_copy(&stage).await;
        assert!(handle.cancel().await.is_none(), "nothing of the client's runs");
        stage.process(1).listen();
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
        client.leave().await;
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1, "it was proven to be at rest");
    });
}

#[test]
fn a_server_that_dies_when_asked_behind_a_copy_is_not_missed() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let (mut client, _card) = asked_behind_a_copy(&stage).await;
        stage.process(1).end("");
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
        client.leave().await;
        assert_eq!(stage.processes.borrow().len(), 2);
    });
}
