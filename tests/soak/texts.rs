//! Texts that are easily misread: encodings with ASCII in their trail bytes, other rules for strings, any size.
//!
//! Owns no state: what the texts do to the session is in the model. A text that is cut in the wrong place hides a SET,
//! and the SET then reaches another session.

use super::expect::{Expect, columns, complete, row};
use super::model::Unnamed;
use super::rider::{Mode, Rider, Trouble};
use super::support::messages::{self, Bind};

/// Encodings, and a character of each whose second byte is a backslash.
const ENCODINGS: [(&str, [u8; 2]); 4] = [
    ("SJIS", [0x95, 0x5c]),
    ("BIG5", [0xa5, 0x5c]),
    ("GBK", [0x81, 0x5c]),
    ("GB18030", [0x81, 0x5c]),
];
/// Texts up to four of howdah's buffers.
const LARGEST_BIT: usize = 18;

fn query(sql: &[u8]) -> Vec<u8> {
    messages::message(b'Q', &[sql, &[0]].concat())
}

fn own(value: &[u8]) -> [Expect; 3] {
    [columns(&["own"]), Expect::Row(vec![Some(value.to_vec())]), complete("SELECT 1")]
}

impl Rider<'_> {
    fn raw(&mut self, sql: &[u8], wants: impl IntoIterator<Item = Expect>) {
        self.push(&query(sql));
        self.model.unnamed = Unnamed::Absent;
        for want in wants {
            self.want(want);
        }
    }

    /// The client's encoding changes in the middle of a pipeline, and decides what the next text is.
    pub(crate) fn changed_encoding(&mut self) -> Result<(), Trouble> {
        let (name, letter) = ENCODINGS[self.random.below(ENCODINGS.len())];
        self.raw(format!("SET client_encoding = '{name}'").as_bytes(), [complete("SET")]);
        self.model.now.settings.insert("client_encoding", name.to_owned());
        self.want_ready();
        if self.random.once_in(2) {
            self.play("encoding")?;
        }
        let memory = format!("{}MB", self.random.between(61, 90));
        // Read byte by byte the letter escapes the quote, and the SET stands in a string.
        let rest = format!("' AS own; SET work_mem = '{memory}'; SELECT '--x' AS own");
        let sql = [b"SELECT E'".as_slice(), &letter, rest.as_bytes()].concat();
        let wants = own(&letter).into_iter().chain([complete("SET")]).chain(own(b"--x"));
        self.raw(&sql, wants);
        self.model.now.settings.insert("work_mem", memory);
        self.want_ready();
        self.play("text in it")?;
        self.settings_batch()
    }

    /// `standard_conforming_strings` is off for one transaction, which is sent in one piece.
    pub(crate) fn changed_strings(&mut self) -> Result<(), Trouble> {
        if self.run.mode == Mode::Statement {
            return self.changed_encoding();
        }
        let mark = self.unique();
        self.model.begin();
        self.raw(b"BEGIN", [complete("BEGIN")]);
        self.want_ready();
        // In some encodings PostgreSQL refuses \' unless it is told otherwise.
        let set = b"SET LOCAL escape_string_warning = off; SET LOCAL backslash_quote = on; \
                    SET LOCAL standard_conforming_strings = off";
        self.raw(set, std::iter::repeat_n(complete("SET"), 3));
        self.want_ready();
        let sql = format!("SELECT '\\'' AS own; SET soak.mark = '{mark}'; --'");
        self.raw(sql.as_bytes(), own(b"'").into_iter().chain([complete("SET")]));
        self.model.now.settings.insert("soak.mark", mark);
        self.want_ready();
        self.raw(b"COMMIT", [complete("COMMIT")]);
        self.model.commit();
        self.want_ready();
        self.play("other strings")?;
        self.settings_batch()
    }

    /// Up to 256 KiB, most often near a power of two.
    fn some_size(&mut self) -> usize {
        let power = 1 << self.random.between(5, LARGEST_BIT);
        if self.random.once_in(3) {
            return self.random.below(power);
        }
        power + self.random.below(130) - 65.min(power)
    }

    /// A Query, a Parse or a Bind of any size.
    pub(crate) fn any_size(&mut self) -> Result<(), Trouble> {
        for _ in 0..self.random.between(1, 3) {
            let (text, padding) = (self.unique(), " ".repeat(self.some_size()));
            match self.random.below(3) {
                0 => {
                    let sql = format!("SELECT{padding} '{text}' AS own");
                    self.raw(sql.as_bytes(), own(text.as_bytes()));
                    self.want_ready();
                }
                kind => {
                    let (sql, value) = match kind {
                        1 => (format!("SELECT $1::text{padding} AS own"), text.clone()),
                        _ => ("SELECT $1::text AS own".to_owned(), text + &padding),
                    };
                    let name = if self.random.once_in(2) { "sized" } else { "" };
                    self.sized(name, &sql, &value);
                }
            }
        }
        self.play("any size")
    }

    fn sized(&mut self, name: &str, sql: &str, value: &str) {
        self.push(&messages::close(b'S', name));
        self.want(Expect::Tag(b'3'));
        self.push(&messages::parse(name, sql, &[]));
        self.want(Expect::Tag(b'1'));
        if name.is_empty() {
            self.model.unnamed = Unnamed::Other;
        }
        let values = vec![Some(value.as_bytes().to_vec())];
        let bind = Bind { statement: name.to_owned(), values, ..Bind::default() };
        self.push(&messages::bind(&bind));
        self.want(Expect::Tag(b'2'));
        self.push(&messages::execute("", 0));
        self.want(row(&[value]));
        self.want(complete("SELECT 1"));
        if !name.is_empty() {
            self.push(&messages::close(b'S', name));
            self.want(Expect::Tag(b'3'));
        }
        self.sync();
    }
}
