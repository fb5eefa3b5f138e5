//! The custom settings that a session has named.
//!
//! PostgreSQL lists no setting that no extension has defined, so the session has to remember which to
//! ask for. Bounded.

use super::own::is_own_name;
use crate::backend::settings::Settings;

/// Custom settings that a session has named.
#[derive(Debug, Default)]
pub(super) struct CustomSettings(Vec<Box<str>>);

impl CustomSettings {
    /// More than fit into a startup packet.
    const MAX: usize = 2048;

    /// Those of a startup packet, which has no room for more than are remembered.
    pub(super) fn of(settings: &Settings) -> Self {
        let mut custom = Self::default();
        settings.iter().for_each(|(name, _)| _ = custom.add(name));
        custom
    }

    /// Remembers a custom setting's name; others are listed by the server, and howdah's own are no
    /// server's. False when there are too
    /// many to be remembered.
    pub(super) fn add(&mut self, name: &str) -> bool {
        if !name.contains('.') || is_own_name(name) || self.0.iter().any(|known| **known == *name) {
            return true;
        }
        let fits = self.0.len() < Self::MAX;
        if fits {
            self.0.push(name.into());
        }
        fits
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::effects::{Effects, effects_of};
    use crate::sql::{NoVocabulary, Rules};

    #[test]
    fn names_beyond_those_that_are_remembered_make_a_text_unknown() {
        let mut custom = CustomSettings::default();
        let max = CustomSettings::MAX;
        assert!((0..max).all(|n| custom.add(&format!("app.x{n}"))));
        assert!(custom.add("app.x7") && custom.add("work_mem") && !custom.add("app.more"));
        let mut note = |name: &str| custom.add(name);
        let found =
            effects_of(b"SET app.more = '1'", Rules::STANDARD, &NoVocabulary, &mut note).effects;
        assert!(found.contains(Effects::SETTINGS | Effects::UNKNOWN_SETTINGS));
        assert_eq!(custom.names().count(), max);
    }
}
