//! Reads a database's catalog on a leased server.
//!
//! Owns the order of the questions and what their rows mean. One read-only transaction holds them all,
//! so that they see the same catalog, and it is rolled back: the server is afterwards what it was. Never
//! takes a server, never says when. No future here is cancel safe: drop the server with it.

use super::Builder;
use super::ask::{AskError, Conversation, Values};
use super::queries;
use super::rows::{BuiltinRow, EdgeRow, FunctionRow, NameRow, Object, PartRow};
use crate::backend::server::Server;
use crate::routing::is_read_builtin;
use crate::sql::{Meaning, is_harmless_builtin};
use std::time::Duration;

/// The oldest PostgreSQL whose catalog is understood.
const OLDEST: u32 = 110_000;

/// Something that is another text when the catalog has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    text: Box<[u8]>,
    version: u32,
}

#[cfg(test)]
impl Fingerprint {
    /// One for tests.
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.as_bytes().into(), version: OLDEST }
    }
}

/// Asks whether the catalog is still the one with this fingerprint, and reads it if not. `limit`: the
/// longest statement. Gives the fingerprint, and what was read.
///
/// # Errors
/// When a question has no answer. The server is at rest then only if it refused one.
pub async fn read(
    server: &mut Server,
    known: Option<&Fingerprint>,
    limit: Duration,
) -> Result<(Fingerprint, Option<Builder>), AskError> {
    let mut talk = Conversation::new(server);
    talk.ask(&queries::begin(limit.as_millis()), &mut |_| Ok(())).await?;
    let answer = read_inside(&mut talk, known).await;
    if matches!(answer, Ok(_) | Err(AskError::Refused { .. } | AskError::TooOld(_))) {
        talk.ask(queries::END, &mut |_| Ok(())).await?;
    }
    answer
}

async fn read_inside(
    talk: &mut Conversation<'_>,
    known: Option<&Fingerprint>,
) -> Result<(Fingerprint, Option<Builder>), AskError> {
    let mut found = None;
    talk.ask(&queries::fingerprint(), &mut |row| {
        let [version, text] = columns(row)?;
        found = Some(Fingerprint { text: text.into(), version: number(version)? });
        Ok(())
    })
    .await?;
    let found = found.ok_or(AskError::Malformed)?;
    if found.version < OLDEST {
        return Err(AskError::TooOld(found.version / 10_000));
    }
    if known == Some(&found) {
        return Ok((found, None));
    }
    let builder = all(talk, found.version).await?;
    Ok((found, Some(builder)))
}

async fn all(talk: &mut Conversation<'_>, version: u32) -> Result<Builder, AskError> {
    let (mut builder, mut builtins) = (Builder::default(), Vec::new());
    talk.ask(queries::BUILTINS, &mut |row| {
        let [oid, name, symbol] = columns(row)?;
        let oid = number(oid)?;
        if !is_harmless_builtin(name) || !is_read_builtin(name) {
            builtins.push(oid);
        }
        builder.builtin(BuiltinRow { oid, name, symbol });
        Ok(())
    })
    .await?;
    talk.ask(queries::NAMES, &mut |row| {
        let [class, oid, name, identity, of_primary] = columns(row)?;
        let mut meaning = match of_primary {
            b"v" => Meaning::VOLATILE,
            b"u" => Meaning::UNLOGGED,
            b"S" => Meaning::READS_SEQUENCE_TABLE,
            b"f" => Meaning::FOREIGN,
            _ => Meaning::empty(),
        };
        meaning.set(Meaning::MOVES_SEQUENCE_ON_WRITE, identity == b"t");
        builder.name(&NameRow { object: object(class, oid)?, name, meaning });
        Ok(())
    })
    .await?;
    talk.ask(queries::FUNCTIONS, &mut |row| {
        let [oid, language, extension, name, source] = columns(row)?;
        builder.function(&FunctionRow { oid: number(oid)?, language, extension, name, source });
        Ok(())
    })
    .await?;
    talk.ask(&queries::parts(&builtins, version), &mut |row| {
        let [class, oid, owner_class, owner, when_written, text] = columns(row)?;
        let (part, owner) = (object(class, oid)?, object(owner_class, owner)?);
        builder.part(&PartRow { part, owner, when_written: when_written == b"t", text });
        Ok(())
    })
    .await?;
    talk.ask(&queries::edges(), &mut |row| {
        let [used_class, used, user_class, user] = columns(row)?;
        builder.edge(EdgeRow { used: object(used_class, used)?, user: object(user_class, user)? });
        Ok(())
    })
    .await?;
    talk.ask(queries::SETTINGS, &mut |row| {
        let [name] = columns(row)?;
        builder.setting(name);
        Ok(())
    })
    .await?;
    Ok(builder)
}

fn columns<'a, const N: usize>(row: Values<'a>) -> Result<[&'a [u8]; N], AskError> {
    row.try_into().map_err(|_| AskError::Malformed)
}

fn number(text: &[u8]) -> Result<u32, AskError> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or(AskError::Malformed)
}

fn object(class: &[u8], oid: &[u8]) -> Result<Object, AskError> {
    Ok(Object { class: number(class)?, oid: number(oid)? })
}
