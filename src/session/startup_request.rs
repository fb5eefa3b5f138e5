//! What a startup packet asks for, sorted by how a pooled server can give it. Pure.
//!
//! Every parameter that PostgreSQL takes is taken: most become settings of the session, given to
//! each server it uses; those that only a server's own startup can set make the server the
//! session's own (manual, "Parameter Interaction via the Startup Message").

use super::own::{SESSION_ATTRS, Values, is_own_name};
use crate::fault::{Fault, Side};
use crate::wire::StartupParameters;

/// Bytes of a user's or database's name that count (`NAMEDATALEN` - 1).
const NAME_MAX: usize = 63;

/// Settings that can be given at startup only (context `backend` and `superuser-backend`).
const STARTUP_ONLY: &[&str] = &[
    "ignore_system_indexes",
    "jit_debugging_support",
    "jit_profiling_support",
    "log_connections",
    "log_disconnections",
    "post_auth_delay",
];

/// Settings of howdah's own, in order; names in lower case.
type OwnPairs = Vec<(String, String)>;

/// What a startup packet asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StartupRequest {
    /// The user.
    pub user: String,
    /// The database; by default named like the user.
    pub database: String,
    /// Settings for the session, in order.
    pub settings: Vec<(String, String)>,
    /// Settings of howdah's own, which no server gets.
    pub own: Values,
    /// Parameters for a server of its own; empty when any server will do.
    pub extras: Vec<(String, String)>,
    /// Protocol options that are unknown here. The client is told so.
    pub unknown_options: Vec<Vec<u8>>,
}

fn text(bytes: &[u8], what: &str) -> Result<String, Fault> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        Fault::session(
            Side::Client,
            "08P01",
            format!("startup parameter {what} is not valid UTF-8"),
        )
    })
}

fn name(bytes: &[u8], what: &str) -> Result<String, Fault> {
    let mut whole = text(bytes, what)?;
    let end = (0..=NAME_MAX.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at));
    whole.truncate(end.unwrap_or(0));
    Ok(whole)
}

/// The text with a question mark in the place of each byte that is not printable ASCII.
fn printable(bytes: &[u8]) -> String {
    let shown = |&byte: &u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
    bytes.iter().map(shown).collect()
}

/// Sorts the parameters of a startup packet; those in `ignored` (in lower case) are dropped.
///
/// # Errors
/// What PostgreSQL refuses too: no user, text that is not UTF-8, or a wrong value of a setting of
/// howdah's own.
pub fn read_startup_request(
    parameters: StartupParameters<'_>,
    ignored: &[String],
) -> Result<StartupRequest, Fault> {
    let (mut startup, mut own) = (StartupRequest::default(), OwnPairs::new());
    // Parameters stand behind the switches in `options`, whatever their order: they win.
    if let Some((_, options)) = parameters.filter(|(key, _)| *key == b"options").last() {
        startup.apply_options(&text(options, "options")?, ignored, &mut own);
    }
    for (key, value) in parameters {
        match key {
            b"user" => startup.user = name(value, "user")?,
            b"database" => startup.database = name(value, "database")?,
            b"options" => {}
            b"replication" => {
                let value = text(value, "replication")?;
                if !is_off(&value) {
                    startup.extras.push(("replication".to_owned(), value));
                }
            }
            _ if key.starts_with(b"_pq_.") => startup.unknown_options.push(key.to_vec()),
            _ => {
                let key = text(key, "name")?;
                let value = match text(value, "value") {
                    // PostgreSQL takes it in any encoding, and keeps no more than this of it.
                    Err(_) if key.eq_ignore_ascii_case("application_name") => printable(value),
                    value => value?,
                };
                startup.set(key, value, ignored, &mut own);
            }
        }
    }
    startup.own = Values::at_startup(&own)?;
    if startup.user.is_empty() {
        return Err(Fault::session(
            Side::Client,
            "28000",
            "no PostgreSQL user name specified in startup packet",
        )
        .pgbouncer("no username supplied"));
    }
    if startup.database.is_empty() {
        startup.database = startup.user.clone();
    }
    Ok(startup)
}

/// Whether a boolean startup parameter says no.
fn is_off(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    ["0", "n", "no", "f", "fa", "fal", "fals", "false", "of", "off"].contains(&value.as_str())
}

impl StartupRequest {
    fn set(&mut self, key: String, value: String, ignored: &[String], own: &mut OwnPairs) {
        let folded = key.to_ascii_lowercase();
        if ignored.contains(&folded) {
            return;
        }
        if is_own_name(&folded) || folded == SESSION_ATTRS {
            own.push((folded, value));
        } else if STARTUP_ONLY.contains(&folded.as_str()) {
            self.extras.push((key, value));
        } else {
            self.settings.push((folded, value));
        }
    }

    /// The switches in `options` that set something become settings; any other switch is for a
    /// server of its own.
    fn apply_options(&mut self, options: &str, ignored: &[String], own: &mut OwnPairs) {
        let mut words = split(options).into_iter();
        let mut others = Vec::new();
        while let Some(word) = words.next() {
            let (setting, taken) = if let Some(rest) = word.strip_prefix("--") {
                (Some(rest.to_owned()), None)
            } else if word == "-c" {
                let next = words.next();
                (next.clone(), next)
            } else {
                (word.strip_prefix("-c").map(str::to_owned), None)
            };
            match setting.as_deref().and_then(|setting| setting.split_once('=')) {
                Some((key, value)) => {
                    self.set(key.replace('-', "_"), value.to_owned(), ignored, own)
                }
                // The word itself, and the one that it took.
                None => others.extend([word].into_iter().chain(taken)),
            }
        }
        if !others.is_empty() {
            let joined: Vec<String> = others.iter().map(|word| escape(word)).collect();
            self.extras.push(("options".to_owned(), joined.join(" ")));
        }
    }
}

/// Splits command-line options at white space; a backslash makes the next character plain.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ if character.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Undone by [`split`]. A word without characters can only be the last: a backslash at the end.
fn escape(word: &str) -> String {
    if word.is_empty() {
        return "\\".to_owned();
    }
    let mut out = String::new();
    for character in word.chars() {
        if character == '\\' || character.is_ascii_whitespace() {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::freshness::Level;
    use crate::session::own::Wish;
    use crate::wire::{First, first, startup_message};

    fn sorted(pairs: &[(&str, &str)]) -> Result<StartupRequest, Fault> {
        let mut packet = Vec::new();
        let bytes = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        startup_message(&mut packet, bytes);
        let First::Startup { parameters, .. } = first(&packet).unwrap() else { panic!() };
        read_startup_request(parameters, &["ignored".to_owned()])
    }

    #[test]
    fn an_application_name_may_be_in_any_encoding() {
        let mut packet = Vec::new();
        let pairs: [(&[u8], &[u8]); 2] = [(b"user", b"u"), (b"Application_Name", b"caf\xe9 1")];
        startup_message(&mut packet, pairs.into_iter());
        let First::Startup { parameters, .. } = first(&packet).unwrap() else { panic!() };
        let startup = read_startup_request(parameters, &[]).unwrap();
        assert_eq!(startup.settings, owned(&[("application_name", "caf? 1")]));
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_database_is_named_like_the_user() {
        let startup = sorted(&[("user", "bob")]).unwrap();
        assert_eq!((startup.user.as_str(), startup.database.as_str()), ("bob", "bob"));
        assert_eq!(sorted(&[("database", "x")]).unwrap_err().code, "28000");
    }

    #[test]
    fn names_are_cut_where_postgresql_cuts_them() {
        let startup = sorted(&[("user", &"ä".repeat(40))]).unwrap();
        assert_eq!(startup.user, "ä".repeat(31));
    }

    #[test]
    fn options_become_settings() {
        let options = r"-c a.b=1 --work-mem=4MB -csearch_path=x\ y -c ignored=1";
        let startup = sorted(&[("user", "u"), ("DateStyle", "ISO"), ("options", options)]).unwrap();
        let expected =
            [("a.b", "1"), ("work_mem", "4MB"), ("search_path", "x y"), ("datestyle", "ISO")];
        assert_eq!(startup.settings, owned(&expected));
        assert!(startup.extras.is_empty());
    }

    #[test]
    fn settings_of_our_own_are_no_servers() {
        let startup = sorted(&[
            ("user", "u"),
            ("Target_Session_Attrs", "read-only"),
            ("options", "-c Howdah.Consistency=global --howdah.notice=on -c work_mem=4MB"),
        ])
        .unwrap();
        assert_eq!(startup.own.route, Some(Wish::Standby));
        assert_eq!(startup.own.consistency, Some(Level::Global));
        assert_eq!(startup.own.notice, Some(true));
        assert_eq!(startup.settings, owned(&[("work_mem", "4MB")]));
        let wrong = sorted(&[("user", "u"), ("target_session_attrs", "primry")]).unwrap_err();
        assert_eq!((wrong.code, wrong.severity()), ("22023", "FATAL"));
    }

    #[test]
    fn what_only_startup_can_set_asks_for_an_own_server() {
        let startup = sorted(&[
            ("user", "u"),
            ("replication", "database"),
            ("options", r"-c log_connections=on -d 5 -c geqo=off"),
        ])
        .unwrap();
        let extras = [("log_connections", "on"), ("options", "-d 5"), ("replication", "database")];
        assert_eq!(startup.extras, owned(&extras));
        assert_eq!(startup.settings, owned(&[("geqo", "off")]));
        assert!(sorted(&[("user", "u"), ("replication", "off")]).unwrap().extras.is_empty());
    }

    #[test]
    fn switches_reach_the_own_server_as_they_came() {
        for options in ["--help", "-cgeqo", "-c geqo -d 5", "-c", "-d \\", r"a\ b -c c\\d"] {
            let startup = sorted(&[("user", "u"), ("options", options)]).unwrap();
            assert_eq!(startup.extras, owned(&[("options", options)]), "{options}");
            assert!(startup.settings.is_empty());
        }
    }
}
