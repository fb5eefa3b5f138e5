//! One row of the table of keys, and short ways to write it.

use crate::config::value::Kind;
use std::fmt;
use std::time::Duration;

/// When a reload brings a changed value to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Applies {
    /// At once.
    Now,
    /// A session sees it from its next transaction on.
    NextTransaction,
    /// Connections that are made afterwards see it.
    NextConnect,
    /// Only a new process sees it.
    Restart,
}

impl fmt::Display for Applies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "now",
            Self::NextTransaction => "next transaction",
            Self::NextConnect => "next connect",
            Self::Restart => "restart",
        })
    }
}

/// What counts when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// This value, as TOML.
    Toml(&'static str),
    /// No value: this says, in words, what counts instead.
    Words(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Its name in the file, PgBouncer's where PgBouncer has it.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// What counts when it is absent.
    pub default: DefaultValue,
    /// Unit of a bare number; empty where there is none.
    pub unit: &'static str,
    /// What it does, in sentences.
    pub description: &'static str,
    /// When a reload applies it.
    pub applies: Applies,
    /// Its name on the console (PgBouncer's).
    pub console: &'static str,
    /// A value for the sample, as TOML, where the default cannot serve.
    pub example: Option<&'static str>,
    /// Whether the sample sets it.
    pub in_sample: bool,
}

impl Key {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        default: DefaultValue,
        description: &'static str,
    ) -> Self {
        let unit = if matches!(kind, Kind::Duration { unit_required: false, .. }) {
            "seconds"
        } else if matches!(kind, Kind::Size { .. }) {
            "bytes"
        } else {
            ""
        };
        Self {
            name,
            kind,
            default,
            unit,
            description,
            applies: Applies::Now,
            console: name,
            example: None,
            in_sample: false,
        }
    }

    pub(super) const fn applies(mut self, applies: Applies) -> Self {
        self.applies = applies;
        self
    }

    pub(super) const fn console(mut self, name: &'static str) -> Self {
        self.console = name;
        self
    }

    pub(super) const fn example(mut self, toml: &'static str) -> Self {
        self.example = Some(toml);
        self
    }

    /// Set in the sample, to this.
    pub(super) const fn sample(mut self, toml: &'static str) -> Self {
        self.example = Some(toml);
        self.in_sample = true;
        self
    }
}

pub(super) const fn flag(
    name: &'static str,
    default: &'static str,
    description: &'static str,
) -> Key {
    Key::new(name, Kind::Flag, DefaultValue::Toml(default), description)
}

pub(super) const fn count(
    name: &'static str,
    default: &'static str,
    description: &'static str,
) -> Key {
    Key::new(name, Kind::COUNT, DefaultValue::Toml(default), description)
}

pub(super) const fn duration(
    name: &'static str,
    default: &'static str,
    description: &'static str,
) -> Key {
    Key::new(name, Kind::DURATION, DefaultValue::Toml(default), description)
}

pub(super) const fn text(
    name: &'static str,
    default: &'static str,
    description: &'static str,
) -> Key {
    Key::new(name, Kind::Text, DefaultValue::Toml(default), description)
}

/// A key without a value of its own: `words` say what counts instead.
pub(super) const fn unset(
    name: &'static str,
    kind: Kind,
    words: &'static str,
    description: &'static str,
) -> Key {
    Key::new(name, kind, DefaultValue::Words(words), description)
}

pub(super) const fn word(words: &'static [&'static str]) -> Kind {
    Kind::Word { words, refused: &[] }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
