//! How bytes flow: in any pieces, bounded, and without memory for those who are silent.

use crate::stage::{Setup, Stage, play};
use howdah::session::route::Mode;
use howdah::session::{SESSION_BYTES, run};
use howdah::wire::client;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of a session's future. With its handle, its place and its task's header it is what an idle
/// client costs; the promise is 3 KiB for all of it.
const FUTURE_MAX: usize = 1536;

#[test]
fn a_session_is_small() {
    play(Setup::default(), async |stage| {
        let (session_start, _pipe) = stage.session_start();
        // The future only points to the session: both count.
        let size = size_of_val(&run(session_start, Rc::clone(&stage.worker))) + SESSION_BYTES;
        println!("a session's future has {size} bytes");
        assert!(size <= FUTURE_MAX, "{size}");
    });
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn a_silent_client_keeps_no_buffer() {
    const CLIENTS: usize = 2_000;
    // Small pipes: what a pipe keeps is not the session's.
    let setup = Setup { client_pipe: 512, ..Setup::default() };
    play(setup, async |stage| {
        let sql = format!("SELECT 1 -- {}", "x".repeat(30_000));
        let before = resident();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = stage.client().await;
            assert_eq!(client.ask(&sql).await, "T D C:SELECT 1 Z:I");
            client.query("ROWS 40").await;
            assert!(client.answer().await.ends_with("C:SELECT 40 Z:I"));
            client.shrink();
            clients.push(client);
        }
        let each = (resident().saturating_sub(before)) as f64 / CLIENTS as f64;
        println!("a silent client keeps {each:.2} KiB, its test pipe included");
        // Other tests of this process run meanwhile. A buffer of 8 KiB would show.
        assert!(each < 12.0, "{each} KiB");
    });
}

/// All that a client sees of a session of every kind of request.
async fn transcript(stage: Rc<Stage>) -> String {
    let mut client = stage.client().await;
    let mut batch = Vec::new();
    client::parse(&mut batch, b"s1", b"SELECT 2", &[0, 0]);
    for _ in 0..2 {
        client::bind_head(&mut batch, b"", b"s1", 6);
        batch.extend([0; 6]);
        client::target(&mut batch, client::DESCRIBE, b'P', b"");
        batch.extend(b"E\0\0\0\x09\0\0\0\0\0");
    }
    client::bare(&mut batch, client::SYNC);
    let mut copy = Vec::new();
    client::query(&mut copy, b"COPY t FROM STDIN");
    copy.extend(b"d\0\0\0\x061\n");
    client::bare(&mut copy, client::COPY_DONE);
    let mut all = String::new();
    for request in [&batch, &copy, &batch] {
        // A client that writes all before it reads would need room for the answers in its pipe.
        let sent = client.send_in_background(request.clone());
        all.push_str(&client.answer().await);
        all.push('\n');
        client.take_back(sent).await;
    }
    for sql in ["BEGIN", "SELECT 1", "FAIL", "SELECT 1", "ROLLBACK", "ROWS 3", "SET a = 1"] {
        all.push_str(&client.ask(sql).await);
        all.push('\n');
    }
    client.leave().await;
    stage.is_healthy().await;
    all
}

#[test]
fn any_pieces_of_the_bytes_give_the_same_answers() {
    let mut seen = Vec::new();
    for (client_pipe, server_pipe) in [(65_536, 65_536), (1, 1), (1, 65_536), (65_536, 1), (7, 3)] {
        play(Setup { client_pipe, server_pipe, ..Setup::default() }, async |stage| {
            seen.push(transcript(stage).await);
        });
    }
    assert!(seen[0].contains("C:COPY 1 Z:I") && seen[0].contains("25P02"), "{}", seen[0]);
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
}

/// What may be on its way: a pipe, and what one poll reads.
const ON_ITS_WAY: usize = 512 * 1024;

#[test]
fn a_client_that_does_not_read_stops_its_server() {
    const ROWS: usize = 20_000;
    play(Setup { client_pipe: 4096, ..Setup::default() }, async |stage| {
        let mut client = stage.client().await;
        client.query(&format!("ROWS {ROWS}")).await;
        stage.breathe().await;
        let written = stage.process(1).state.borrow().written;
        assert!(written < ON_ITS_WAY, "{written} bytes were read for a client that takes none");
        let answer = client.answer().await;
        assert!(answer.ends_with("C:SELECT 20000 Z:I"));
        assert_eq!(answer.matches('D').count(), ROWS);
        client.leave().await;
        stage.is_healthy().await;
    });
}

#[test]
fn a_server_that_does_not_read_stops_its_client() {
    play(Setup { server_pipe: 4096, ..Setup::default() }, async |stage| {
        let mut client = stage.client().await;
        let process = stage.process(1);
        process.state.borrow_mut().deaf = true;
        let mut query = Vec::new();
        client::query(&mut query, format!("SELECT 1 -- {}", "x".repeat(1_000)).as_bytes());
        let count = 4_000;
        let sent = client.send_in_background(query.repeat(count));
        stage.breathe().await;
        assert!(!sent.is_finished(), "{} bytes are held", count * query.len());
        process.listen();
        for _ in 0..count {
            assert_eq!(client.answer().await, "T D C:SELECT 1 Z:I");
        }
        client.take_back(sent).await;
        client.leave().await;
        stage.is_healthy().await;
    });
}

#[test]
fn a_pipelining_client_that_does_not_read_is_no_deadlock() {
    let setup = Setup { client_pipe: 4096, server_pipe: 4096, ..Setup::default() };
    play(setup, async |stage| {
        let mut client = stage.client().await;
        let mut query = Vec::new();
        client::query(&mut query, b"ROWS 5");
        let count = 2_000;
        let sent = client.send_in_background(query.repeat(count));
        stage.breathe().await;
        assert!(stage.process(1).state.borrow().written < ON_ITS_WAY);
        for _ in 0..count {
            assert_eq!(client.answer().await, "T D D D D D C:SELECT 5 Z:I");
        }
        client.take_back(sent).await;
        client.leave().await;
        stage.is_healthy().await;
    });
}

/// A RESET in a transaction holds back what follows its batches; a query that comes in parts is not
/// held back from itself.
#[test]
fn a_long_query_behind_a_reset_in_a_transaction_arrives_whole() {
    for mode in [Mode::Session, Mode::Transaction] {
        let mut setup = Setup { pool_size: 1, ..Setup::default() };
        setup.options.mode = mode;
        play(setup, async |stage| {
            let mut client = stage.client_with_settings().await;
            client.ask("BEGIN").await;
            client.ask("RESET application_name").await;
            let long = format!("SELECT '{}'", "x".repeat(1 << 20));
            assert_eq!(client.ask(&long).await, "T D C:SELECT 1 Z:T", "{mode:?}");
            assert_eq!(client.ask("COMMIT").await, "C:COMMIT Z:I", "{mode:?}");
            client.leave().await;
            stage.is_healthy().await;
        });
    }
}

#[test]
fn what_is_held_gets_a_server_of_which_only_the_kernel_was_asked() {
    let mut setup = Setup { sockets: true, pool_size: 1, ..Setup::default() };
    setup.options.server_check_query = Some("SELECT 3".into());
    setup.options.server_check_delay = Duration::from_millis(10);
    play(setup, async |stage| {
        let mut client = stage.client().await;
        assert_eq!(client.ask("SELECT 1").await, "T D C:SELECT 1 Z:I");
        // The server is idle for as long as the question takes what the first text has done.
        stage.process(1).state.borrow_mut().checks_take = Duration::from_millis(20);
        let mut both = Vec::new();
        let first = "PREPARE x AS SELECT 1; SELECT set_config('timezone','UTC',false)";
        client::query(&mut both, first.as_bytes());
        client::query(&mut both, b"SELECT 2");
        client.send(&both).await;
        assert!(client.answer().await.ends_with("Z:I"));
        assert_eq!(client.answer().await, "T D C:SELECT 1 Z:I");
        client.leave().await;
        stage.is_healthy().await;
    });
}
