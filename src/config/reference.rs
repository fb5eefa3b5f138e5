//! The table of keys as a page and as a sample file.

use std::fmt::Write;

use super::keys::{DefaultValue, Key, Section};
use super::value::Kind;

const WIDTH: usize = 98;

const SAMPLE_HEAD: &str = "\
# Howdah: every key, with its default. What is commented out need not be set.
# Made by `howdah config reference --format toml`.
#
# Durations: \"15s\", \"250ms\", \"10m\", \"1h\" or a number of seconds. Sizes: \"64KiB\" or bytes.
# Any key can be set in the environment: HOWDAH_POOL__DEFAULT_POOL_SIZE=40,
# HOWDAH_DATABASES__APP__NODES=10.0.0.1:5432. Every secret can be in a file: password_file.
# Relative paths start at the directory of this file.
";

const PAGE_HEAD: &str = "\
# Configuration reference

Made by `howdah config reference`.

- Durations are `\"15s\"`, `\"250ms\"`, `\"10m\"`, `\"1h\"` (units us, ms, s, m, h, d) or a number of seconds;
  sizes are `\"64KiB\"` (units B, KiB, MiB, GiB) or a number of bytes.
- Every key can be set in the environment as `HOWDAH_<SECTION>__<KEY>`, which wins over the file:
  `HOWDAH_POOL__DEFAULT_POOL_SIZE=40`, `HOWDAH_TLS__CLIENT__SSLMODE=require`,
  `HOWDAH_DATABASES__APP__NODES=10.0.0.1:5432`. Lists are separated by commas.
- A secret can be in a file of its own: `password_file` instead of `password`.
- Relative paths start at the directory of the configuration file.
- *Reload* says when a reload applies a change: now, to a session's next transaction, to the next
  connection, or only after a restart.
- *Console* is the name in `SHOW CONFIG`, where it differs.
";

/// The page of every key, in Markdown.
pub fn markdown() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for section in Section::ALL {
        // Writing to a String cannot fail.
        _ = write!(page, "\n## [{}]\n\n{}\n\n", section.header(), section.description());
        page.push_str("| Key | Default | Meaning | Accepts | Reload | Console |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for key in section.keys() {
            page.push_str(&row(*section, key));
        }
    }
    page
}

fn row(section: Section, key: &Key) -> String {
    let default = match key.default {
        DefaultValue::Toml(toml) => format!("`{toml}`"),
        DefaultValue::Words(words) => words.to_owned(),
    };
    let name = if key.kind == Kind::Secret {
        format!("`{0}`, `{0}_file`", key.name)
    } else {
        format!("`{}`", key.name)
    };
    let console = if section.has_entries() || key.console == key.name { "" } else { key.console };
    let cells = [
        name,
        default,
        key.description.to_owned(),
        accepts(key),
        key.applies.to_string(),
        console.to_owned(),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('<', "&lt;"));
    format!("| {} |\n", cells.join(" | "))
}

fn accepts(key: &Key) -> String {
    if let Kind::Duration { min, unit_required } = key.kind {
        return match (unit_required, min.as_secs()) {
            (true, _) => "duration with its unit".to_owned(),
            (false, 0) => format!("duration ({})", key.unit),
            (false, _) => {
                let least = super::units::show_duration(min);
                format!("duration ({}), at least {least}", key.unit)
            }
        };
    }
    if let Kind::Size { .. } = key.kind {
        return format!("size ({})", key.unit);
    }
    key.kind.expects()
}

/// A file that loads, with every key explained and those that need no value commented out.
pub fn sample() -> String {
    let mut text = SAMPLE_HEAD.to_owned();
    for section in Section::ALL {
        text.push('\n');
        comment(&mut text, section.description());
        let header = match section.header() {
            "databases.NAME" => "databases.app",
            "users.NAME" => "users.reporting",
            "peers.NUMBER" => "peers.2",
            name => name,
        };
        _ = writeln!(text, "[{header}]");
        for key in section.keys() {
            sample_key(&mut text, key);
        }
    }
    text
}

fn sample_key(text: &mut String, key: &Key) {
    text.push('\n');
    comment(text, key.description);
    let default = match key.default {
        DefaultValue::Toml(toml) => {
            if key.in_sample {
                comment(text, &format!("Default: {toml}"));
            }
            toml
        }
        DefaultValue::Words(words) => {
            comment(text, &format!("Default: {words}."));
            ""
        }
    };
    let value = key.example.filter(|_| default.is_empty() || key.in_sample).unwrap_or(default);
    let mark = if key.in_sample { "" } else { "# " };
    _ = writeln!(text, "{mark}{} = {value}", key.name);
    if key.kind == Kind::Secret {
        _ = writeln!(text, "# {0}_file = \"{0}.txt\"", key.name);
    }
}

/// Appends `sentence` as comment lines of readable width.
fn comment(text: &mut String, sentence: &str) {
    let mut line = String::from("#");
    for word in sentence.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::keys::Applies;
    use super::super::raw::toml_value;
    use super::super::{load, parse_bytes};
    use super::*;

    fn committed(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
    }

    fn rows() -> impl Iterator<Item = (Section, &'static Key)> {
        Section::ALL.iter().flat_map(|section| section.keys().iter().map(|key| (*section, key)))
    }

    #[test]
    fn every_key_is_described() {
        for (section, key) in rows() {
            let name = format!("{}.{}", section.name(), key.name);
            assert!(key.description.len() >= 20, "{name} has no description");
            assert!(key.description.ends_with('.'), "{name}: a description is a sentence");
            assert!(!key.description.contains("  "), "{name}: two spaces");
            assert!(!key.console.is_empty(), "{name} has no name on the console");
            let duration = matches!(key.kind, Kind::Duration { unit_required: false, .. });
            assert_eq!(key.unit == "seconds", duration, "{name}: unit");
        }
    }

    #[test]
    fn names_are_unique_in_their_section_and_on_the_console() {
        let mut names: Vec<String> =
            rows().map(|(section, key)| format!("{}.{}", section.name(), key.name)).collect();
        let mut console: Vec<&str> = rows()
            .filter(|(section, _)| !section.has_entries())
            .map(|(_, key)| key.console)
            .collect();
        for list in [names.len(), console.len()] {
            assert!(list > 30);
        }
        let count = (names.len(), console.len());
        names.sort();
        names.dedup();
        console.sort_unstable();
        console.dedup();
        assert_eq!((names.len(), console.len()), count);
    }

    #[test]
    fn defaults_and_examples_are_values_of_their_keys() {
        for (section, key) in rows() {
            let name = format!("{}.{}", section.name(), key.name);
            if let DefaultValue::Toml(toml) = key.default {
                assert_eq!(toml_value(key, toml).err(), None, "{name} = {toml}");
            } else {
                assert!(key.example.is_some(), "{name} needs an example for the sample");
            }
            if let Some(toml) = key.example {
                assert_eq!(toml_value(key, toml).err(), None, "{name} = {toml}");
            }
        }
    }

    #[test]
    fn the_committed_sample_is_the_table() {
        let path = committed("howdah.toml");
        let text = std::fs::read_to_string(&path).expect("config/howdah.toml");
        assert!(
            text == sample(),
            "config/howdah.toml is out of date: \
             cargo run -- config reference --format toml > config/howdah.toml"
        );
    }

    #[test]
    fn the_committed_samples_load() {
        for name in ["howdah.toml", "minimal.toml"] {
            let config = load(&committed(name), &[]);
            let config = config.unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(config.databases.len() + usize::from(config.wildcard.is_some()), 1);
        }
    }

    #[test]
    fn the_sample_says_the_defaults() {
        let sample = load(&committed("howdah.toml"), &[]).expect("loads");
        let bare = "[auth]\nauth_type = \"trust\"\n[databases.app]\nnodes = [\"127.0.0.1\"]\n";
        let bare = parse_bytes(bare.as_bytes()).expect("loads");
        assert_eq!(sample.howdah, bare.howdah);
        assert_eq!(sample.pool, bare.pool);
        assert_eq!(sample.timeouts, bare.timeouts);
        assert_eq!(sample.log, bare.log);
        assert_eq!(sample.databases, bare.databases);
    }

    /// A key in a comment may be uncommented: the result is still a file that can be read.
    #[test]
    fn every_commented_key_of_the_sample_is_accepted() {
        let is_key = |word: &str| rows().any(|(_, key)| key.name == word);
        let text: String = sample()
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if rest
                        .split_once(" = ")
                        .is_some_and(|(word, _)| is_key(word) && !word.ends_with("_file")) =>
                {
                    format!("{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .filter(|line| !line.starts_with("auth_"))
            .map(|line| line.replace("[auth]", "[auth]\nauth_type = \"trust\""))
            .collect();
        let config = parse_bytes(text.as_bytes());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            config.users["reporting"].client_idle_timeout.flatten().map(|d| d.as_secs()),
            Some(3600)
        );
    }

    #[test]
    fn the_page_has_every_key_once() {
        let page = markdown();
        for (_, key) in rows() {
            assert!(page.contains(&format!("| `{}`", key.name)), "{}", key.name);
        }
        let table_rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(table_rows, rows().count());
        assert!(page.contains(
            "| `sslmode` | `\"prefer\"` | As in libpq: disable, allow, prefer, require, verify-ca = \
             the certificate must be signed by ca_file, verify-full = and name the host. | one of \
             disable, allow, prefer, require, verify-ca, verify-full | next connect | \
             server_tls_sslmode |\n"
        ));
    }

    #[test]
    fn listening_needs_a_restart() {
        for (section, key) in rows() {
            if section == Section::Howdah && key.name.starts_with("listen_") {
                assert_eq!(key.applies, Applies::Restart, "{}", key.name);
            }
        }
    }
}
