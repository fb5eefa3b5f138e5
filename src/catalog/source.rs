//! What the source of a function says of it.
//!
//! Owns the step from a text to what running it may do, and to the names that it mentions. Reads with
//! the same rules as a client's text. Never follows a name: the graph does.

use super::extensions;
use super::rows::FunctionRow;
use crate::sql::{
    self, Facts, LEAVING_STATE, Meaning, PinSet, Settings, Use, Vocabulary, routine_facts,
};
use std::cell::{Cell, RefCell};

/// Finds the nodes of names.
pub(super) trait Lookup {
    /// The node of objects with this name, if there are any.
    fn word(&self, name: &[u8]) -> Option<u32>;
    /// The node of operators with this symbol.
    fn operator(&self, symbol: &[u8]) -> Option<u32>;
    /// What the function of the server's program with this name does.
    fn internal(&self, symbol: &[u8]) -> Meaning;
}

/// What a source may do by itself, and what it mentions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) meaning: Meaning,
    /// Nodes of the names in it, sorted.
    pub(super) mentions: Vec<u32>,
    /// It has a word that writes to tables.
    pub(super) writes: bool,
    /// Names of custom settings that it may set.
    pub(super) custom: Vec<Box<str>>,
    /// It may set one whose name it does not show.
    pub(super) computes_setting: bool,
}

/// Notes each name that is asked for.
struct Collector<'a> {
    names: &'a dyn Lookup,
    found: RefCell<Vec<u32>>,
    is_unreadable: Cell<bool>,
}

impl Collector<'_> {
    fn note(&self, node: Option<u32>) -> Meaning {
        self.found.borrow_mut().extend(node);
        Meaning::empty()
    }
}

impl Vocabulary for Collector<'_> {
    fn is_known(&self) -> bool {
        true
    }

    /// The graph follows those that are there. When another is created, the catalog is read again.
    fn has(&self, _: &[u8], _: Use) -> bool {
        true
    }

    fn word(&self, name: &[u8]) -> Meaning {
        self.note(self.names.word(name))
    }

    fn operator(&self, symbol: &[u8]) -> Meaning {
        self.note(self.names.operator(symbol))
    }

    fn unreadable_word(&self) -> Meaning {
        self.is_unreadable.set(true);
        Meaning::empty()
    }

    fn definition(&self) -> Meaning {
        Meaning::empty()
    }

    fn maintenance(&self) -> Meaning {
        Meaning::TOUCHES
    }
}

/// What code may do that nobody can read.
pub(super) fn opaque() -> Meaning {
    Meaning::TOUCHES | Meaning::MOVES_SEQUENCE | Meaning::SETS_LOCAL
}

/// Of a function.
pub(super) fn of_function(row: &FunctionRow<'_>, names: &dyn Lookup) -> Source {
    let known = |meaning| Source { meaning, ..Source::default() };
    match row.language {
        b"sql" | b"plpgsql" if row.source.is_empty() => Source::default(),
        b"sql" => read(row.source, false, names),
        b"plpgsql" => read(row.source, true, names),
        b"aggregate" | b"handler" => Source::default(),
        b"c" if extensions::moves_sequence(row.extension) => known(Meaning::MOVES_SEQUENCE),
        b"c" if extensions::is_harmless(row.extension, row.name, row.source) => Source::default(),
        // A second name for a function that `pg_catalog` has as well.
        b"internal" => known(names.internal(row.source)),
        b"c" => known(opaque()),
        _ => Source {
            meaning: opaque() | strings(row.source) | shared_by_functions(row.source),
            computes_setting: true,
            ..Source::default()
        },
    }
}

/// Of an expression or a query as PostgreSQL prints it.
pub(super) fn of_expression(text: &[u8], names: &dyn Lookup) -> Source {
    // Behind an operator nothing counts as a command.
    let mut statement = b"= ".to_vec();
    statement.extend_from_slice(text);
    read(&statement, true, names)
}

fn read(text: &[u8], is_routine: bool, names: &dyn Lookup) -> Source {
    let collector = Collector { names, found: RefCell::default(), is_unreadable: Cell::new(false) };
    let of = |conforming: bool| {
        if is_routine {
            routine_facts(text, conforming, &collector)
        } else {
            sql::facts(text, conforming, &collector)
        }
    };
    let mut source = Source::default();
    source.take(&of(true), text);
    if memchr::memchr(b'\\', text).is_some() {
        // The caller may have standard_conforming_strings off.
        source.take(&of(false), text);
    }
    if collector.is_unreadable.get() {
        source.meaning |= opaque();
    }
    source.mentions = collector.found.into_inner();
    source.mentions.sort_unstable();
    source.mentions.dedup();
    source
}

impl Source {
    fn take(&mut self, facts: &Facts, text: &[u8]) {
        let left = facts.pins.difference(PinSet::SEQUENCE | PinSet::STATE);
        let sets = facts.settings != Settings::Unchanged || facts.reset_all || facts.discard_all;
        let touches =
            facts.taint || facts.executes || sets || !left.is_empty() || !facts.releases.is_empty();
        for (is_so, meaning) in [
            (touches, Meaning::TOUCHES),
            (facts.may_move_sequence, Meaning::MOVES_SEQUENCE),
            (facts.currval, Meaning::READS_SEQUENCE),
            (facts.pins.contains(PinSet::STATE), Meaning::LEAVES_STATE),
            (facts.local_settings, Meaning::SETS_LOCAL),
            (facts.ddl || facts.removes, Meaning::CHANGES_CATALOG),
        ] {
            self.meaning.set(meaning, is_so || self.meaning.contains(meaning));
        }
        if facts.taint {
            self.meaning |= strings(text);
        }
        self.writes |= facts.writes;
        self.computes_setting |=
            facts.computes_setting || facts.setting_named_by_parameter.is_some();
        if let Settings::Names(set) = &facts.settings {
            self.custom.extend(set.iter().filter(|name| name.contains('.')).cloned());
        }
        self.custom.extend(facts.custom_settings.iter().cloned());
    }
}

/// PL/Perl, PL/Python and PL/Tcl give a session's functions a place for what they share.
fn shared_by_functions(source: &[u8]) -> Meaning {
    let has = |word: &[u8]| memchr::memmem::find(source, word).is_some();
    let mut meaning = Meaning::empty();
    meaning.set(Meaning::LEAVES_STATE, has(b"_SHARED") || has(b"GD") || has(b"SD"));
    meaning
}

/// What a text in a text may do: only a name that stands in it can be told.
fn strings(text: &[u8]) -> Meaning {
    let has = |word: &[u8]| memchr::memmem::find(text, word).is_some();
    let mut meaning = Meaning::empty();
    meaning.set(Meaning::READS_SEQUENCE, has(b"currval") || has(b"lastval"));
    meaning.set(Meaning::LEAVES_STATE, LEAVING_STATE.iter().any(|name| has(name)));
    meaning
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shop;

    impl Lookup for Shop {
        fn word(&self, name: &[u8]) -> Option<u32> {
            [&b"orders"[..], b"price"].iter().position(|known| *known == name).map(|at| at as u32)
        }

        fn operator(&self, symbol: &[u8]) -> Option<u32> {
            (symbol == b"===").then_some(9)
        }

        fn internal(&self, symbol: &[u8]) -> Meaning {
            if symbol == b"set_config_by_name" { opaque() } else { Meaning::empty() }
        }
    }

    fn of(language: &str, source: &str) -> Source {
        let row = FunctionRow {
            oid: 1,
            language: language.as_bytes(),
            extension: b"",
            name: b"f",
            source: source.as_bytes(),
        };
        of_function(&row, &Shop)
    }

    #[test]
    fn what_a_source_mentions_and_does() {
        let source = of("plpgsql", "BEGIN INSERT INTO Orders SELECT price(1) WHERE 1 === 2; END");
        assert_eq!((source.mentions, source.writes), (vec![0, 1, 9], true));
        assert_eq!(source.meaning, Meaning::empty());
        let source = of("sql", "SELECT set_config('app.x', $1, false)");
        assert_eq!((source.meaning, &*source.custom[0]), (Meaning::TOUCHES, "app.x"));
        assert!(!source.computes_setting);
        assert!(of("sql", "SELECT set_config($1, $2, false)").computes_setting);
        assert_eq!(of("sql", "SELECT set_config('a', 'b', true)").meaning, Meaning::SETS_LOCAL);
        let dynamic = of("plpgsql", "BEGIN EXECUTE 'SELECT lastval()'; END");
        assert_eq!(dynamic.meaning, opaque() | Meaning::READS_SEQUENCE);
        assert!(dynamic.computes_setting);
    }

    #[test]
    fn languages_that_cannot_be_read() {
        assert_eq!(of("plperl", "return 1").meaning, opaque());
        assert_eq!(of("c", "f").meaning, opaque());
        assert_eq!(of("internal", "set_config_by_name").meaning, opaque());
        assert_eq!(of("internal", "lower").meaning, Meaning::empty());
        assert_eq!(of("aggregate", "aggregate_dummy").meaning, Meaning::empty());
    }

    #[test]
    fn a_source_is_read_under_both_rules_for_strings() {
        let source = of("sql", r"SELECT '\'; SET app.hidden = 1; --'");
        assert!(source.meaning.contains(Meaning::TOUCHES), "{source:?}");
    }

    #[test]
    fn expressions_are_looked_through() {
        let of = |text: &str| of_expression(text.as_bytes(), &Shop);
        assert_eq!(of("set_config('app.x', '1', false)").meaning, Meaning::TOUCHES);
        assert_eq!(
            of("CREATE RULE r AS ON INSERT TO t DO SELECT pg_advisory_lock(1)").meaning,
            Meaning::TOUCHES
        );
        assert_eq!(of("nextval('s'::regclass)").meaning, Meaning::MOVES_SEQUENCE);
    }
}
