//! What a client does when nobody dies: pieces of batches, and batches made of them.

use super::expect::{Expect, columns, complete, row};
use super::model::{SETTINGS, Unnamed};
use super::rider::{Mode, Rider, Trouble};
use super::support::messages::{self, Bind};

/// Distinct texts that all clients share.
const TEXTS: usize = 40;
const INT4PL: u32 = 177;

fn shared_text(number: usize) -> String {
    format!("SELECT $1::text AS echo, $2::int8 + {number} AS sum")
}

fn texts(values: &[&str]) -> Vec<Option<Vec<u8>>> {
    values.iter().map(|value| Some(value.as_bytes().to_vec())).collect()
}

impl Rider<'_> {
    /// One thing after another, as an application might; gives the number of it for the log.
    pub(crate) fn do_something(&mut self) -> Result<(), Trouble> {
        let choice = self.random.below(100);
        match choice {
            0..20 => self.simple_batch(),
            20..58 => self.pipeline(),
            58..74 if self.run.mode != Mode::Statement => self.transaction(),
            58..78 => self.settings_batch(),
            78..82 => self.copy_out(),
            82..87 => self.copy_in(),
            87..90 => self.rows_of_a_portal(),
            90..92 => self.function_call(),
            92..94 => self.forget_statements(),
            94 if self.random.once_in(4) => self.large(),
            95..97 => self.cancel_nothing(),
            97 if self.random.once_in(2) => self.cancel_a_query(),
            98 if self.run.mode != Mode::Statement => self.sit_on_a_server(),
            _ => self.prepare_in_sql(),
        }
    }

    // ----- simple protocol

    fn simple(&mut self, sql: &str, wants: Vec<Expect>) {
        self.push(&messages::query(sql));
        self.model.unnamed = Unnamed::Absent;
        for want in wants {
            self.want(want);
        }
    }

    fn simple_select(&mut self) {
        let text = self.unique();
        let number = self.random.below(1_000);
        let sql = format!("SELECT '{text}' AS own, {number} + 1");
        let sum = (number + 1).to_string();
        let wants =
            vec![columns(&["own", "?column?"]), row(&[&text, &sum]), complete("SELECT 1")];
        self.simple(&sql, wants);
        self.want_ready();
    }

    /// Several statements in one string; one of them may fail.
    fn simple_string(&mut self) {
        let count = self.random.between(2, 5);
        let fails = self.random.once_in(3).then(|| self.random.below(count));
        let (mut sql, mut wants) = (Vec::new(), Vec::new());
        for statement in 0..count {
            let text = self.unique();
            if fails == Some(statement) {
                sql.push(format!("SELECT '{text}', 1 / 0"));
                wants.push(Expect::Error("22012"));
                break;
            }
            sql.push(format!("SELECT '{text}' AS own"));
            wants.extend([columns(&["own"]), row(&[&text]), complete("SELECT 1")]);
        }
        sql.extend(fails.map(|_| "SELECT 'never'".to_owned()));
        self.simple(&sql.join("; "), wants);
        if fails.is_some() {
            self.model.fail();
        }
        self.want_ready();
    }

    fn simple_batch(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.random.between(1, 4) {
            match self.random.below(6) {
                0 => self.simple_string(),
                1 => {
                    self.simple("", vec![Expect::Tag(b'I')]);
                    self.want_ready();
                }
                2 => {
                    self.simple("SELEC", vec![Expect::Error("42601")]);
                    self.model.fail();
                    self.want_ready();
                }
                _ => self.simple_select(),
            }
        }
        self.play("simple")
    }

    // ----- extended protocol

    fn parse_shared(&mut self, name: &str, number: usize) {
        self.push(&messages::parse(name, &shared_text(number), &[]));
        self.want(Expect::Tag(b'1'));
        if self.model.skipping {
            return;
        }
        if name.is_empty() {
            self.model.unnamed = Unnamed::Known(number);
        } else {
            self.model.statements.insert(name.to_owned(), number);
        }
    }

    fn run_shared(&mut self, name: &str, number: usize) {
        let mut text = self.unique();
        if self.random.once_in(40) {
            text += &"-".repeat(self.random.between(1_000, 200_000));
        }
        let value = self.random.below(1 << 40);
        if self.random.once_in(5) {
            self.push(&messages::describe(b'S', name));
            self.want(Expect::Tag(b't'));
            self.want(columns(&["echo", "sum"]));
        }
        let (binary, null) = (self.random.once_in(3), self.random.once_in(8));
        let sum = i64::try_from(value + number).expect("small");
        let own = (!null).then(|| text.into_bytes());
        let bind = Bind {
            statement: name.to_owned(),
            formats: if binary { vec![0, 1] } else { Vec::new() },
            values: vec![
                own.clone(),
                Some(match binary {
                    true => i64::try_from(value).expect("small").to_be_bytes().to_vec(),
                    false => value.to_string().into_bytes(),
                }),
            ],
            results: if binary { vec![0, 1] } else { Vec::new() },
            ..Bind::default()
        };
        self.push(&messages::bind(&bind));
        self.want(Expect::Tag(b'2'));
        if self.random.once_in(2) {
            self.push(&messages::describe(b'P', ""));
            self.want(columns(&["echo", "sum"]));
        }
        self.push(&messages::execute("", 0));
        let sum = match binary {
            true => sum.to_be_bytes().to_vec(),
            false => sum.to_string().into_bytes(),
        };
        self.want(Expect::Row(vec![own, Some(sum)]));
        self.want(complete("SELECT 1"));
    }

    fn some_statement(&mut self) -> Option<(String, usize)> {
        let count = self.model.statements.len();
        if count == 0 {
            return None;
        }
        let chosen = self.random.below(count);
        self.model.statements.iter().nth(chosen).map(|(name, number)| (name.clone(), *number))
    }

    fn extended_error(&mut self) {
        let known = self.some_statement();
        match (self.random.below(6), known) {
            (0, _) => {
                self.push(&messages::parse("", "SELEC", &[]));
                self.want(Expect::Error("42601"));
                self.model.unnamed = Unnamed::Other;
            }
            (1, Some((name, number))) => {
                self.push(&messages::parse(&name, &shared_text(number), &[]));
                self.want(Expect::Error("42P05"));
            }
            (2, _) => {
                self.push(&messages::execute("nowhere", 0));
                self.want(Expect::Error("34000"));
            }
            (3, _) => {
                self.push(&messages::describe(b'S', "nobody"));
                self.want(Expect::Error("26000"));
            }
            (4, _) => {
                let bind = Bind { statement: "nobody".to_owned(), ..Bind::default() };
                self.push(&messages::bind(&bind));
                self.want(Expect::Error("26000"));
            }
            _ => {
                self.extended("SELECT $1::text, 1 / (random() * 0 + $2::float8)", &["x", "0"]);
                self.want(Expect::Error("22012"));
            }
        }
        self.model.fail();
        self.model.skipping = true;
        // PostgreSQL ignores all of this.
        for _ in 0..self.random.below(3) {
            let text = self.unique();
            self.push(&messages::parse(&text, &format!("SELECT '{text}'"), &[]));
            self.push(&messages::bind(&Bind { statement: text, ..Bind::default() }));
            self.push(&messages::execute("", 0));
        }
    }

    /// Parse and Bind, unnamed, and Execute.
    fn extended(&mut self, sql: &str, values: &[&str]) {
        self.push(&messages::parse("", sql, &[]));
        self.push(&messages::bind(&Bind { values: texts(values), ..Bind::default() }));
        self.push(&messages::execute("", 0));
        self.want(Expect::Tag(b'1'));
        self.want(Expect::Tag(b'2'));
        self.model.unnamed = Unnamed::Other;
    }

    fn count_up(&mut self, extended: bool) {
        let add = i64::try_from(self.random.between(1, 9)).expect("small");
        let id = self.id;
        let value = add.to_string();
        self.model.now.count += add;
        let total = self.model.now.count.to_string();
        if extended {
            let sql = "UPDATE ledger SET n = n + $1::int8 WHERE client = $2::int4 RETURNING n";
            self.extended(sql, &[&value, &id.to_string()]);
            self.want(row(&[&total]));
            self.want(complete("UPDATE 1"));
        } else {
            let sql =
                format!("UPDATE ledger SET n = n + {value} WHERE client = {id} RETURNING n");
            self.simple(&sql, vec![columns(&["n"]), row(&[&total]), complete("UPDATE 1")]);
            self.want_ready();
        }
    }

    /// A piece of an extended batch that succeeds.
    fn piece(&mut self) {
        match (self.random.below(10), self.some_statement(), self.model.unnamed) {
            (0..=1, _, _) => {
                let number = self.random.below(TEXTS);
                let name = format!("s{}", self.sequence);
                self.parse_shared(&name, number);
                self.run_shared(&name, number);
            }
            (2..=4, Some((name, number)), _) => self.run_shared(&name, number),
            (5, Some((name, _)), _) => {
                self.push(&messages::close(b'S', &name));
                self.want(Expect::Tag(b'3'));
                self.model.statements.remove(&name);
            }
            (6, _, Unnamed::Known(number)) => self.run_shared("", number),
            (7, _, _) => self.count_up(true),
            (8, _, _) if self.random.once_in(4) => {
                self.push(&messages::close(b'S', "nobody"));
                self.want(Expect::Tag(b'3'));
            }
            _ => {
                let number = self.random.below(TEXTS);
                self.parse_shared("", number);
                self.run_shared("", number);
            }
        }
    }

    fn flush(&mut self) {
        self.push(&messages::flush());
        if !self.model.skipping {
            self.pause();
        }
    }

    fn sync(&mut self) {
        self.push(&messages::sync());
        self.want_after_sync();
    }

    fn want_after_sync(&mut self) {
        self.model.skipping = false;
        self.want_ready();
    }

    /// Pieces up to a Sync.
    fn pieces(&mut self) {
        for _ in 0..self.random.between(1, 4) {
            self.piece();
            if self.random.once_in(8) {
                self.flush();
            }
        }
        if self.random.once_in(6) {
            self.extended_error();
        }
        if self.random.once_in(30) {
            self.flush();
        }
        self.sync();
    }

    fn pipeline(&mut self) -> Result<(), Trouble> {
        // A failed part of a pipeline undoes what the model knows only at its own Sync.
        for _ in 0..self.random.between(1, 4) {
            if self.random.once_in(6) {
                self.simple_select();
            } else {
                self.pieces();
            }
        }
        self.play("pipeline")
    }

    fn rows_of_a_portal(&mut self) -> Result<(), Trouble> {
        let (text, rows) = (self.unique(), self.random.between(0, 30));
        let portal = if self.random.once_in(2) { format!("p{}", self.sequence) } else { String::new() };
        let sql = format!("SELECT $1::text, g FROM generate_series(1, {rows}) g");
        self.push(&messages::parse("", &sql, &[]));
        self.want(Expect::Tag(b'1'));
        self.model.unnamed = Unnamed::Other;
        let bind = Bind { portal: portal.clone(), values: texts(&[&text]), ..Bind::default() };
        self.push(&messages::bind(&bind));
        self.want(Expect::Tag(b'2'));
        let mut given = 0;
        loop {
            let limit = self.random.between(0, 12);
            self.push(&messages::execute(&portal, i32::try_from(limit).expect("small")));
            let left = rows - given;
            let now = if limit == 0 { left } else { limit.min(left) };
            for number in given + 1..=given + now {
                self.want(row(&[&text, &number.to_string()]));
            }
            given += now;
            if limit == 0 || now < limit {
                self.want(complete(format!("SELECT {now}")));
                break;
            }
            self.want(Expect::Tag(b's'));
            if self.random.once_in(3) {
                self.flush();
            }
            if self.model.status == b'T' && self.random.once_in(3) {
                self.sync();
                if portal.is_empty() || self.random.once_in(2) {
                    break;
                }
            }
        }
        self.push(&messages::close(b'P', &portal));
        self.want(Expect::Tag(b'3'));
        self.sync();
        self.play("portal")
    }

    // ----- transactions

    /// A statement that is one word or two: BEGIN, COMMIT, …
    fn command(&mut self, sql: &str, tag: &str) {
        if self.random.once_in(2) {
            self.simple(sql, vec![complete(tag)]);
            self.want_ready();
        } else {
            self.extended(sql, &[]);
            self.want(complete(tag));
            self.sync();
        }
    }

    fn transaction(&mut self) -> Result<(), Trouble> {
        self.model.begin();
        self.command("BEGIN", "BEGIN");
        for _ in 0..self.random.between(1, 6) {
            self.step_of_transaction()?;
            if self.random.once_in(2) {
                self.play("in transaction")?;
            }
        }
        if self.random.once_in(3) {
            self.model.rollback();
            self.command("ROLLBACK", "ROLLBACK");
        } else {
            let tag = self.model.commit();
            self.command("COMMIT", tag);
        }
        self.play("end of transaction")
    }

    fn step_of_transaction(&mut self) -> Result<(), Trouble> {
        if self.model.status == b'E' {
            if let Some(name) = self.model.last_savepoint() {
                self.model.rollback_to_last();
                self.command(&format!("ROLLBACK TO {name}"), "ROLLBACK");
            } else {
                self.simple("SELECT 'ignored'", vec![Expect::Error("25P02")]);
                self.want_ready();
            }
            return Ok(());
        }
        match self.random.below(10) {
            0..=2 => self.pieces(),
            3 => self.count_up(false),
            4 => self.simple_string(),
            5..=6 => {
                let name = format!("sp{}", self.sequence);
                self.unique();
                self.model.savepoint(&name);
                self.command(&format!("SAVEPOINT {name}"), "SAVEPOINT");
            }
            7 => {
                if let Some(name) = self.model.last_savepoint() {
                    self.model.release_last();
                    self.command(&format!("RELEASE {name}"), "RELEASE");
                }
            }
            8 => self.set_something(),
            _ => return self.rows_of_a_portal(),
        }
        Ok(())
    }

    // ----- settings

    fn set_something(&mut self) {
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
            self.simple(&sql, vec![
                columns(&["current_setting"; SETTINGS.len()]),
                row(&values),
                complete("SELECT 1"),
            ]);
            self.want_ready();
        } else {
            self.extended(&sql, &[]);
            self.want(row(&values));
            self.want(complete("SELECT 1"));
            self.sync();
        }
    }

    fn settings_batch(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.random.below(3) {
            self.set_something();
        }
        self.check_settings();
        self.play("settings")
    }

    // ----- copies, calls, large rows

    fn copy_out(&mut self) -> Result<(), Trouble> {
        let (text, rows) = (self.unique(), self.random.between(0, 50));
        let sql =
            format!("COPY (SELECT '{text}', g FROM generate_series(1, {rows}) g) TO STDOUT");
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
    fn copy_in(&mut self) -> Result<(), Trouble> {
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
                self.simple(&sql, vec![
                    columns(&["count"]),
                    row(&[&count]),
                    complete("SELECT 1"),
                ]);
                self.want_ready();
            }
            self.model.rollback();
            self.command("ROLLBACK", "ROLLBACK");
        }
        self.play("copy in")
    }

    fn function_call(&mut self) -> Result<(), Trouble> {
        let (a, b) = (self.random.below(1 << 20), self.random.below(1 << 20));
        let four = |number: usize| u32::try_from(number).expect("small").to_be_bytes().to_vec();
        self.push(&messages::function_call(INT4PL, 1, &[Some(four(a)), Some(four(b))]));
        self.want(Expect::Value(four(a + b)));
        self.want_ready();
        self.play("function call")
    }

    fn large(&mut self) -> Result<(), Trouble> {
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

    fn forget_statements(&mut self) -> Result<(), Trouble> {
        match (self.random.below(4), self.some_statement()) {
            (0, _) => {
                self.simple("DISCARD ALL", vec![complete("DISCARD ALL")]);
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

    fn prepare_in_sql(&mut self) -> Result<(), Trouble> {
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
    fn sit_on_a_server(&mut self) -> Result<(), Trouble> {
        let run = self.run;
        let _seat = run.evil.spare();
        let id = self.id;
        if self.random.once_in(2) {
            let lock = format!("SELECT pg_advisory_lock({id})");
            self.simple(&lock, vec![columns(&["pg_advisory_lock"]), row(&[""]), complete("SELECT 1")]);
            self.want_ready();
            self.play("lock")?;
            let count = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                         AND pid = pg_backend_pid()";
            self.simple(count, vec![columns(&["count"]), row(&["1"]), complete("SELECT 1")]);
            self.want_ready();
            self.play("locked")?;
            let unlock = format!("SELECT pg_advisory_unlock({id})");
            self.simple(&unlock, vec![
                columns(&["pg_advisory_unlock"]),
                row(&["t"]),
                complete("SELECT 1"),
            ]);
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
        self.simple("SELECT line FROM mine", vec![
            columns(&["line"]),
            row(&[&text]),
            complete("SELECT 1"),
        ]);
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
