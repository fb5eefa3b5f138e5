//! Limits of the process: open files, clients, connections of HTTP.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::pool::admission::AdmissionOptions;

/// Open files for what is neither a client nor a server: standard streams, listeners, event
/// queues, files read at a reload.
const RESERVE: u64 = 64;

/// Open files of one worker thread: its event queue and its wake-up.
const PER_WORKER: u64 = 4;

/// Connections of HTTP at a time; more are closed.
pub(super) const HTTP_CONNECTIONS_MAX: usize = 32;

/// How many clients may be let in. As many again may be in their login.
pub(super) fn admission_options(config: &Config) -> AdmissionOptions {
    let max_client_conn = config.howdah.max_client_conn.get();
    AdmissionOptions { max_client_conn, max_unfinished_logins: max_client_conn }
}

/// Raises the limit of open files to the hard limit and returns it.
///
/// # Errors
/// What the system says.
pub fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    // None is "no limit".
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// More connections are configured than the process may have files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "howdah.max_client_conn = {clients} needs {needed} open files ({clients} clients, {servers} \
     servers with one pool for each database, {other} others), but the limit is {limit}: raise the \
     hard limit (ulimit -Hn, LimitNOFILE= in systemd) or set max_client_conn to {fits}"
)]
pub struct TooFewFiles {
    /// `max_client_conn`.
    pub clients: u64,
    /// Servers of one pool for each database.
    pub servers: u64,
    /// Everything else.
    pub other: u64,
    /// The sum.
    pub needed: u64,
    /// What the process may have.
    pub limit: u64,
    /// A `max_client_conn` that fits, at least 1.
    pub fits: u64,
}

/// Checks that `config` fits into `limit` open files.
///
/// Servers are estimated as one full pool with its reserve for each database: how many users will
/// come is unknown, and a server is opened only for a client that has a file already.
///
/// # Errors
/// The numbers, when it does not.
pub fn check_open_files(config: &Config, limit: u64) -> Result<(), TooFewFiles> {
    let clients = u64::from(config.howdah.max_client_conn.get());
    let servers = servers(config);
    let http = config.http.listen.map_or(0, |_| HTTP_CONNECTIONS_MAX as u64);
    let workers = PER_WORKER * config.howdah.workers.get() as u64;
    let other = RESERVE + workers + http + probes(config);
    let needed = clients + servers + other;
    if needed <= limit {
        return Ok(());
    }
    let fits = limit.saturating_sub(servers + other).max(1);
    Err(TooFewFiles { clients, servers, other, needed, limit, fits })
}

/// A probe of a node has one connection, and another for a history.
fn probes(config: &Config) -> u64 {
    let entries = config.databases.values().chain(&config.wildcard);
    let several = entries.map(|entry| entry.nodes.len() as u64).filter(|nodes| *nodes > 1);
    several.map(|nodes| 2 * nodes).sum()
}

fn servers(config: &Config) -> u64 {
    let clients = u64::from(config.howdah.max_client_conn.get());
    let one_pool = |database: &str| {
        let Some(options) = config.effective(database, "") else { return 0 };
        let size = options.pool_size.map_or(clients, |size| u64::from(size.get()));
        let full = size + u64::from(options.reserve_pool_size);
        options.max_db_connections.map_or(full, |most| full.min(u64::from(most.get())))
    };
    let names = config.databases.keys().map(String::as_str);
    let sum: u64 = names.chain(config.wildcard.as_ref().map(|_| "*")).map(one_pool).sum();
    // Without a client there is no server.
    sum.min(clients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_bytes;

    fn config(text: &str) -> Config {
        let text = format!("{text}\n[auth]\nauth_type = \"trust\"\n");
        parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    const TWO: &str = "[howdah]\nmax_client_conn = 1000\nworkers = 2\n\
        [pool]\ndefault_pool_size = 10\nreserve_pool_size = 5\n\
        [databases.a]\nnodes = [\"h\"]\n\
        [databases.\"*\"]\nnodes = [\"h\"]\nmax_db_connections = 12\n";

    #[test]
    fn what_fits_is_accepted_and_one_file_less_is_not() {
        let config = config(TWO);
        // 1000 clients, 15 + 12 servers, 64 + 2 * 4 others.
        assert_eq!(check_open_files(&config, 1099), Ok(()));
        let error = check_open_files(&config, 1098).expect_err("one too few");
        assert_eq!(
            error.to_string(),
            "howdah.max_client_conn = 1000 needs 1099 open files (1000 clients, 27 servers with one \
             pool for each database, 72 others), but the limit is 1098: raise the hard limit \
             (ulimit -Hn, LimitNOFILE= in systemd) or set max_client_conn to 999"
        );
    }

    #[test]
    fn a_limit_below_the_reserve_still_names_a_number() {
        assert_eq!(check_open_files(&config(TWO), 10).expect_err("too few").fits, 1);
    }

    #[test]
    fn servers_are_never_more_than_clients() {
        let config = config(
            "[howdah]\nmax_client_conn = 5\nworkers = 1\n[pool]\ndefault_pool_size = 0\n\
             [databases.a]\nnodes = [\"h\"]\n",
        );
        assert_eq!(check_open_files(&config, 5 + 5 + 64 + 4), Ok(()));
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_limit() {
        let limit = raise_open_files().expect("the own limit can be raised");
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(limit, now.maximum.unwrap_or(u64::MAX));
    }
}
