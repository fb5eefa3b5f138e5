//! A connection URL as a whole configuration: one database, for a process beside its application.
//!
//! The application keeps the user and the password that it has: clients prove themselves with them,
//! and servers are logged in with them.

use super::address::{NodeAddress, ReadNode};
use super::error::{ConfigErrors, Origin};
use super::files::{Disk, Files};
use super::import::quoted;
use super::options::Config;
use super::parse::parse;
use super::secret::Secret;
use percent_encoding::percent_decode_str;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// The variable that holds a URL, and the one that names a file that does.
const VARIABLE: &str = "HOWDAH_DATABASE_URL";

const FILE_VARIABLE: &str = "HOWDAH_DATABASE_URL_FILE";

/// Where the users' secrets seem to be.
const USERS: &str = "the user of the database URL";

/// The URL among the variables of the environment, if there is one.
///
/// # Errors
/// When it cannot be read.
pub(super) fn in_environment(
    environment: &[(OsString, OsString)],
) -> Result<Option<Secret>, ConfigErrors> {
    let find = |wanted: String| {
        environment.iter().find(|(name, _)| *name == *wanted).map(|(_, value)| value)
    };
    let fail = |name: &str, message: String| Err(error(name, message));
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned());
    let url = match (find(VARIABLE.to_owned()), find(FILE_VARIABLE.to_owned())) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return fail(VARIABLE, format!("set either it or {FILE_VARIABLE}"));
        }
        (Some(url), None) => {
            text(url.as_encoded_bytes().to_vec()).map_err(|m| error(VARIABLE, m))?
        }
        (None, Some(path)) => {
            let read = Disk.read(Path::new(path)).map_err(|error| error.to_string());
            let read = read.and_then(text).map_err(|reason| {
                error(FILE_VARIABLE, format!("cannot read {}: {reason}", Path::new(path).display()))
            })?;
            read.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    Ok(Some(Secret::new(url)))
}

/// The file that holds it, if there is one.
pub(super) fn file_in_environment(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let found = environment.iter().find(|(name, _)| *name == *FILE_VARIABLE);
    found.map(|(_, path)| path.into())
}

/// The configuration that a URL describes; `environment` wins over it.
///
/// # Errors
/// Everything that is wrong, at once.
pub(super) fn load(
    url: &Secret,
    environment: &[(OsString, OsString)],
) -> Result<Config, ConfigErrors> {
    let parts = Parts::read(url.expose()).map_err(|message| error(VARIABLE, message))?;
    let toml = parts.toml();
    let both = Both(&parts);
    let mut config = parse(Path::new(VARIABLE), toml.as_bytes(), environment, &both)?;
    config.files.retain(|path| path != Path::new(USERS));
    Ok(config)
}

/// Where the console of another pooler is, and who asks there.
#[derive(Debug)]
pub struct ConsoleUrl {
    /// Its address.
    pub address: NodeAddress,
    /// The user.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The database that stands for the console.
    pub dbname: String,
}

/// Reads such a URL. What libpq would encrypt is encrypted where the other side offers it.
///
/// # Errors
/// What is wrong with it.
pub fn console_of(url: &str) -> Result<ConsoleUrl, String> {
    let parts = Parts::read(url)?;
    if let Some((_, key, _)) = parts.settings.first() {
        return Err(format!("{key} cannot be set for the console"));
    }
    let host = parts.hosts.first().ok_or("it names no host")?;
    Ok(ConsoleUrl {
        address: NodeAddress::parse(host)?,
        user: parts.user.ok_or("it names no user")?,
        password: parts.password,
        dbname: parts.database,
    })
}

fn error(name: &str, message: String) -> ConfigErrors {
    ConfigErrors::one(Path::new(VARIABLE), Origin::Environment(name.to_owned()), message)
}

/// The disk, and the one file that is not there.
struct Both<'a>(&'a Parts);

impl Files for Both<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new(USERS) { Ok(self.0.users().into_bytes()) } else { Disk.read(path) }
    }
}

/// The parts of a URL, decoded.
#[derive(Debug, Default)]
struct Parts {
    user: Option<String>,
    password: Option<Secret>,
    /// As `nodes` has them.
    hosts: Vec<String>,
    database: String,
    /// Keys of sections, and their values in TOML.
    settings: Vec<(&'static str, &'static str, String)>,
}

impl Parts {
    fn read(url: &str) -> Result<Self, String> {
        let rest =
            ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or("it does not begin with postgres:// or postgresql://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let mut parts = Self::default();
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            parts.user = Some(decoded("user", user)?).filter(|user| !user.is_empty());
            parts.password(password)?;
        }
        for host in hosts.split(',').filter(|host| !host.is_empty()) {
            parts.hosts.push(decoded("host", host)?);
        }
        parts.database = decoded("database", path)?;
        let mut port = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a parameter has no value")?;
            parts.parameter(
                &decoded("parameter", name)?,
                decoded("parameter", value)?,
                &mut port,
            )?;
        }
        parts.complete(port)
    }

    fn password(&mut self, given: Option<&str>) -> Result<(), String> {
        let password = given.map(|given| decoded("password", given)).transpose()?;
        let hash = |text: &str| {
            text.starts_with("SCRAM-SHA-256$") || (text.len() == 35 && text.starts_with("md5"))
        };
        if password.as_deref().is_some_and(hash) {
            return Err("its password looks like a verifier; the password itself is needed".into());
        }
        self.password = password.filter(|text| !text.is_empty()).map(Secret::new);
        Ok(())
    }

    /// libpq's parameters; what has no meaning here is refused rather than dropped.
    fn parameter(
        &mut self,
        name: &str,
        value: String,
        port: &mut Option<String>,
    ) -> Result<(), String> {
        let text = quoted(&value);
        match name {
            "host" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => *port = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(Secret::new(value)),
            "dbname" => self.database = value,
            "sslmode" => self.settings.push(("tls.server", "sslmode", text)),
            "sslrootcert" => self.settings.push(("tls.server", "ca_file", text)),
            "sslcert" => self.settings.push(("tls.server", "cert_file", text)),
            "sslkey" => self.settings.push(("tls.server", "key_file", text)),
            "connect_timeout" => {
                let seconds = quoted(&format!("{value}s"));
                self.settings.push(("timeouts", "server_connect_timeout", seconds));
            }
            _ => {
                return Err(format!(
                    "parameter {name} is not understood: known are host, port, user, password, \
                     dbname, sslmode, sslrootcert, sslcert, sslkey and connect_timeout; clients \
                     give the others themselves"
                ));
            }
        }
        Ok(())
    }

    fn complete(mut self, port: Option<String>) -> Result<Self, String> {
        if self.user.is_none() && self.password.is_some() {
            return Err("it has a password and no user".into());
        }
        if self.hosts.is_empty() {
            return Err("it names no host".into());
        }
        if self.database.is_empty() {
            self.database = self.user.clone().ok_or("it names no database")?;
        }
        if let Some(port) = port {
            for host in &mut self.hosts {
                *host = format!("{host}:{port}");
            }
        }
        Ok(self)
    }

    fn toml(&self) -> String {
        let mut toml = String::new();
        let auth = match &self.password {
            Some(_) => format!("auth_type = \"scram-sha-256\"\nauth_file = {}\n", quoted(USERS)),
            // The server asks for none either.
            None => "auth_type = \"trust\"\n".to_owned(),
        };
        _ = write!(toml, "[auth]\n{auth}");
        for section in ["tls.server", "timeouts"] {
            _ = writeln!(toml, "[{section}]");
            for (_, key, value) in self.settings.iter().filter(|(own, ..)| *own == section) {
                _ = writeln!(toml, "{key} = {value}");
            }
        }
        let nodes: Vec<_> = self.hosts.iter().map(|host| quoted(host)).collect();
        _ = writeln!(
            toml,
            "[databases.{}]\nnodes = [{}]",
            quoted(&self.database),
            nodes.join(", ")
        );
        toml
    }

    /// The one user, in the format of `auth_file`.
    fn users(&self) -> String {
        let doubled = |text: &str| text.replace('"', "\"\"");
        let user = self.user.as_deref().map(doubled).unwrap_or_default();
        let password = self.password.as_ref().map(|text| doubled(text.expose()));
        format!("\"{user}\" \"{}\"\n", password.unwrap_or_default())
    }
}

fn decoded(what: &str, text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| format!("its {what} is not text in UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        return Err(format!("its {what} has a control character"));
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Method;
    use crate::auth::Users;
    use crate::net::SslMode;

    fn config(url: &str) -> Result<Config, String> {
        load(&Secret::new(url.to_owned()), &[]).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_url_is_a_whole_configuration() {
        let url = "postgres://web%40home:p%22%2fw@db.example:5433/my%20app?sslmode=require&connect_timeout=3";
        let config = config(url).expect("loads");
        let database = &config.databases["my app"];
        assert_eq!(database.nodes[0].to_string(), "db.example:5433");
        assert_eq!(config.tls_server.sslmode, SslMode::Require);
        assert_eq!(config.timeouts.server_connect_timeout.map(|limit| limit.as_secs()), Some(3));
        assert_eq!(config.auth.auth_type, Method::ScramSha256);
        let file = config.auth.auth_file.expect("users");
        let users = Users::parse(file.contents()).expect("well-formed");
        assert!(users.secret(b"web@home").is_some());
    }

    #[test]
    fn what_is_left_out() {
        let socket = config("postgresql:///app?host=/run/postgresql&port=5433").expect("loads");
        assert_eq!(socket.databases["app"].nodes[0].to_string(), "/run/postgresql:5433");
        assert_eq!(socket.auth.auth_type, Method::Trust);
        let named = config("postgres://bob@db").expect("loads");
        assert!(named.databases.contains_key("bob"), "the database is called like the user");
    }

    #[test]
    fn the_environment_wins() {
        let variables = [("HOWDAH_TLS__SERVER__SSLMODE".into(), "require".into())];
        let url = Secret::new("postgres://bob@db/app?sslmode=disable".into());
        let config = load(&url, &variables).expect("loads");
        assert_eq!(config.tls_server.sslmode, SslMode::Require);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (url, reason) in [
            ("mysql://a:secret@b/c", "does not begin with postgres://"),
            ("postgres://a:secret@/c", "names no host"),
            ("postgres://:secret@b/c", "a password and no user"),
            ("postgres://b", "names no database"),
            ("postgres://a:secret@b/c?sslmod=require", "parameter sslmod is not understood"),
            ("postgres://a:secret@b/c?sslmode", "a parameter has no value"),
            ("postgres://a:secret@b/c?sslmode=perhaps", "sslmode"),
            ("postgres://a:secret%FF@b/c", "its password is not text in UTF-8"),
            ("postgres://a:secret%00@b/c", "its password has a control character"),
            ("postgres://a:SCRAM-SHA-256$4096:secret@b/c", "looks like a verifier"),
            ("postgres://a:secret@b:port/c", "port"),
        ] {
            let said = config(url).expect_err(url);
            assert!(said.contains(reason), "{url}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn the_environment_holds_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("url");
        std::fs::write(&path, "postgres://a@b/c\n").expect("writable");
        let held = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.into(), v.into())).collect();
            in_environment(&pairs).map(|url| url.map(|url| url.expose().to_owned()))
        };
        let url = Some("postgres://a@b/c".to_owned());
        let file = path.to_str().expect("UTF-8");
        assert_eq!(held(&[]), Ok(None));
        assert_eq!(held(&[("HOWDAH_DATABASE_URL", "postgres://a@b/c")]), Ok(url.clone()));
        assert_eq!(held(&[("HOWDAH_DATABASE_URL_FILE", file)]), Ok(url));
        assert!(held(&[("HOWDAH_DATABASE_URL_FILE", "/none")]).is_err());
        let both = [("HOWDAH_DATABASE_URL", "x"), ("HOWDAH_DATABASE_URL_FILE", "y")];
        assert!(held(&both).is_err());
    }
}
