//! Servers that end in an orderly way: whoever has lost nothing notices nothing.

use crate::postgres::last_words;
use crate::stage::{Setup, Stage, play};
use howdah::session::route::Mode;
use howdah::wire::client;
use std::rc::Rc;

const ANSWER: &str = "T D C:SELECT 1 Z:I";
const LAST_WORDS: &str = "E:FATAL 57P01 terminating connection due to administrator command";

fn one() -> Setup {
    Setup { pool_size: 1, ..Setup::default() }
}

/// Behind so many answers from now.
fn ends_behind(stage: &Rc<Stage>, pid: u32, answers: usize) {
    stage.process(pid).state.borrow_mut().ends_behind = Some(answers);
}

#[test]
fn a_server_that_ends_behind_an_answer_is_not_given_back() {
    play(one(), async |stage| {
        let mut client = stage.client().await;
        ends_behind(&stage, 1, 1);
        assert_eq!(client.ask("SELECT 1").await, ANSWER);
        stage.breathe().await;
        assert_eq!(stage.counts().idle, 0, "given back though it has said that it ends");
        assert_eq!(client.ask("SELECT 2").await, ANSWER);
        assert_eq!(stage.process(2).state.borrow().log, ["SELECT 2"]);
        client.leave().await;
        stage.is_healthy().await;
    });
}

#[test]
fn a_server_that_ends_when_it_has_been_given_the_settings_is_replaced() {
    play(one(), async |stage| {
        let mut client = stage.client_with_settings().await;
        // Somebody with other settings in between.
        stage.client().await.ask("SELECT 0").await;
        stage.settle().await;
        ends_behind(&stage, 1, 1);
        assert_eq!(client.ask("SELECT 1").await, ANSWER);
        let log = stage.process(1).state.borrow().log.clone();
        assert!(!log.iter().any(|sql| sql == "SELECT 1"), "{log:?}");
        client.leave().await;
        stage.is_healthy().await;
    });
}

#[test]
fn a_session_whose_transaction_may_have_changed_it_is_told() {
    play(one(), async |stage| {
        let mut client = stage.client().await;
        ends_behind(&stage, 1, 1);
        assert_eq!(client.ask("SET work_mem = '5MB'").await, "C:SET work_mem = '5MB' Z:I");
        assert_eq!(client.answer().await, format!("{LAST_WORDS} end"));
        client.task.await.expect("the session ended");
        stage.is_healthy().await;
    });
}

#[test]
fn a_server_that_ends_before_the_first_query_of_its_session_is_replaced() {
    for is_told in [false, true] {
        let mut setup = one();
        setup.options.mode = Mode::Session;
        play(setup, async |stage| {
            // The first client of an account is welcomed with what its server has said.
            let mut client = stage.client().await;
            assert_eq!(stage.counts().leased, 1);
            stage.process(1).end(if is_told { last_words() } else { Vec::new() });
            stage.breathe().await;
            assert_eq!(client.ask("SELECT 1").await, ANSWER);
            assert!(stage.process(1).state.borrow().log.is_empty());
            client.leave().await;
            stage.is_healthy().await;
        });
    }
}

#[test]
fn a_server_that_has_ended_before_the_first_byte_is_replaced_though_the_runtime_has_not_heard() {
    play(Setup { sockets: true, ..one() }, async |stage| {
        let mut client = stage.client().await;
        assert_eq!(client.ask("SELECT 1").await, ANSWER);
        stage.settle().await;
        stage.end_now(1);
        assert_eq!(client.ask("SELECT 2").await, ANSWER);
        assert_eq!(stage.process(1).state.borrow().log, ["SELECT 1"]);
        client.leave().await;
        stage.is_healthy().await;
    });
}
