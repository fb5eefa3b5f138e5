//! What a key may hold: its kind, the checked value, and the way from what was written to it.

use std::fmt;
use std::time::Duration;

use super::address::{ListenAddress, NodeAddress, ReadNode};
use super::fraction;
use super::node::{NodeOptions, node_table};
use super::redirect::{RedirectOptions, redirect};
use super::secret::{HIDDEN, LoadedFile, Secret};
use super::tree::{self, Given, Located};
use super::units;
use crate::routing::FunctionPattern;

/// What a key accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number in a range.
    Count {
        /// Smallest accepted.
        min: u32,
        /// Largest accepted.
        max: u32,
    },
    /// A duration.
    Duration {
        /// Shortest accepted.
        min: Duration,
        /// Whether a bare number is refused, because PgBouncer counts another unit here.
        unit_required: bool,
    },
    /// A number of bytes in a range.
    Size {
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
    /// Any text.
    Text,
    /// One of these words.
    Word {
        /// The words.
        words: &'static [&'static str],
        /// Words that mean something elsewhere, and why they are refused here.
        refused: &'static [(&'static str, &'static str)],
    },
    /// A text that is never shown; `<key>_file` names a file that holds it.
    Secret,
    /// The path of a file whose contents belong to the configuration.
    File,
    /// The directory of a Unix socket.
    Directory,
    /// File permissions as octal digits in a text.
    Mode,
    /// A list of names.
    Names,
    /// Addresses to listen on.
    Listen,
    /// PostgreSQL instances.
    Nodes,
    /// A share, from 0 to 1.
    Fraction,
    /// A list of names of functions, and patterns.
    Functions,
    /// A list of redirects.
    Redirects,
}

impl Kind {
    /// Any duration.
    pub(super) const DURATION: Self = Self::Duration { min: Duration::ZERO, unit_required: false };
    /// Any number.
    pub(super) const COUNT: Self = Self::Count { min: 0, max: u32::MAX };

    /// What it expects, for messages and the reference.
    pub fn expects(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Count { min: 0, max: u32::MAX } => "a whole number, 0 or more".to_owned(),
            Self::Count { min, max: u32::MAX } => format!("a whole number, {min} or more"),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration { unit_required: true, .. } => {
                "a duration with its unit, such as \"30s\" or \"500ms\"".to_owned()
            }
            Self::Duration { min, .. } if min.is_zero() => {
                "a duration such as \"15s\", \"250ms\", \"10m\", \"1h\" or a number of seconds"
                    .to_owned()
            }
            Self::Duration { min, .. } => format!(
                "a duration of at least {}, such as \"15s\", \"10m\", \"1h\" or a number of seconds",
                units::show_duration(*min)
            ),
            Self::Size { min, max } => {
                format!("a size from {} to {max} bytes, such as \"64KiB\"", units::show_size(*min))
            }
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Word { words, .. } => format!("one of {}", words.join(", ")),
            Self::File => "the path of a file".to_owned(),
            Self::Directory => "the path of a directory".to_owned(),
            Self::Mode => "octal digits in a text, such as \"0777\"".to_owned(),
            Self::Names => "a list of names, such as [\"a\", \"b\"]".to_owned(),
            Self::Listen => "a list of addresses, such as [\"127.0.0.1\"] or [\"*\"]".to_owned(),
            Self::Nodes => "a list of nodes, such as [\"10.0.0.1:5432\"]".to_owned(),
            Self::Fraction => "a number from 0 to 1, such as 0.001".to_owned(),
            Self::Functions => {
                "a list of names of functions, such as [\"get_total\", \"reports.*\"]".to_owned()
            }
            Self::Redirects => {
                "a list of redirects, such as [{ user = \"analyst\", to = \"replica\" }]".to_owned()
            }
        }
    }

    /// What was written, as environment variables write it, in the shape a file has.
    pub(super) fn given_in_environment(&self, text: &str) -> Given {
        match self {
            Self::Flag => match text {
                "true" => Given::Flag(true),
                "false" => Given::Flag(false),
                _ => Given::Text(text.to_owned()),
            },
            Self::Count { .. } => {
                text.parse().map_or_else(|_| Given::Text(text.to_owned()), Given::Integer)
            }
            Self::Redirects => match tree::parse(&format!("v = {text}")) {
                (tree, errors) if errors.is_empty() && tree.len() == 1 => {
                    tree.into_iter().next().map_or(Given::Date, |entry| without_lines(entry.given))
                }
                _ => Given::Text(text.to_owned()),
            },
            Self::Names | Self::Listen | Self::Nodes | Self::Functions => Given::List(
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| Located { line: 0, given: Given::Text(part.to_owned()) })
                    .collect(),
            ),
            Self::Duration { .. }
            | Self::Size { .. }
            | Self::Fraction
            | Self::Text
            | Self::Word { .. }
            | Self::Secret
            | Self::File
            | Self::Directory
            | Self::Mode => Given::Text(text.to_owned()),
        }
    }

    /// The checked value, or the message that says what was expected and found. Files are still
    /// paths ([`Value::Path`]): the caller reads them if it may open files.
    pub(super) fn read(&self, given: &Given) -> Result<Value, String> {
        match self {
            Self::Flag => {
                let Given::Flag(flag) = given else { return Err(self.refuse(given)) };
                Ok(Value::Flag(*flag))
            }
            Self::Count { min, max } => {
                let Given::Integer(number) = given else { return Err(self.refuse(given)) };
                u32::try_from(*number)
                    .ok()
                    .filter(|number| (min..=max).contains(&number))
                    .map(Value::Count)
                    .ok_or_else(|| self.refuse(given))
            }
            Self::Duration { min, unit_required } => self.duration(given, *min, *unit_required),
            Self::Size { min, max } => number_text(given)
                .and_then(|text| units::parse_size(&text))
                .filter(|size| (min..=max).contains(&size))
                .map(Value::Size)
                .ok_or_else(|| self.refuse(given)),
            Self::Text => self.text(given).map(|text| Value::Text(text.to_owned())),
            Self::Secret => given
                .as_text()
                .map(|text| Value::Secret(Secret::new(text.to_owned())))
                .ok_or_else(|| format!("expected a text, found {}", given.describe_type())),
            Self::File | Self::Directory => {
                self.text(given).map(|text| Value::Path(text.to_owned()))
            }
            Self::Word { words, refused } => self.word(given, words, refused),
            Self::Mode => self.mode(given),
            Self::Names => self.names(given),
            Self::Listen => self.each(given, ListenAddress::parse).map(Value::Listen),
            Self::Nodes => self.nodes(given),
            Self::Fraction => number_text(given)
                .and_then(|text| fraction::parse(&text))
                .map(Value::Fraction)
                .ok_or_else(|| self.refuse(given)),
            Self::Functions => self.each(given, FunctionPattern::parse).map(Value::Functions),
            Self::Redirects => {
                let list = given.as_list().ok_or_else(|| self.refuse(given))?;
                list.iter().map(redirect).collect::<Result<_, _>>().map(Value::Redirects)
            }
        }
    }

    fn refuse(&self, given: &Given) -> String {
        format!("expected {}, found {}", self.expects(), given.describe())
    }

    fn text<'g>(&self, given: &'g Given) -> Result<&'g str, String> {
        let text = given.as_text().ok_or_else(|| self.refuse(given))?;
        if text.contains('\0') {
            return Err("a text may not contain a zero byte".to_owned());
        }
        Ok(text)
    }

    fn duration(&self, given: &Given, min: Duration, unit: bool) -> Result<Value, String> {
        let text = number_text(given).ok_or_else(|| self.refuse(given))?;
        if unit && units::is_bare_number(&text) {
            return Err(format!(
                "write the unit: PgBouncer counts milliseconds here, so {text} would be \"{text}ms\""
            ));
        }
        units::parse_duration(&text)
            .filter(|duration| *duration >= min)
            .map(Value::Duration)
            .ok_or_else(|| self.refuse(given))
    }

    fn word(
        &self,
        given: &Given,
        words: &'static [&'static str],
        refused: &[(&str, &str)],
    ) -> Result<Value, String> {
        let text = self.text(given)?;
        if let Some((word, why)) = refused.iter().find(|(word, _)| *word == text) {
            return Err(format!("\"{word}\" {why}; use {}", self.expects()));
        }
        words
            .iter()
            .find(|word| **word == text)
            .map(|word| Value::Word(word))
            .ok_or_else(|| self.refuse(given))
    }

    fn mode(&self, given: &Given) -> Result<Value, String> {
        given
            .as_text()
            .filter(|text| text.bytes().all(|b| (b'0'..=b'7').contains(&b)))
            .and_then(|text| u32::from_str_radix(text, 8).ok())
            .filter(|mode| *mode <= 0o7777)
            .map(Value::Mode)
            .ok_or_else(|| self.refuse(given))
    }

    fn each<T>(
        &self,
        given: &Given,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let values = given.as_list().ok_or_else(|| self.refuse(given))?;
        let text = |value: &Located| {
            value.given.as_text().map(str::to_owned).ok_or_else(|| self.refuse(&value.given))
        };
        values.iter().map(|value| read(&text(value)?)).collect()
    }

    fn names(&self, given: &Given) -> Result<Value, String> {
        let names = self.each(given, |text| {
            let name = text.trim();
            if name.is_empty() || name.contains([',', '\0']) {
                return Err(format!("{text:?} is not a name; write each name in its own quotes"));
            }
            Ok(name.to_owned())
        })?;
        Ok(Value::Names(names))
    }

    fn nodes(&self, given: &Given) -> Result<Value, String> {
        let values = given.as_list().ok_or_else(|| self.refuse(given))?;
        let node = |given: &Given| match (given.as_text(), given.as_table()) {
            (Some(text), _) => NodeAddress::parse(text).map(NodeOptions::from),
            (_, Some(entries)) => node_table(entries),
            (None, None) => Err(self.refuse(given)),
        };
        let nodes: Result<_, String> = values.iter().map(|value| node(&value.given)).collect();
        nodes.map(Value::Nodes)
    }
}

/// What the environment says stands on no line.
fn without_lines(mut given: Given) -> Given {
    if let Given::List(values) = &mut given {
        values.iter_mut().for_each(|value| value.line = 0);
    }
    given
}

/// The text of a number with or without its unit.
fn number_text(given: &Given) -> Option<String> {
    match given {
        Given::Text(text) | Given::Number(text) => Some(text.clone()),
        Given::Integer(number) => Some(number.to_string()),
        Given::Flag(_) | Given::Date | Given::List(_) | Given::Table(_) => None,
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Count`].
    Count(u32),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Size`].
    Size(u64),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Word`].
    Word(&'static str),
    /// Of [`Kind::Secret`].
    Secret(Secret),
    /// Of [`Kind::Directory`], and of [`Kind::File`] while it is unread.
    Path(String),
    /// Of [`Kind::File`].
    File(LoadedFile),
    /// Of [`Kind::Mode`].
    Mode(u32),
    /// Of [`Kind::Names`].
    Names(Vec<String>),
    /// Of [`Kind::Listen`].
    Listen(Vec<ListenAddress>),
    /// Of [`Kind::Nodes`].
    Nodes(Vec<NodeOptions>),
    /// Of [`Kind::Fraction`], in millionths.
    Fraction(u32),
    /// Of [`Kind::Functions`].
    Functions(Vec<FunctionPattern>),
    /// Of [`Kind::Redirects`].
    Redirects(Vec<RedirectOptions>),
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, values: &[T]) -> fmt::Result {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        value.fmt(f)?;
    }
    Ok(())
}

/// As `SHOW CONFIG` and `RELOAD` print it: secrets as `***`, files as their path.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Count(number) => number.fmt(f),
            Self::Duration(duration) => f.write_str(&units::show_duration(*duration)),
            Self::Size(size) => f.write_str(&units::show_size(*size)),
            Self::Text(text) | Self::Path(text) => f.write_str(text),
            Self::Word(word) => f.write_str(word),
            Self::Secret(_) => f.write_str(HIDDEN),
            Self::File(file) => file.path().display().fmt(f),
            Self::Mode(mode) => write!(f, "{mode:04o}"),
            Self::Names(names) => list(f, names),
            Self::Listen(addresses) => list(f, addresses),
            Self::Nodes(nodes) => list(f, nodes),
            Self::Fraction(share) => f.write_str(&fraction::show(*share)),
            Self::Functions(patterns) => list(f, patterns),
            Self::Redirects(redirects) => list(f, redirects),
        }
    }
}
