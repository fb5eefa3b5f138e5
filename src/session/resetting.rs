//! The prepared statements of a session-mode client that may reset settings.

use crate::wire::client;

/// The prepared statements of a session-mode client whose text may reset settings; the unnamed one
/// has no name.
#[derive(Debug, Default)]
pub(super) struct ResettingStatements(Vec<Box<[u8]>>);

impl ResettingStatements {
    /// A statement was prepared, which replaces the one of that name.
    pub(super) fn prepared(&mut self, name: &[u8], resets: bool) {
        let known = self.0.iter().position(|known| **known == *name);
        match (known, resets) {
            (None, true) => self.0.push(name.into()),
            (Some(place), false) => drop(self.0.swap_remove(place)),
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Whether a Bind with this start of a body may be of one of them.
    pub(super) fn is_bound(&self, start: &[u8]) -> bool {
        !self.0.is_empty()
            && client::read_bind(start)
                .is_none_or(|bind| self.0.iter().any(|name| **name == *bind.statement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_reset_are_known_by_name() {
        let mut resetting = ResettingStatements::default();
        assert!(!resetting.is_bound(b"\0r\0"));
        resetting.prepared(b"r", true);
        resetting.prepared(b"", true);
        assert!(resetting.is_bound(b"portal\0r\0\0\0") && resetting.is_bound(b"\0\0"));
        assert!(!resetting.is_bound(b"\0other\0"));
        assert!(resetting.is_bound(b"a name that is not whole"));
        resetting.prepared(b"", false);
        assert!(!resetting.is_bound(b"\0\0") && resetting.is_bound(b"\0r\0"));
    }
}
