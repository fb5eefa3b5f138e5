//! The statements that the portals of one server run, and what was counted of the one that is being
//! answered.

use crate::metrics::Run;
use crate::pool::core::Tick;
use crate::wire;

/// Named portals, and in session mode prepared statements, that are remembered for one client.
const NAMES_MAX: usize = 256;
/// A name, and what it stands for.
type NamedRun = (Box<[u8]>, Run);

fn set(names: &mut Vec<NamedRun>, name: &[u8], run: Option<Run>) {
    let known = names.iter().position(|(known, _)| **known == *name);
    match (known, run) {
        (Some(at), Some(run)) => {
            if let Some(named) = names.get_mut(at) {
                named.1 = run;
            }
        }
        (Some(at), None) => drop(names.swap_remove(at)),
        (None, Some(run)) if names.len() < NAMES_MAX => names.push((name.into(), run)),
        (None, _) => {}
    }
}

fn get(names: &[NamedRun], name: &[u8]) -> Option<Run> {
    names.iter().find(|(known, _)| **known == *name).map(|(_, run)| *run)
}

/// What runs on one leased server.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// What the unnamed portal runs.
    pub(super) bound: Option<Run>,
    pub(super) portals: Vec<NamedRun>,
    /// In session mode, where names pass unread: what they stand for.
    pub(super) statements: Vec<NamedRun>,
    /// An Execute that was answered, and whose end the next ReadyForQuery tells.
    pub(super) answered: Option<Run>,
    pub(super) failed: bool,
    pub(super) rows: u64,
    /// Bytes that the server has sent, and how many of them were counted.
    pub(super) position: u64,
    pub(super) counted: u64,
    /// When the statement before this one ended.
    pub(super) since: Tick,
    /// Microseconds that the server was waited for.
    pub(super) waited: u64,
}

impl Running {
    /// On a server that the client waited for so many microseconds.
    pub(super) fn new(waited: u64) -> Self {
        Self { waited, ..Self::default() }
    }

    /// In session mode: a statement was prepared.
    pub(super) fn record_prepare(&mut self, name: &[u8], run: Option<Run>) {
        set(&mut self.statements, name, run);
    }

    /// In session mode: which statement has this name.
    pub(super) fn run_of(&self, name: &[u8]) -> Option<Run> {
        get(&self.statements, name)
    }

    #[inline]
    pub(super) fn record_bind(&mut self, portal: &[u8], run: Option<Run>) {
        if portal.is_empty() {
            self.bound = run;
        } else {
            set(&mut self.portals, portal, run);
        }
    }

    /// Execute, whose body may not be whole.
    #[inline]
    pub(super) fn executed_by(&self, body: &[u8]) -> Option<Run> {
        let portal = wire::cstring(body).map_or(&[][..], |(name, _)| name);
        if portal.is_empty() { self.bound } else { get(&self.portals, portal) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Queries;
    use crate::session::text_cache::{Text, TextCache};
    use crate::sql::Rules;
    use std::sync::Arc;

    #[test]
    fn names_are_remembered_up_to_a_number() {
        let queries = Arc::new(Queries::new(1, 9));
        let text = Text { database: "a", rules: Rules::STANDARD, catalog: None, sql: b"SELECT 1" };
        let run = TextCache::new(&queries, 0).run(text);
        let mut names = Vec::new();
        (0..1000u32).for_each(|n| set(&mut names, &n.to_be_bytes(), run));
        assert_eq!(names.len(), NAMES_MAX);
        assert_eq!(get(&names, &7u32.to_be_bytes()), run);
        set(&mut names, &7u32.to_be_bytes(), None);
        assert_eq!(get(&names, &7u32.to_be_bytes()), None);
    }
}
