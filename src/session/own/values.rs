//! What a session has set of howdah's own settings. Pure.
//!
//! Owns their names, the words that each takes, and what each is while nobody has set it. Never knows
//! of transactions, and never reaches a server: PostgreSQL would keep any of them as a custom setting.

use crate::cluster::freshness::Level;
use crate::fault::{Fault, Side};
use crate::routing::is_group_name;
use crate::word::{Word, word_enum};

/// In front of the name of each.
pub(in crate::session) const PREFIX: &str = "howdah.";

/// A startup parameter with libpq's words, which sets the route.
pub(in crate::session) const SESSION_ATTRS: &str = "target_session_attrs";

word_enum! {
    /// Where the statements of a session go.
    pub Wish {
        /// Where each may: as configured.
        Auto = "auto",
        /// To the primary.
        Primary = "primary",
        /// To a replica and nowhere else. What is known to write is refused.
        Replica = "replica",
        /// To a replica, which refuses writes itself.
        Standby = "standby",
        /// To a replica, or to the primary while no replica may serve it.
        PreferStandby = "prefer-standby",
    }
}

impl Wish {
    /// Whether statements go to a replica though they may do more than read.
    pub(in crate::session) fn is_for_replicas(self) -> bool {
        matches!(self, Self::Replica | Self::Standby | Self::PreferStandby)
    }

    /// Whether nothing but a replica will do.
    pub(in crate::session) fn insists(self) -> bool {
        matches!(self, Self::Replica | Self::Standby)
    }

    /// The meaning of libpq's words (manual, "Connection Strings").
    fn of_session_attrs(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Auto),
            "read-write" | "primary" => Some(Self::Primary),
            "read-only" | "standby" => Some(Self::Standby),
            "prefer-standby" => Some(Self::PreferStandby),
            _ => None,
        }
    }
}

word_enum! {
    /// One of howdah's own settings, by its name behind the prefix.
    pub(in crate::session) Name {
        /// What a read may rely on.
        Consistency = "consistency",
        /// Where statements go.
        Route = "route",
        /// Whose writes its reads see.
        Group = "group",
        /// Whether it is told where its statements went.
        Notice = "notice",
    }
}

impl Name {
    /// Of a setting, in lower case.
    ///
    /// # Errors
    /// As PostgreSQL for a name that it does not know.
    pub(in crate::session) fn of(full: &str) -> Result<Self, Fault> {
        let name = full.strip_prefix(PREFIX).unwrap_or(full);
        if name == SESSION_ATTRS {
            let text = format!("parameter \"{full}\" cannot be set after connection start");
            return Err(Fault::query(Side::Client, "55P02", text)
                .hint("SET howdah.route says the same in a session."));
        }
        Self::from_word(name).ok_or_else(|| {
            let text = format!("unrecognized configuration parameter \"{full}\"");
            let known: Vec<String> =
                Self::WORDS.iter().map(|name| format!("{PREFIX}{name}")).collect();
            Fault::query(Side::Client, "42704", text)
                .hint(format!("The settings of howdah are {}.", known.join(", ")))
        })
    }

    /// As it is said in SQL.
    pub(in crate::session) fn full(self) -> String {
        format!("{PREFIX}{}", self.as_str())
    }
}

/// What a session has set; `None` is what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Where its statements go.
    pub route: Option<Wish>,
    /// What a read may rely on.
    pub consistency: Option<Level>,
    /// The sessions whose writes its reads see.
    pub group: Option<Box<str>>,
    /// Whether it is told where its statements went.
    pub notice: Option<bool>,
}

fn invalid(name: &str, value: &str) -> Fault {
    let text = format!("invalid value for parameter \"{name}\": \"{value}\"");
    Fault::query(Side::Client, "22023", text)
}

fn word_of<T: Word>(name: &str, value: &str, words: &[&str]) -> Result<T, Fault> {
    let word = value.to_ascii_lowercase();
    T::from_word(&word).ok_or_else(|| {
        invalid(name, value).hint(format!("Available values: {}.", words.join(", ")))
    })
}

/// PostgreSQL's words for a Boolean (manual, "Setting Parameters"): each may be cut short while it is
/// still one of them.
fn boolean(name: &str, value: &str) -> Result<bool, Fault> {
    let word = value.to_ascii_lowercase();
    let is_of = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if is_of("true", 1) || is_of("yes", 1) || is_of("on", 2) || word == "1" {
        return Ok(true);
    }
    if is_of("false", 1) || is_of("no", 1) || is_of("off", 2) || word == "0" {
        return Ok(false);
    }
    let text = format!("parameter \"{name}\" requires a Boolean value");
    Err(Fault::query(Side::Client, "22023", text).hint("Available values: on, off."))
}

impl Values {
    /// Sets one of them.
    ///
    /// # Errors
    /// As PostgreSQL, if the value is none that it takes.
    pub(in crate::session) fn set(&mut self, name: Name, value: &str) -> Result<(), Fault> {
        let full = name.full();
        match name {
            Name::Route => self.route = Some(word_of(&full, value, Wish::WORDS)?),
            Name::Consistency => self.consistency = Some(word_of(&full, value, Level::WORDS)?),
            Name::Notice => self.notice = Some(boolean(&full, value)?),
            Name::Group if value.is_empty() => self.group = None,
            Name::Group if is_group_name(value.as_bytes()) => self.group = Some(value.into()),
            Name::Group => {
                return Err(invalid(&full, value).hint(
                    "The name of a group has at most 63 letters, digits and signs of ASCII, but no \
                     space, comma, semicolon, quote, backslash or asterisk.",
                ));
            }
        }
        Ok(())
    }

    /// Sets one of them to what it is there.
    pub(in crate::session) fn set_as(&mut self, name: Name, other: &Self) {
        match name {
            Name::Route => self.route = other.route,
            Name::Consistency => self.consistency = other.consistency,
            Name::Notice => self.notice = other.notice,
            Name::Group => self.group.clone_from(&other.group),
        }
    }

    /// As SHOW says it, where the configuration says `configured`.
    pub(in crate::session) fn shown(&self, name: Name, configured: Level) -> &str {
        match name {
            Name::Route => self.route.unwrap_or(Wish::Auto).as_str(),
            Name::Consistency => self.consistency.unwrap_or(configured).as_str(),
            Name::Group => self.group.as_deref().unwrap_or_default(),
            Name::Notice if self.notice.unwrap_or_default() => "on",
            Name::Notice => "off",
        }
    }

    /// What a startup packet says, in its order: names in lower case, with the prefix or the name that
    /// libpq has.
    ///
    /// # Errors
    /// As PostgreSQL for what it does not know.
    pub fn at_startup(pairs: &[(String, String)]) -> Result<Self, Fault> {
        let mut values = Self::default();
        for (full, value) in pairs {
            let name = full.strip_prefix(PREFIX).unwrap_or(full);
            let set = if name == SESSION_ATTRS {
                values.set_session_attrs(full, value)
            } else {
                Name::of(full).and_then(|name| values.set(name, value))
            };
            set.map_err(|fault| Fault { scope: crate::fault::Scope::Session, ..fault })?;
        }
        Ok(values)
    }

    fn set_session_attrs(&mut self, full: &str, value: &str) -> Result<(), Fault> {
        let wish = Wish::of_session_attrs(&value.to_ascii_lowercase()).ok_or_else(|| {
            invalid(full, value).hint(
                "Available values: any, read-write, read-only, primary, standby, prefer-standby.",
            )
        })?;
        self.route = Some(wish);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: Result<(), Fault>) -> &'static str {
        result.expect_err("an error").code
    }

    #[test]
    fn words_and_what_is_none() {
        let mut values = Values::default();
        for (name, value, shown) in [
            (Name::Route, "primary", "primary"),
            (Name::Route, "REPLICA", "replica"),
            (Name::Route, "prefer-standby", "prefer-standby"),
            (Name::Consistency, "Monotonic", "monotonic"),
            (Name::Group, "cart-42", "cart-42"),
            (Name::Group, "", ""),
            (Name::Notice, "on", "on"),
            (Name::Notice, "f", "off"),
            (Name::Notice, "TRUE", "on"),
            (Name::Notice, "0", "off"),
        ] {
            values.set(name, value).expect("a value that it takes");
            assert_eq!(values.shown(name, Level::Session), shown, "{value}");
        }
        for (name, value) in [
            (Name::Route, "replicas"),
            (Name::Route, ""),
            (Name::Consistency, "strong"),
            (Name::Notice, "o"),
            (Name::Notice, "onn"),
            (Name::Notice, ""),
            (Name::Group, "two words"),
            (Name::Group, "caf\u{e9}"),
            (Name::Group, &"x".repeat(64)),
        ] {
            let before = values.clone();
            let fault = values.set(name, value).expect_err("a value that it does not take");
            assert_eq!(fault.code, "22023", "{value}");
            assert!(!fault.hint.is_empty());
            assert_eq!(values, before);
        }
        let fault = values.set(Name::Consistency, "strong").unwrap_err();
        assert_eq!(fault.message, "invalid value for parameter \"howdah.consistency\": \"strong\"");
        assert_eq!(
            fault.hint,
            "Available values: eventual, bounded, session, monotonic, global, strict, primary."
        );
    }

    #[test]
    fn what_nobody_has_set_is_as_configured() {
        let values = Values::default();
        let shown = [Name::Route, Name::Consistency, Name::Group, Name::Notice]
            .map(|name| values.shown(name, Level::Bounded));
        assert_eq!(shown, ["auto", "bounded", "", "off"]);
    }

    #[test]
    fn a_startup_packet_has_libpqs_words_too() {
        let of = |pairs: &[(&str, &str)]| {
            let owned: Vec<_> =
                pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            Values::at_startup(&owned)
        };
        for (word, wish) in [
            ("any", Wish::Auto),
            ("read-write", Wish::Primary),
            ("primary", Wish::Primary),
            ("read-only", Wish::Standby),
            ("standby", Wish::Standby),
            ("prefer-standby", Wish::PreferStandby),
        ] {
            for name in ["target_session_attrs", "howdah.target_session_attrs"] {
                assert_eq!(of(&[(name, word)]).unwrap().route, Some(wish), "{word}");
            }
        }
        let both = of(&[("howdah.consistency", "global"), ("howdah.group", "a")]).unwrap();
        assert_eq!((both.consistency, both.group.as_deref()), (Some(Level::Global), Some("a")));
        for (pairs, expected) in [
            (("target_session_attrs", "replica"), "22023"),
            (("howdah.route", "nowhere"), "22023"),
            (("howdah.colour", "red"), "42704"),
        ] {
            let fault = of(&[pairs]).expect_err("refused");
            assert_eq!((fault.code, fault.severity()), (expected, "FATAL"));
        }
        assert_eq!(code(Name::of("howdah.target_session_attrs").map(|_| ())), "55P02");
    }
}
