//! What else a client does: settings, copies, calls, and what belongs to a session.

use super::expect::{Expect, columns, complete, row};
use super::model::SETTINGS;
use super::rider::{Mode, Rider, Trouble};
use super::support::messages;

/// The function `int4pl(int4, int4)`.
const INT4PL: u32 = 177;

impl Rider<'_> {
    // ----- settings

    pub(crate) fn set_something(&mut self) {
        let (name, default) = SETTINGS[self.random.below(SETTINGS.len())];
        if !default.is_empty() && self.random.once_in(4) {
            self.model.now.settings.insert(name, default.to_owned());
            self.command(&format!("RESET {name}"), "RESET");
            return;
        }
        let value = match name {
            "work_mem" => format!("{}MB", self.random.between(5, 60)),
            "TimeZone" => {
                let zones = ["Europe/Berlin", "Asia/Tokyo", "America/New_York", "UTC"];
                zones[self.random.below(zones.len())].to_owned()
            }
            "client_encoding" => {
                let encodings = ["SJIS", "BIG5", "GBK", "LATIN1", "UTF8"];
                encodings[self.random.below(encodings.len())].to_owned()
            }
            _ => self.unique(),
        };
        self.model.now.settings.insert(name, value.clone());
        self.command(&format!("SET {name} = '{value}'"), "SET");
    }

    fn check_settings(&mut self) {
        let calls: Vec<String> =
            SETTINGS.iter().map(|(name, _)| format!("current_setting('{name}')")).collect();
        let sql = format!("SELECT {}", calls.join(", "));
        let values: Vec<String> =
            SETTINGS.iter().map(|(name, _)| self.model.now.settings[name].clone()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if self.random.once_in(2) {
            self.simple(
                &sql,
                vec![
                    columns(&["current_setting"; SETTINGS.len()]),
                    row(&values),
                    complete("SELECT 1"),
                ],
            );
            self.want_ready();
        } else {
            self.extended(&sql, &[]);
            self.want(row(&values));
            self.want(complete("SELECT 1"));
            self.sync();
        }
    }

    pub(crate) fn settings_batch(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.random.below(3) {
            self.set_something();
        }
        self.check_settings();
        self.play("settings")
    }

    // ----- copies, calls, large rows

    pub(crate) fn copy_out(&mut self) -> Result<(), Trouble> {
        let (text, rows) = (self.unique(), self.random.between(0, 50));
        let sql = format!("COPY (SELECT '{text}', g FROM generate_series(1, {rows}) g) TO STDOUT");
        let extended = self.random.once_in(2);
        if extended {
            self.extended(&sql, &[]);
        } else {
            self.simple(&sql, Vec::new());
        }
        self.want(Expect::Tag(b'H'));
        for number in 1..=rows {
            self.want(Expect::Data(format!("{text}\t{number}\n").into_bytes()));
        }
        self.want(Expect::Tag(b'c'));
        self.want(complete(format!("COPY {rows}")));
        if extended {
            self.sync();
        } else {
            self.want_ready();
        }
        self.play("copy out")
    }

    /// In a transaction that is rolled back, so that the table stays small; counted before.
    pub(crate) fn copy_in(&mut self) -> Result<(), Trouble> {
        let counted = self.run.mode != Mode::Statement && self.random.once_in(2);
        if counted {
            self.model.begin();
            self.command("BEGIN", "BEGIN");
        }
        let (text, rows) = (self.unique(), self.random.between(0, 40));
        let filter = if counted { "" } else { " WHERE false" };
        let sql = format!("COPY landing FROM STDIN{filter}");
        let extended = self.random.once_in(2);
        if extended {
            self.extended(&sql, &[]);
            // libpq sends a Sync that PostgreSQL ignores, others a Flush.
            let early = if self.random.once_in(2) { messages::sync() } else { messages::flush() };
            self.push(&early);
        } else {
            self.simple(&sql, Vec::new());
        }
        self.want(Expect::Tag(b'G'));
        self.pause();
        let mut data = Vec::new();
        for number in 0..rows {
            let line = format!("{}\t{number}\t{text}\n", self.id);
            data.extend(messages::copy_data(line.as_bytes()));
        }
        self.push(&data);
        let fate = self.random.below(8);
        match fate {
            0 => {
                self.push(&messages::copy_fail("changed its mind"));
                self.want(Expect::Error("57014"));
                self.model.fail();
            }
            1 => {
                self.push(&messages::copy_data(b"no number\t1\t2\n"));
                self.push(&messages::copy_done());
                self.want(Expect::Error("22P02"));
                self.model.fail();
            }
            _ => {
                self.push(&messages::copy_done());
                let kept = if counted { rows } else { 0 };
                self.want(complete(format!("COPY {kept}")));
            }
        }
        if extended {
            self.sync();
        } else {
            self.want_ready();
        }
        if counted {
            if self.model.status == b'T' {
                let sql = format!("SELECT count(*) FROM landing WHERE line = '{text}'");
                let count = rows.to_string();
                self.simple(&sql, vec![columns(&["count"]), row(&[&count]), complete("SELECT 1")]);
                self.want_ready();
            }
            self.model.rollback();
            self.command("ROLLBACK", "ROLLBACK");
        }
        self.play("copy in")
    }

    pub(crate) fn function_call(&mut self) -> Result<(), Trouble> {
        let (a, b) = (self.random.below(1 << 20), self.random.below(1 << 20));
        let four = |number: usize| u32::try_from(number).expect("small").to_be_bytes().to_vec();
        self.push(&messages::function_call(INT4PL, 1, &[Some(four(a)), Some(four(b))]));
        self.want(Expect::Value(four(a + b)));
        self.want_ready();
        self.play("function call")
    }

    pub(crate) fn large(&mut self) -> Result<(), Trouble> {
        let text = self.unique();
        let times = self.random.between(10_000, 200_000);
        self.extended(&format!("SELECT repeat($1::text, {times})"), &[&text]);
        self.want(Expect::Row(vec![Some(text.repeat(times).into_bytes())]));
        self.want(complete("SELECT 1"));
        self.sync();
        self.simple_select();
        self.play("large row")
    }

    // ----- what belongs to a session

    pub(crate) fn forget_statements(&mut self) -> Result<(), Trouble> {
        match (self.random.below(4), self.some_statement()) {
            (0, _) => {
                // In small letters, so that the relay can tell it from a clean-up of howdah's.
                self.simple("discard all", vec![complete("DISCARD ALL")]);
                self.model.discard();
                self.want_ready();
                self.play("discard")?;
                // What a custom setting is after DISCARD is PostgreSQL's secret.
                return self.begin_settings_again();
            }
            (1..=2, Some((name, _))) => {
                self.simple(&format!("DEALLOCATE {name}"), vec![complete("DEALLOCATE")]);
                self.model.statements.remove(&name);
            }
            _ => {
                self.simple("DEALLOCATE ALL", vec![complete("DEALLOCATE ALL")]);
                self.model.statements.clear();
            }
        }
        self.want_ready();
        self.play("deallocate")
    }

    fn begin_settings_again(&mut self) -> Result<(), Trouble> {
        for name in ["application_name", "soak.mark"] {
            let value = self.unique();
            self.model.now.settings.insert(name, value.clone());
            self.simple(&format!("SET {name} = '{value}'"), vec![complete("SET")]);
            self.want_ready();
        }
        self.play("settings after discard")
    }

    pub(crate) fn prepare_in_sql(&mut self) -> Result<(), Trouble> {
        let run = self.run;
        let _seat = run.evil.spare();
        let (name, text) = (format!("q{}", self.sequence), self.unique());
        let sql = format!("PREPARE {name} AS SELECT '{text}' AS own");
        self.simple(&sql, vec![complete("PREPARE")]);
        self.want_ready();
        if self.run.mode != Mode::Statement {
            self.play("prepare")?;
        }
        for _ in 0..self.random.between(1, 3) {
            let wants = vec![columns(&["own"]), row(&[&text]), complete("SELECT 1")];
            self.simple(&format!("EXECUTE {name}"), wants);
            self.want_ready();
        }
        self.simple(&format!("DEALLOCATE {name}"), vec![complete("DEALLOCATE")]);
        self.want_ready();
        self.play("prepare in sql")
    }

    /// Keeps a server between transactions: by a lock, or by a temporary table.
    pub(crate) fn sit_on_a_server(&mut self) -> Result<(), Trouble> {
        let run = self.run;
        let _seat = run.evil.spare();
        let id = self.id;
        if self.random.once_in(2) {
            let lock = format!("SELECT pg_advisory_lock({id})");
            self.simple(
                &lock,
                vec![columns(&["pg_advisory_lock"]), row(&[""]), complete("SELECT 1")],
            );
            self.want_ready();
            self.play("lock")?;
            let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                         AND pid = pg_backend_pid()";
            self.simple(count, vec![columns(&["count"]), row(&["1"]), complete("SELECT 1")]);
            self.want_ready();
            self.play("locked")?;
            let unlock = format!("SELECT pg_advisory_unlock({id})");
            self.simple(
                &unlock,
                vec![columns(&["pg_advisory_unlock"]), row(&["t"]), complete("SELECT 1")],
            );
            self.want_ready();
            return self.play("unlock");
        }
        let text = self.unique();
        self.simple("CREATE TEMP TABLE mine (line text)", vec![complete("CREATE TABLE")]);
        self.want_ready();
        self.play("temporary table")?;
        self.simple(&format!("INSERT INTO mine VALUES ('{text}')"), vec![complete("INSERT 0 1")]);
        self.want_ready();
        self.play("insert")?;
        self.simple(
            "SELECT line FROM mine",
            vec![columns(&["line"]), row(&[&text]), complete("SELECT 1")],
        );
        self.want_ready();
        self.play("select")?;
        self.simple("DROP TABLE mine", vec![complete("DROP TABLE")]);
        self.want_ready();
        self.play("drop")
    }

    /// A query whose place in the text of the plan `marker` is known to the relay.
    pub(crate) fn marked(&mut self, sql: &str, marker: &str, wants: Vec<Expect>) {
        self.simple(&format!("{marker} {sql}"), wants);
    }
}
