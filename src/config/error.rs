//! What is wrong with a configuration: each error names its place, its key and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The file as a whole: something is missing, or the file cannot be read.
    File,
    /// A line of the file, counted from 1.
    Line(u32),
    /// An environment variable of this name.
    Environment(String),
    /// The table of keys: nobody set it.
    Default,
    /// SET on the console.
    Console,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration file.
    pub file: PathBuf,
    /// The place in it, or the environment variable.
    pub origin: Origin,
    /// The key as `section.key`, or empty when no key is known (broken TOML).
    pub key: String,
    /// What was expected, what was found, and what to do. Never a secret.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File | Origin::Default => write!(f, "{}: ", self.file.display())?,
            Origin::Line(line) => write!(f, "{}:{line}: ", self.file.display())?,
            Origin::Environment(name) => write!(f, "{name}: ")?,
            Origin::Console => f.write_str("SET: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong, in the order of the file. Displayed one error a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// These errors, in this order.
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self { errors }
    }

    /// One error that is not about a key.
    pub(super) fn one(file: &Path, origin: Origin, message: String) -> Self {
        Self {
            errors: vec![ConfigError {
                file: file.to_owned(),
                origin,
                key: String::new(),
                message,
            }],
        }
    }

    /// The errors, in the order of the file, those of the environment last.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects errors while a configuration is read.
#[derive(Debug)]
pub(super) struct Collector {
    file: PathBuf,
    errors: Vec<ConfigError>,
    /// Lines that are not TOML: what was guessed from them is not complained about.
    broken_lines: Vec<u32>,
}

impl Collector {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), errors: Vec::new(), broken_lines: Vec::new() }
    }

    /// Adds mistakes in the TOML itself, as line and message. To be called first.
    pub(super) fn add_broken(&mut self, mistakes: impl IntoIterator<Item = (u32, String)>) {
        for (line, message) in mistakes {
            let mut lines = std::mem::take(&mut self.broken_lines);
            self.add(&Origin::Line(line), "", message);
            lines.push(line);
            self.broken_lines = lines;
        }
    }

    pub(super) fn add(
        &mut self,
        origin: &Origin,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        if matches!(origin, Origin::Line(line) if self.broken_lines.contains(line)) {
            return;
        }
        self.errors.push(ConfigError {
            file: self.file.clone(),
            origin: origin.clone(),
            key: key.into(),
            message: message.into(),
        });
    }

    /// `value` when nothing is wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.fail()) }
    }

    /// What was collected.
    pub(super) fn fail(mut self) -> ConfigErrors {
        self.errors.sort_by(|a, b| a.origin.cmp(&b.origin));
        ConfigErrors { errors: self.errors }
    }
}
