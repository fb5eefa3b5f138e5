//! The proof: recounts everything from the records and compares. For tests and fuzzing.

use super::Core;
use super::arena::List;
use super::model::{Counts, Phase, Pool, Share, State, Waiting};
use super::types::{Kind, Place, SlotId, Tick, WaiterId};

macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}

impl<S, F> Core<S, F> {
    /// Recounts everything; the error names the first figure that is wrong. Takes time in
    /// proportion to all that exists.
    ///
    /// # Errors
    /// A sentence that says which invariant is broken.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        let seen = self.recount();
        for (index, pool) in self.pools.iter() {
            self.check_counts(index, pool, seen[index as usize])?;
            self.check_lines(index, pool)?;
        }
        for (index, share) in &self.shares {
            self.check_share(index, share)?;
        }
        self.check_pins()?;
        self.check_slots()?;
        self.check_waiters()
    }

    /// A pool that could open a server for a waiter now and does not. None after `upkeep`.
    #[doc(hidden)]
    pub fn could_open(&mut self, now: Tick) -> bool {
        (0..self.pools.bound()).any(|pool| self.pools.contains(pool) && self.open_one(pool, now))
    }

    /// Servers and waiters that exist at all.
    #[doc(hidden)]
    pub fn population(&self) -> (usize, usize) {
        (self.slots.iter().count(), self.waiters.iter().count())
    }

    fn recount(&self) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.pools.bound() as usize];
        for (_, slot) in self.slots.iter() {
            let seen = &mut counts[slot.pool as usize];
            match slot.state {
                State::Opening { .. } if slot.dedicated => seen.opening_dedicated += 1,
                State::Opening { .. } => seen.opening_shared += 1,
                State::Idle(_) => seen.idle += 1,
                State::Granted(..) => seen.granted += 1,
                State::Leased => seen.leased += 1,
            }
        }
        counts
    }

    fn check_counts(&self, index: u32, pool: &Pool<F>, seen: Counts) -> Result<(), String> {
        let seen = Counts { waiting: pool.counts.waiting, ..seen };
        ensure!(seen == pool.counts, "pool {index}: counted {seen:?}, noted {:?}", pool.counts);
        let given: u32 = pool.lines.iter().map(|line| line.opening).sum();
        ensure!(given == seen.opening_shared, "pool {index}: {given} openings were given out");
        let waits = pool.phase == Phase::Serving && pool.counts.waiting > 0;
        ensure!(!(waits && seen.idle > 0), "pool {index}: idle servers and waiters");
        let removed = pool.phase == Phase::Removed;
        ensure!(!removed || seen.servers() > 0, "pool {index}: removed and empty, but kept");
        ensure!(!removed || seen.idle == 0, "pool {index}: removed, with idle servers");
        ensure!(
            removed || self.by_key.get(&pool.key).is_some_and(|id| id.0.index == index),
            "pool {index}: not found by its key"
        );
        Ok(())
    }

    fn check_list(&self, what: &str, list: &List, found: usize) -> Result<(), String> {
        ensure!(list.len() as usize == found, "{what}: {found} linked, {} noted", list.len());
        Ok(())
    }

    fn check_lines(&self, index: u32, pool: &Pool<F>) -> Result<(), String> {
        let mut waiting = 0;
        for (worker, line) in pool.lines.iter().enumerate() {
            let what = format!("pool {index}, worker {worker}");
            let idle: Vec<u32> = self.slots.walk(&line.idle).collect();
            self.check_list(&format!("{what}, idle"), &line.idle, idle.len())?;
            for slot in idle.iter().map(|&slot| self.slots.at(slot)) {
                let belongs = slot.pool == index && usize::from(slot.home.0) == worker;
                let idle = matches!(slot.state, State::Idle(_));
                ensure!(belongs && idle && !slot.dedicated, "{what}: a stranger is idle");
                ensure!(slot.epoch == pool.epoch, "{what}: a server of an old epoch is idle");
            }
            let line_of: Vec<u32> = self.waiters.walk(&line.waiting).collect();
            self.check_list(&format!("{what}, waiting"), &line.waiting, line_of.len())?;
            waiting += line.waiting.len();
            self.check_order(&what, &line_of)?;
            for waiter in line_of.iter().map(|&waiter| self.waiters.at(waiter)) {
                let belongs = waiter.pool == index && usize::from(waiter.worker.0) == worker;
                ensure!(belongs && waiter.kind == Kind::Shared, "{what}: a stranger waits");
            }
        }
        ensure!(waiting == pool.counts.waiting, "pool {index}: {waiting} wait, {:?}", pool.counts);
        let dedicated: Vec<u32> = self.waiters.walk(&pool.dedicated).collect();
        self.check_list(&format!("pool {index}, dedicated"), &pool.dedicated, dedicated.len())
    }

    /// Nobody overtakes: whoever of a line was served came before whoever is still in it, but for
    /// those who were served before and are back.
    fn check_order(&self, what: &str, line: &[u32]) -> Result<(), String> {
        let waiters = || line.iter().map(|&waiter| self.waiters.at(waiter));
        let order: Vec<Place> = waiters().map(|waiter| waiter.place).collect();
        ensure!(order.is_sorted(), "{what}: the line is out of order");
        let Some(head) = waiters().find(|waiter| !waiter.is_back) else { return Ok(()) };
        for (_, other) in self.waiters.iter() {
            let same_line = other.pool == head.pool && other.worker == head.worker;
            let served = matches!(other.state, Waiting::Granted(_)) && other.kind == Kind::Shared;
            ensure!(
                !(same_line && served && other.place > head.place),
                "{what}: waiter {} was served before {}",
                other.place.sequence,
                head.place.sequence
            );
        }
        Ok(())
    }

    fn check_share(&self, index: usize, share: &Share) -> Result<(), String> {
        let members = || share.pools.iter().map(|&pool| self.pools.at(pool));
        let servers: u32 = members().map(|pool| pool.counts.servers()).sum();
        let idle: u32 = members().map(|pool| pool.counts.idle).sum();
        let waiting: u32 = members().map(|pool| pool.counts.waiting + pool.dedicated.len()).sum();
        let counted = (servers, idle, waiting);
        let noted = (share.servers, share.idle, share.waiting);
        ensure!(counted == noted, "share {:?}: counted {counted:?}, noted {noted:?}", share.key);
        ensure!(!share.pools.is_empty(), "share {:?}: kept without pools", share.key);
        ensure!(
            members().all(|pool| pool.shares.contains(&index)),
            "share {:?}: a stranger",
            share.key
        );
        Ok(())
    }

    fn check_pins(&self) -> Result<(), String> {
        let mut seen = vec![0; self.pools.bound() as usize];
        for (_, slot) in self.slots.iter().filter(|(_, slot)| slot.pinned.is_some()) {
            ensure!(matches!(slot.state, State::Leased), "a server is pinned that nobody has");
            seen[slot.pool as usize] += 1;
        }
        for (index, pool) in self.pools.iter() {
            let (seen, noted) = (seen[index as usize], pool.pins.total());
            ensure!(seen == noted, "pool {index}: {seen} pins, {noted} noted");
        }
        Ok(())
    }

    fn check_slots(&self) -> Result<(), String> {
        for (index, slot) in self.slots.iter() {
            let id = SlotId(self.slots.key(index));
            let waiter_state = |waiter: WaiterId| self.waiters.get(waiter.0).map(|w| &w.state);
            let mutual = match slot.state {
                State::Granted(_, waiter) => {
                    matches!(waiter_state(waiter), Some(Waiting::Granted(slot)) if *slot == id)
                }
                State::Opening { waiter: Some(waiter) } => {
                    let known = waiter_state(waiter);
                    slot.dedicated && matches!(known, Some(Waiting::Opening(slot)) if *slot == id)
                }
                State::Opening { waiter: None } | State::Idle(_) | State::Leased => true,
            };
            ensure!(mutual, "slot {id:?}: its waiter knows nothing of it");
            ensure!(self.pools.contains(slot.pool), "slot {id:?}: its pool is gone");
        }
        Ok(())
    }

    fn check_waiters(&self) -> Result<(), String> {
        let mut in_line = 0;
        for (index, waiter) in self.waiters.iter() {
            let id = WaiterId(self.waiters.key(index));
            let state = |slot: SlotId| self.slots.get(slot.0).map(|slot| &slot.state);
            let fits = match waiter.state {
                Waiting::InLine => {
                    in_line += 1;
                    waiter.waker.is_some()
                }
                Waiting::Opening(slot) => {
                    let known = state(slot);
                    waiter.waker.is_some()
                        && matches!(known, Some(State::Opening { waiter: Some(w) }) if *w == id)
                }
                Waiting::Granted(slot) => {
                    matches!(state(slot), Some(State::Granted(_, waiter)) if *waiter == id)
                }
                Waiting::Refused(_) => waiter.waker.is_none(),
            };
            ensure!(fits, "waiter {id:?}: lost ({:?})", waiter.kind);
        }
        let lines = self.pools.iter().map(|(_, pool)| pool.counts.waiting + pool.dedicated.len());
        let linked: u32 = lines.sum();
        ensure!(in_line == linked, "{in_line} waiters are in line, {linked} are linked");
        Ok(())
    }
}
