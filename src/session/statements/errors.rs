//! Errors that name a prepared statement, with the client's name for it.
//!
//! Which statement an error is about follows from its place in the server's queue, and whether it is
//! about one at all from the function of the server that reports it: what an error says can be
//! written by anybody (`RAISE`).

use super::Statements;
use super::link::UNKNOWN_MARK;
use super::rewrite::original_position;
use crate::backend::note::Note;
use crate::backend::server::Server;
use crate::backend::statements::NAME_PREFIX;
use crate::wire::{self, ErrorFields};

/// Functions of PostgreSQL that report errors with a prepared statement's name.
const ROUTINES: &[&[u8]] = &[
    b"FetchPreparedStatement",
    b"StorePreparedStatement",
    b"EvaluateParams",
    b"exec_bind_message",
    b"exec_describe_statement_message",
    b"exec_parse_message",
    b"PrepareQuery",
];

impl Statements {
    /// A statement cannot be prepared again, for this error: a Query that executes it is told so.
    pub(in crate::session) fn cannot_be_prepared(&mut self, id: u64, body: &[u8], is_whole: bool) {
        self.failed = is_whole.then(|| (id, body.into()));
    }

    /// Why the statement is not there of which the server says so.
    fn reason_of_absence(&mut self, fields: ErrorFields<'_>) -> Option<Vec<u8>> {
        let (id, body) = self.failed.take()?;
        let is_absent = fields.code == b"26000" && fields.routine == b"FetchPreparedStatement";
        let name = [b"\"", NAME_PREFIX.as_bytes(), id.to_string().as_bytes(), b"\""].concat();
        let is_it = is_absent && memchr::memmem::find(fields.message, &name).is_some();
        is_it.then(|| {
            // Its position is one in our text.
            let mut out = Vec::new();
            wire::without_field(&mut out, &body, b'P');
            out
        })
    }

    /// The server's error as the client has to see it: with its own names, and positions in its own
    /// text. `None` when that is what the server sent.
    pub(in crate::session) fn translate(
        &mut self,
        body: &[u8],
        fields: ErrorFields<'_>,
        note: Option<&Note>,
    ) -> Option<Vec<u8>> {
        if self.failed.is_some()
            && matches!(note, Some(Note::Texts(_)))
            && let Some(reason) = self.reason_of_absence(fields)
        {
            return Some(reason);
        }
        let edits = match note {
            Some(Note::Texts(texts)) => &texts.edits[..],
            _ => &[],
        };
        let message = ROUTINES
            .contains(&fields.routine)
            .then(|| self.translate_message(fields.message, note))
            .flatten();
        if message.is_none() && edits.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        wire::with_fields(&mut out, body, |kind, text| match kind {
            b'M' => message.clone(),
            b'P' if !edits.is_empty() => {
                let position = std::str::from_utf8(text).ok()?.parse().ok()?;
                Some(original_position(edits, position).to_string().into_bytes())
            }
            _ => None,
        });
        Some(out)
    }

    fn translate_message(&mut self, message: &[u8], note: Option<&Note>) -> Option<Vec<u8>> {
        let prefix = NAME_PREFIX.as_bytes();
        let at = memchr::memmem::find(message, prefix)?;
        let (before, found) = message.split_at(at);
        let tail = found.get(prefix.len()..)?;
        if tail.first() == Some(&UNKNOWN_MARK) {
            let rest = tail.get(1..)?;
            return Some([before, prefix, rest].concat());
        }
        let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let ours = found.get(..prefix.len().checked_add(digits)?)?;
        let after = tail.get(digits..)?;
        let name = self.client_name(ours, note)?;
        Some([before, &name, after].concat())
    }

    /// The client's name for the statement that the server knows as `ours`.
    fn client_name(&mut self, ours: &[u8], note: Option<&Note>) -> Option<Box<[u8]>> {
        let note = note?;
        if let Note::Duplicate(name) | Note::Parse { name, .. } = note {
            return Some(name.clone());
        }
        if let Note::Bind(serial) | Note::Describe { serial, .. } = note {
            return self.named.by_serial(*serial).map(|(name, _)| name.into());
        }
        let Note::Texts(texts) = note else { return None };
        let found = texts.names.iter().find(|(known, _)| **known == *ours);
        found.map(|(_, name)| name.clone())
    }

    /// The server does not know a statement that it should know, or the other way round: a text that
    /// was not understood has dropped it, or made it. Sets right what we know of the server.
    pub(in crate::session) fn heal(&mut self, server: &mut Server, fields: ErrorFields<'_>) {
        let is_lookup = matches!(
            fields.routine,
            b"FetchPreparedStatement"
                | b"StorePreparedStatement"
                | b"exec_describe_statement_message"
        );
        if !is_lookup || !matches!(fields.code, b"26000" | b"42P05") {
            return;
        }
        match server.replies.front().and_then(|front| front.note.as_ref()) {
            Some(Note::Bind(serial) | Note::Describe { serial, .. }) => {
                let id = self.named.by_serial(*serial).map(|(_, named)| named.statement.id);
                id.into_iter().for_each(|id| server.prepared.doubt(id));
            }
            // The client has chosen a name twice.
            Some(Note::Duplicate(_)) | None => {}
            Some(_) => server.prepared.doubt_all(),
        }
    }
}
