//! What `connect_query` sets is everybody's: nobody owns it, and it outlives every reset.

use crate::stage::{Setup, Stage, play};
use howdah::session::route::Mode;
use std::rc::Rc;

fn setup() -> Setup {
    Setup { pool_size: 1, baseline: &[("work_mem", "64MB")], ..Setup::default() }
}

/// What the server has, as one line.
fn has(stage: &Stage) -> String {
    let state = stage.process(1).state.borrow().settings.clone();
    state.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// Questions of our own since the last time.
fn asked(stage: &Stage) -> Vec<String> {
    let mut log = std::mem::take(&mut stage.process(1).state.borrow_mut().log);
    log.retain(|sql| !sql.starts_with("SELECT pg_catalog.encode("));
    log
}

async fn stays_what_it_is(stage: Rc<Stage>) {
    let mut one = stage.client().await;
    let mut two = stage.client().await;
    assert_eq!(one.ask("SET timezone = UTC").await, "C:SET timezone = UTC Z:I");
    assert_eq!(two.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    assert_eq!(has(&stage), "work_mem=64MB");
    asked(&stage);
    assert_eq!(one.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    assert_eq!(has(&stage), "timezone=UTC work_mem=64MB");
    let sets = "SELECT pg_catalog.set_config('timezone','UTC',false)";
    assert_eq!(asked(&stage), [sets, "SELECT 1"], "the baseline is not one's own");
    // Overlaid by one, and back for the other.
    assert_eq!(one.ask("SET work_mem = 1MB").await, "C:SET work_mem = 1MB Z:I");
    assert_eq!(two.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    assert_eq!(has(&stage), "work_mem=64MB");
    assert_eq!(one.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
    assert_eq!(has(&stage), "timezone=UTC work_mem=1MB");
    one.leave().await;
    two.leave().await;
    stage.is_healthy().await;
    assert_eq!(stage.processes.borrow().len(), 1);
}

#[test]
fn settings_of_the_baseline_stay_for_everybody() {
    play(setup(), stays_what_it_is);
}

/// In these modes, whatever resets it.
fn resets(mode: Mode) {
    let mut setup = setup();
    setup.options.mode = mode;
    play(setup, async |stage| {
        let mut client = stage.client().await;
        for reset in ["RESET work_mem", "RESET ALL", "DISCARD ALL"] {
            assert_eq!(client.ask(reset).await, format!("C:{reset} Z:I"));
            assert_eq!(has(&stage), "work_mem=64MB", "{reset}");
        }
        client.leave().await;
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1);
    });
}

#[test]
fn what_a_client_resets_is_made_again_before_the_next_statement() {
    resets(Mode::Transaction);
    resets(Mode::Session);
}

#[test]
fn the_clean_up_of_a_session_makes_it_again() {
    let mut setup = setup();
    setup.options.mode = Mode::Session;
    play(setup, async |stage| {
        let mut client = stage.client().await;
        assert_eq!(client.ask("SET work_mem = 1MB").await, "C:SET work_mem = 1MB Z:I");
        client.leave().await;
        stage.settle().await;
        assert_eq!(has(&stage), "work_mem=64MB");
        let sets = "SELECT pg_catalog.set_config('work_mem','64MB',false)";
        assert_eq!(asked(&stage), ["SET work_mem = 1MB", "DISCARD ALL", sets]);
        stage.is_healthy().await;
        assert_eq!(asked(&stage).first().map(String::as_str), Some("SELECT 1"));
        assert_eq!(stage.processes.borrow().len(), 1);
    });
}
