//! PostgreSQL's programs on this machine, and the account that runs them.
//!
//! Owns the search for the newest complete installation; and as root, the choice of an unprivileged account,
//! because PostgreSQL refuses to run as root.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

const NEEDED: [&str; 5] = ["initdb", "postgres", "pg_basebackup", "pgbench", "psql"];
/// Where distributions keep versions side by side, outside of `PATH`: Debian, then Red Hat.
const SIDE_BY_SIDE: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];
const PASSWD: &str = "/etc/passwd";

/// A user and group to run PostgreSQL as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A folder that has every program the demo needs.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
    version: Vec<u32>,
    account: Option<Account>,
}

impl Programs {
    /// The newest complete installation in `PATH` or where distributions keep them.
    pub(super) fn find() -> Result<Self> {
        let newest = folders()
            .into_iter()
            .filter(|folder| NEEDED.iter().all(|name| folder.join(name).is_file()))
            .filter_map(|folder| version_of(&folder).map(|version| (version, folder)))
            .max();
        let Some((version, folder)) = newest else {
            bail!(
                "no PostgreSQL found: the demo needs {} in one folder of PATH or in \
                 /usr/lib/postgresql/*/bin.\nInstall it, for instance: apt-get install postgresql",
                NEEDED.join(", ")
            );
        };
        Ok(Self { folder, version, account: account()? })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As PostgreSQL writes it: `15.18`.
    pub(super) fn version(&self) -> String {
        self.version.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
    }

    /// The account to drop to, or none if we are not root.
    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }

    /// A command of this installation, as the unprivileged account, in `folder`, free of the caller's `PG…`
    /// environment and of its terminal's signals.
    pub(super) fn command(&self, name: &str, folder: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.path(name));
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        for (key, _) in env::vars_os().filter(|(key, _)| is_libpq(key)) {
            command.env_remove(key);
        }
        command.current_dir(folder).process_group(0).kill_on_drop(true);
        command
    }
}

fn is_libpq(key: &OsStr) -> bool {
    key.as_encoded_bytes().starts_with(b"PG")
}

fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut out: Vec<PathBuf> = env::split_paths(&path).collect();
    for (parent, prefix) in SIDE_BY_SIDE {
        // A folder that is not there is no error: this machine has another layout.
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                out.push(entry.path().join("bin"));
            }
        }
    }
    out
}

fn version_of(folder: &Path) -> Option<Vec<u32>> {
    let out = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&out.stdout))
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` and `postgres (PostgreSQL) 18beta1`.
fn parse_version(text: &str) -> Option<Vec<u32>> {
    let number = text.split(") ").nth(1)?;
    let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    number.get(..end)?.split('.').map(|part| part.parse().ok()).collect()
}

/// As root `postgres`, else `nobody`; otherwise nobody changes.
fn account() -> Result<Option<Account>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string(PASSWD).with_context(|| format!("could not read {PASSWD}"))?;
    let found = ["postgres", "nobody"].iter().find_map(|name| account_of(&users, name));
    match found {
        Some(account) => Ok(Some(account)),
        None => bail!(
            "PostgreSQL refuses to run as root, and {PASSWD} has neither a user postgres nor nobody.\n\
             Run the demo as an ordinary user, or: useradd --system postgres"
        ),
    }
}

/// The account of `name` among the lines of a passwd file (passwd(5): name:password:uid:gid:…).
fn account_of(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let of = |text| parse_version(text).unwrap();
        assert_eq!(of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), [15, 18]);
        assert_eq!(of("postgres (PostgreSQL) 18beta1\n"), [18]);
        assert_eq!(of("postgres (PostgreSQL) 9.6.24\n"), [9, 6, 24]);
        assert!(of("postgres (PostgreSQL) 15.18\n") > of("postgres (PostgreSQL) 9.6.24\n"));
        assert_eq!(parse_version("no such thing"), None);
        assert_eq!(parse_version("postgres (PostgreSQL) devel"), None);
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let users = "postgresql:x:1:2::/:/bin/sh\npostgres:x:103:110:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account_of(users, "postgres"), Some(Account { uid: 103, gid: 110 }));
        assert_eq!(account_of(users, "nobody"), None);
        assert_eq!(account_of("nobody:x:none:1::/:", "nobody"), None);
    }

    #[test]
    fn only_libpqs_variables_are_taken_away() {
        assert!(is_libpq(OsStr::new("PGHOST")));
        assert!(!is_libpq(OsStr::new("PATH")));
        assert!(!is_libpq(OsStr::new("XPG")));
    }
}
