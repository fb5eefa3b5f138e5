//! How many leases of a pool their clients keep, by reason.

use smallvec::SmallVec;

/// How many leases of a pool are kept for each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pins(SmallVec<[(&'static str, u32); 2]>);

impl Pins {
    pub(super) fn add(&mut self, reason: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.0.push((reason, 1)),
        }
    }

    pub(super) fn remove(&mut self, reason: &'static str) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == reason) {
            *count -= 1;
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    /// How many leases are kept.
    pub(super) fn total(&self) -> u32 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// How many are kept for each reason.
    pub(super) fn reasons(&self) -> Vec<(&'static str, u32)> {
        self.0.to_vec()
    }
}
