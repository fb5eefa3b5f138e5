//! The history of a timeline: which timelines it comes from, and where it left each.
//!
//! Owns the format of the files `0000000N.history`, as TIMELINE_HISTORY hands them out.

use super::lsn::Lsn;
use thiserror::Error;

/// Most switches that are read. Each is a promotion.
const SWITCHES_MAX: usize = 10_000;

/// Why a text is no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// It is not text.
    #[error("the history of a timeline is not UTF-8")]
    NotText,
    /// A line is not one of a history.
    #[error("line {0} of the history is not a timeline, a position and a reason")]
    Line(usize),
    /// Timelines do not rise.
    #[error("line {0} of the history names a timeline that is not above the one before")]
    Order(usize),
    /// There are too many.
    #[error("the history has more than 10,000 lines")]
    TooLong,
}

/// The ancestors of one timeline, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    switches: Vec<(u32, Lsn)>,
}

impl History {
    /// Reads the content of a history file.
    ///
    /// # Errors
    /// If it is none. PostgreSQL itself refuses to start with such a file.
    pub fn parse(content: &[u8]) -> Result<Self, HistoryError> {
        let text = std::str::from_utf8(content).map_err(|_| HistoryError::NotText)?;
        let mut switches: Vec<(u32, Lsn)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (number, mut fields) = (index + 1, line.split_whitespace());
            let timeline = fields.next().and_then(|field| field.parse().ok());
            let position = fields.next().and_then(|field| field.parse().ok());
            let (Some(timeline), Some(position)) = (timeline, position) else {
                return Err(HistoryError::Line(number));
            };
            if switches.last().is_some_and(|(last, _)| timeline <= *last) {
                return Err(HistoryError::Order(number));
            }
            if switches.len() == SWITCHES_MAX {
                return Err(HistoryError::TooLong);
            }
            switches.push((timeline, position));
        }
        Ok(Self { switches })
    }

    /// Where the next timeline on the way to this one left `timeline`; `None` if that is no ancestor.
    /// What `timeline` holds behind this position is not in here.
    #[must_use]
    pub fn switch_from(&self, timeline: u32) -> Option<Lsn> {
        let found = self.switches.iter().find(|(ancestor, _)| *ancestor == timeline);
        found.map(|(_, position)| *position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().expect("a position")
    }

    #[test]
    fn a_history_names_its_ancestors() {
        let content = b"1\t0/3000148\tno recovery target specified\n\n# by hand\n\
                        3\t0/50000A0\tbefore 2026-11-01 10:00:00+00\n";
        let history = History::parse(content).expect("a history");
        assert_eq!(history.switch_from(1), Some(lsn("0/3000148")));
        assert_eq!(history.switch_from(2), None);
        assert_eq!(history.switch_from(3), Some(lsn("0/50000A0")));
        assert_eq!(History::parse(b"").expect("empty").switch_from(1), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for (content, error) in [
            (&b"x\t0/1\t"[..], HistoryError::Line(1)),
            (b"# a\n1 0/1\n2", HistoryError::Line(3)),
            (b"1\tzero\tno", HistoryError::Line(1)),
            (b"2\t0/1\ta\n2\t0/2\tb", HistoryError::Order(2)),
            (b"\xFF", HistoryError::NotText),
        ] {
            assert_eq!(History::parse(content), Err(error), "{content:?}");
        }
    }
}
