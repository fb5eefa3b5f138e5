//! What a client does when nobody dies: pieces of batches, and batches made of them.

use super::expect::{Expect, columns, complete, row};
use super::model::Unnamed;
use super::rider::{Mode, Rider, Trouble};
use super::support::messages::{self, Bind};

/// What is done once in [`HIDDEN_EVERY`] times, by name. `HOWDAH_SOAK_DEEDS=shapes,sequences` plays only these, so that a
/// fault can be told from another.
pub(crate) const DEEDS: [&str; 9] = [
    "hidden carriers",
    "hidden seat",
    "sequences",
    "encodings",
    "strings",
    "sizes",
    "malformed",
    "shapes",
    "breaking off",
];
const HIDDEN_EVERY: usize = 4;

/// The deeds of this run.
pub(crate) fn chosen_deeds() -> Vec<&'static str> {
    match std::env::var("HOWDAH_SOAK_DEEDS").ok().filter(|names| !names.is_empty()) {
        None => DEEDS.to_vec(),
        Some(names) => {
            let chosen = |name: &str| DEEDS.into_iter().find(|deed| *deed == name);
            let known = "HOWDAH_SOAK_DEEDS names deeds of tests/soak/deeds.rs, separated by commas";
            names.split(',').map(|name| chosen(name).expect(known)).collect()
        }
    }
}

/// Distinct texts that all clients share.
const TEXTS: usize = 40;

fn shared_text(number: usize) -> String {
    format!("SELECT $1::text AS echo, $2::int8 + {number} AS sum")
}

fn texts(values: &[&str]) -> Vec<Option<Vec<u8>>> {
    values.iter().map(|value| Some(value.as_bytes().to_vec())).collect()
}

impl Rider<'_> {
    /// One thing after another, as an application might. Gives whether the session is over.
    pub(crate) fn do_something(&mut self) -> Result<bool, Trouble> {
        if self.random.once_in(HIDDEN_EVERY) {
            return self.do_a_deed();
        }
        self.do_what_is_common().map(|()| false)
    }

    fn do_what_is_common(&mut self) -> Result<(), Trouble> {
        match self.random.below(100) {
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

    fn do_a_deed(&mut self) -> Result<bool, Trouble> {
        let deeds = &self.run.deeds;
        let deed = deeds[self.random.below(deeds.len())];
        self.run.coverage.did(deed);
        match deed {
            "hidden carriers" => self.hidden_carriers(),
            "hidden seat" => self.hidden_seat(),
            "sequences" => self.sequences(),
            "encodings" => self.changed_encoding(),
            "strings" => self.changed_strings(),
            "sizes" => self.any_size(),
            "malformed" => self.malformed(),
            "shapes" => self.shapes(),
            _ => return self.break_off(),
        }
        .map(|()| false)
    }

    // ----- simple protocol

    pub(crate) fn simple(&mut self, sql: &str, wants: Vec<Expect>) {
        self.push(&messages::query(sql));
        self.model.unnamed = Unnamed::Absent;
        for want in wants {
            self.want(want);
        }
    }

    pub(crate) fn simple_select(&mut self) {
        let text = self.unique();
        let number = self.random.below(1_000);
        let sql = format!("SELECT '{text}' AS own, {number} + 1");
        let sum = (number + 1).to_string();
        let wants = vec![columns(&["own", "?column?"]), row(&[&text, &sum]), complete("SELECT 1")];
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

    pub(crate) fn some_statement(&mut self) -> Option<(String, usize)> {
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
    pub(crate) fn extended(&mut self, sql: &str, values: &[&str]) {
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
            let sql = format!("UPDATE ledger SET n = n + {value} WHERE client = {id} RETURNING n");
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

    pub(crate) fn sync(&mut self) {
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
        let portal =
            if self.random.once_in(2) { format!("p{}", self.sequence) } else { String::new() };
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
    pub(crate) fn command(&mut self, sql: &str, tag: &str) {
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
            8 if self.random.once_in(2) && self.run.deeds.contains(&"hidden carriers") => {
                self.carry();
            }
            8 => self.set_something(),
            _ => return self.rows_of_a_portal(),
        }
        Ok(())
    }
}
