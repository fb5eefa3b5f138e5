//! The values of PgBouncer's and Pgpool-II's settings as TOML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::units::{MAX_DURATION, parse_duration, show_duration};
use super::draft::{list, quoted};

/// What paths are resolved against.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The working directory: relative paths start here.
    pub directory: PathBuf,
    /// `~` at the start of a path.
    pub home: Option<PathBuf>,
}

impl Ground {
    /// This process's.
    pub fn of_process() -> Self {
        Self {
            directory: std::env::current_dir().unwrap_or_default(),
            home: std::env::var_os("HOME").map(PathBuf::from),
        }
    }

    /// `text` as an absolute path, if the working directory is one.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let Some(rest) = text.strip_prefix('~') else { return Ok(self.directory.join(text)) };
        match (&self.home, rest.strip_prefix('/')) {
            (Some(home), Some(rest)) => Ok(home.join(rest)),
            _ => Err(format!("{text:?}: write the path without ~")),
        }
    }
}

/// A converted value.
#[derive(Debug, PartialEq)]
pub(super) enum Converted {
    /// This TOML means the same.
    Same(String),
    /// This TOML is the nearest there is; why, in words.
    Near(String, String),
    /// Nothing is to be written; why, in words.
    Needless(String),
    /// There is nothing like it; what to write nevertheless, and what to do, in words.
    Missing(Option<String>, String),
    /// The same, and going on without it would let in whom the setting keeps out. The TOML is the
    /// strictest there is.
    Guard(Option<String>, String),
}

/// How a setting's value is converted. The error says what was expected.
pub(super) type Convert = fn(&str, &Ground) -> Result<Converted, String>;

fn same(toml: impl ToString) -> Result<Converted, String> {
    Ok(Converted::Same(toml.to_string()))
}

/// A whole number as C's `strtol` with base 0 reads it: decimal, `0x…`, or octal behind a 0.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let signed = digits.starts_with(|c: char| c.is_ascii_digit());
    number.ok().filter(|_| signed).map(|number: i64| if negative { -number } else { number })
}

fn unsigned(text: &str) -> Result<u32, String> {
    integer(text)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| format!("expected a whole number, 0 or more, found {text:?}"))
}

/// A whole number.
pub(super) fn count(text: &str, _: &Ground) -> Result<Converted, String> {
    same(unsigned(text)?)
}

/// A number of a connection string, which C's `atoi` reads: always decimal; negative numbers say
/// that the general setting counts.
pub(super) fn own_count(text: &str, _: &Ground) -> Result<Converted, String> {
    let number: i64 =
        text.parse().map_err(|_| format!("expected a whole number, found {text:?}"))?;
    match u32::try_from(number) {
        Ok(number) => same(number),
        Err(_) => Ok(Converted::Needless("negative: the general setting counts".to_owned())),
    }
}

/// A number that howdah wants to be at least `least`.
fn at_least(least: u32, text: &str) -> Result<Converted, String> {
    let number = unsigned(text)?;
    if number >= least {
        return same(number);
    }
    Ok(Converted::Near(least.to_string(), format!("{least} is the least there is")))
}

/// `max_packet_size`.
pub(super) fn packet_size(text: &str, _: &Ground) -> Result<Converted, String> {
    at_least(10_000, text)
}

/// `scram_iterations`.
pub(super) fn iterations(text: &str, _: &Ground) -> Result<Converted, String> {
    at_least(4096, text)
}

fn truth(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["on", "yes", "true", "t", "y"]) {
        Some(true)
    } else if is(&["off", "no", "false", "f", "n"]) {
        Some(false)
    } else {
        integer(text).map(|number| number != 0)
    }
}

/// On or off.
pub(super) fn flag(text: &str, _: &Ground) -> Result<Converted, String> {
    same(truth(text).ok_or_else(|| format!("expected 0 or 1, found {text:?}"))?)
}

/// A duration as TOML; one that is too long is cut.
pub(super) fn duration(micros: u128) -> Converted {
    let longest = MAX_DURATION.as_micros();
    let text = |micros: u128| {
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let shown = show_duration(Duration::from_micros(micros));
        if micros == 0 { shown } else { quoted(&shown) }
    };
    if micros > longest {
        Converted::Near(text(longest), "ten years are the longest there is".to_owned())
    } else {
        Converted::Same(text(micros))
    }
}

/// Seconds, perhaps with a fraction; PgBouncer keeps whole microseconds.
pub(super) fn seconds(text: &str, _: &Ground) -> Result<Converted, String> {
    let refused = || format!("expected a number of seconds without a unit, found {text:?}");
    // Digits are read exactly; only what else C's `strtod` knows goes through a float.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if let Some(exact) = parse_duration(text).filter(|_| plain) {
        return Ok(duration(exact.as_micros()));
    }
    let seconds: f64 = text.trim_start().parse().map_err(|_| refused())?;
    // Less than the longest duration there is in microseconds, so that it fits.
    if !(0.0..1e18).contains(&seconds) {
        return Err(refused());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range, and PgBouncer cuts as well"
    )]
    Ok(duration((seconds * 1e6) as u128))
}

/// Whole seconds.
pub(super) fn whole_seconds(text: &str, _: &Ground) -> Result<Converted, String> {
    Ok(duration(u128::from(unsigned(text)?) * 1_000_000))
}

/// `stats_period`: howdah needs a second at least.
pub(super) fn period(text: &str, ground: &Ground) -> Result<Converted, String> {
    let period = whole_seconds(text, ground)?;
    if period == Converted::Same("0".to_owned()) {
        return Ok(Converted::Near(quoted("1s"), "a second is the least there is".to_owned()));
    }
    Ok(period)
}

/// Milliseconds.
pub(super) fn milliseconds(text: &str, _: &Ground) -> Result<Converted, String> {
    Ok(duration(u128::from(unsigned(text)?) * 1000))
}

/// `server_lifetime` of a database, where 0 says that the general setting counts.
pub(super) fn own_lifetime(text: &str, ground: &Ground) -> Result<Converted, String> {
    let lifetime = seconds(text, ground)?;
    if lifetime == Converted::Same("0".to_owned()) {
        return Ok(Converted::Needless("0: the general setting counts".to_owned()));
    }
    Ok(lifetime)
}

/// Any text.
pub(super) fn text(text: &str, _: &Ground) -> Result<Converted, String> {
    same(quoted(text))
}

/// The path of a file.
pub(super) fn file(text: &str, ground: &Ground) -> Result<Converted, String> {
    if text.is_empty() {
        return Ok(Converted::Needless("empty: none".to_owned()));
    }
    same(quoted(&shown(&ground.path(text)?)?))
}

fn shown(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| "the path is not text in UTF-8".to_owned())
}

/// The directory of the Unix socket; empty = none.
pub(super) fn directory(text: &str, ground: &Ground) -> Result<Converted, String> {
    if text.starts_with('@') {
        let what = "abstract Unix sockets are not available; there is no Unix socket until you \
                    name a directory in howdah.unix_socket_dir";
        return Ok(Converted::Missing(Some(quoted("")), what.to_owned()));
    }
    if text.is_empty() { same(quoted("")) } else { same(quoted(&shown(&ground.path(text)?)?)) }
}

/// Permissions, in any base of C.
pub(super) fn mode(text: &str, _: &Ground) -> Result<Converted, String> {
    same(quoted(&format!("{:04o}", unsigned(text)?)))
}

/// The parts of a list with commas between them.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Names with commas between them.
pub(super) fn names(text: &str, _: &Ground) -> Result<Converted, String> {
    same(list(parts(text)))
}

/// `listen_addr`: `*` covers everything, and an address that is listed twice is meant once.
pub(super) fn listen(text: &str, _: &Ground) -> Result<Converted, String> {
    let mut addresses: Vec<&str> = Vec::new();
    for address in parts(text) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.contains(&"*") {
        addresses = vec!["*"];
    }
    same(list(addresses))
}

/// `word` of `words`, whatever its case.
pub(super) fn word(text: &str, words: &[&'static str]) -> Result<&'static str, String> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    found.copied().ok_or_else(|| format!("expected one of {}, found {text:?}", words.join(", ")))
}

/// `pool_mode`.
pub(super) fn pool_mode(text: &str, _: &Ground) -> Result<Converted, String> {
    same(quoted(word(text, &["session", "transaction", "statement"])?))
}

/// `auth_type`.
pub(super) fn auth_type(text: &str, _: &Ground) -> Result<Converted, String> {
    const WORDS: &[&str] =
        &["any", "trust", "plain", "md5", "scram-sha-256", "cert", "hba", "ldap", "pam"];
    match word(text, WORDS)? {
        "plain" => same(quoted("password")),
        found @ ("trust" | "md5" | "scram-sha-256") => same(quoted(found)),
        "any" => Ok(Converted::Missing(
            Some(quoted("trust")),
            "trust comes nearest: it lets in names that auth_file does not have only if there is \
             no auth_file"
                .to_owned(),
        )),
        found => Ok(Converted::Guard(
            Some(quoted("scram-sha-256")),
            format!(
                "{found} is not available: let clients log in by password (auth_type = \
                 scram-sha-256 or md5, with their secrets in auth_file), and limit by listen_addr \
                 or a firewall from where they come"
            ),
        )),
    }
}

/// `client_tls_sslmode`.
pub(super) fn client_sslmode(text: &str, _: &Ground) -> Result<Converted, String> {
    const WORDS: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    match word(text, WORDS)? {
        found @ ("verify-ca" | "verify-full") => Ok(Converted::Guard(
            Some(quoted("require")),
            format!(
                "{found} is not available towards clients, their certificates are not asked \
                for: use require, and secrets that are strong enough alone"
            ),
        )),
        found => same(quoted(found)),
    }
}

/// `server_tls_sslmode`.
pub(super) fn server_sslmode(text: &str, _: &Ground) -> Result<Converted, String> {
    const WORDS: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    same(quoted(word(text, WORDS)?))
}

/// `verbose`: each step logs more.
pub(super) fn verbose(text: &str, _: &Ground) -> Result<Converted, String> {
    same(quoted(match unsigned(text)? {
        0 => "info",
        1 => "debug",
        _ => "trace",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground { directory: "/folder".into(), home: Some("/home/me".into()) }
    }

    fn check(convert: Convert, cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            let toml = match convert(text, &ground()) {
                Ok(Converted::Same(toml)) => toml,
                Ok(Converted::Near(toml, _)) => format!("near {toml}"),
                Ok(Converted::Needless(_)) => "needless".to_owned(),
                Ok(Converted::Missing(..)) => "missing".to_owned(),
                Ok(Converted::Guard(toml, _)) => format!("guard {}", toml.unwrap_or_default()),
                Err(_) => "error".to_owned(),
            };
            assert_eq!(toml, *expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_as_in_c() {
        let cases = [
            ("20", "20"),
            ("0x10", "16"),
            ("010", "8"),
            ("0", "0"),
            ("+3", "3"),
            ("-1", "error"),
            ("", "error"),
            ("5s", "error"),
            ("--1", "error"),
            ("4294967296", "error"),
            ("08", "error"),
            ("0x", "error"),
            ("+-3", "error"),
        ];
        check(count, &cases);
        check(own_count, &[("010", "10"), ("-1", "needless"), ("x", "error")]);
        check(mode, &[("0777", "\"0777\""), ("511", "\"0777\""), ("0x1c0", "\"0700\"")]);
        check(packet_size, &[("1000", "near 10000"), ("2147483647", "2147483647")]);
        check(iterations, &[("1", "near 4096"), ("5000", "5000")]);
    }

    #[test]
    fn times_are_exact() {
        let cases = [
            ("0", "0"),
            ("15", "\"15s\""),
            ("3600", "\"1h\""),
            ("0.5", "\"500ms\""),
            ("1.000001", "\"1000001us\""),
            ("0.0000001", "0"),
            ("1e3", "\"1000s\""),
            ("-1", "error"),
            ("5s", "error"),
            ("", "error"),
            ("inf", "error"),
            ("nan", "error"),
            ("999999999", "near \"3650d\""),
            ("1e30", "error"),
        ];
        check(seconds, &cases);
        check(milliseconds, &[("1500", "\"1500ms\""), ("0", "0")]);
        check(own_lifetime, &[("0", "needless"), ("60", "\"1m\"")]);
        check(period, &[("0", "near \"1s\""), ("60", "\"1m\"")]);
    }

    #[test]
    fn words_and_lists() {
        check(
            flag,
            &[("1", "true"), ("OFF", "false"), ("yes", "true"), ("2", "true"), ("x", "error")],
        );
        check(pool_mode, &[("Session", "\"session\""), ("x", "error")]);
        check(listen, &[("", "[]"), ("a, b,a", "[\"a\", \"b\"]"), ("127.0.0.1,*", "[\"*\"]")]);
        check(
            auth_type,
            &[
                ("plain", "\"password\""),
                ("md5", "\"md5\""),
                ("any", "missing"),
                ("hba", "guard \"scram-sha-256\""),
                ("x", "error"),
            ],
        );
        check(client_sslmode, &[("verify-full", "guard \"require\""), ("allow", "\"allow\"")]);
        check(verbose, &[("0", "\"info\""), ("1", "\"debug\""), ("3", "\"trace\"")]);
    }

    #[test]
    fn paths_start_at_the_working_directory() {
        check(
            file,
            &[
                ("users", "\"/folder/users\""),
                ("/etc/u", "\"/etc/u\""),
                ("", "needless"),
                ("~/u", "\"/home/me/u\""),
                ("~you/u", "error"),
            ],
        );
        check(directory, &[("", "\"\""), ("@x", "missing"), ("/tmp", "\"/tmp\"")]);
    }
}
