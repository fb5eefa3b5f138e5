//! Lines that come out, and those that do not.

use super::*;
use crate::config::Secret;
use parking_lot::Mutex;
use std::sync::mpsc::Sender;
use tracing::dispatcher::with_default;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("UTF-8")
    }
}

/// Everything written while `log` ran, the end included.
fn logged(level: LogLevel, format: LogFormat, log: impl FnOnce(&Logging)) -> String {
    let memory = Memory::default();
    let (logging, dispatch) =
        build(level, Lines::Own(format), Style::default(), memory.clone()).expect("starts");
    with_default(&dispatch, || log(&logging));
    drop(logging);
    memory.text()
}

#[test]
fn text_lines_carry_the_fields_of_their_session() {
    let text = logged(LogLevel::Info, LogFormat::Text, |_| {
        let span = tracing::info_span!("session", connection = 7, client = "10.0.0.9:4711");
        let _entered = span.enter();
        let password = Secret::new("hunter2".into());
        tracing::info!(user = "bob", database = "app", %password, "login");
    });
    let (_, rest) = text.split_once(' ').expect("a time");
    assert_eq!(
        rest.trim_start(),
        "INFO session{connection=7 client=\"10.0.0.9:4711\"}: howdah::app::logging::tests: \
         login user=\"bob\" database=\"app\" password=***\n"
    );
}

#[test]
fn json_lines_are_one_object_each() {
    let text = logged(LogLevel::Info, LogFormat::Json, |_| {
        let _entered = tracing::info_span!("session", connection = 7).entered();
        tracing::warn!(user = "b\"ob", "a\nb");
    });
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    for part in [
        r#""level":"WARN""#,
        r#""message":"a\nb""#,
        r#""user":"b\"ob""#,
        r#""span":{"connection":7,"name":"session"}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn lines_for_the_journal_begin_with_their_priorities() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let memory = Memory::default();
        let style = Style { priorities: true, ..Style::default() };
        let (logging, dispatch) =
            build(LogLevel::Debug, Lines::Own(format), style, memory.clone()).expect("starts");
        with_default(&dispatch, || {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!("three");
            tracing::debug!("four");
        });
        drop(logging);
        let text = memory.text();
        let starts: Vec<_> = text.lines().filter_map(|line| line.get(..3)).collect();
        assert_eq!(starts, ["<3>", "<4>", "<6>", "<7>"], "{text}");
    }
}

#[test]
fn the_level_counts_and_can_be_changed() {
    let text = logged(LogLevel::Warn, LogFormat::Text, |logging| {
        tracing::info!("one");
        tracing::warn!("two");
        logging.set_level(LogLevel::Debug);
        tracing::debug!("three");
        tracing::info!(target: "rustls", "four");
        tracing::warn!(target: "rustls", "five");
        logging.set_level(LogLevel::Error);
        tracing::warn!("six");
    });
    let words: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(words, ["two", "three", "five"], "{text}");
}

#[test]
fn equal_lines_are_summed_up_at_the_end() {
    let text = logged(LogLevel::Info, LogFormat::Text, |_| {
        for connection in 0..EQUAL_LINES + 30 {
            tracing::info!(connection, "client connected");
        }
    });
    let lines: Vec<&str> = text.lines().collect();
    let summed: u32 = lines
        .iter()
        .filter_map(|line| line.split_once("repeated ")?.1.split(' ').next()?.parse::<u32>().ok())
        .sum();
    let plain = lines.iter().filter(|line| !line.contains("repeated ")).count();
    // A window may end in the middle, so only the sum is certain.
    assert_eq!(u32::try_from(plain).expect("few") + summed, EQUAL_LINES + 30, "{text}");
    assert!(summed > 0 && text.contains("times: client connected from="), "{text}");
}

/// Blocks in its first write until it is told to go on.
struct Blocked {
    entered: Sender<()>,
    go_on: Receiver<()>,
    blocked: bool,
    memory: Memory,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.blocked {
            self.blocked = false;
            self.entered.send(()).expect("the test waits");
            self.go_on.recv().expect("the test goes on");
        }
        self.memory.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "two single messages of a test")]
fn a_blocked_reader_costs_lines_and_the_loss_is_logged() {
    let (entered, has_entered) = std::sync::mpsc::channel();
    let (let_go, go_on) = std::sync::mpsc::channel();
    let memory = Memory::default();
    let output = Blocked { entered, go_on, blocked: true, memory: memory.clone() };
    let (logging, dispatch) =
        build(LogLevel::Info, Lines::Own(LogFormat::Text), Style::default(), output)
            .expect("starts");
    with_default(&dispatch, || {
        tracing::info!("first");
        has_entered.recv().expect("the writer writes");
        // Each message is another, so that none counts as repeated.
        for number in 0..QUEUE_LINES + 5 {
            tracing::info!("line {number}");
        }
        assert_eq!(logging.dropped_lines(), 5);
        let_go.send(()).expect("the writer waits");
    });
    drop(logging);
    let text = memory.text();
    assert!(text.contains("log lines lost: standard error is slow lines=5"), "{text}");
    assert!(text.contains(&format!("line {}\n", QUEUE_LINES - 1)), "the queue was written");
}

#[test]
fn lines_as_pgbouncers_say_whose_they_are_in_front() {
    let memory = Memory::default();
    let (logging, dispatch) =
        build(LogLevel::Debug, Lines::PgBouncer, Style::default(), memory.clone()).expect("starts");
    with_default(&dispatch, || {
        let (user, peer) = ("bob", "10.0.0.9:4711");
        tracing::info!(
            client = 31u64, %peer, user, database = "app", age = 3u64, "closing because: reason"
        );
        tracing::warn!(
            server = 7u64, %peer, user = "", database = "", code = "08P01", "pooler error: a\nb"
        );
        tracing::debug!("plain {}", 1);
        (0..100).for_each(|_| tracing::error!(client = 1u64, lines = 5, "again"));
    });
    drop(logging);
    let text = memory.text();
    let mut lines = text.lines().map(|line| line.splitn(5, ' ').collect::<Vec<_>>());
    let mut next = || lines.next().expect("a line");
    let first = next();
    let (date, time, zone) = (first[0], first[1], first[2]);
    assert!(date.len() == 10 && time.len() == 12 && !zone.is_empty(), "{text}");
    assert_eq!(first[3], format!("[{}]", std::process::id()));
    let whose = "C-0x1f: app/bob@10.0.0.9:4711";
    assert_eq!(first[4], format!("LOG {whose} closing because: reason (age=3s)"));
    let server = "WARNING S-0x7: (nodb)/(nouser)@10.0.0.9:4711 pooler error: a?b";
    assert_eq!(next()[4], server);
    assert_eq!(next()[4], "DEBUG plain 1");
    assert_eq!(next()[4], "ERROR C-0x1: (nodb)/(nouser)@(unknown) again lines=5");
    assert_eq!(lines.count(), 99, "each is written");
}

#[test]
fn nobody_begins_a_line_of_his_own() {
    let text = logged(LogLevel::Info, LogFormat::Text, |_| {
        let user = "x\n2026-11-25 INFO howdah: all is well\r";
        tracing::info!(%user, "login failed: role \"{user}\" does not exist");
    });
    assert_eq!((text.lines().count(), text.contains('\r')), (1, false), "{text}");
}

/// A client chooses these names, and our fields come behind them.
#[test]
fn names_pass_for_nothing_but_themselves() {
    let user = "x peer=9.9.9.9 database=\"other\"";
    let text = logged(LogLevel::Info, LogFormat::Text, |_| {
        tracing::info!(%user, peer = %"10.0.0.9:1", "login failed: role \"{user}\" is not there");
        tracing::info!(user, application_name = %"a\u{1b}[2Jb", "closing because: \u{1b}[2J");
        tracing::info!(database = %"two words", "server login failed: no such user");
    });
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split("tests: ").nth(1)).collect();
    let quoted = format!("{user:?}");
    let message = format!("{:?}", format!("login failed: role \"{user}\" is not there"));
    assert_eq!(
        lines,
        [
            format!("{message} user={quoted} peer=10.0.0.9:1"),
            format!(
                r#""closing because: \u{{1b}}[2J" user={quoted} application_name="a\u{{1b}}[2Jb""#
            ),
            r#"server login failed: no such user database="two words""#.to_owned(),
        ]
    );
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn names_in_pgbouncers_lines_are_one_word() {
    let memory = Memory::default();
    let (logging, dispatch) =
        build(LogLevel::Debug, Lines::PgBouncer, Style::default(), memory.clone()).expect("starts");
    with_default(&dispatch, || {
        let (user, peer) = ("a b@1.1.1.1 x", "10.0.0.9:4711");
        tracing::info!(client = 1u64, %peer, user, database = "d/\u{1b}e", what = %"y z=1", "end");
    });
    drop(logging);
    let text = memory.text();
    let line = r#"C-0x1: d\x2f\x1be/a\x20b\x401.1.1.1\x20x@10.0.0.9:4711 end what="y z=1""#;
    assert!(text.trim_end().ends_with(line), "{text}");
}
