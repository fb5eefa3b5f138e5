//! Either side dies at each byte, and sessions are dropped at each poll: nobody gets what is not
//! theirs, and no slot is lost.

use crate::stage::{Client, Setup, Stage, Writer, brief, play};
use howdah::session::run;
use howdah::wire::{self, HEADER_LEN, client, server};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::task::spawn_local;

/// Everything that a client says in a script, a request at a time.
fn script() -> Vec<Vec<u8>> {
    let query = |sql: &str| {
        let mut out = Vec::new();
        client::query(&mut out, sql.as_bytes());
        out
    };
    let mut batch = Vec::new();
    client::parse(&mut batch, b"s1", b"SELECT 2", &[0, 0]);
    client::target(&mut batch, client::DESCRIBE, b'S', b"s1");
    client::bind_head(&mut batch, b"", b"s1", 6);
    batch.extend([0; 6]);
    batch.extend(b"E\0\0\0\x09\0\0\0\0\0");
    client::bare(&mut batch, client::SYNC);
    let mut failing = Vec::new();
    client::parse(&mut failing, b"", b"FAIL", &[0, 0]);
    client::bind_head(&mut failing, b"", b"", 6);
    failing.extend([0; 6]);
    failing.extend(b"E\0\0\0\x09\0\0\0\0\0");
    client::bare(&mut failing, client::SYNC);
    let mut copy = query("COPY t FROM STDIN");
    copy.extend(b"d\0\0\0\x061\n");
    client::bare(&mut copy, client::COPY_DONE);
    vec![
        query("SELECT 1"),
        batch,
        query("BEGIN"),
        query("SELECT 3"),
        failing,
        query("ROLLBACK"),
        copy,
    ]
}

/// Plays the script; all bytes that came back.
async fn perform(client: &mut Client, requests: &[Vec<u8>]) -> Vec<u8> {
    let mut seen = Vec::new();
    for request in requests {
        client.send(request).await;
        loop {
            let Some((tag, body)) = client.message().await else { return seen };
            seen.push(tag);
            seen.extend((body.len() as u32 + 4).to_be_bytes());
            seen.extend(&body);
            if tag == server::READY {
                break;
            }
        }
    }
    seen
}

/// The whole frames at the start, in short, and the bytes that follow them.
fn frames(mut bytes: &[u8]) -> (Vec<String>, &[u8]) {
    let mut all = Vec::new();
    while let Ok(Some(header)) = wire::header(bytes, 1 << 24) {
        let Some(body) = bytes.get(HEADER_LEN..header.total()) else { break };
        all.push(brief(header.tag, body));
        bytes = &bytes[header.total()..];
    }
    (all, bytes)
}

/// What the client saw of a script during which its server died.
async fn with_a_death(stage: &Rc<Stage>, requests: &[Vec<u8>]) -> Vec<u8> {
    let mut client = stage.client().await;
    client.send(&requests.concat()).await;
    // Whoever dies at the very end is noticed by the next request, or by nobody.
    let mut end = Vec::new();
    client::query(&mut end, b"SELECT 'end'");
    client.send(&end).await;
    let mut seen = Vec::new();
    let mut readies = 0;
    while readies <= requests.len() {
        match client.some().await {
            None => break,
            Some(bytes) => seen.extend(bytes),
        }
        readies = frames(&seen).0.iter().filter(|frame| frame.starts_with("Z:")).count();
    }
    client.vanish().await;
    if readies > requests.len() {
        // What comes behind the last answer is not the script's: a question of the session's own
        // may be what the server died of.
        let end = seen.windows(6).rposition(|ready| ready == b"Z\0\0\0\x05I").expect("the last");
        seen.truncate(end + 6);
    }
    seen
}

/// Bytes of the first so many frames.
fn whole_frames(bytes: &[u8], count: usize) -> usize {
    (0..count).fold(0, |at, _| {
        let header = wire::header(&bytes[at..], 1 << 24).expect("a length").expect("a header");
        at + header.total()
    })
}

const TOLD: &str = "E:FATAL 08006 server closed the connection unexpectedly";

#[test]
fn a_server_that_dies_anywhere_is_told_of_once() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let requests = script();
        stage.next_dies_at.set(usize::MAX);
        let whole = with_a_death(&stage, &requests).await;
        let written = stage.process(1).state.borrow().written;
        let mut fatal = 0;
        for death in 1..=written {
            // A new process, which has written nothing yet.
            let old = stage.process(stage.processes.borrow().len() as u32);
            stage.reconnect();
            stage.settle().await;
            assert!(!old.state.borrow().open);
            stage.next_dies_at.set(death);
            let seen = with_a_death(&stage, &requests).await;
            stage.settle().await;
            let (mut got, cut) = frames(&seen);
            let mut kept = seen.len();
            if got.last().is_some_and(|last| last.starts_with("E:FATAL")) {
                fatal += 1;
                assert!(cut.is_empty());
                assert_eq!(got.pop().as_deref(), Some(TOLD));
                kept = whole_frames(&seen, got.len());
            } else {
                assert!(!cut.is_empty() || seen == whole, "died at {death} in silence: {got:?}");
            }
            assert!(whole.starts_with(&seen[..kept]), "died at {death}: {got:?}");
        }
        assert!(fatal > 20, "{fatal}");
        stage.reconnect();
        stage.is_healthy().await;
    });
}

#[test]
fn a_client_that_dies_anywhere_leaves_a_clean_server() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let sleeps = [sleep_in_a_transaction(), sleep_behind_a_copy()];
        for bytes in [vec![script().concat()], sleeps.to_vec()].concat() {
            for death in 1..=bytes.len() {
                let mut client = stage.client().await;
                client.send(&bytes[..death]).await;
                client.vanish().await;
                stage.settle().await;
            }
        }
        stage.is_healthy().await;
        let cancels: usize =
            stage.processes.borrow().iter().map(|one| one.state.borrow().cancels).sum();
        assert!(cancels > 0);
    });
}

#[test]
fn a_client_that_dies_between_answers_leaves_a_clean_server() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let requests = script();
        for death in 0..=requests.len() {
            let mut client = stage.client().await;
            perform(&mut client, &requests[..death]).await;
            client.vanish().await;
            stage.settle().await;
            stage.is_healthy().await;
        }
        assert_eq!(stage.processes.borrow().len(), 1, "a clean server was closed");
        let log = stage.process(1).state.borrow().log.clone();
        assert!(log.iter().any(|sql| sql == "ROLLBACK"));
    });
}

fn sleep_in_a_transaction() -> Vec<u8> {
    let mut out = Vec::new();
    for sql in ["BEGIN", "SELECT 1", "SLEEP"] {
        client::query(&mut out, sql.as_bytes());
    }
    out
}

#[test]
fn a_sleeping_statement_is_cancelled_and_rolled_back_for_a_client_that_left() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let mut client = stage.client().await;
        client.ask("BEGIN").await;
        client.query("SLEEP").await;
        stage.breathe().await;
        client.vanish().await;
        stage.settle().await;
        let state = stage.process(1).state.borrow().cancels;
        assert_eq!(state, 1);
        let log = stage.process(1).state.borrow().log.clone();
        // SLEEP is no command that is known to leave nothing behind.
        assert_eq!(log, ["BEGIN", "SLEEP", "ROLLBACK", "DISCARD ALL"]);
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1);
    });
}

/// A copy to its end, and behind it a statement that sleeps.
fn sleep_behind_a_copy() -> Vec<u8> {
    let mut out = Vec::new();
    client::query(&mut out, b"COPY t FROM STDIN");
    out.extend(b"d\0\0\0\x061\n");
    client::bare(&mut out, client::COPY_DONE);
    client::query(&mut out, b"SELECT SLEEP");
    out
}

/// `heard`: what of the copy's answer the server's side has told before the client leaves.
async fn leaves_a_sleep_behind_a_copy(stage: Rc<Stage>, heard: &[u8]) {
    let since = tokio::time::Instant::now();
    let mut client = stage.client().await;
    let bytes = sleep_behind_a_copy();
    let (copy, rest) = bytes.split_at(bytes.iter().position(|&b| b == b'd').expect("data"));
    client.send(copy).await;
    for &tag in heard {
        assert_eq!(client.message().await.map(|(tag, _)| tag), Some(tag));
    }
    client.send(rest).await;
    client.vanish().await;
    stage.settle().await;
    let spent = since.elapsed();
    assert!(spent < std::time::Duration::from_secs(2), "after {spent:?}");
    assert_eq!(stage.process(1).state.borrow().cancels, 1);
    let log = stage.process(1).state.borrow().log.clone();
    assert_eq!(log, ["COPY t FROM STDIN", "SELECT SLEEP"]);
    stage.is_healthy().await;
    assert_eq!(stage.processes.borrow().len(), 1, "a clean server was closed");
}

#[test]
fn a_statement_behind_a_copy_is_cancelled_for_a_client_that_left() {
    for heard in [&b""[..], b"G"] {
        let setup = Setup { pool_size: 1, ..Setup::default() };
        play(setup, async |stage| leaves_a_sleep_behind_a_copy(stage, heard).await);
    }
}

/// The server is in the middle of the copy whose end has been sent, and knows of no sleep yet.
#[test]
fn a_copy_that_does_not_end_is_cancelled_and_what_is_behind_it() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let mut client = stage.client().await;
        client.query("COPY t FROM STDIN").await;
        assert_eq!(client.message().await.map(|(tag, _)| tag), Some(server::COPY_IN));
        stage.process(1).state.borrow_mut().deaf = true;
        let bytes = sleep_behind_a_copy();
        client.send(&bytes[bytes.iter().position(|&b| b == b'd').expect("data")..]).await;
        client.vanish().await;
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert!(stage.process(1).state.borrow().cancels > 1, "given up");
        stage.process(1).listen();
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1, "a clean server was closed");
    });
}

#[test]
fn a_copy_is_failed_for_a_client_that_left() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let mut client = stage.client().await;
        client.query("COPY t FROM STDIN").await;
        assert_eq!(client.message().await.map(|(tag, _)| tag), Some(server::COPY_IN));
        client.send(b"d\0\0\0\x061\n").await;
        client.vanish().await;
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1);
        assert_eq!(stage.process(1).state.borrow().log, ["COPY t FROM STDIN", "SELECT 1"]);
    });
}

/// Polls a future so many times at most, then drops it; whether it ended by itself.
async fn limited(mut future: Pin<Box<dyn Future<Output = ()>>>, mut left: usize) -> bool {
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            // Dropped at the next wake-up, or now if that was the last poll.
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// In small pieces, so that there are many polls.
async fn send_in_pieces(mut writer: Writer, bytes: Vec<u8>) {
    for piece in bytes.chunks(16) {
        if tokio::io::AsyncWriteExt::write_all(&mut writer, piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_session_that_is_dropped_at_any_poll_leaks_no_slot() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        let bytes = [script(), vec![sleep_in_a_transaction()]].concat().concat();
        let mut ended = false;
        for polls in 1..60 {
            let (session_start, pipe) = stage.session_start();
            let session = Box::pin(run(session_start, Rc::clone(&stage.worker)));
            let task = spawn_local(limited(session, polls));
            let (mut reader, writer) = tokio::io::split(pipe);
            let sender = spawn_local(send_in_pieces(writer, bytes.clone()));
            let mut seen = Vec::new();
            let reading = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut seen);
            // The last statement sleeps: the client does not wait for it for ever.
            drop(tokio::time::timeout(std::time::Duration::from_secs(1), reading).await);
            sender.await.expect("the sender ended");
            if task.is_finished() {
                assert!(!task.await.expect("the session did not panic"));
            } else {
                ended = true;
                task.abort();
            }
            stage.settle().await;
        }
        assert!(ended, "no session got through all polls");
    });
}

/// Longest until the death of an idle server is noticed: a sweep takes a second, and asks those that
/// have idled for one.
const NOTICED: std::time::Duration = std::time::Duration::from_secs(3);

#[test]
fn a_server_that_dies_idle_is_noticed_and_replaced() {
    for last_words in ["", "terminating connection due to administrator command"] {
        play(Setup { min_pool_size: 2, ..Setup::default() }, async |stage| {
            tokio::time::sleep(NOTICED).await;
            assert_eq!(stage.counts().idle, 2);
            for process in stage.processes.borrow().iter() {
                process.end(last_words);
            }
            tokio::time::sleep(NOTICED).await;
            let counts = stage.counts();
            assert_eq!((counts.idle, counts.opening, counts.stats.openings), (2, 0, 4));
            let open: Vec<_> =
                stage.processes.borrow().iter().map(|one| one.state.borrow().open).collect();
            assert_eq!(open, [false, false, true, true]);
            stage.is_healthy().await;
        });
    }
}

#[test]
fn an_idle_server_that_only_speaks_stays() {
    play(Setup { pool_size: 1, ..Setup::default() }, async |stage| {
        stage.is_healthy().await;
        stage.process(1).reports("Mars/Olympus");
        tokio::time::sleep(NOTICED).await;
        assert_eq!(stage.counts().idle, 1);
        stage.is_healthy().await;
        assert_eq!(stage.processes.borrow().len(), 1);
    });
}
