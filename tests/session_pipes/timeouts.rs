//! What ends by the clock, and what goes on.

use crate::stage::{Client, Setup, Stage, batch, play};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(5);
/// Two ticks of the worker's clock: how late a time-out may be.
const COARSE: Duration = Duration::from_millis(100);

fn setup(change: impl FnOnce(&mut Setup)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup);
    setup
}

/// The answer, and that it came when it had to.
async fn in_time(client: &mut Client, since: Instant) -> String {
    let answer = client.answer().await;
    let spent = since.elapsed();
    assert!(spent >= LIMIT - COARSE && spent <= LIMIT + COARSE, "after {spent:?}: {answer}");
    answer
}

#[test]
fn query_timeout_cancels_and_the_session_goes_on() {
    play(setup(|s| s.options.query_timeout = Some(LIMIT)), async |stage| {
        let mut client = stage.client().await;
        let since = Instant::now();
        client.query("SLEEP").await;
        let answer = in_time(&mut client, since).await;
        assert_eq!(answer, "E:ERROR 57014 canceling statement due to query timeout Z:I");
        assert_eq!(stage.process(1).state.borrow().cancels, 1);
        client.send(&batch("SLEEP")).await;
        let answer = client.answer().await;
        assert_eq!(answer, "1 2 T E:ERROR 57014 canceling statement due to query timeout Z:I");
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
        client.leave().await;
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1);
    });
}

#[test]
fn a_statement_that_ignores_its_cancel_ends_the_session() {
    play(setup(|s| s.options.query_timeout = Some(LIMIT)), async |stage| {
        let mut client = stage.client().await;
        stage.process(1).state.borrow_mut().deaf = true;
        client.query("SELECT 1").await;
        let answer = client.answer().await;
        assert_eq!(answer, "E:FATAL 57014 canceling statement due to query timeout end");
        stage.process(1).listen();
        stage.is_healthy().await;
    });
}

#[test]
fn silence_in_a_transaction_ends_the_session() {
    let options = setup(|s| s.options.idle_transaction_timeout = Some(LIMIT));
    play(options, async |stage| {
        let mut client = stage.client().await;
        assert_eq!(client.ask("BEGIN").await, "C:BEGIN Z:T");
        let since = Instant::now();
        assert_eq!(
            in_time(&mut client, since).await,
            "E:FATAL 25P03 terminating connection due to idle-in-transaction timeout end"
        );
        stage.is_healthy().await;
        assert_eq!(stage.process(1).state.borrow().log, ["BEGIN", "ROLLBACK", "SELECT 1"]);
    });
}

#[test]
fn a_long_transaction_ends_the_session() {
    play(setup(|s| s.options.transaction_timeout = Some(LIMIT)), async |stage| {
        let mut client = stage.client().await;
        let since = Instant::now();
        assert_eq!(client.ask("BEGIN").await, "C:BEGIN Z:T");
        for _ in 0..4 {
            tokio::time::sleep(LIMIT / 5).await;
            assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:T");
        }
        assert_eq!(
            in_time(&mut client, since).await,
            "E:FATAL 25P04 terminating connection due to transaction timeout end"
        );
        // And one whose statement runs when its time is over.
        let mut client = stage.client().await;
        client.ask("BEGIN").await;
        client.query("SLEEP").await;
        let answer = client.answer().await;
        assert!(answer.starts_with("E:FATAL 25P04"), "{answer}");
        stage.is_healthy().await;
    });
}

#[test]
fn silence_outside_ends_the_session() {
    play(setup(|s| s.options.client_idle_timeout = Some(LIMIT)), async |stage| {
        let mut client = stage.client().await;
        tokio::time::sleep(LIMIT / 2).await;
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
        let since = Instant::now();
        assert_eq!(
            in_time(&mut client, since).await,
            "E:FATAL 57P05 terminating connection due to idle-session timeout end"
        );
        stage.settle().await;
    });
}

#[test]
fn silence_in_a_transaction_is_not_silence_outside() {
    play(setup(|s| s.options.client_idle_timeout = Some(LIMIT)), async |stage| {
        let mut client = stage.client().await;
        client.ask("BEGIN").await;
        tokio::time::sleep(LIMIT * 3).await;
        assert_eq!(client.ask("COMMIT").await, "C:COMMIT Z:I");
        client.leave().await;
    });
}

async fn waits_in_vain(stage: Rc<Stage>) {
    const REFUSED: &str = "E:ERROR 53300 no server connection became available in time Z:I";
    let mut holder = stage.client().await;
    let mut client = stage.client().await;
    assert_eq!(holder.ask("BEGIN").await, "C:BEGIN Z:T");
    let since = Instant::now();
    client.query("SELECT 1").await;
    assert_eq!(in_time(&mut client, since).await, REFUSED);
    let since = Instant::now();
    client.send(&batch("SELECT 1")).await;
    assert_eq!(in_time(&mut client, since).await, REFUSED);
    // What came behind the batch in the same bytes is another request, and waits anew.
    let since = Instant::now();
    let two = [batch("SELECT 1"), batch("SELECT 2")].concat();
    client.send(&two).await;
    assert_eq!(in_time(&mut client, since).await, REFUSED);
    assert_eq!(holder.ask("COMMIT").await, "C:COMMIT Z:I");
    assert_eq!(client.answer().await, "1 2 T D C:SELECT 1 Z:I");
    assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    client.leave().await;
    holder.leave().await;
    stage.is_healthy().await;
    assert_eq!(stage.processes.borrow().len(), 1);
}

#[test]
fn query_wait_timeout_refuses_the_request_and_the_session_goes_on() {
    let options = setup(|s| {
        s.pool_size = 1;
        s.options.query_wait_timeout = Some(LIMIT);
    });
    play(options, waits_in_vain);
}

/// Another client left a `statement_timeout` that cuts off what gives the server one's settings.
fn settings_are_cut_off(times: usize, servers: u32) {
    let one = setup(|setup| setup.pool_size = 1);
    play(one, async |stage| {
        let mut other = stage.client().await;
        let mut client = stage.client().await;
        assert_eq!(client.ask("SET timezone = UTC").await, "C:SET timezone = UTC Z:I");
        let sets = "SET statement_timeout = 1";
        assert_eq!(other.ask(sets).await, format!("C:{sets} Z:I"));
        stage.process(1).state.borrow_mut().cuts_off = times;
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I", "cut off {times} times");
        assert_eq!(stage.processes.borrow().len(), servers as usize, "cut off {times} times");
        let has = stage.process(servers).state.borrow().settings.clone();
        assert_eq!(
            has.into_iter().collect::<Vec<_>>(),
            [("timezone".to_owned(), "UTC".to_owned())]
        );
        other.leave().await;
        client.leave().await;
        stage.is_healthy().await;
    });
}

#[test]
fn a_statement_timeout_of_another_client_does_not_cut_off_ones_settings() {
    settings_are_cut_off(1, 1);
    settings_are_cut_off(4, 1);
    // It cannot be given them: another server can.
    settings_are_cut_off(5, 2);
}
