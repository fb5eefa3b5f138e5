//! What follows from rows, without a server.

use super::rows::{
    BuiltinRow, EVERY_DEFINITION, EVERY_TEXT, EdgeRow, FunctionRow, NameRow, OPERATOR, Object,
    PROC, PartRow, RELATION, TYPE,
};
use super::{Builder, Snapshot};
use crate::sql::{Meaning, Use, Vocabulary, facts};
use proptest::prelude::*;
use std::collections::HashMap;
use tokio::time::Instant;

const RULE: u32 = 2618;

fn object(class: u32, oid: u32) -> Object {
    Object { class, oid }
}

/// A database in the making.
#[derive(Default)]
struct Shop(Builder);

impl Shop {
    fn named(mut self, class: u32, oid: u32, name: &str) -> Self {
        let meaning = Meaning::empty();
        self.0.name(&NameRow { object: object(class, oid), name: name.as_bytes(), meaning });
        self
    }

    fn source(mut self, oid: u32, language: &str, source: &str) -> Self {
        self.0.function(&FunctionRow {
            oid,
            language: language.as_bytes(),
            extension: b"",
            name: b"",
            source: source.as_bytes(),
        });
        self
    }

    fn part(mut self, part: Object, owner: Object, when_written: bool, text: &str) -> Self {
        self.0.part(&PartRow { part, owner, when_written, text: text.as_bytes() });
        self
    }

    fn edge(mut self, used: Object, user: Object) -> Self {
        self.0.edge(EdgeRow { used, user });
        self
    }

    fn done(self) -> Snapshot {
        self.0.finish()
    }
}

#[test]
fn an_effect_is_followed_through_calls_views_and_triggers() {
    let snapshot = Shop::default()
        .named(PROC, 1, "setter")
        .named(PROC, 2, "caller")
        .named(PROC, 3, "harmless")
        .named(PROC, 4, "reader_of_view")
        .named(RELATION, 10, "plain")
        .named(RELATION, 11, "a_view")
        .named(RELATION, 12, "over_view")
        .named(RELATION, 13, "with_trigger")
        .source(1, "sql", "SELECT set_config('app.x', '1', false)")
        .source(2, "plpgsql", "BEGIN PERFORM Setter(); END")
        .source(3, "plpgsql", "BEGIN NEW.a := now(); RETURN NEW; END")
        .source(4, "sql", "SELECT * FROM over_view")
        .part(object(RULE, 20), object(RELATION, 11), false, "")
        .part(object(RULE, 21), object(RELATION, 12), false, "")
        .part(object(2620, 22), object(RELATION, 13), true, "")
        .edge(object(PROC, 1), object(RULE, 20))
        .edge(object(RELATION, 11), object(RULE, 21))
        .edge(object(PROC, 2), object(2620, 22))
        .done();
    for name in ["setter", "caller", "a_view", "over_view", "with_trigger", "reader_of_view"] {
        assert!(snapshot.may_touch_session(name.as_bytes()), "{name}");
    }
    for name in ["harmless", "plain", "unknown"] {
        assert!(!snapshot.may_touch_session(name.as_bytes()), "{name}");
    }
    assert_eq!(snapshot.custom_settings(), ["app.x".into()]);
    assert!(!snapshot.has_unknown_custom_settings());
    assert!(facts(b"TABLE over_view", true, &snapshot).taint);
    assert!(facts(b"SELECT harmless() FROM plain", true, &snapshot).is_harmless());
}

#[test]
fn sequences_are_moved_by_writes_or_by_reads() {
    let snapshot = Shop::default()
        .named(PROC, 1, "take_number")
        .named(PROC, 2, "insert_order")
        .named(PROC, 3, "read_orders")
        .named(RELATION, 10, "orders")
        .named(RELATION, 11, "numbers")
        .source(1, "sql", "SELECT nextval('s')")
        .source(2, "sql", "INSERT INTO orders DEFAULT VALUES")
        .source(3, "sql", "SELECT * FROM orders")
        .part(object(2604, 20), object(RELATION, 10), true, "nextval('orders_id_seq'::regclass)")
        .part(object(RULE, 21), object(RELATION, 11), false, "SELECT nextval('s')")
        .done();
    let moves = |text: &str| facts(text.as_bytes(), true, &snapshot).may_move_sequence;
    for text in [
        "INSERT INTO orders DEFAULT VALUES",
        "TABLE numbers",
        "SELECT insert_order()",
        "SELECT take_number()",
    ] {
        assert!(moves(text), "{text}");
    }
    for text in ["TABLE orders", "SELECT read_orders()"] {
        assert!(!moves(text), "{text}");
    }
    assert!(snapshot.may_move_sequence(b"orders") && !snapshot.may_touch_session(b"orders"));
}

#[test]
fn operators_count_by_symbol_and_by_the_words_that_stand_for_them() {
    let snapshot = Shop::default()
        .named(PROC, 1, "f")
        .named(OPERATOR, 2, "===")
        .named(OPERATOR, 3, "=")
        .source(1, "plpgsql", "BEGIN EXECUTE 'x'; END")
        .edge(object(PROC, 1), object(OPERATOR, 2))
        .edge(object(PROC, 1), object(OPERATOR, 3))
        .done();
    assert!(snapshot.operator_may_touch_session(b"==="));
    assert!(!snapshot.operator_may_touch_session(b"<"));
    assert!(facts(b"SELECT 1 WHERE a IN (1)", true, &snapshot).taint);
    assert!(!facts(b"SELECT 1 WHERE a < 1", true, &snapshot).taint);
}

#[test]
fn a_cast_between_builtin_types_and_an_event_trigger_reach_all() {
    let base = || Shop::default().named(PROC, 1, "f").source(1, "plperl", "");
    let cast = base().edge(object(PROC, 1), EVERY_TEXT).done();
    assert!(cast.may_touch_session(b"anything") && cast.type_may_touch_session(23));
    let event = base().edge(object(PROC, 1), EVERY_DEFINITION).done();
    assert!(!event.may_touch_session(b"anything"));
    assert!(facts(b"CREATE TABLE t (a int)", true, &event).taint);
    assert!(facts(b"CREATE TEMP TABLE t (a int)", true, &event).taint);
    assert!(!facts(b"SELECT 1", true, &event).taint);
}

#[test]
fn a_type_that_touches_is_known_by_its_number() {
    let snapshot = Shop::default()
        .named(TYPE, 20_000, "dom")
        .named(RELATION, 20_001, "t")
        .named(PROC, 1, "f")
        .source(1, "c", "f")
        .edge(object(PROC, 1), object(TYPE, 20_000))
        .edge(object(TYPE, 20_000), object(RELATION, 20_001))
        .done();
    assert!(snapshot.type_may_touch_session(20_000) && !snapshot.type_may_touch_session(20_001));
    assert!(snapshot.may_touch_session(b"t"));
}

#[test]
fn builtins_that_the_reader_of_texts_knows_are_not_kept() {
    let mut builder = Builder::default();
    for (oid, name) in
        ["set_config", "nextval", "pg_advisory_lock", "query_to_xml", "lower", "currval"]
            .iter()
            .enumerate()
    {
        builder.builtin(BuiltinRow { oid: oid as u32, name: name.as_bytes(), symbol: b"" });
    }
    builder.builtin(BuiltinRow { oid: 99, name: b"new_in_a_later_version", symbol: b"" });
    let snapshot = builder.finish();
    assert_eq!(snapshot.len(), 1);
    assert!(facts(b"SELECT new_in_a_later_version()", true, &snapshot).taint);
    assert!(facts(b"SELECT query_to_xml('a', true, true, '')", true, &snapshot).taint);
}

#[test]
fn a_graph_that_is_too_large_says_that_every_text_may_touch() {
    let names = |max: usize| {
        let mut shop = Shop(Builder::with_room(max));
        for oid in 0..10 {
            shop = shop.named(RELATION, oid, &format!("r{oid}"));
        }
        shop.done()
    };
    assert!(names(9).may_touch_session(b"r1") && names(9).operator_may_touch_session(b"+"));
    assert!(!names(10).may_touch_session(b"r1"));
}

#[test]
fn a_snapshot_has_each_name_as_what_it_is() {
    let snapshot = Shop::default()
        .named(PROC, 1, "price")
        .named(RELATION, 2, "orders")
        .named(TYPE, 3, "mood")
        .named(OPERATOR, 4, "===")
        .named(RELATION, 5, "Ä")
        .done();
    let names = [
        ("price", Use::Function),
        ("orders", Use::Relation),
        ("mood", Use::Type),
        ("===", Use::Operator),
        ("Ä", Use::Relation),
    ];
    for (name, own) in names {
        for used_as in [Use::Function, Use::Relation, Use::Type, Use::Operator] {
            assert_eq!(snapshot.has(name.as_bytes(), used_as), used_as == own, "{name}");
        }
    }
    assert!(!snapshot.has(b"", Use::Relation) && snapshot.is_empty());
    let other = Shop::default().named(RELATION, 2, "orders").done();
    assert_ne!(snapshot, other, "a text that was tainted may be harmless now");
}

#[test]
fn names_of_settings_are_bounded() {
    let mut builder = Builder::default();
    (0..300).for_each(|n| builder.setting(format!("App.X{n}").as_bytes()));
    builder.setting(b"work_mem");
    let snapshot = builder.finish();
    assert_eq!(snapshot.custom_settings().len(), 256);
    assert!(snapshot.has_unknown_custom_settings());
    assert_eq!(&*snapshot.custom_settings()[0], "app.x0");
}

/// A chain as long as this would end the stack of a thread, and a square of it would not end at all.
#[test]
fn a_hundred_thousand_functions_that_call_each_other_take_seconds() {
    const MANY: u32 = 100_000;
    let begun = Instant::now();
    let mut shop = Shop::default();
    for oid in 0..MANY {
        shop = shop.named(PROC, oid, &format!("function_{oid}"));
    }
    let body =
        "IF NEW.a IS DISTINCT FROM OLD.a THEN UPDATE t SET x = 'y' WHERE id = NEW.id; END IF;";
    for oid in 0..MANY {
        // Each calls the next of its kind; the last of the even ones has an effect.
        let next = match oid + 2 {
            end if end == MANY => "set_config('app.x', '1', false)".to_owned(),
            end if end > MANY => "now()".to_owned(),
            next => format!("function_{next}(1)"),
        };
        shop = shop.source(oid, "plpgsql", &format!("BEGIN {} PERFORM {next}; END", body));
    }
    let snapshot = shop.done();
    assert!(
        snapshot.may_touch_session(b"function_0") && !snapshot.may_touch_session(b"function_1")
    );
    assert_eq!(snapshot.len() as u32, MANY / 2);
    // What grows with the square of it would take hours; an unoptimised build on a busy machine is slow.
    let limit = if cfg!(debug_assertions) { 300 } else { 10 };
    assert!(begun.elapsed().as_secs() < limit, "{:?}", begun.elapsed());
    assert!(snapshot.size() < 3_000_000, "{}", snapshot.size());
}

proptest! {
    /// The graph says what a plain walk over all paths says.
    #[test]
    fn every_effect_reaches_all_who_use_it(
        edges in prop::collection::vec((0u32..30, 0u32..30), 0..80), seeds in prop::collection::vec(0u32..30, 0..3),
    ) {
        let mut shop = Shop::default();
        for oid in 0..30 {
            shop = shop.named(RELATION, oid, &format!("r{oid}"));
        }
        for (n, seed) in seeds.iter().enumerate() {
            shop = shop.part(object(RULE, n as u32), object(RELATION, *seed), false, "set_config('a', 'b', false)");
        }
        let mut uses: HashMap<u32, Vec<u32>> = HashMap::new();
        for (used, user) in edges {
            uses.entry(used).or_default().push(user);
            shop = shop.edge(object(RELATION, used), object(RELATION, user));
        }
        let (mut reached, mut work) = (vec![false; 30], seeds);
        while let Some(oid) = work.pop() {
            if !std::mem::replace(&mut reached[oid as usize], true) {
                work.extend(uses.get(&oid).into_iter().flatten());
            }
        }
        let snapshot = shop.done();
        for (oid, reached) in reached.into_iter().enumerate() {
            prop_assert_eq!(snapshot.may_touch_session(format!("r{oid}").as_bytes()), reached);
        }
        prop_assert!(snapshot.is_known());
    }
}
