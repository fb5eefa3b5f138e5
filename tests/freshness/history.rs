//! Whether what clients saw of one register could have happened in some order.
//!
//! A history is linearizable if each operation can be put at one moment between its call and its return, so
//! that every read shows the last write before it. The search tries the operations that may come next,
//! and remembers what it has tried (Wing and Gong, with Lowe's memory).

use std::collections::HashSet;

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Wrote(u64),
    Read(u64),
}

/// One operation, with moments of a clock that all clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) called: u64,
    pub(crate) returned: u64,
    pub(crate) deed: Deed,
}

/// What was done so far: all before `first`, and these behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    first: usize,
    done: Vec<usize>,
    value: u64,
}

impl State {
    fn with(&self, operation: usize, value: u64) -> Self {
        let mut done = self.done.clone();
        done.push(operation);
        done.sort_unstable();
        let mut first = self.first;
        while done.first() == Some(&first) {
            done.remove(0);
            first += 1;
        }
        Self { first, done, value }
    }
}

/// Whether the operations on a register that began with `value` are linearizable. If not: the operation
/// that never fits, with those around it.
pub(crate) fn check(mut operations: Vec<Operation>, value: u64) -> Result<(), String> {
    operations.sort_by_key(|operation| operation.called);
    let mut open = vec![State { first: 0, done: Vec::new(), value }];
    let mut seen: HashSet<State> = open.iter().cloned().collect();
    let mut furthest = 0;
    while let Some(state) = open.pop() {
        furthest = furthest.max(state.first);
        if state.first == operations.len() {
            return Ok(());
        }
        let left = || (state.first..operations.len()).filter(|at| !state.done.contains(at));
        // Nothing comes next that was called when something else had already returned.
        let end = left().map(|at| operations[at].returned).min().unwrap_or(u64::MAX);
        for at in left().take_while(|at| operations[*at].called <= end) {
            let next = match operations[at].deed {
                Deed::Wrote(value) => state.with(at, value),
                Deed::Read(value) if value == state.value => state.with(at, value),
                Deed::Read(_) => continue,
            };
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    let around = furthest.saturating_sub(10)..(furthest + 10).min(operations.len());
    let lines: Vec<String> =
        operations[around].iter().map(|operation| format!("{operation:?}")).collect();
    Err(format!("nothing fits behind number {furthest}:\n{}", lines.join("\n")))
}

#[test]
fn what_cannot_have_happened_is_found() {
    let operation = |called, returned, deed| Operation { called, returned, deed };
    let write = |called, returned, value| operation(called, returned, Deed::Wrote(value));
    let read = |called, returned, value| operation(called, returned, Deed::Read(value));
    for (history, is_possible) in [
        (vec![], true),
        (vec![read(1, 2, 0), write(3, 4, 7), read(5, 6, 7)], true),
        (vec![write(1, 2, 7), read(3, 4, 0)], false),
        // While a write runs, both may be seen, but not in any order.
        (vec![write(1, 9, 7), read(2, 3, 0), read(4, 5, 7), read(6, 7, 7)], true),
        (vec![write(1, 9, 7), read(2, 3, 7), read(4, 5, 0)], false),
        // The reads fix the order of two writes.
        (vec![write(1, 9, 1), write(1, 9, 2), read(2, 3, 2), read(4, 5, 1)], true),
        (vec![write(1, 9, 1), write(1, 9, 2), read(2, 3, 2), read(4, 5, 1), read(6, 7, 2)], false),
        (vec![read(1, 2, 5), write(3, 4, 5)], false),
    ] {
        assert_eq!(check(history.clone(), 0).is_ok(), is_possible, "{history:?}");
    }
    // A long one is searched as far as it goes.
    let mut long: Vec<_> =
        (0..300).map(|n| write(n * 10, n * 10 + 25, n)).flat_map(|one| [one, one]).collect();
    assert!(check(long.clone(), 0).is_ok());
    long.push(read(4_000, 4_001, 7));
    assert!(check(long, 0).is_err());
}
