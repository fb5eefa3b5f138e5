//! How long what a session sets of howdah's own settings lasts: as PostgreSQL's. Pure.
//!
//! Owns the values, what they return to when the transaction fails or is rolled back to a savepoint, and
//! the groups that were in force in it. The server says how a transaction goes on (its tags and statuses);
//! names of savepoints come from the texts that were sent ([`steps`](super::steps)).
//!
//! A transaction is followed from the first of these settings that is set in it. A savepoint that is not
//! known was made before that, so that a rollback to it undoes all of them.

use super::steps::Step;
use super::values::{Name, Values};
use crate::fault::Fault;
use crate::wire;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Savepoints that are remembered. What is rolled back to one before is taken for one from before the
/// settings.
const SAVEPOINTS_MAX: usize = 4096;
/// Groups that may be in force in one transaction, one after the other.
const GROUPS_MAX: usize = 64;

/// What the settings were.
#[derive(Clone, Debug)]
struct Savepoint {
    name: Box<[u8]>,
    now: Values,
    lasting: Values,
}

/// A transaction in which some were set.
#[derive(Debug)]
struct Transaction {
    /// What they were before.
    before: Values,
    /// What remains of them when it commits.
    lasting: Values,
    savepoints: VecDeque<Savepoint>,
    /// Something of the batch or Query that is being answered has failed.
    has_failed: bool,
}

/// The groups whose members have to see what a transaction writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Groups {
    /// Their names.
    pub(in crate::session) names: SmallVec<[Box<str>; 1]>,
    /// There were more.
    pub(in crate::session) are_all: bool,
}

impl Groups {
    /// One more.
    pub(in crate::session) fn add(&mut self, name: &str) {
        if self.names.iter().any(|known| **known == *name) {
            return;
        }
        if self.names.len() < GROUPS_MAX {
            self.names.push(name.into());
        } else {
            self.are_all = true;
        }
    }
}

/// The values that a session has, and for how long.
#[derive(Debug, Default)]
pub(in crate::session) struct Scope {
    /// Those of its startup packet, which RESET returns to.
    startup: Values,
    now: Values,
    transaction: Option<Box<Transaction>>,
    /// What the texts that are being answered do to transactions and settings.
    steps: VecDeque<Step>,
    groups: Groups,
}

impl Scope {
    /// Of a session that begins with these.
    pub(in crate::session) fn new(startup: Values) -> Self {
        Self { now: startup.clone(), startup, ..Self::default() }
    }

    /// What counts now.
    pub(in crate::session) fn now(&self) -> &Values {
        &self.now
    }

    /// Whether a transaction has set something.
    pub(in crate::session) fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Whether it differs from what the session began with.
    pub(in crate::session) fn has_changed(&self) -> bool {
        self.now != self.startup
    }

    /// A text was sent that does this.
    pub(in crate::session) fn expect(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.steps.extend(steps);
    }

    /// The transaction is in this group too.
    pub(in crate::session) fn join(&mut self, group: &str) {
        self.groups.add(group);
    }

    /// It goes on in these groups.
    pub(in crate::session) fn rejoin(&mut self, groups: Groups) {
        self.groups = groups;
    }

    /// It is in every group.
    pub(in crate::session) fn join_all(&mut self) {
        self.groups.are_all = true;
    }

    /// The groups in which the transaction that ends was.
    pub(in crate::session) fn groups(&mut self) -> Groups {
        if let Some(group) = &self.now.group {
            self.groups.add(group);
        }
        std::mem::take(&mut self.groups)
    }

    /// SET in a transaction, which [`ready`](Self::ready) ends if it is no block.
    ///
    /// # Errors
    /// If the setting does not take the value.
    pub(in crate::session) fn set(
        &mut self,
        name: Name,
        value: &str,
        is_local: bool,
    ) -> Result<(), Fault> {
        let mut now = self.now.clone();
        now.set(name, value)?;
        self.change(name, now, is_local);
        Ok(())
    }

    /// SET to what the session began with, or RESET.
    pub(in crate::session) fn reset(&mut self, name: Name, is_local: bool) {
        let mut now = self.now.clone();
        now.set_as(name, &self.startup);
        self.change(name, now, is_local);
    }

    fn change(&mut self, name: Name, now: Values, is_local: bool) {
        let transaction = self.begin();
        if !is_local {
            transaction.lasting.set_as(name, &now);
        }
        self.become_(now);
    }

    /// RESET ALL.
    fn reset_all(&mut self) {
        let startup = self.startup.clone();
        self.begin().lasting = startup.clone();
        self.become_(startup);
    }

    fn begin(&mut self) -> &mut Transaction {
        let now = &self.now;
        self.transaction.get_or_insert_with(|| {
            Box::new(Transaction {
                before: now.clone(),
                lasting: now.clone(),
                savepoints: VecDeque::new(),
                has_failed: false,
            })
        })
    }

    /// The group that was in force counts until the transaction is over.
    fn become_(&mut self, values: Values) {
        if let Some(group) = self.now.group.as_deref().filter(|_| self.now.group != values.group) {
            self.groups.add(group);
        }
        self.now = values;
    }

    /// Something has failed.
    pub(in crate::session) fn failed(&mut self) {
        self.steps.clear();
        if let Some(transaction) = &mut self.transaction {
            transaction.has_failed = true;
        }
    }

    /// A command is complete, with this tag.
    pub(in crate::session) fn completed(&mut self, tag: &[u8]) {
        match tag {
            b"COMMIT" | b"PREPARE TRANSACTION" => {
                self.take_step(|step| matches!(step, Step::End));
                self.commit();
            }
            b"ROLLBACK" => {
                match self.take_step(|step| matches!(step, Step::End | Step::RollbackTo(_))) {
                    Some(Step::RollbackTo(name)) => self.rollback_to(&name),
                    _ => self.rollback(),
                }
            }
            b"SAVEPOINT" => {
                if let Some(Step::Savepoint(name)) =
                    self.take_step(|step| matches!(step, Step::Savepoint(_)))
                {
                    self.make_savepoint(name);
                }
            }
            b"RELEASE" => {
                if let Some(Step::Release(name)) =
                    self.take_step(|step| matches!(step, Step::Release(_)))
                {
                    self.release(&name);
                }
            }
            b"RESET" => {
                let step = self.take_step(|step| matches!(step, Step::ResetAll | Step::Reset));
                if step == Some(Step::ResetAll) {
                    self.reset_all();
                }
            }
            b"DISCARD ALL" => self.reset_all(),
            _ => {}
        }
    }

    fn take_step(&mut self, is_such: impl Fn(&Step) -> bool) -> Option<Step> {
        let is_next = self.steps.front().is_some_and(is_such);
        if is_next { self.steps.pop_front() } else { None }
    }

    /// ReadyForQuery: everything of a Query or a batch is answered.
    pub(in crate::session) fn ready(&mut self, status: u8) {
        self.steps.clear();
        let has_failed = self.transaction.as_ref().is_some_and(|one| one.has_failed);
        if status != wire::IDLE {
            if let Some(transaction) = &mut self.transaction {
                transaction.has_failed = false;
            }
            return;
        }
        if has_failed {
            self.rollback();
        } else {
            self.commit();
        }
        self.groups = Groups::default();
    }

    fn commit(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.become_(transaction.lasting);
        }
    }

    /// The transaction has come to nothing.
    pub(in crate::session) fn rollback(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.become_(transaction.before);
        }
    }

    fn make_savepoint(&mut self, name: Box<[u8]>) {
        let now = self.now.clone();
        let Some(transaction) = &mut self.transaction else { return };
        if transaction.savepoints.len() >= SAVEPOINTS_MAX {
            transaction.savepoints.pop_front();
        }
        let lasting = transaction.lasting.clone();
        transaction.savepoints.push_back(Savepoint { name, now, lasting });
    }

    /// How many savepoints were made before the last of this name.
    fn place_of(transaction: &Transaction, name: &[u8]) -> Option<usize> {
        transaction.savepoints.iter().rposition(|savepoint| *savepoint.name == *name)
    }

    fn rollback_to(&mut self, name: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        let now = match Self::place_of(transaction, name) {
            Some(place) => {
                transaction.savepoints.truncate(place + 1);
                let savepoint = transaction.savepoints.back();
                savepoint.map(|savepoint| {
                    transaction.lasting = savepoint.lasting.clone();
                    savepoint.now.clone()
                })
            }
            None => {
                transaction.savepoints.clear();
                transaction.lasting = transaction.before.clone();
                Some(transaction.before.clone())
            }
        };
        if let Some(now) = now {
            self.become_(now);
        }
    }

    fn release(&mut self, name: &[u8]) {
        let Some(transaction) = &mut self.transaction else { return };
        let place = Self::place_of(transaction, name).unwrap_or_default();
        transaction.savepoints.truncate(place);
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::steps;
    use super::*;
    use crate::cluster::freshness::Level;

    /// A session, in its own words: `SET name value`, `LOCAL name value`, a text that the server answers
    /// with its tag, `!` for an error, and statuses for ReadyForQuery.
    struct Session(Scope);

    impl Session {
        fn set(&mut self, group: &str) -> &mut Self {
            self.0.set(Name::Group, group, false).expect("a name");
            self
        }

        fn set_local(&mut self, group: &str) -> &mut Self {
            self.0.set(Name::Group, group, true).expect("a name");
            self
        }

        fn run(&mut self, text: &str, tags: &[&str], status: u8) -> &mut Self {
            self.0.expect(steps(text.as_bytes()));
            for tag in tags {
                match *tag {
                    "!" => self.0.failed(),
                    tag => self.0.completed(tag.as_bytes()),
                }
            }
            self.0.ready(status);
            self
        }

        fn group(&self) -> &str {
            self.0.now().shown(Name::Group, Level::Session)
        }
    }

    fn session() -> Session {
        let mut startup = Values::default();
        startup.set(Name::Group, "start").unwrap();
        Session(Scope::new(startup))
    }

    #[test]
    fn outside_of_a_block_a_set_lasts_and_a_set_local_does_not() {
        let mut one = session();
        one.set("a").run("", &[], wire::IDLE);
        assert_eq!(one.group(), "a");
        one.set_local("b").run("", &[], wire::IDLE);
        assert_eq!(one.group(), "a");
        one.set("c").run("", &["!"], wire::IDLE);
        assert_eq!(one.group(), "a", "the batch has failed");
        one.0.reset(Name::Group, false);
        one.run("", &[], wire::IDLE);
        assert_eq!(one.group(), "start");
    }

    #[test]
    fn a_block_keeps_what_it_has_set_if_it_commits() {
        for (text, tag, expected) in [
            ("COMMIT", "COMMIT", "a"),
            ("END", "COMMIT", "a"),
            ("COMMIT", "ROLLBACK", "start"),
            ("ROLLBACK", "ROLLBACK", "start"),
            ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION", "a"),
        ] {
            let mut one = session();
            one.set("a").set_local("b");
            assert_eq!(one.group(), "b");
            one.run("SELECT 1", &["SELECT 1"], wire::IN_TRANSACTION);
            assert_eq!(one.group(), "b");
            one.run(text, &[tag], wire::IDLE);
            assert_eq!(one.group(), expected, "{text} {tag}");
            assert!(!one.0.is_in_transaction());
        }
        let mut failing = session();
        failing.set("a").run("", &[], wire::IN_TRANSACTION).run("COMMIT", &["!"], wire::IDLE);
        assert_eq!(failing.group(), "start", "a constraint was not met");
    }

    #[test]
    fn savepoints() {
        let mut one = session();
        let status = wire::IN_TRANSACTION;
        one.set("a");
        one.run("SAVEPOINT One", &["SAVEPOINT"], status).set("b").set_local("c");
        one.run("savepoint \"Two\"", &["SAVEPOINT"], status).set("d");
        one.run("SELECT 1/0", &["!"], wire::FAILED);
        one.run("ROLLBACK TO SAVEPOINT \"Two\"", &["ROLLBACK"], status);
        assert_eq!(one.group(), "c");
        one.run("ROLLBACK TO one", &["ROLLBACK"], status);
        assert_eq!(one.group(), "a");
        one.set("e").run("RELEASE one", &["RELEASE"], status);
        one.run("ROLLBACK WORK TO before", &["ROLLBACK"], status);
        assert_eq!(one.group(), "start", "a savepoint from before the first SET");
        one.set("f").run("COMMIT", &["COMMIT"], wire::IDLE);
        assert_eq!(one.group(), "f");
    }

    #[test]
    fn a_local_value_is_still_local_behind_a_rollback_to_a_savepoint() {
        let mut one = session();
        let status = wire::IN_TRANSACTION;
        one.set_local("a").run("SAVEPOINT s", &["SAVEPOINT"], status).set("b");
        one.run("ROLLBACK TO s", &["ROLLBACK"], status);
        assert_eq!(one.group(), "a");
        one.run("COMMIT", &["COMMIT"], wire::IDLE);
        assert_eq!(one.group(), "start");
    }

    #[test]
    fn chains_and_several_statements_in_one_text() {
        let mut one = session();
        let status = wire::IN_TRANSACTION;
        one.set("a").run("ROLLBACK AND CHAIN", &["ROLLBACK"], status);
        assert_eq!(one.group(), "start");
        one.set("b").run("COMMIT AND CHAIN", &["COMMIT"], status).set("c");
        one.run("ROLLBACK", &["ROLLBACK"], wire::IDLE);
        assert_eq!(one.group(), "b");
        one.set_local("c").run(
            "SAVEPOINT s; RELEASE s; COMMIT; SELECT 1",
            &["SAVEPOINT", "RELEASE", "COMMIT", "SELECT 1"],
            wire::IDLE,
        );
        assert_eq!(one.group(), "b");
    }

    #[test]
    fn resets_of_all() {
        let mut one = session();
        one.set("a").run("", &[], wire::IDLE).run("RESET work_mem", &["RESET"], wire::IDLE);
        assert_eq!(one.group(), "a");
        one.run("RESET ALL; SELECT 1/0", &["RESET", "!"], wire::IDLE);
        assert_eq!(one.group(), "a");
        one.run("RESET work_mem; RESET ALL", &["RESET", "RESET"], wire::IDLE);
        assert_eq!(one.group(), "start");
        one.set("b").run("", &[], wire::IDLE).run("DISCARD ALL", &["DISCARD ALL"], wire::IDLE);
        assert_eq!(one.group(), "start");
        one.set("b").run("RESET ALL", &["RESET"], wire::IN_TRANSACTION);
        assert_eq!(one.group(), "start");
        one.run("ROLLBACK", &["ROLLBACK"], wire::IDLE);
        assert_eq!(one.group(), "start");
    }

    #[test]
    fn a_transaction_is_in_each_group_that_was_in_force_in_it() {
        let mut one = session();
        one.set("a").set_local("b");
        one.0.join("hinted");
        one.0.completed(b"COMMIT");
        let names = one.0.groups().names;
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        assert_eq!(names, ["start", "a", "hinted", "b"]);
        one.0.ready(wire::IDLE);
        assert_eq!(one.0.groups().names.as_slice(), [Box::from("a")]);
        for number in 0..200 {
            one.0.join(&number.to_string());
        }
        assert!(one.0.groups().are_all);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut one = session();
        one.set("a");
        for _ in 0..SAVEPOINTS_MAX + 10 {
            one.run("SAVEPOINT s", &["SAVEPOINT"], wire::IN_TRANSACTION);
        }
        let savepoints = one.0.transaction.as_ref().map(|one| one.savepoints.len());
        assert_eq!(savepoints, Some(SAVEPOINTS_MAX));
    }
}
