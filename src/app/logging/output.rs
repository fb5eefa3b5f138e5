//! Where lines go, and what journald wants to see in front of them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::error::LoggingError;

/// Bytes of a line's priority.
const PRIORITY_LEN: usize = 3;

/// How lines look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    pub(super) colours: bool,
    /// Each begins with its priority, as systemd's journal reads it.
    pub(super) priorities: bool,
}

/// Whether standard error goes to systemd's journal (systemd.exec, `$JOURNAL_STREAM`).
pub(super) fn is_journal() -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|found| told == format!("{}:{}", found.st_dev, found.st_ino))
}

/// Lines with their priorities in front (sd-daemon(3)).
pub(super) struct Prioritised<F> {
    pub(super) inner: F,
    pub(super) on: bool,
}

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: fmt::format::Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if self.on {
            writer.write_str(match *event.metadata().level() {
                Level::ERROR => "<3>",
                Level::WARN => "<4>",
                Level::INFO => "<6>",
                Level::DEBUG | Level::TRACE => "<7>",
            })?;
        }
        self.inner.format_event(context, writer, event)
    }
}

/// Where lines go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Destination<'a> {
    /// A file that they are appended to.
    pub file: Option<&'a Path>,
    /// Not to standard error.
    pub quiet: bool,
}

/// A file that lines are appended to. It is opened anew when asked for, so that it can be moved away.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
}

impl LogFile {
    pub(super) fn open(path: &Path, reopen: Arc<AtomicBool>) -> Result<Self, LoggingError> {
        let file =
            append(path).map_err(|error| LoggingError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file, reopen })
    }

    /// The file under its path now; the one before while that cannot be opened.
    fn current(&mut self) -> &mut File {
        if self.reopen.swap(false, Ordering::AcqRel)
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
        }
        &mut self.file
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Standard error, a file, both, or neither.
pub(super) struct Output {
    pub(super) stderr: Option<io::Stderr>,
    pub(super) file: Option<LogFile>,
    /// Lines begin with their priorities, which no file needs.
    pub(super) priorities: bool,
}

impl Write for Output {
    /// Takes all of `line`, or fails; one destination does not wait for the other's fault.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let plain = line.get(PRIORITY_LEN..).filter(|_| self.priorities).unwrap_or(line);
        let to_file = self.file.as_mut().map_or(Ok(()), |file| file.current().write_all(plain));
        let to_stderr = self.stderr.as_mut().map_or(Ok(()), |stderr| stderr.write_all(line));
        to_file.and(to_stderr).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
