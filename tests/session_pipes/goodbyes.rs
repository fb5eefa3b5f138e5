//! Servers that end in an orderly way: whoever has lost nothing notices nothing.

use crate::postgres::ORDERED;
use crate::stage::{Setup, Stage, play};
use howdah::session::route::Mode;
use howdah::wire::{client, server};
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

/// Bind of a statement without parameters, Execute, Sync.
fn run_statement(out: &mut Vec<u8>, name: &[u8]) {
    client::bind_head(out, b"", name, 6);
    out.extend([0; 6]);
    out.extend(b"E\0\0\0\x09\0\0\0\0\0");
    client::bare(out, client::SYNC);
}

#[test]
fn a_server_that_ends_when_the_next_batch_has_not_reached_it_is_replaced() {
    for is_in_one_piece in [true, false] {
        play(one(), async |stage| {
            let mut client = stage.client().await;
            let mut first = Vec::new();
            client::parse(&mut first, b"s1", b"SELECT 2", &[0, 0]);
            client::bare(&mut first, client::SYNC);
            client.send(&first).await;
            assert_eq!(client.answer().await, "1 Z:I");
            let mut second = Vec::new();
            run_statement(&mut second, b"s1");
            // Statements stay on their servers: this is answered without asking.
            client::target(&mut second, client::CLOSE, b'S', b"s1");
            if is_in_one_piece {
                ends_behind(&stage, 1, 1);
            }
            client.send(&second).await;
            assert_eq!(client.answer().await, "2 D C:SELECT 1 Z:I");
            assert_eq!(client.message().await.map(|(tag, _)| tag), Some(server::CLOSE_COMPLETE));
            if !is_in_one_piece {
                stage.process(1).end(ORDERED);
            }
            stage.breathe().await;
            let mut third = Vec::new();
            client::parse(&mut third, b"s1", b"SELECT 3", &[0, 0]);
            run_statement(&mut third, b"s1");
            client.send(&third).await;
            assert_eq!(client.answer().await, "1 2 D C:SELECT 1 Z:I");
            client.leave().await;
            stage.is_healthy().await;
            assert_eq!(stage.process(1).state.borrow().log, ["SELECT 2"]);
        });
    }
}

#[test]
fn a_server_that_ends_when_the_next_batch_waits_for_names_is_replaced() {
    play(one(), async |stage| {
        let mut client = stage.client().await;
        ends_behind(&stage, 1, 1);
        let mut both = Vec::new();
        client::parse(&mut both, b"s1", b"SELECT 2", &[0, 0]);
        run_statement(&mut both, b"s1");
        // Which statement is meant shows when the first batch is answered.
        run_statement(&mut both, b"s1");
        client.send(&both).await;
        assert_eq!(client.answer().await, "1 2 D C:SELECT 1 Z:I");
        assert_eq!(client.answer().await, "2 D C:SELECT 1 Z:I");
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
            stage.process(1).end(if is_told { ORDERED } else { "" });
            stage.breathe().await;
            assert_eq!(client.ask("SELECT 1").await, ANSWER);
            assert!(stage.process(1).state.borrow().log.is_empty());
            client.leave().await;
            stage.is_healthy().await;
        });
    }
}

#[test]
fn who_writes_before_the_runtime_has_heard_of_the_end_is_told_at_once() {
    play(Setup { sockets: true, ..one() }, async |stage| {
        let mut client = stage.client().await;
        assert_eq!(client.ask("SELECT 1").await, ANSWER);
        // The kernel is asked about a server that was idle for longer.
        assert_eq!((stage.counts().leased, stage.counts().idle), (0, 1));
        stage.end_now(1);
        // Nobody can know that the server did not get it.
        assert_eq!(client.ask("SELECT 2").await, format!("{LAST_WORDS} end"));
        client.task.await.expect("the session ended");
        stage.is_healthy().await;
    });
}
