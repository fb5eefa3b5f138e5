//! Pgpool-II's settings of load balancing as ours: what a value becomes.
//!
//! Pgpool-II knows regular expressions, between `^` and `$` and without case; ours are names with `*`.
//! What the one says in the other's words is translated, and the rest is named.

use std::fmt::Write;

use super::convert::{Converted, Ground, flag, parts, word};
use super::draft::{list, quoted};

/// Most names that one expression may stand for.
const MAX_NAMES: usize = 64;

/// `load_balance_mode`.
pub(super) fn balance(text: &str, ground: &Ground) -> Result<Converted, String> {
    let on = flag(text, ground)? == Converted::Same("true".to_owned());
    Ok(Converted::Same(quoted(if on { "on" } else { "off" })))
}

/// `disable_load_balance_on_write`: what a read may rely on.
pub(super) fn consistency(text: &str, _: &Ground) -> Result<Converted, String> {
    const WORDS: &[&str] = &[
        "off",
        "transaction",
        "trans_transaction",
        "always",
        "dml_adaptive",
        "dml_adaptive_global",
    ];
    let near = |level: &str, how: &str| Ok(Converted::Near(quoted(level), how.to_owned()));
    match word(text, WORDS)? {
        "off" => Ok(Converted::Same(quoted("bounded"))),
        "dml_adaptive_global" => {
            near("global", "writes of all clients that come through howdah count, by table")
        }
        "always" => near(
            "session",
            "a session's own writes are seen, by replicas that have them; the others are not asked",
        ),
        _ => near("session", "outside of transactions too, a session's own writes are seen"),
    }
}

/// `sr_check_period`: there is always somebody who asks.
pub(super) fn interval(text: &str, _: &Ground) -> Result<Converted, String> {
    let number = text.strip_suffix('s').unwrap_or(text).trim();
    match number.parse::<u32>() {
        Ok(1) => Ok(Converted::Same(quoted("1s"))),
        Ok(_) => Ok(Converted::Near(
            quoted("1s"),
            "nodes are asked on one connection that stays open, which costs little, and reads are \
             only sent to replicas that are known to be fresh"
                .to_owned(),
        )),
        Err(_) => Err(format!("expected a number of seconds, found {text:?}")),
    }
}

/// A regular expression as names with `*`; none if it says more than they can.
pub(super) fn names_of(expression: &str) -> Option<Vec<String>> {
    let text = expression.strip_prefix('^').unwrap_or(expression);
    let text = match text.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => rest,
        _ => text,
    };
    let mut names = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let choices: Vec<char> = match c {
            '.' if chars.next_if_eq(&'*').is_some() => vec!['*'],
            '\\' => vec![chars.next().filter(|c| !c.is_alphanumeric() && *c != '*')?],
            '[' => class(&mut chars)?,
            '(' | ')' | '{' | '}' | '|' | '?' | '+' | '*' | '^' | '$' => return None,
            // A dot that stands for itself: nobody who writes schema.name means anything else.
            c => vec![c],
        };
        // What is repeated is no name.
        if chars.peek().is_some_and(|next| matches!(next, '*' | '+' | '?' | '{')) {
            return None;
        }
        if names.len() * choices.len() > MAX_NAMES {
            return None;
        }
        names = names
            .iter()
            .flat_map(|name| choices.iter().map(move |choice| format!("{name}{choice}")))
            .collect();
    }
    (!text.is_empty()).then_some(names)
}

/// The characters of `[…]`, behind its bracket.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Vec<char>> {
    let mut all = Vec::new();
    loop {
        match chars.next()? {
            ']' => return (!all.is_empty()).then_some(all),
            '^' | '[' | '\\' | '*' => return None,
            from if chars.next_if_eq(&'-').is_some() => {
                let to = chars.next().filter(|to| to.is_alphanumeric() && from <= *to)?;
                all.extend(from..=to);
            }
            one => all.push(one),
        }
        if all.len() > MAX_NAMES {
            return None;
        }
    }
}

/// A list of functions as ours, and what is left out of it, in words.
pub(super) fn functions(text: &str, left_out: fn(&str) -> bool) -> (String, Vec<String>) {
    let (mut names, mut strange) = (Vec::new(), Vec::new());
    for part in parts(text) {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '*');
        match names_of(part).filter(|all| all.iter().all(|name| name.chars().all(is_name))) {
            Some(all) => names.extend(all.into_iter().filter(|name| !left_out(name))),
            None => strange.push(part.to_owned()),
        }
    }
    (list(names.iter().map(String::as_str)), strange)
}

/// Which of a client's names a list of redirects looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Application,
    Database,
    User,
}

impl Of {
    const fn key(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Database => "database",
            Self::User => "user",
        }
    }
}

/// A list of redirects as rules of `routing.redirects`, and what is left out of it, in words. The error
/// says which part is none.
pub(super) fn redirects(
    text: &str,
    of: Of,
    address: impl Fn(u32) -> Option<String>,
) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut rules, mut strange) = (Vec::new(), Vec::new());
    for part in parts(text) {
        let wrong = || format!("{part:?}: expected name:node, or name:node(ratio)");
        let (name, place) = part.rsplit_once(':').ok_or_else(wrong)?;
        let (place, ratio) = match place.split_once('(') {
            Some((place, ratio)) => {
                let ratio = ratio.strip_suffix(')').and_then(|ratio| ratio.trim().parse().ok());
                (place.trim(), ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(wrong)?)
            }
            None => (place.trim(), 1.0_f64),
        };
        // Where the others go: those that a ratio leaves out.
        let (to, others) = match place.to_lowercase().as_str() {
            "primary" => (quoted("primary"), "replica"),
            "standby" => (quoted("replica"), "primary"),
            number => {
                let number = number.parse().map_err(|_| wrong())?;
                let address = address(number)
                    .ok_or_else(|| format!("{part:?}: there is no backend {number}"))?;
                (list([address.as_str()]), "replica")
            }
        };
        let Some(names) = names_of(name.trim()) else {
            strange.push(part.to_owned());
            continue;
        };
        for name in names {
            let who = format!("{} = {}", of.key(), quoted(&name));
            rules.extend(shared(&who, &to, others, ratio));
        }
    }
    Ok((rules, strange))
}

/// One rule, or two: `to` for a share, and for those that it leaves out.
fn shared(who: &str, to: &str, others: &str, ratio: f64) -> Vec<String> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a hundred"
    )]
    let percent = (ratio * 100.0).round() as u32;
    let mut rules = Vec::new();
    if percent > 0 {
        let mut rule = format!("{{ {who}, to = {to}");
        if percent < 100 {
            _ = write!(rule, ", percent = {percent}");
        }
        rules.push(rule + " }");
    }
    if percent < 100 {
        rules.push(format!("{{ {who}, to = {} }}", quoted(others)));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_names() {
        for (expression, names) in [
            ("app", Some("app")),
            ("^app$", Some("app")),
            ("get_.*", Some("get_*")),
            (".*_ro", Some("*_ro")),
            ("public.f", Some("public.f")),
            ("public\\.f", Some("public.f")),
            ("mydb[01]", Some("mydb0 mydb1")),
            ("db[a-c][12]", Some("dba1 dba2 dbb1 dbb2 dbc1 dbc2")),
            ("a b", Some("a b")),
            ("", None),
            ("a|b", None),
            ("(a)", None),
            ("ab*", None),
            ("a+", None),
            ("[^a]", None),
            ("[a", None),
            ("[ab]*", None),
            ("a\\*", None),
            ("a\\d", None),
            ("[a-z][a-z]", None),
            ("a.+", None),
            ("[z-a]", None),
        ] {
            assert_eq!(
                names_of(expression).map(|all| all.join(" ")).as_deref(),
                names,
                "{expression}"
            );
        }
    }

    #[test]
    fn lists_of_functions() {
        let (toml, strange) =
            functions("nextval, get_.*,f(o|x), public.g", |name| name == "nextval");
        assert_eq!(toml, r#"["get_*", "public.g"]"#);
        assert_eq!(strange, ["f(o|x)"]);
        // A name that would need quotes is left to its owner.
        assert_eq!(functions("a b", |_| false).1, ["a b"]);
    }

    #[test]
    fn rules_of_redirects() {
        let address = |number| (number < 2).then(|| format!("h{number}:5432"));
        let rules =
            |text: &str, of| redirects(text, of, address).map(|(rules, _)| rules.join("; "));
        for (text, expected) in [
            ("postgres:primary", r#"{ database = "postgres", to = "primary" }"#),
            ("a:1", r#"{ database = "a", to = ["h1:5432"] }"#),
            (
                "a[12]:standby(0.3)",
                "{ database = \"a1\", to = \"replica\", percent = 30 }; \
                 { database = \"a1\", to = \"primary\" }; \
                 { database = \"a2\", to = \"replica\", percent = 30 }; \
                 { database = \"a2\", to = \"primary\" }",
            ),
            (
                "a:1(0.5)",
                "{ database = \"a\", to = [\"h1:5432\"], percent = 50 }; \
                 { database = \"a\", to = \"replica\" }",
            ),
            ("a:standby(0.0)", r#"{ database = "a", to = "primary" }"#),
            (
                "a:standby(1.0), b:primary",
                r#"{ database = "a", to = "replica" }; { database = "b", to = "primary" }"#,
            ),
        ] {
            assert_eq!(rules(text, Of::Database).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(
            rules("psql:0", Of::Application).as_deref(),
            Ok(r#"{ application = "psql", to = ["h0:5432"] }"#)
        );
        for wrong in ["a", "a:x", "a:7", "a:standby(2)", "a:standby(x", "a:"] {
            assert!(redirects(wrong, Of::User, address).is_err(), "{wrong}");
        }
        let made = redirects("a|b:1,c:1", Of::User, address).expect("two parts");
        assert_eq!(made.1, ["a|b:1"]);
        assert_eq!(made.0.len(), 1);
    }

    #[test]
    fn values() {
        let ground = Ground { directory: "/".into(), home: None };
        let toml = |made: Result<Converted, String>| match made {
            Ok(Converted::Same(toml)) => toml,
            Ok(Converted::Near(toml, _)) => format!("near {toml}"),
            Ok(Converted::Needless(_)) => "needless".to_owned(),
            Ok(Converted::Missing(..) | Converted::Guard(..)) => "missing".to_owned(),
            Err(_) => "error".to_owned(),
        };
        for (text, expected) in [
            ("off", "\"bounded\""),
            ("transaction", "near \"session\""),
            ("TRANS_TRANSACTION", "near \"session\""),
            ("always", "near \"session\""),
            ("dml_adaptive", "near \"session\""),
            ("dml_adaptive_global", "near \"global\""),
            ("on", "error"),
        ] {
            assert_eq!(toml(consistency(text, &ground)), expected, "{text}");
        }
        assert_eq!(toml(balance("on", &ground)), "\"on\"");
        assert_eq!(toml(balance("off", &ground)), "\"off\"");
        assert_eq!(toml(interval("10", &ground)), "near \"1s\"");
        assert_eq!(toml(interval("1", &ground)), "\"1s\"");
        assert_eq!(toml(interval("0", &ground)), "near \"1s\"");
        assert_eq!(toml(interval("x", &ground)), "error");
    }
}
