//! `currval` and `lastval`: the session's own value, or PostgreSQL's error; never another's value.
//!
//! Owns the questions about sequences. A pooler may answer 55000 where PostgreSQL remembers, because the server that
//! knows the value may have been used by somebody else since. It may never show what another session has drawn.

use super::expect::Expect;
use super::model::Unnamed;
use super::rider::{Rider, Trouble};
use super::support::messages;

/// PostgreSQL's error where a session has drawn nothing.
const NOTHING_DRAWN: &str = "55000";

impl Rider<'_> {
    /// The only value of a query, or the SQLSTATE of its error.
    fn ask(&mut self, sql: &str) -> Result<Result<String, String>, Trouble> {
        self.note(sql);
        self.push(&messages::query(sql));
        self.model.unnamed = Unnamed::Absent;
        self.send_stages();
        let mut answer = None;
        loop {
            let frame = self.next()?;
            match frame.tag {
                b'D' => {
                    let value = frame.columns().and_then(|row| row.into_iter().next().flatten());
                    answer = value.map(|value| Ok(String::from_utf8_lossy(&value).into_owned()));
                }
                b'E' if frame.field(b'V').as_deref() == Some("FATAL") => {
                    return Err(self.bad_luck(&frame));
                }
                b'E' => answer = frame.field(b'C').map(Err),
                b'T' | b'C' => {}
                b'Z' if Expect::Ready(b'I').matches(&frame) => break,
                _ => return Err(self.wrong(&format!("{sql} was answered {}", frame.line()))),
            }
        }
        self.model.ready();
        self.counts_as_answered();
        answer.ok_or_else(|| self.wrong(&format!("{sql} was not answered")))
    }

    fn draw(&mut self) -> Result<(), Trouble> {
        let id = self.id;
        let sql = match self.random.below(3) {
            0 => "SELECT nextval('tickets')".to_owned(),
            // Shown by no word of the text.
            1 => format!("INSERT INTO numbered (client) VALUES ({id}) RETURNING id"),
            _ => format!("SELECT setval('tickets', nextval('tickets') + {id})"),
        };
        let sequence = if sql.starts_with("INSERT") { "numbered_id_seq" } else { "tickets" };
        match self.ask(&sql)? {
            Ok(value) => {
                self.model.drawn.insert(sequence, value.clone());
                self.model.drawn.insert("", value);
                Ok(())
            }
            Err(code) => Err(self.wrong(&format!("{sql} failed with {code}"))),
        }
    }

    /// Draws now and then, asks, and knows what may be answered.
    pub(crate) fn sequences(&mut self) -> Result<(), Trouble> {
        if self.random.once_in(2) {
            self.draw()?;
        }
        if self.random.once_in(2) {
            self.settings_batch()?;
        }
        let name = ["", "tickets", "numbered_id_seq"][self.random.below(3)];
        let sql = match name {
            "" => "SELECT lastval()".to_owned(),
            name => format!("SELECT currval('{name}')"),
        };
        self.model.asks_sequences = true;
        match (self.ask(&sql)?, self.model.drawn.get(name)) {
            (Err(code), _) if code == NOTHING_DRAWN => Ok(()),
            (Ok(value), Some(own)) if value == *own => Ok(()),
            (answer, own) => {
                let own = own.cloned();
                Err(self.wrong(&format!("{sql} was answered {answer:?}, and {own:?} is its own")))
            }
        }
    }
}
