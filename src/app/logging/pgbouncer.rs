//! Lines as PgBouncer writes them, for the tools that read its log.
//!
//! `TIME ZONE [pid] LEVEL C-0xID: database/user@address text (age=Ns)`: the fields of an event that
//! say whose line it is stand in front of its text, `S-` for a server; the others follow as they are
//! named, but for those that such a line has never had.

use super::fields::{as_one_word, quoted};
use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes them.
pub(super) struct PgBouncerLines {
    pid: u32,
    zone: TimeZone,
}

impl PgBouncerLines {
    /// In the time zone of the system.
    pub(super) fn new() -> Self {
        Self::in_zone(TimeZone::system())
    }

    pub(super) fn in_zone(zone: TimeZone) -> Self {
        Self { pid: std::process::id(), zone }
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    text: String,
    client: Option<u64>,
    server: Option<u64>,
    peer: String,
    user: String,
    database: String,
    age: Option<u64>,
    rest: String,
}

impl Visit for Said {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "client" => self.client = Some(value),
            "server" => self.server = Some(value),
            "age" => self.age = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a text does not fail.
        _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            "peer" => write!(self.peer, "{value:?}"),
            "user" => write!(self.user, "{value:?}"),
            "database" => write!(self.database, "{value:?}"),
            // In the text, or what PgBouncer's lines have never had.
            "code" | "pid" | "method" | "tls" | "tls_version" | "port" | "workers" => Ok(()),
            name => write!(self.rest, " {name}={}", quoted(format!("{value:?}"))),
        };
    }
}

impl Said {
    fn write(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let or = |text: &str, nothing: &'static str| {
            if text.is_empty() { nothing.to_owned() } else { as_one_word(text) }
        };
        let who = self.client.map(|id| ('C', id)).or(self.server.map(|id| ('S', id)));
        if let Some((letter, id)) = who {
            let (database, user) = (or(&self.database, "(nodb)"), or(&self.user, "(nouser)"));
            let peer = if self.peer.is_empty() { "(unknown)" } else { &one_line(&self.peer) };
            write!(writer, "{letter}-{id:#x}: {database}/{user}@{peer} ")?;
        }
        writer.write_str(&one_line(&self.text))?;
        writer.write_str(&one_line(&self.rest))?;
        if let Some(age) = self.age {
            write!(writer, " (age={age}s)")?;
        }
        writer.write_char('\n')
    }
}

/// The text without what would begin another line, or move the cursor of a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { '?' } else { sign }).collect()
}

impl<S, N> FormatEvent<S, N> for PgBouncerLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let now = Timestamp::now().to_zoned_datetime(self.zone.clone());
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "LOG",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "NOISE",
        };
        let time = now.strftime("%Y-%m-%d %H:%M:%S%.3f %Z");
        write!(writer, "{time} [{}] {level} ", self.pid)?;
        said.write(&mut writer)
    }
}
