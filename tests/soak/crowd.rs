//! Clients with different settings send large statements at the same time, and there are fewer servers than clients.
//!
//! Owns its howdah. Everybody must get an answer: a server that is given to a client whose next step cannot be taken helps
//! nobody.

use std::sync::Barrier;

use tokio::time::Instant;

use super::rider::ANSWER_WITHIN;
use super::support::howdah::{Howdah, Settings};
use super::support::messages::{self, Bind};
use super::support::postgres::{Postgres, RIDER};
use super::support::wire::{Received, Wire};

const CROWD: usize = 12;
const SERVERS: i64 = 2;
/// Beyond each buffer, at its end, and small.
const SIZES: [usize; 5] = [100_000, 65_536, 65_500, 300_000, 100];
const ROUNDS: usize = 20;

/// Sends one statement of `size` in pieces and gives what is wrong with the answer.
fn ask(wire: &mut Wire, own: &str, size: usize, piece: usize) -> Result<(), String> {
    let padding = " ".repeat(size);
    let mut bytes = messages::parse("", &format!("SELECT $1::text{padding} AS own"), &[]);
    let values = vec![Some(own.as_bytes().to_vec())];
    bytes.extend(messages::bind(&Bind { values, ..Bind::default() }));
    bytes.extend(messages::execute("", 0));
    bytes.extend(messages::sync());
    wire.send_chunks(bytes.chunks(piece));
    let end = Instant::now() + ANSWER_WITHIN;
    let mut rows = Vec::new();
    loop {
        match wire.next(end) {
            Received::Frame(frame) if frame.tag == b'D' => rows.extend(frame.columns()),
            Received::Frame(frame) if frame.tag == b'Z' => break,
            Received::Frame(frame) if matches!(frame.tag, b'1' | b'2' | b'C' | b'S') => {}
            other @ (Received::Frame(_) | Received::Closed | Received::Silence) => {
                return Err(format!("{other:?} for {size} bytes in pieces of {piece}"));
            }
        }
    }
    if rows == [vec![Some(own.as_bytes().to_vec())]] {
        return Ok(());
    }
    Err(format!("{own} was answered {rows:?}"))
}

fn visit(howdah: &Howdah, number: usize, together: &Barrier) -> Result<(), String> {
    let mut wire = Wire::tcp(howdah.address());
    let name = format!("crowd {number}");
    let parameters =
        [("user", RIDER), ("database", "soak_crowd"), ("application_name", name.as_str())];
    wire.send(&messages::startup(messages::PROTOCOL_3_0, &parameters));
    wire.until(b'Z');
    let mut asked = Ok(());
    for round in 0..ROUNDS {
        // Who has failed comes too: the others wait for everybody.
        together.wait();
        if asked.is_err() {
            continue;
        }
        let size = SIZES[(number + round) % SIZES.len()];
        let piece = [usize::MAX, 8_000, 40_000][(number + round) % 3];
        asked = ask(&mut wire, &format!("{name}, round {round}"), size, piece);
    }
    asked
}

#[test]
fn large_statements_of_more_clients_than_servers_are_all_answered() {
    let postgres = Postgres::shared();
    postgres.create_database("soak_crowd");
    let settings = Settings::new("transaction")
        .set("howdah.workers", 2)
        .set("pool.default_pool_size", SERVERS)
        .set("tls.server.sslmode", "disable")
        .database("soak_crowd", postgres.address());
    let howdah = Howdah::start(&settings);
    let together = Barrier::new(CROWD);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let visits: Vec<_> = (0..CROWD)
            .map(|number| {
                scope.spawn({
                    let (howdah, together) = (&howdah, &together);
                    move || visit(howdah, number, together)
                })
            })
            .collect();
        visits
            .into_iter()
            .filter_map(|visit| visit.join().expect("a client that does not panic").err())
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
