//! The whole way from text to [`Config`]: errors, environment, secrets, precedence, differences.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::files::NoFiles;
use super::*;
use std::path::Path;

mod meaning;
mod mistakes;

const BARE: &str = "[auth]\nauth_type = \"trust\"\n[databases.app]\nnodes = [\"h\"]\n";

fn config(text: &str) -> Config {
    parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// `text` in front of what every configuration needs.
fn with(text: &str) -> Config {
    config(&format!("{text}\n{BARE}"))
}

fn errors(text: &str) -> Vec<String> {
    match parse_bytes(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn with_environment(text: &str, list: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    parse::parse(Path::new("howdah.toml"), text.as_bytes(), &variables(list), &NoFiles)
        .map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}

/// A directory with these files; the first is the configuration.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("a file");
    }
    let path = directory.path().join(files[0].0);
    (directory, path)
}

/// A value that is not the default of `key`, as the environment writes it.
fn another_value(key: &Key) -> &'static str {
    match (key.kind, key.default) {
        (Kind::Flag, DefaultValue::Toml("true")) => "false",
        (Kind::Flag, _) => "true",
        (Kind::Count { .. }, _) if key.name == "workers" => "63",
        (Kind::Count { .. }, _) if key.name == "min_pool_size" => "3",
        (Kind::Count { max: 100, .. }, _) => "7",
        (Kind::Count { .. }, _) => "5432",
        (Kind::Duration { .. }, _) => "77s",
        (Kind::Size { .. }, _) => "64KiB",
        (Kind::Text, _) if key.name == "listen" => "127.0.0.1:9930",
        (Kind::Text | Kind::Secret | Kind::Names, _) => "something",
        (Kind::Word { words, .. }, DefaultValue::Toml(default)) => {
            let other = |word: &&&str| !default.contains(**word) && **word != "trust";
            words.iter().find(other).expect("another word")
        }
        (Kind::Word { words, .. }, DefaultValue::Words(_)) => words[0],
        (Kind::File, _) => "file",
        (Kind::Directory, _) => "/run",
        (Kind::Mode, _) => "0700",
        (Kind::Listen, _) => "10.1.1.1",
        (Kind::Nodes, _) => "other",
        (Kind::Fraction, _) => "0.5",
        (Kind::Functions, _) => "something",
        (Kind::Redirects, _) => "[{ user = \"u\", to = \"primary\" }]",
    }
}

/// Keys that `key` cannot do without.
fn companions(section: Section, key: &str) -> &'static [(&'static str, &'static str)] {
    match (section, key) {
        (Section::Http, "token_file") => &[("listen", "127.0.0.1:9930")],
        (Section::TlsClient | Section::TlsServer, "cert_file") => &[("key_file", "pair")],
        (Section::TlsClient | Section::TlsServer, "key_file") => &[("cert_file", "pair")],
        (Section::TlsClient, "sslmode") => &[("cert_file", "file"), ("key_file", "file")],
        (Section::Auth, "auth_type") => &[("auth_file", "file")],
        _ => &[],
    }
}

/// A token that could be guessed, or that nobody will ask for.
#[test]
fn tokens_have_some_length_and_a_use() {
    let (_directory, path) = directory(&[
        ("howdah.toml", "[auth]\nauth_type = \"trust\"\n[databases.d]\nnodes = [\"h\"]\n"),
        ("short", "fifteen bytes..\n"),
        ("long", "sixteen bytes..."),
    ]);
    let said = |listen: &str, file: &str| {
        let set = [("LISTEN", listen), ("TOKEN_FILE", file)]
            .map(|(key, value)| (format!("HOWDAH_HTTP__{key}").into(), OsString::from(value)));
        load(&path, &set).map_or_else(|errors| errors.to_string(), |_| "well".to_owned())
    };
    assert!(said("0.0.0.0:1", "short").contains("fewer than 16 bytes"));
    assert!(said("", "long").contains("http.token_file: has no effect without listen"));
    assert_eq!(said("0.0.0.0:1", "long"), "well");
}

/// What the rest of the program reads of a configuration.
fn typed(config: &Config) -> String {
    let Config { source: _, settings: _, howdah, pool, timeouts, routing, auth, log, http, .. } =
        config;
    let tls = (&config.tls_client, &config.tls_server);
    let entries = (&config.databases, &config.wildcard, &config.users, &config.peers);
    format!("{:?}", (howdah, pool, timeouts, routing, auth, log, http, tls, entries))
}

/// Every key, set to what is not its default, changes the typed configuration.
#[test]
fn every_key_reaches_the_configuration() {
    let base = "[auth]\nauth_type = \"trust\"\n[users.u]\n[peers.1]\nhost = \"h\"\n\
                [databases.d]\nnodes = [\"h\"]\nuser = \"f\"\n";
    let (_directory, path) =
        directory(&[("howdah.toml", base), ("file", "sixteen bytes and more"), ("pair", "y")]);
    let plain = load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    for section in Section::ALL {
        let table = section.header().replace("databases.NAME", "databases.d");
        let table = table.replace("users.NAME", "users.u").replace("peers.NUMBER", "peers.1");
        let prefix = table.replace('.', "__").to_uppercase();
        let variable = |(key, value): &(&str, &str)| {
            (format!("HOWDAH_{prefix}__{}", key.to_uppercase()).into(), OsString::from(*value))
        };
        for key in section.keys() {
            let companions = companions(*section, key.name);
            let without: Vec<_> = companions.iter().map(variable).collect();
            let mut with = without.clone();
            with.push(variable(&(key.name, another_value(key))));
            let changed = load(&path, &with).unwrap_or_else(|errors| panic!("{errors}"));
            // A certificate alone is refused: then there is nothing nearer to compare with.
            let before = load(&path, &without).unwrap_or_else(|_| plain.clone());
            assert_ne!(typed(&changed), typed(&before), "{table}.{} has no effect", key.name);
            let name = format!("{table}.{}", key.name);
            let told = difference(&plain, &changed).iter().any(|change| change.key == name);
            assert!(told, "{name} is not in the difference");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_configuration_or_errors(bytes: Vec<u8>) {
        _ = parse_bytes(&bytes);
    }

    #[test]
    fn any_text_of_toml_words_is_a_configuration_or_errors(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "[", "]", "pool", "tls", ".", "client", "databases", "=", "\n", "\"", "'", "1",
                "nodes", "{", "}", ",", "host", "users", "#", "é", "\"\"\"", "sslmode", "1e9", "[[", "]]",
            ]),
            0..60,
        )
    ) {
        if let Err(errors) = parse_bytes(words.concat().as_bytes()) {
            prop_assert!(!errors.errors().is_empty());
        }
    }
}
