//! What a node says about itself when it is probed.
//!
//! Owns the meaning of the row that [`REPORT`](super::questions::REPORT) asks for. Never judges it.

use super::lsn::{Lsn, WalLayout};
use std::str::FromStr;
use thiserror::Error;

/// One row of an answer; NULL is `None`.
pub type Row<'a> = &'a [Option<&'a [u8]>];

/// The answer of a node is not an answer to our question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the node's answer has no readable {0}")]
pub struct BadAnswer(pub &'static str);

/// The settings of the cluster that a node belongs to, and itself, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What `initdb` drew for all nodes of the cluster.
    pub system: u64,
    /// `server_version_num`.
    pub version: u32,
    /// When its postmaster was started: microseconds of the node's own clock, to be compared only. A
    /// crash of a backend restarts everything and leaves this as it is.
    pub started: i64,
    /// The sizes of its log.
    pub layout: WalLayout,
    /// What it says it is.
    pub stand: Stand,
}

/// What a node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It is not in recovery: it takes writes.
    Primary(PrimaryStand),
    /// It is in recovery.
    Replica(ReplicaStand),
}

/// How far a primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimaryStand {
    /// The timeline that it writes.
    pub timeline: u32,
    /// The end of the last record: what was acknowledged before the question was written lies before.
    /// Rounded by [`Lsn::before_header`].
    pub insert: Lsn,
    /// What is on its disk, and may be on its way to replicas.
    pub flush: Lsn,
    /// Whether it has synchronous standbys.
    pub is_synchronous: bool,
}

/// How far a replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStand {
    /// The timeline that it receives. Unknown without a receiver (it has lost its upstream, or reads an
    /// archive), and to a role without `pg_monitor`.
    pub timeline: Option<u32>,
    /// What a statement sees there; unknown before the first record.
    pub replayed: Option<Lsn>,
    /// What is on its disk; it would not be lost with the upstream.
    pub received: Option<Lsn>,
    /// Whom it receives from.
    pub upstream: Option<Upstream>,
}

/// The node that a replica receives from, as that replica names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// A host name, an address, or the folder of a socket.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

impl Report {
    /// Reads the row of [`REPORT`](super::questions::REPORT).
    ///
    /// # Errors
    /// Names the first column that makes no sense.
    pub fn parse(row: Row<'_>) -> Result<Self, BadAnswer> {
        let size = |column, name| value::<u32>(row, column, name);
        let stand = match text(row, 0) {
            Some("t") => Stand::Replica(replica(row)),
            Some("f") => Stand::Primary(PrimaryStand::parse(row)?),
            _ => return Err(BadAnswer("pg_is_in_recovery")),
        };
        let mut report = Self {
            // PostgreSQL shows the identifier as a signed number.
            system: value::<i64>(row, 1, "system_identifier")?.cast_unsigned(),
            version: value(row, 2, "server_version_num")?,
            started: value(row, 3, "pg_postmaster_start_time")?,
            layout: WalLayout {
                page: size(4, "wal_block_size")?,
                segment: size(5, "wal_segment_size")?,
            },
            stand,
        };
        if let Stand::Primary(primary) = &mut report.stand {
            primary.insert = primary.insert.before_header(report.layout);
        }
        Ok(report)
    }

    /// What it says as a primary.
    #[must_use]
    pub fn primary(&self) -> Option<&PrimaryStand> {
        match &self.stand {
            Stand::Primary(primary) => Some(primary),
            Stand::Replica(_) => None,
        }
    }

    /// What it says as a replica.
    #[must_use]
    pub fn replica(&self) -> Option<&ReplicaStand> {
        match &self.stand {
            Stand::Replica(replica) => Some(replica),
            Stand::Primary(_) => None,
        }
    }

    /// The timeline that it is on, if that is known.
    #[must_use]
    pub fn timeline(&self) -> Option<u32> {
        match &self.stand {
            Stand::Primary(primary) => Some(primary.timeline),
            Stand::Replica(replica) => replica.timeline,
        }
    }

    /// Takes the timeline from IDENTIFY_SYSTEM where the report has none.
    pub fn complete(&mut self, identity: Identity) {
        if let Stand::Replica(replica) = &mut self.stand
            && identity.system == self.system
        {
            replica.timeline = replica.timeline.or(Some(identity.timeline));
        }
    }
}

impl PrimaryStand {
    fn parse(row: Row<'_>) -> Result<Self, BadAnswer> {
        // Only the timeline part: at the boundary of a file, versions differ about its number.
        let timeline = text(row, 6).and_then(|file| file.get(..8));
        Ok(Self {
            timeline: timeline
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or(BadAnswer("pg_walfile_name"))?,
            flush: value(row, 7, "pg_current_wal_flush_lsn")?,
            insert: value(row, 8, "pg_current_wal_insert_lsn")?,
            is_synchronous: text(row, 9) == Some("t"),
        })
    }
}

fn replica(row: Row<'_>) -> ReplicaStand {
    let host = text(row, 13).filter(|host| !host.is_empty());
    let upstream = host.zip(text(row, 14).and_then(|port| port.parse().ok()));
    ReplicaStand {
        // While a receiver begins, it has the timeline 0.
        timeline: text(row, 12).and_then(|id| id.parse().ok()).filter(|timeline| *timeline > 0),
        replayed: text(row, 10).and_then(|lsn| lsn.parse().ok()),
        received: text(row, 11).and_then(|lsn| lsn.parse().ok()),
        upstream: upstream.map(|(host, port)| Upstream { host: host.into(), port }),
    }
}

/// What IDENTIFY_SYSTEM answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The system identifier.
    pub system: u64,
    /// The timeline: of a replica the one that it replays.
    pub timeline: u32,
}

impl Identity {
    /// Reads the row.
    ///
    /// # Errors
    /// Names the column that makes no sense.
    pub fn parse(row: Row<'_>) -> Result<Self, BadAnswer> {
        Ok(Self { system: value(row, 0, "systemid")?, timeline: value(row, 1, "timeline")? })
    }
}

fn text<'a>(row: Row<'a>, column: usize) -> Option<&'a str> {
    let bytes = row.get(column).copied().flatten()?;
    std::str::from_utf8(bytes).ok()
}

fn value<T: FromStr>(row: Row<'_>, column: usize, name: &'static str) -> Result<T, BadAnswer> {
    text(row, column).and_then(|text| text.parse().ok()).ok_or(BadAnswer(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(row: &str) -> Vec<Option<&[u8]>> {
        row.split('|').map(|value| (!value.is_empty()).then_some(value.as_bytes())).collect()
    }

    const PRIMARY: &str = "f|7389112233445566778|150014|1764286000000000|8192|16777216|\
                           00000002000000000000000A|0/A000000|0/A000028|t||||||";
    const REPLICA: &str =
        "t|7389112233445566778|150014|1764286000000000|8192|16777216|||||0/A0|0/B0|2|10.0.0.1|5432";

    #[test]
    fn a_primary_is_understood() {
        let report = Report::parse(&columns(PRIMARY)).expect("a report");
        assert_eq!(report.system, 7_389_112_233_445_566_778);
        assert_eq!(
            report.primary(),
            Some(&PrimaryStand {
                timeline: 2,
                insert: Lsn(0xA00_0000),
                flush: Lsn(0xA00_0000),
                is_synchronous: true
            })
        );
        assert!(report.replica().is_none());
    }

    #[test]
    fn a_replica_is_understood() {
        let mut report = Report::parse(&columns(REPLICA)).expect("a report");
        let upstream = Upstream { host: "10.0.0.1".into(), port: 5432 };
        assert_eq!(
            report.replica(),
            Some(&ReplicaStand {
                timeline: Some(2),
                replayed: Some(Lsn(0xA0)),
                received: Some(Lsn(0xB0)),
                upstream: Some(upstream)
            })
        );
        report.complete(Identity { system: report.system, timeline: 9 });
        assert_eq!(report.timeline(), Some(2), "what the receiver says comes first");
    }

    #[test]
    fn a_replica_without_a_receiver_has_no_timeline_but_that_of_identify_system() {
        let row = REPLICA.replace("|2|10.0.0.1|5432", "|||");
        let mut report = Report::parse(&columns(&row)).expect("a report");
        assert_eq!(report.timeline(), None);
        report.complete(Identity { system: 1, timeline: 9 });
        assert_eq!(report.timeline(), None, "another system's timeline counts for nothing");
        let identity = Identity::parse(&columns("7389112233445566778|3|0/0|")).expect("one");
        report.complete(identity);
        assert_eq!(report.timeline(), Some(3));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_named() {
        for (from, to, named) in [
            ("f|", "x|", "pg_is_in_recovery"),
            ("|7389112233445566778|", "||", "system_identifier"),
            ("|150014|", "|fifteen|", "server_version_num"),
            ("|16777216|", "|16MB|", "wal_segment_size"),
            ("|00000002000000000000000A|", "|000|", "pg_walfile_name"),
            ("|0/A000028|", "||", "pg_current_wal_insert_lsn"),
        ] {
            let row = PRIMARY.replacen(from, to, 1);
            assert_eq!(Report::parse(&columns(&row)), Err(BadAnswer(named)), "{row}");
        }
        assert!(Report::parse(&[]).is_err());
    }
}
