//! One node, as its answers say.

use super::Member;
use crate::cluster::difference::{Compared, Difference, Kind, differences};
use crate::cluster::health::Condition;
use crate::cluster::history::History;
use crate::cluster::moment::Moment;
use crate::cluster::primary_log::PrimaryLog;
use crate::cluster::report::Report;
use std::time::Duration;

impl Member {
    pub(super) fn is_on_timeline_of(&self, log: &PrimaryLog) -> bool {
        let timeline = self.report.as_ref().and_then(Report::timeline);
        timeline.is_some() && timeline == log.timeline()
    }

    pub(super) fn timeline_of_primary(&self) -> Option<u32> {
        self.report.as_ref()?.primary().map(|stand| stand.timeline)
    }

    pub(super) fn down_for(&self, now: Moment) -> Duration {
        let is_down = self.health.condition() == Condition::Down;
        if is_down { now.since(self.health.since()) } else { Duration::ZERO }
    }

    pub(super) fn history_of_report(&self) -> Option<&History> {
        let timeline = self.timeline_of_primary()?;
        self.history.as_ref().filter(|(known, _)| *known == timeline).map(|(_, history)| history)
    }

    /// Whether it was asked for its features.
    pub(super) fn is_known(&self) -> bool {
        self.report.is_some() && !self.features.is_empty()
    }

    /// Where it would answer otherwise, in any database.
    pub(super) fn differences_from(&self, primary: &Self) -> Vec<Difference> {
        let (Some(ours), Some(theirs)) = (&primary.report, &self.report) else { return Vec::new() };
        let mut found: Vec<Difference> = Vec::new();
        for (database, features) in &primary.features {
            let Some(other) = self.features.get(database) else { continue };
            let ours = Compared { report: ours, features };
            for mut one in differences(ours, Compared { report: theirs, features: other }) {
                if matches!(one.kind, Kind::Extension | Kind::Collation) {
                    one.database = Some(database.clone());
                }
                if !found.contains(&one) {
                    found.push(one);
                }
            }
        }
        found
    }
}
