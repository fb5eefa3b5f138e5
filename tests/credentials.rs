//! Passwords for servers: each login uses its own, and only as long as the configuration has it.

mod support;

use support::behaviour::{eventually, hint, last_words, refusal, settings, succeeded, told, value};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{APP, PASSWORD, Postgres};
use support::wire::{Wire, lines};

/// `settings` with one more database on the shared server, whose servers log in as [`APP`].
fn with_entry(settings: Settings, name: &str, password: &str) -> Settings {
    settings
        .database(name, Postgres::shared().address())
        .set(&format!("databases.{name}.dbname"), "app")
        .set(&format!("databases.{name}.user"), APP)
        .set(&format!("databases.{name}.password"), password)
}

const WRONG: &str = "FATAL 28P01";

/// The login of a client to this entry: whether it is let in, or how it is refused.
fn entered(howdah: &Howdah, database: &str) -> Result<(), String> {
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(&[("user", "whoever"), ("database", database)], "");
    if succeeded(&frames) {
        assert_eq!(value(&mut wire, "SELECT current_user"), APP, "{}", lines(&frames));
        return Ok(());
    }
    let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error");
    Err(told(error).split(' ').take(2).collect::<Vec<_>>().join(" "))
}

#[test]
fn a_wrong_password_beside_a_right_one_of_the_same_user_is_refused() {
    let base = settings("app", "transaction");
    let base = base.set("howdah.admin_users", vec!["boss"]);
    let howdah = Howdah::start(&with_entry(with_entry(base, "good", PASSWORD), "bad", "wr0ng"));
    assert_eq!(entered(&howdah, "good"), Ok(()));
    assert_eq!(entered(&howdah, "bad"), Err(WRONG.to_owned()));
    assert_eq!(entered(&howdah, "good"), Ok(()));
    // Neither does the wrong password hurt the right one, nor does the right one help by its servers.
    Wire::login(howdah.address(), "boss", "howdah").run("RECONNECT");
    assert_eq!(entered(&howdah, "bad"), Err(WRONG.to_owned()));
    assert_eq!(entered(&howdah, "good"), Ok(()));
}

#[test]
fn a_password_that_is_taken_out_of_the_configuration_opens_no_server() {
    let base = settings("app", "transaction").set("howdah.admin_users", vec!["boss"]);
    let before = with_entry(base.clone(), "good", PASSWORD);
    let howdah = Howdah::start(&before);
    assert_eq!(entered(&howdah, "good"), Ok(()));
    let after =
        base.database("good", Postgres::shared().address()).set("databases.good.dbname", "app");
    let after = after.set("databases.good.user", APP);
    howdah.configure(&after);
    let mut console = Wire::login(howdah.address(), "boss", "howdah");
    console.run("RELOAD");
    console.run("RECONNECT");
    eventually("the servers of the old password are closed", || {
        console.rows("SHOW SERVERS").is_empty()
    });
    // What a server says at login is known, so that the first statement needs one.
    let mut wire = Wire::login(howdah.address(), "whoever", "good");
    wire.send(&messages::query("SELECT current_user"));
    let error = last_words(&mut wire);
    assert!(told(&error).starts_with("FATAL 28"), "{}", error.line());
}

/// The client has given no password at all: it must not look for a mistake of its own.
#[test]
fn a_wrong_password_of_the_configuration_is_told_as_the_poolers_and_not_the_clients() {
    let base = settings("app", "transaction");
    let howdah = Howdah::start(&with_entry(base, "bad", "wr0ng"));
    let mut wire = Wire::tcp(howdah.address());
    let error = refusal(&mut wire, &[("user", "whoever"), ("database", "bad")], "");
    let words = "FATAL 28P01 the pooler could not log in to the server: ";
    assert!(told(&error).starts_with(words), "{}", error.line());
    assert!(hint(&error).contains("not your password"), "{}", error.line());
    assert!(hint(&error).contains("administrator"), "{}", error.line());
}

/// The server asks for a password, and the configuration has none.
#[test]
fn a_secret_that_does_not_serve_is_told_as_the_poolers() {
    let base = settings("app", "transaction");
    let howdah = Howdah::start(&base.clone().set("databases.app.user", APP));
    let mut wire = Wire::tcp(howdah.address());
    let error = refusal(&mut wire, &[("user", "whoever"), ("database", "app")], "");
    assert_eq!(told(&error), "FATAL 28000 the pooler could not log in to the server");
    assert!(hint(&error).contains("administrator"), "{}", error.line());
}
