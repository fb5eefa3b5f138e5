//! What a new server of a primary has to say before it is written to.
//!
//! Owns the question, which every new connection to the primary of a database with several nodes is asked
//! once: is it in recovery, and on which timeline is it? The prober may be behind what happens: a primary
//! that was replaced and has come back is never written to.

use super::pooler::Pooler;
use crate::backend::clean::CleanError;
use crate::backend::login::LoginFailure;
use crate::backend::server::Server;
use crate::cluster::NodeId;
use crate::cluster::shared::Cluster;
use crate::fault::{Fault, Side};
use crate::wire;
use tokio::time::timeout;

const QUESTION: &str = "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN \
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END";

/// What a server that was asked is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is in recovery.
    Standby,
    /// It takes writes, on this timeline.
    Primary(u32),
    /// Its answer makes no sense.
    Unknown,
}

/// Reads the answer: a name of a log file, which begins with the timeline.
fn role(answer: Option<&[u8]>) -> Role {
    let Some(name) = answer else { return Role::Standby };
    let timeline = name.get(..8).and_then(|digits| std::str::from_utf8(digits).ok());
    let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    timeline.filter(|timeline| *timeline > 0).map_or(Role::Unknown, Role::Primary)
}

/// Asks a new server what its node is, and keeps what it says of itself.
///
/// # Errors
/// When it is taken for the primary and is not, or does not say.
pub(super) async fn check_role(
    pooler: &Pooler,
    (cluster, node): (&Cluster, NodeId),
    server: &mut Server,
    address: &str,
) -> Result<(), LoginFailure> {
    let limit = pooler.current().config.routing.probe_timeout;
    let rows = match timeout(limit, server.table(QUESTION)).await {
        Err(_) => return Err(LoginFailure::TimedOut(address.to_owned())),
        Ok(Ok((_, rows))) => rows,
        // Nobody writes there.
        Ok(Err(CleanError::Refused(_))) if cluster.view().primary != Some(node) => return Ok(()),
        Ok(Err(error)) => return Err(silent(address, &error)),
    };
    let answer = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
    let role = role(answer);
    if let Role::Primary(timeline) = role {
        server.timeline = timeline;
    }
    if cluster.view().primary != Some(node) {
        // It suits a writer only if it is on the primary's timeline when it is taken.
        return Ok(());
    }
    let text = match role {
        Role::Primary(timeline) if timeline >= cluster.timeline() => return Ok(()),
        Role::Primary(timeline) => format!(
            "server at {address} is an old primary: it is on timeline {timeline}, and the primary on {}",
            cluster.timeline()
        ),
        Role::Standby => format!("server at {address} is in recovery, and not the primary"),
        Role::Unknown => format!("server at {address} does not say whether it is the primary"),
    };
    cluster.record_role_change(node);
    Err(refused(&text))
}

fn silent(address: &str, error: &CleanError) -> LoginFailure {
    if let CleanError::Refused(code) = error {
        return refused(&format!(
            "server at {address} does not say whether it is the primary (SQLSTATE {code}); its user has \
             to be allowed to run pg_is_in_recovery, pg_current_wal_lsn and pg_walfile_name"
        ));
    }
    LoginFailure::Unreachable { address: address.to_owned(), reason: error.to_string() }
}

/// It may be right in a moment.
fn refused(message: &str) -> LoginFailure {
    let mut out = Vec::new();
    wire::fault(&mut out, &Fault::session(Side::Server, "57P03", message.to_owned()));
    let body = out.get(wire::HEADER_LEN..).unwrap_or_default().into();
    LoginFailure::Refused { code: "57P03".to_owned(), message: message.to_owned(), body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::login::Outlook;

    #[test]
    fn a_log_file_begins_with_its_timeline() {
        assert_eq!(role(None), Role::Standby);
        assert_eq!(role(Some(b"000000010000000000000003")), Role::Primary(1));
        assert_eq!(role(Some(b"0000001A0000000000000003")), Role::Primary(26));
        for strange in [&b"0000000000000000"[..], b"", b"0000001", b"zzzzzzzz0000"] {
            assert_eq!(role(Some(strange)), Role::Unknown, "{strange:?}");
        }
    }

    #[test]
    fn who_is_refused_may_come_again() {
        assert_eq!(refused("a").outlook(), Outlook::Passing);
    }
}
