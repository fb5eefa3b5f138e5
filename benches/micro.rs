//! The pieces of the warm path one at a time, for `benches/micro.py`, which counts instructions.
//!
//! `micro NAME COUNT` runs one piece so many times; without arguments each runs once, so that a
//! test run shows that they all work.

#![expect(clippy::print_stdout, reason = "the names are what it has to say")]

use howdah::backend::state::{Kind, Replies, Reply};
use howdah::catalog::rows::{NameRow, Object, RELATION};
use howdah::catalog::{Builder, Catalog};
use howdah::metrics::Queries;
use howdah::pool::core::{At, Checkout, Core, Kind as RequestKind, Placed, PoolOptions, Tick};
use howdah::pool::{DatabaseId, NodeId, PoolId, PoolKey, UserId, WorkerId};
use howdah::session::effects::Effects;
use howdah::session::text_cache::{Text, TextCache};
use howdah::sql::{Meaning, Rules};
use howdah::{sql, wire};
use std::hint::black_box;
use std::sync::Arc;
use std::task::Waker;

/// A statement of sixty bytes, as a web application sends it.
const STATEMENT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 123456789;";
/// The same without values.
const PREPARED: &[u8] = b"SELECT abalance, bid, filler FROM accounts WHERE aid = $1;";
/// One that calls a function.
const CALLING: &[u8] = b"SELECT coalesce(name, 'none') FROM customers WHERE id = 1234";
const FRAME_MAX: usize = 1 << 30;

/// A piece: sets itself up, then runs so many times.
type Piece = fn(u64);

const PIECES: [(&str, Piece); 8] = [
    ("frames", frames),
    ("facts", facts),
    ("skeleton", skeleton),
    ("same_text", same_text),
    ("same_skeleton", same_skeleton),
    ("replies_simple", replies_simple),
    ("replies_extended", replies_extended),
    ("checkout", checkout),
];

fn frame(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
}

/// The headers of a simple query's answer: four frames.
fn frames(count: u64) {
    let mut bytes = Vec::new();
    frame(&mut bytes, wire::server::ROW_DESCRIPTION, &[0; 27]);
    frame(&mut bytes, wire::server::DATA_ROW, &[0; 9]);
    frame(&mut bytes, wire::server::COMMAND_COMPLETE, b"SELECT 1\0");
    frame(&mut bytes, wire::server::READY, b"I");
    for _ in 0..count {
        let (mut rest, mut found) = (black_box(&bytes[..]), 0);
        while let Ok(Some(header)) = wire::header(rest, FRAME_MAX) {
            found += 1;
            rest = &rest[header.total()..];
        }
        assert_eq!(found, 4);
    }
}

/// What a text may do to the session, read token by token.
fn facts(count: u64) {
    for _ in 0..count {
        assert!(sql::facts(black_box(CALLING), true, &sql::EveryName).is_harmless());
    }
}

fn texts() -> TextCache {
    TextCache::new(&Arc::new(Queries::new(1, 100)), 0)
}

/// A database whose catalog has been read: the tables of the texts do nothing.
fn catalog() -> Arc<Catalog> {
    let mut builder = Builder::default();
    for (oid, name) in [(20_000, &b"accounts"[..]), (20_001, b"customers")] {
        let (object, meaning) = (Object { class: RELATION, oid }, Meaning::empty());
        builder.name(&NameRow { object, name, meaning });
    }
    Catalog::with_snapshot("bench", builder.finish())
}

/// The same, and which statement it is, of a prepared statement's text that came before.
fn same_text(count: u64) {
    let (mut texts, catalog) = (texts(), catalog());
    for _ in 0..count {
        let text = Text {
            database: "bench",
            rules: Rules::STANDARD,
            catalog: Some(&catalog),
            sql: black_box(PREPARED),
        };
        assert!(
            !texts.effects(text, &mut |_| true).intersects(Effects::CHECKED)
                && texts.run(text).is_some()
        );
    }
}

/// The same of a Query that came before with other values.
fn same_skeleton(count: u64) {
    let (mut texts, catalog) = (texts(), catalog());
    for _ in 0..count {
        let text = Text {
            database: "bench",
            rules: Rules::STANDARD,
            catalog: Some(&catalog),
            sql: black_box(CALLING),
        };
        let (effects, run) = texts.read(text, &mut |_| true);
        assert!(!effects.intersects(Effects::CHECKED) && run.is_some());
    }
}

/// What of a text is the same whatever its values are.
fn skeleton(count: u64) {
    let mut out = Vec::new();
    for _ in 0..count {
        out.clear();
        assert!(sql::skeleton(black_box(STATEMENT), &mut out) == sql::Skeleton::Bare);
        black_box(&out);
    }
}

/// What a server owes for a Query, and its answer.
fn replies_simple(count: u64) {
    let mut replies = Replies::<Box<u64>>::default();
    for _ in 0..count {
        drop(replies.sent(Kind::Query, Reply::Forward, None));
        for tag in b"TDC" {
            replies.received(black_box(*tag)).expect("in step");
        }
        replies.ready(b'I').expect("in step");
    }
}

/// The same for Parse, Bind, Describe, Execute and Sync.
fn replies_extended(count: u64) {
    let mut replies = Replies::<Box<u64>>::default();
    for _ in 0..count {
        for kind in [Kind::Parse, Kind::Bind, Kind::DescribePortal, Kind::Execute, Kind::Sync] {
            drop(replies.sent(kind, Reply::Forward, None));
        }
        for tag in b"12TDC" {
            replies.received(black_box(*tag)).expect("in step");
        }
        replies.ready(b'I').expect("in step");
    }
}

fn pool_of_one(core: &mut Core<Box<u64>, ()>, at: At) -> PoolId {
    let key = PoolKey { database: DatabaseId(0), node: NodeId(0), user: UserId(0) };
    let pool = core.add_pool(key, &PoolOptions::default(), at.now);
    let Checkout::Waiting(waiter) = core.checkout(pool, RequestKind::Shared, at, Waker::noop())
    else {
        unreachable!("nothing is open yet");
    };
    let opening = core.take_effects().openings.pop().expect("an opening");
    core.leave(waiter, at.now);
    assert!(matches!(core.opened(opening.slot, Box::new(1), at), Placed::Idle));
    pool
}

/// A server out of the pool and back.
fn checkout(count: u64) {
    let mut core = Core::new(1, 7);
    let mut at = At { worker: WorkerId(0), now: Tick(1) };
    let pool = pool_of_one(&mut core, at);
    for _ in 0..count {
        at.now = at.now.after(10);
        let Checkout::Ready(ready) = core.checkout(pool, RequestKind::Shared, at, Waker::noop())
        else {
            unreachable!("it is idle");
        };
        assert!(matches!(core.put_back(ready.slot, ready.server, at), Placed::Idle));
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let name = arguments.next();
    let count = arguments.next().map_or(1, |count| count.parse().expect("COUNT is a number"));
    let chosen = |known: &str| name.as_ref().is_none_or(|name| *name == known);
    for (known, piece) in PIECES.iter().filter(|(known, _)| chosen(known)) {
        piece(count);
        println!("{known}");
    }
}
