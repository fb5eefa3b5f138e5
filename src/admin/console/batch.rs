//! The extended protocol: named commands, portals, and rows fetched a few at a time.
//!
//! Keeps the limits for both kinds of names. What a portal has been asked for is carried out once;
//! fetching goes on where it has stopped.

use super::portal::Portal;
use super::{Console, Outcome, Running, Step, complete};
use crate::admin::command::Command;
use crate::admin::table::{self, Column, Format, framed};
use crate::fault::{Fault, Side};
use crate::sql;
use crate::wire::{self, client, server};
use std::collections::HashMap;

/// Prepared statements, and portals, that one client may have.
const NAMES_MAX: usize = 1000;

impl Console {
    pub(super) fn parse(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let view = client::read_parse(body).ok_or_else(invalid_format)?;
        let mut texts = sql::statements(view.sql, true);
        let first = texts.next();
        if texts.next().is_some() {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(Fault::query(Side::Client, "42601", text));
        }
        let command = match first {
            Some(range) => Some(Command::read(view.sql.get(range).unwrap_or_default())?),
            None => None,
        };
        if !view.name.is_empty() && self.statements.contains_key(view.name) {
            let name = String::from_utf8_lossy(view.name);
            let text = format!("prepared statement \"{name}\" already exists");
            return Err(Fault::query(Side::Client, "42P05", text));
        }
        has_room(&self.statements)?;
        self.statements.insert(view.name.into(), command);
        server::bare(out, server::PARSE_COMPLETE);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Option<Command>, Fault> {
        self.statements.get(name).ok_or_else(|| {
            let text = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                let name = String::from_utf8_lossy(name);
                format!("prepared statement \"{name}\" does not exist")
            };
            Fault::query(Side::Client, "26000", text)
        })
    }

    pub(super) fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let view = client::read_bind(body).ok_or_else(invalid_format)?;
        let rest = body.get(view.names_len..).unwrap_or_default();
        let command = self.statement(view.statement)?.clone();
        let columns = command.as_ref().and_then(Command::columns).unwrap_or_default();
        let formats = read_formats(rest, columns)?;
        has_room(&self.portals)?;
        self.portals.insert(view.portal.into(), Portal { command, formats, left: None });
        server::bare(out, server::BIND_COMPLETE);
        Ok(())
    }

    pub(super) fn describe(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let target = client::read_target(body).ok_or_else(invalid_format)?;
        let (command, formats) = match target.kind {
            b'S' => {
                let command = self.statement(target.name)?;
                framed(out, server::PARAMETER_DESCRIPTION, |out| out.extend([0, 0]));
                (command, &[][..])
            }
            b'P' => {
                let portal = self.portals.get(target.name).ok_or_else(|| no_portal(target.name))?;
                (&portal.command, &portal.formats[..])
            }
            _ => return Err(invalid_format()),
        };
        match command.as_ref().and_then(Command::columns) {
            Some(columns) => table::describe(out, columns, formats),
            None => server::bare(out, server::NO_DATA),
        }
        Ok(())
    }

    pub(super) fn close(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let target = client::read_target(body).ok_or_else(invalid_format)?;
        match target.kind {
            b'S' => drop(self.statements.remove(target.name)),
            b'P' => drop(self.portals.remove(target.name)),
            _ => return Err(invalid_format()),
        }
        server::bare(out, server::CLOSE_COMPLETE);
        Ok(())
    }

    pub(super) fn execute(&mut self, body: &[u8], out: &mut Vec<u8>) -> Step {
        match self.begin_execute(body, out) {
            Ok(step) => step,
            Err(fault) => {
                self.fail(out, &fault);
                self.skipping = true;
                Step::Wait
            }
        }
    }

    fn begin_execute(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Step, Fault> {
        let (name, rest) = wire::cstring(body).ok_or_else(invalid_format)?;
        let max =
            rest.first_chunk().map(|max| u32::from_be_bytes(*max)).filter(|_| rest.len() == 4);
        let max = max.ok_or_else(invalid_format)?;
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let Some(command) = portal.command.clone() else {
            server::bare(out, server::EMPTY_QUERY);
            return Ok(Step::Wait);
        };
        if portal.left.is_some() {
            self.fetch(name, &command, max, out);
            return Ok(Step::Wait);
        }
        self.permit(&command)?;
        let Command::Harmless(harmless) = &command else {
            self.running = Some(Running::Portal(name.into(), command.clone(), max));
            return Ok(Step::Run(command));
        };
        let outcome = self.answer_harmless(harmless);
        self.answer_portal((name, max), &command, outcome, out);
        Ok(Step::Wait)
    }

    pub(super) fn answer_portal(
        &mut self,
        (name, max): (&[u8], u32),
        command: &Command,
        outcome: Outcome,
        out: &mut Vec<u8>,
    ) {
        match outcome {
            Outcome::Refused(fault) => {
                self.fail(out, &fault);
                self.skipping = true;
            }
            Outcome::Done => complete(out, command),
            Outcome::Rows(rows) => {
                if let Some(portal) = self.portals.get_mut(name) {
                    portal.left = Some(rows.into());
                }
                self.fetch(name, command, max, out);
            }
        }
    }

    /// The next rows of a portal.
    fn fetch(&mut self, name: &[u8], command: &Command, max: u32, out: &mut Vec<u8>) {
        let columns = command.columns().unwrap_or_default();
        let Some(portal) = self.portals.get_mut(name) else { return };
        let left = portal.left.get_or_insert_default();
        let limit = usize::try_from(max).unwrap_or(usize::MAX);
        let count = if max == 0 { left.len() } else { left.len().min(limit) };
        for row in left.drain(..count) {
            table::row(out, columns, &row, &portal.formats);
        }
        // As PostgreSQL: it does not look whether there is more behind the last row asked for.
        if max != 0 && count == limit {
            server::bare(out, server::PORTAL_SUSPENDED);
        } else {
            complete(out, command);
        }
    }
}

fn invalid_format() -> Fault {
    Fault::query(Side::Client, "08P01", "invalid message format")
}

fn no_portal(name: &[u8]) -> Fault {
    let text = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    Fault::query(Side::Client, "34000", text)
}

fn has_room<T>(names: &HashMap<Box<[u8]>, T>) -> Result<(), Fault> {
    if names.len() < NAMES_MAX {
        return Ok(());
    }
    let text = format!("more than {NAMES_MAX} prepared statements or portals");
    Err(Fault::query(Side::Client, "53400", text).hint("Close those that are not needed."))
}

/// The rest of a Bind: no parameters, and the formats of the answer's columns.
fn read_formats(rest: &[u8], columns: &[Column]) -> Result<Vec<Format>, Fault> {
    let mut numbers = rest.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let mut next = || numbers.next().ok_or_else(invalid_format);
    let parameter_formats = next()?;
    for _ in 0..parameter_formats {
        next()?;
    }
    let parameters = next()?;
    if parameters != 0 {
        let text =
            format!("bind message supplies {parameters} parameters, but the statement requires 0");
        return Err(Fault::query(Side::Client, "08P01", text));
    }
    let count = next()?;
    let formats = (0..count)
        .map(|_| match next()? {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => {
                let text = format!("unsupported format code: {other}");
                Err(Fault::query(Side::Client, "22023", text))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    if formats.len() > 1 && formats.len() != columns.len() {
        let text = format!(
            "bind message has {} result formats but query has {} columns",
            formats.len(),
            columns.len()
        );
        return Err(Fault::query(Side::Client, "08P01", text));
    }
    Ok(formats)
}
