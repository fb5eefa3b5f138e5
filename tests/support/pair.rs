//! A primary with its replica, both of which a pooler probes.

use super::behaviour::eventually;
use super::console::{Row, shows, the_row};
use super::howdah::Settings;
use super::postgres::{Options, Postgres, RIDER};
use super::wire::Wire;

/// What the documentation asks for, and REPLICATION.
pub(crate) const PROBE: &str = "howdah";

fn settings_of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

pub(crate) struct Pair {
    pub(crate) primary: Postgres,
    pub(crate) replica: Postgres,
}

impl Pair {
    /// A primary with a probe user, and a replica.
    pub(crate) fn start() -> Self {
        let primary = start_primary();
        primary
            .admin("app")
            .run(&format!("CREATE ROLE {PROBE} LOGIN REPLICATION; GRANT pg_monitor TO {PROBE}"));
        Self::of(primary)
    }

    pub(crate) fn of(primary: Postgres) -> Self {
        let replica = primary.start_replica(&quick_replica());
        Self { primary, replica }
    }

    /// Of this primary, with a replica that listens on this port.
    pub(crate) fn at(primary: Postgres, port: u16) -> Self {
        let mut options = quick_replica();
        options.settings.push(("port".into(), port.to_string()));
        let replica = primary.start_replica(&options);
        Self { primary, replica }
    }

    /// Throws the replica away, and builds another behind its address.
    pub(crate) fn rebuild_replica(&mut self) {
        let mut options = quick_replica();
        options.settings.push(("port".into(), self.replica.port().to_string()));
        self.replica.stop();
        self.replica = self.primary.start_replica(&options);
    }

    /// Waits until the replica shows what the primary has written so far.
    pub(crate) fn await_replay(&self) {
        let lsn = self
            .primary
            .admin("app")
            .rows("SELECT pg_current_wal_insert_lsn()")
            .remove(0)
            .remove(0);
        let mut replica = self.replica.admin("app");
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
        eventually("the replica has replayed", || replica.rows(&sql) == [["t"]]);
    }

    pub(crate) fn nodes(&self) -> Vec<String> {
        [&self.primary, &self.replica].map(|node| node.address().to_string()).to_vec()
    }

    pub(crate) fn settings(&self) -> Settings {
        of_nodes(self.nodes())
    }
}

/// A primary with two replicas.
pub(crate) struct Trio {
    pub(crate) primary: Postgres,
    pub(crate) replicas: [Postgres; 2],
}

impl Trio {
    pub(crate) fn start() -> Self {
        let Pair { primary, replica } = Pair::start();
        let other = primary.start_replica(&quick_replica());
        Self { primary, replicas: [replica, other] }
    }

    pub(crate) fn settings(&self) -> Settings {
        let nodes = [&self.primary, &self.replicas[0], &self.replicas[1]];
        of_nodes(nodes.map(|node| node.address().to_string()).to_vec())
    }
}

/// A replica follows another primary from now on.
pub(crate) fn follow(replica: &Postgres, primary: &Postgres) {
    let mut admin = replica.admin("postgres");
    let port = primary.port();
    admin.run(&format!(
        "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port={port} user=postgres'"
    ));
    admin.run("SELECT pg_reload_conf()");
}

/// A replica gets nothing more of its primary's log.
pub(crate) fn cut_off(replica: &Postgres) {
    let mut admin = replica.admin("postgres");
    admin.run("ALTER SYSTEM SET primary_conninfo = ''");
    admin.run("SELECT pg_reload_conf()");
    eventually("nothing is received any more", || {
        admin.rows("SELECT 1 FROM pg_stat_wal_receiver").is_empty()
    });
}

pub(crate) fn start_primary() -> Postgres {
    let hba = vec!["host replication all 127.0.0.1/32 trust".to_owned()];
    Postgres::start(&Options { hba, settings: settings_of(&[("wal_writer_delay", "10ms")]) })
}

fn quick_replica() -> Options {
    Options { hba: vec![], settings: settings_of(&[("wal_retrieve_retry_interval", "100ms")]) }
}

pub(crate) fn of_nodes(nodes: Vec<String>) -> Settings {
    Settings::new("transaction")
        .set("howdah.admin_users", vec![RIDER])
        .set("routing.probe_interval", "50ms")
        .set("databases.app.nodes", nodes)
}

pub(crate) fn node_row(wire: &mut Wire, node: &Postgres) -> Row {
    the_row(wire, "nodes", &[("node", &node.address().to_string())])
}

/// Waits until a node has this role and state.
pub(crate) fn await_node(wire: &mut Wire, node: &Postgres, role: &str, state: &str) {
    let name = node.address().to_string();
    shows(wire, &[("node", &name)], &[("nodes.role", role), ("nodes.state", state)]);
}
