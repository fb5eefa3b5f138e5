//! What running a text may do to the session and to its server.
//!
//! Pure: the facts of a text come from `sql`, and what follows from them is said here.

use super::own::mentions_own;
use crate::sql::{self, PinSet, Rules, Vocabulary};

bitflags::bitflags! {
    /// What running a text may do.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Effects: u32 {
        /// Change settings of the session.
        const SETTINGS = 1;
        /// Return settings to their defaults.
        const RESETS = 1 << 1;
        /// Leave an object of the session on the server, take one away, or do what the text does not
        /// show.
        const OBJECTS = 1 << 2;
        /// Change settings that the text does not name.
        const UNKNOWN_SETTINGS = 1 << 3;
        /// Load a library, which no query can ask for.
        const LOADS = 1 << 4;
        /// Leave state that nobody can ask for.
        const LEAVES_STATE = 1 << 5;
        /// Leave something that ties the session to its server.
        const TIES = 1 << 6;
        /// Mention prepared statements.
        const NAMES = 1 << 7;
        /// Change the rules by which the texts behind it are read.
        const RULES = 1 << 8;
        /// Set something, even if only for the transaction.
        const SETS = 1 << 9;
        /// Change what others see.
        const WRITES = 1 << 10;
        /// Commit a transaction block.
        const COMMITS = 1 << 11;
        /// Move a sequence.
        const MOVES_SEQUENCES = 1 << 12;
        /// Read what `nextval` gave this session before.
        const READS_SEQUENCES = 1 << 13;
        /// Fail while others are connected to a database that it names.
        const VACATES_DATABASE = 1 << 14;
        /// Forget what `nextval` gave this session before.
        const FORGETS_SEQUENCES = 1 << 15;
        /// Set a setting that one of its parameters names.
        const NAMED_BY_PARAMETER = 1 << 16;
        /// Set a custom setting whose name it computes: nobody can ask for that.
        const COMPUTES_SETTING = 1 << 19;
        /// Set one of howdah's own settings beside other things: the text is refused.
        const NAMES_OWN = 1 << 20;
        /// Change the catalog.
        const DEFINES = 1 << 17;
        /// Take something out of the catalog.
        const REMOVES = 1 << 20;
        /// Change the catalog without showing it.
        const MAY_DEFINE = 1 << 18;
        /// Leave a transaction block open, as the last that it does with one.
        const OPENS_BLOCK = 1 << 22;
        /// Leave none: it ends one.
        const CLOSES_BLOCK = 1 << 21;

        /// The server has to be asked what has become of the session.
        const CHECKED = Self::SETTINGS.bits() | Self::RESETS.bits() | Self::OBJECTS.bits()
            | Self::UNKNOWN_SETTINGS.bits();
        /// Change what names mean.
        const REDEFINES = Self::DEFINES.bits() | Self::MAY_DEFINE.bits();
        /// The server stays with the session, whatever it answers.
        const KEEPS_SERVER = Self::LOADS.bits() | Self::LEAVES_STATE.bits();
        /// A text that was not read.
        const UNSEEN = Self::CHECKED.bits() & !Self::RESETS.bits() | Self::RULES.bits() | Self::SETS.bits()
            | Self::WRITES.bits() | Self::COMMITS.bits() | Self::MOVES_SEQUENCES.bits()
            | Self::MAY_DEFINE.bits();
    }
}

/// What running a text may do, and how far that depends on what stands in its strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub effects: Effects,
    /// It names settings, which are to be remembered.
    pub by_name: bool,
    /// Something was read out of a string.
    pub by_value: bool,
}

/// What running a text may do in a database whose names mean this. `custom` is told each setting that
/// the text names, and says whether it can be asked for.
pub(super) fn effects_of(
    text: &[u8],
    rules: Rules,
    vocabulary: &dyn Vocabulary,
    custom: &mut dyn FnMut(&str) -> bool,
) -> Found {
    let facts = sql::facts(text, rules.are_conforming(), vocabulary);
    let mut effects = of_settings(&facts, custom) | of_objects(&facts);
    effects.set(Effects::NAMES, mentions_statements(&facts));
    if facts.pins.intersects(PinSet::PREPARED) && sql::mentions(text, rules).is_empty() {
        // Under a name that was not understood.
        effects |= Effects::OBJECTS | Effects::TIES;
    }
    // What a function sets is often named where it is called.
    facts.custom_settings.iter().for_each(|name| _ = custom(name));
    let outline = sql::outline(text, rules);
    // A function that sets something for the transaction may set what texts are read by.
    let hidden = facts.taint || (facts.local_settings && !outline.sets);
    effects.set(Effects::SETS, outline.sets || facts.local_settings || facts.taint);
    let unnamed = facts.settings == sql::Settings::Unknown;
    effects.set(Effects::RULES, outline.changes_rules || hidden || unnamed);
    let writes = outline.writes || (facts.writes && !outline.copies_out);
    effects.set(Effects::WRITES, writes || facts.taint);
    // Inside of a transaction block nothing hidden can commit.
    effects.set(Effects::COMMITS, outline.commits || facts.broken);
    effects.set(Effects::OPENS_BLOCK, outline.block == Some(sql::Block::Open));
    effects.set(Effects::CLOSES_BLOCK, outline.block == Some(sql::Block::Closed));
    // Not of a text that runs another: it is seldom for a setting, and would keep the server for good.
    let computes = facts.computes_setting && outline.sets && !facts.runs_text;
    effects.set(Effects::COMPUTES_SETTING, computes);
    if outline.is_alone {
        // Nothing of ours may stand in front of it in its batch.
        effects -= Effects::MOVES_SEQUENCES | Effects::READS_SEQUENCES;
    }
    effects.set(Effects::DEFINES, facts.ddl);
    effects.set(Effects::REMOVES, facts.removes);
    effects.set(Effects::MAY_DEFINE, facts.may_hide_ddl);
    let vacated = sql::databases_vacated(text, rules.are_conforming());
    effects.set(Effects::VACATES_DATABASE, !vacated.is_empty());
    let names_own = mentions_own(text);
    effects.set(Effects::NAMES_OWN, names_own);
    let names = matches!(facts.settings, sql::Settings::Names(_));
    let by_name = names || !facts.custom_settings.is_empty();
    Found { effects, by_name, by_value: facts.by_value || names_own }
}

fn of_settings(facts: &sql::Facts, custom: &mut dyn FnMut(&str) -> bool) -> Effects {
    let mut effects = Effects::empty();
    match &facts.settings {
        sql::Settings::Names(names) => {
            for name in names {
                // What it is called depends on the client's encoding.
                if !custom(name) || !name.is_ascii() {
                    effects |= Effects::UNKNOWN_SETTINGS;
                }
            }
        }
        sql::Settings::Unknown
            if facts.setting_named_by_parameter.is_some() && !facts.computes_setting =>
        {
            effects |= Effects::NAMED_BY_PARAMETER;
        }
        sql::Settings::Unknown => effects |= Effects::UNKNOWN_SETTINGS,
        sql::Settings::Unchanged => {}
    }
    if facts.taint {
        effects |= Effects::UNKNOWN_SETTINGS;
    }
    if facts.settings != sql::Settings::Unchanged || facts.taint {
        effects |= Effects::SETTINGS;
    }
    if !facts.reset.is_empty() || facts.reset_all || facts.discard_all {
        effects |= Effects::SETTINGS | Effects::RESETS;
    }
    effects
}

fn of_objects(facts: &sql::Facts) -> Effects {
    let mut effects = Effects::empty();
    // Prepared statements are the session's wherever it runs, and sequences are followed.
    let followed = PinSet::SEQUENCE | PinSet::STATE | PinSet::PREPARED;
    let left = facts.pins.difference(followed | PinSet::LOAD);
    let releases = facts.releases.difference(PinSet::PREPARED | PinSet::SEQUENCE);
    if !left.is_empty() || !releases.is_empty() || facts.taint {
        effects |= Effects::OBJECTS;
    }
    if !left.is_empty() || facts.pins.intersects(PinSet::LOAD) {
        effects |= Effects::TIES;
    }
    effects.set(Effects::LOADS, facts.pins.intersects(PinSet::LOAD));
    effects.set(Effects::LEAVES_STATE, facts.pins.intersects(PinSet::STATE));
    effects.set(Effects::READS_SEQUENCES, facts.currval);
    effects.set(Effects::FORGETS_SEQUENCES, facts.releases.contains(PinSet::SEQUENCE));
    effects.set(Effects::MOVES_SEQUENCES, facts.may_move_sequence);
    effects
}

fn mentions_statements(facts: &sql::Facts) -> bool {
    facts.pins.intersects(PinSet::PREPARED)
        || facts.releases.intersects(PinSet::PREPARED)
        || facts.discard_all
        || facts.executes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{EveryName, NoVocabulary};

    fn effects(text: &str) -> Effects {
        effects_of(text.as_bytes(), Rules::STANDARD, &NoVocabulary, &mut |_| true).effects
    }

    fn checked(text: &str) -> Effects {
        effects(text) & (Effects::CHECKED | Effects::TIES | Effects::NAMES)
    }

    #[test]
    fn harmless_texts_need_no_check() {
        for text in ["SELECT 1", "BEGIN", "SET LOCAL x = 1", "COMMIT"] {
            assert_eq!(checked(text), Effects::empty(), "{text}");
        }
        let known = effects_of(b"UPDATE t SET a = 1", Rules::STANDARD, &EveryName, &mut |_| true);
        assert!(!known.effects.intersects(Effects::CHECKED));
    }

    #[test]
    fn texts_that_reach_beyond_their_transaction() {
        let unknown = Effects::SETTINGS | Effects::OBJECTS | Effects::UNKNOWN_SETTINGS;
        assert_eq!(checked("SET work_mem = '1MB'"), Effects::SETTINGS);
        assert_eq!(checked("RESET work_mem"), Effects::SETTINGS | Effects::RESETS);
        assert_eq!(checked("SET app.ä = '1'"), Effects::SETTINGS | Effects::UNKNOWN_SETTINGS);
        assert_eq!(checked("LISTEN a"), Effects::OBJECTS | Effects::TIES);
        assert_eq!(checked("UNLISTEN a"), Effects::OBJECTS);
        assert_eq!(checked("DO $$BEGIN END$$"), unknown);
        assert!(effects("LOAD 'x'").contains(Effects::LOADS | Effects::TIES));
        assert!(effects("SELECT setseed(0.5)").contains(Effects::LEAVES_STATE));
    }

    #[test]
    fn prepared_statements_are_followed_and_do_not_tie() {
        for text in ["PREPARE a AS SELECT 1", "DEALLOCATE a", "DEALLOCATE ALL"] {
            assert_eq!(checked(text), Effects::NAMES, "{text}");
        }
        assert!(effects("DISCARD ALL").contains(Effects::NAMES | Effects::RESETS));
        assert!(effects("EXECUTE a").contains(Effects::NAMES));
        assert!(effects("EXPLAIN EXECUTE a").contains(Effects::NAMES));
        assert!(effects("CREATE TABLE x AS EXECUTE a").contains(Effects::NAMES));
        assert!(effects("PREPARE U&\"a\" AS SELECT 1").contains(Effects::TIES));
    }

    #[test]
    fn sequences() {
        assert!(effects("SELECT nextval('s')").contains(Effects::MOVES_SEQUENCES));
        assert!(effects("SELECT lastval()").contains(Effects::READS_SEQUENCES));
        assert!(
            !effects("SELECT 1").intersects(Effects::READS_SEQUENCES | Effects::MOVES_SEQUENCES)
        );
    }

    #[test]
    fn what_is_set_behind_a_reset_of_all_is_told_of() {
        for text in ["RESET ALL; SET app.x = '1'", "DISCARD ALL; SET app.x TO 1"] {
            let mut names = Vec::new();
            let mut note = |name: &str| {
                names.push(name.to_owned());
                true
            };
            let found =
                effects_of(text.as_bytes(), Rules::STANDARD, &NoVocabulary, &mut note).effects;
            assert!(found.contains(Effects::SETTINGS | Effects::RESETS), "{text}");
            assert!(!found.contains(Effects::UNKNOWN_SETTINGS), "{text}");
            assert_eq!(names, ["app.x"]);
        }
        let computed = "RESET ALL; SELECT set_config('app.' || 'x', '1', false)";
        assert!(effects(computed).contains(Effects::UNKNOWN_SETTINGS));
    }

    #[test]
    fn names_that_a_function_may_set_are_remembered() {
        let mut names = Vec::new();
        let mut note = |name: &str| {
            names.push(name.to_owned());
            true
        };
        let text = b"SELECT my_function('app.tenant', 'no name', 'a.b.c', 'x')";
        let found = effects_of(text, Rules::STANDARD, &NoVocabulary, &mut note);
        assert!(found.effects.contains(Effects::UNKNOWN_SETTINGS) && found.by_name);
        assert_eq!(names, ["app.tenant", "a.b.c"]);
    }
}
