//! One setting changed in a configuration that is in force, as the console's SET does it.
//!
//! Nothing else of it changes: files that it names are not read again, the environment is not looked
//! at again. The rules for a whole file hold.

use std::fmt;
use std::path::PathBuf;

use super::error::{ConfigErrors, Origin};
use super::files::Disk;
use super::keys::{Applies, Key, Section};
use super::nearest::nearest;
use super::options::{Config, Source};
use super::raw::{Loader, Scope};
use super::value::Kind;
use super::{build, check};

/// Why a setting cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchangeable {
    /// There is none of this name; perhaps this one was meant.
    Unknown(Option<&'static str>),
    /// It counts at the start only.
    NeedsRestart,
    /// The value will not do.
    Invalid(ConfigErrors),
}

impl fmt::Display for Unchangeable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(None) => f.write_str("unknown setting"),
            Self::Unknown(Some(near)) => write!(f, "unknown setting; did you mean {near}?"),
            Self::NeedsRestart => f.write_str("it needs a restart"),
            Self::Invalid(errors) => errors.fmt(f),
        }
    }
}

/// The keys of the general sections.
fn keys() -> impl Iterator<Item = (Section, &'static Key)> {
    let sections = Section::ALL.iter().filter(|section| !section.has_entries());
    sections.flat_map(|section| section.keys().iter().map(|key| (*section, key)))
}

/// What a key is given by a text without quotes: PgBouncer's words for flags too.
fn in_our_words<'a>(key: &Key, text: &'a str) -> &'a str {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if key.kind != Kind::Flag {
        text
    } else if is(["1", "on", "yes", "true"]) {
        "true"
    } else if is(["0", "off", "no", "false"]) {
        "false"
    } else {
        text
    }
}

impl Config {
    /// This configuration with one setting changed, by its name in `SHOW CONFIG`.
    ///
    /// # Errors
    /// Why that cannot be; nothing has changed then.
    pub fn with(&self, name: &str, text: &str) -> Result<Self, Unchangeable> {
        let Some((section, key)) = keys().find(|(_, key)| key.console == name) else {
            let near = nearest(name, keys().map(|(_, key)| key.console));
            let near = near.and_then(|near| keys().find(|(_, key)| key.console == near));
            return Err(Unchangeable::Unknown(near.map(|(_, key)| key.console)));
        };
        if key.applies == Applies::Restart {
            return Err(Unchangeable::NeedsRestart);
        }
        let scope = Scope::section(section);
        let path = match &self.source {
            Source::File(path) => path.clone(),
            Source::Url(_) | Source::Environment => PathBuf::new(),
        };
        let mut loader = Loader::new(&path, &Disk);
        loader.raw.settings.clone_from(&self.settings);
        loader.raw.settings.retain(|id, _| id.scope != scope || id.name != key.name);
        loader.raw.entries = self.entries().map(|scope| (scope, Origin::File)).collect();
        loader.raw.no_databases = self.databases.is_empty() && self.wildcard.is_none();
        let given = key.kind.given_in_environment(in_our_words(key, text));
        loader.set(&scope, key.name, &Origin::Console, &given);
        loader.raw.fill_defaults();
        check::check(&loader.raw, &mut loader.errors);
        let mut config = build::config(&path, loader.raw);
        config.source = self.source.clone();
        config.files.clone_from(&self.files);
        config.process = self.process.clone();
        loader.errors.finish(config).map_err(Unchangeable::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_bytes;
    use super::*;

    fn config() -> Config {
        let text = "[auth]\nauth_type = \"trust\"\n[pool]\nmin_pool_size = 3\n\
            [databases.a]\nnodes = [\"h\"]\n[databases.\"*\"]\nnodes = [\"i\"]\n[users.u]\npool_size = 2\n";
        parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn refused(name: &str, text: &str) -> String {
        config().with(name, text).expect_err(name).to_string()
    }

    #[test]
    fn one_setting_changes_and_nothing_else() {
        let before = config();
        let after = before.with("default_pool_size", "7").expect("a good value");
        let changes = super::super::difference(&before, &after);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(
            (changes[0].key.as_str(), changes[0].new.as_str()),
            ("pool.default_pool_size", "7")
        );
        assert_eq!(after.with("default_pool_size", "20").expect("the default"), before_with_20());
        for (word, flag) in [("on", true), ("0", false)] {
            let config = before.with("log_connections", word).expect("a flag");
            assert_eq!(config.log.log_connections, flag);
        }
    }

    fn before_with_20() -> Config {
        config().with("default_pool_size", "20").expect("the default")
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert_eq!(
            refused("defualt_pool_size", "1"),
            "unknown setting; did you mean default_pool_size?"
        );
        assert_eq!(refused("qqqqqqqq", "1"), "unknown setting");
        assert_eq!(refused("listen_port", "1"), "it needs a restart");
        let said = refused("default_pool_size", "many");
        assert!(said.starts_with("SET: pool.default_pool_size: "), "{said}");
        // Rules over several values hold too.
        let said = refused("default_pool_size", "2");
        assert!(said.contains("min_pool_size"), "{said}");
    }
}
