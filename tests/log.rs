//! The log under names that clients choose.

mod support;

use support::behaviour::{eventually, settings};
use support::howdah::Howdah;
use support::messages;
use support::wire::Wire;

const USER: &str = "\u{1b}[2Jx peer=9.9.9.9 user=\"root\"";
const DATABASE: &str = "no\u{1b}[31m such\npeer=8.8.8.8";
const APPLICATION: &str = "a\u{1b}]0;b peer=7.7.7.7";

/// A login that fails in the pooler, one that fails on the server, a session, and a cancelled wait:
/// whatever is logged of them.
#[test]
fn names_with_escapes_and_fields_are_quoted_in_every_line() {
    let settings = settings("log_names", "transaction").set("log.level", "debug");
    let howdah = Howdah::start(&settings);
    for (user, database) in [(USER, DATABASE), (USER, "log_names"), ("rider", DATABASE)] {
        let mut wire = Wire::tcp(howdah.address());
        let who = [("user", user), ("database", database), ("application_name", APPLICATION)];
        drop(wire.start(&who, ""));
    }
    let mut wire = Wire::tcp(howdah.address());
    drop(wire.start(
        &[("user", "rider"), ("database", "log_names"), ("application_name", APPLICATION)],
        "",
    ));
    wire.send(&messages::query("SELECT 1"));
    drop(wire.until(b'Z'));
    wire.disconnect();
    eventually("the lines of four clients", || {
        let log = howdah.log();
        log.matches("login failed").count() >= 3 && log.contains("closing because")
    });
    let log = howdah.log();
    assert!(!log.contains('\u{1b}'), "{log}");
    for line in log.lines() {
        // Outside of quotes there is at most one peer, and it is the real one.
        let outside = outside_of_quotes(line);
        assert!(outside.matches("peer=").count() <= 1, "{line}");
        for forged in ["9.9.9.9", "8.8.8.8", "7.7.7.7"] {
            assert!(!outside.contains(forged), "{line}");
        }
        assert!(line.starts_with(|first: char| first.is_ascii_digit()), "{line}");
    }
}

/// What of a line is not within quotes; a quote behind a backslash ends nothing.
fn outside_of_quotes(line: &str) -> String {
    let (mut outside, mut quoted, mut escaped) = (String::new(), false, false);
    for sign in line.chars() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            sign if !quoted => outside.push(sign),
            _ => {}
        }
    }
    outside
}
