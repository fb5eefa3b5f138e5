//! Statements whose text does not show what they do to the session: views, triggers, defaults, operators, and so on.
//!
//! Owns the objects that carry the effects, and the statements that set them off. Each statement changes the model as
//! PostgreSQL changes the session, so that a later question shows an effect that was lost or has reached another session.

use super::expect::{Expect, columns, complete, row};
use super::model::HIDDEN;
use super::rider::{Mode, Rider, Trouble};
use super::support::messages;

/// What carries the effects. It is run as the riders' role.
pub(crate) const OBJECTS: &str = "\
CREATE FUNCTION take(text, text) RETURNS text LANGUAGE sql AS $$SELECT set_config($1, $2, false)$$; \
CREATE FUNCTION take_mark(text) RETURNS boolean LANGUAGE plpgsql AS \
  $$BEGIN PERFORM set_config('soak.mark', $1, false); RETURN true; END$$; \
CREATE FUNCTION take_zone() RETURNS boolean LANGUAGE plpgsql AS \
  $$BEGIN SET TimeZone = 'Asia/Tokyo'; RETURN true; END$$; \
CREATE FUNCTION take_row(ledger) RETURNS text LANGUAGE plpgsql AS \
  $$BEGIN EXECUTE 'SET work_' || 'mem = ''27MB'''; RETURN '27MB'; END$$; \
CREATE FUNCTION take_fixed(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS \
  $$BEGIN RETURN set_config('soak.mark', $1, false); END$$; \
CREATE FUNCTION take_hidden(text) RETURNS text LANGUAGE plpgsql AS \
  $$BEGIN RETURN set_config('soak.hidden', $1, false); END$$; \
CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$; \
CREATE FUNCTION hook() RETURNS trigger LANGUAGE plpgsql AS \
  $$BEGIN PERFORM take('soak.mark', NEW.mark); RETURN NULL; END$$; \
CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS \
  $$BEGIN CREATE TEMP TABLE egg (line text); INSERT INTO egg VALUES (NEW.line); RETURN NULL; END$$; \
CREATE VIEW memory AS SELECT set_config('work_mem', '33MB', false) AS taken; \
CREATE VIEW deep_memory AS SELECT * FROM memory; \
CREATE VIEW hidden AS SELECT coalesce(current_setting('soak.hidden', true), '') AS own; \
CREATE VIEW locks AS SELECT client, pg_try_advisory_lock(client) AS locked FROM ledger; \
CREATE TABLE hooks (client int, mark text); \
CREATE TRIGGER hook BEFORE INSERT ON hooks FOR EACH ROW EXECUTE FUNCTION hook(); \
CREATE TABLE nests (line text); \
CREATE TRIGGER nest BEFORE INSERT ON nests FOR EACH ROW EXECUTE FUNCTION nest(); \
CREATE TABLE defaults (client int, zone text DEFAULT set_config('TimeZone', 'Asia/Tokyo', false)); \
CREATE TRIGGER drop_row BEFORE INSERT ON defaults FOR EACH ROW EXECUTE FUNCTION drop_row(); \
CREATE TABLE made (mark text, taken text GENERATED ALWAYS AS (take_fixed(mark)) STORED); \
CREATE TABLE ruled (mark text); \
CREATE RULE rule AS ON INSERT TO ruled DO INSTEAD SELECT take('soak.mark', NEW.mark) AS taken; \
CREATE TABLE guarded AS SELECT 1 AS id; \
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE guarded FORCE ROW LEVEL SECURITY; \
CREATE POLICY policy ON guarded USING (take_zone()); \
CREATE OPERATOR <~ (LEFTARG = text, RIGHTARG = text, FUNCTION = take); \
CREATE DOMAIN mark AS text CHECK (take_mark(VALUE)); \
CREATE TYPE carrier AS (mark text); \
CREATE FUNCTION to_carrier(text) RETURNS carrier LANGUAGE plpgsql AS \
  $$BEGIN PERFORM set_config('soak.mark', $1, false); RETURN ROW($1)::carrier; END$$; \
CREATE CAST (text AS carrier) WITH FUNCTION to_carrier(text); \
CREATE SEQUENCE tickets; \
CREATE TABLE numbered (id int8 GENERATED ALWAYS AS IDENTITY, client int); \
CREATE TABLE shape (id int4, v int4); INSERT INTO shape VALUES (1, 7)";

/// What sets an effect off.
struct Carrier {
    sql: String,
    /// The setting that has a new value then.
    setting: (&'static str, String),
    /// The only column and its value, if there is a row.
    answer: Option<(&'static str, String)>,
    tag: &'static str,
}

const CARRIERS: usize = 11;

impl Rider<'_> {
    fn some_carrier(&mut self) -> Carrier {
        let mark = self.unique();
        let memory = |value: &str| ("work_mem", value.to_owned());
        let zone = ("TimeZone", "Asia/Tokyo".to_owned());
        let own = ("soak.mark", mark.clone());
        let select = |sql: String, setting, column, value: &str| Carrier {
            sql,
            setting,
            answer: Some((column, value.to_owned())),
            tag: "SELECT 1",
        };
        let insert =
            |sql: String, setting| Carrier { sql, setting, answer: None, tag: "INSERT 0 0" };
        match self.random.below(CARRIERS) {
            0 => select("TABLE memory".to_owned(), memory("33MB"), "taken", "33MB"),
            1 => select("SELECT taken FROM deep_memory".into(), memory("33MB"), "taken", "33MB"),
            2 => {
                let mb = format!("{}MB", self.random.between(5, 60));
                let sql = format!("SELECT text 'work_mem' <~ text '{mb}' AS taken");
                select(sql, memory(&mb), "taken", &mb)
            }
            3 => select("SELECT id FROM guarded".to_owned(), zone, "id", "1"),
            4 => {
                let sql = "SELECT (l).take_row FROM ledger l WHERE client = 0".to_owned();
                select(sql, memory("27MB"), "take_row", "27MB")
            }
            5 => select(format!("SELECT mark '{mark}' AS own"), own, "own", &mark),
            6 => {
                let sql = format!("SELECT CAST(text '{mark}' AS carrier) AS own");
                select(sql, own, "own", &format!("({mark})"))
            }
            7 => insert(format!("INSERT INTO hooks VALUES ({}, '{mark}')", self.id), own),
            8 => insert(format!("INSERT INTO defaults (client) VALUES ({})", self.id), zone),
            9 => Carrier {
                sql: format!("DO $$BEGIN PERFORM take('soak.mark', '{mark}'); END$$"),
                setting: own,
                answer: None,
                tag: "DO",
            },
            _ => {
                let sql = format!("SELECT take_hidden('{mark}')");
                select(sql, (HIDDEN, mark.clone()), "take_hidden", &mark)
            }
        }
    }

    /// One statement that changes the session without saying so.
    pub(crate) fn carry(&mut self) {
        let carrier = self.some_carrier();
        let (name, value) = carrier.setting;
        self.model.now.settings.insert(name, value);
        let (column, value) = carrier.answer.unzip();
        let rows = value.iter().map(|value| row(&[value]));
        if self.random.once_in(2) {
            self.extended(&carrier.sql, &[]);
            rows.for_each(|row| self.want(row));
            self.want(complete(carrier.tag));
            self.sync();
            return;
        }
        let mut wants: Vec<Expect> = column.iter().map(|name| columns(&[name])).collect();
        wants.extend(rows);
        wants.push(complete(carrier.tag));
        self.simple(&carrier.sql, wants);
        self.want_ready();
    }

    /// The same by means that answer in their own ways.
    fn carry_oddly(&mut self) {
        let mark = self.unique();
        match self.random.below(4) {
            0 => {
                let sql = format!("INSERT INTO ruled VALUES ('{mark}')");
                let wants = vec![columns(&["taken"]), row(&[&mark]), complete("INSERT 0 0")];
                self.simple(&sql, wants);
                self.model.now.settings.insert("soak.mark", mark);
            }
            1 => {
                let mb = format!("{}MB", self.random.between(5, 60));
                let sql =
                    format!("UPDATE pg_settings SET setting = '{mb}' WHERE name = 'work_mem'");
                let wants = vec![columns(&["set_config"]), row(&[&mb]), complete("UPDATE 0")];
                self.simple(&sql, wants);
                self.model.now.settings.insert("work_mem", mb);
            }
            2 => {
                let sql = format!("INSERT INTO made (mark) VALUES ('{mark}')");
                self.simple(&sql, vec![complete("INSERT 0 1")]);
                self.model.now.settings.insert("soak.mark", mark.clone());
                self.want_ready();
                let sql = format!("DELETE FROM made WHERE mark = '{mark}'");
                self.simple(&sql, vec![complete("DELETE 1")]);
            }
            _ => {
                self.simple("COPY hooks FROM STDIN", vec![Expect::Tag(b'G')]);
                self.pause();
                self.push(&messages::copy_data(format!("{}\t{mark}\n", self.id).as_bytes()));
                self.push(&messages::copy_done());
                self.want(complete("COPY 0"));
                self.model.now.settings.insert("soak.mark", mark);
            }
        }
        self.want_ready();
    }

    /// A setting of which no text says the name.
    fn check_hidden(&mut self) {
        let hidden = self.model.now.settings[HIDDEN].clone();
        let wants = vec![columns(&["own"]), row(&[&hidden]), complete("SELECT 1")];
        self.simple("SELECT own FROM hidden", wants);
        self.want_ready();
    }

    pub(crate) fn hidden_carriers(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.random.between(1, 3) {
            if self.random.once_in(4) {
                self.carry_oddly();
            } else {
                self.carry();
            }
            if self.random.once_in(3) {
                self.play("hidden carrier")?;
            }
        }
        self.check_hidden();
        self.settings_batch()
    }

    /// A trigger makes a temporary table, a view takes a lock: the session stays with its server.
    pub(crate) fn hidden_seat(&mut self) -> Result<(), Trouble> {
        if self.run.mode == Mode::Statement {
            return self.hidden_carriers();
        }
        let run = self.run;
        let _seat = run.evil.spare();
        if self.random.once_in(2) {
            let line = self.unique();
            let sql = format!("INSERT INTO nests VALUES ('{line}')");
            self.simple(&sql, vec![complete("INSERT 0 0")]);
            self.want_ready();
            self.play("hidden temporary table")?;
            let wants = vec![columns(&["line"]), row(&[&line]), complete("SELECT 1")];
            self.simple("SELECT line FROM egg", wants);
            self.want_ready();
            self.play("reads it")?;
            self.simple("DROP TABLE egg", vec![complete("DROP TABLE")]);
            self.want_ready();
            return self.play("drops it");
        }
        let sql = format!("SELECT locked FROM locks WHERE client = {}", self.id);
        self.simple(&sql, vec![columns(&["locked"]), row(&["t"]), complete("SELECT 1")]);
        self.want_ready();
        self.play("hidden lock")?;
        let sql = format!("SELECT pg_advisory_unlock({}) AS unlocked", self.id);
        self.simple(&sql, vec![columns(&["unlocked"]), row(&["t"]), complete("SELECT 1")]);
        self.want_ready();
        self.play("gives it back")
    }
}
