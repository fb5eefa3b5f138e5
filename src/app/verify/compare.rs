//! Whether a replica has answered a read as the primary does.
//!
//! Pure. The primary answers twice, before and behind the replica, whose state lies between: it has replayed all
//! that the first answer shows, and what it shows beyond was written before the second. If the primary's two
//! answers are the same and the replica's is not, the read asks its node. What is random, or asks the clock, is not
//! the same twice on the primary either.

/// What a node has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its rows as they came. Their order is not compared: ORDER BY leaves some open.
    rows: Vec<Box<[u8]>>,
    /// The SQLSTATE that it ended with, if it failed.
    error: Option<Box<str>>,
}

/// What three answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The replica answers as the primary does.
    Same,
    /// It answers otherwise.
    Different,
    /// It writes.
    Writes,
    /// The primary itself answers now this, now that.
    Unstable,
    /// An answer says nothing about the read: it was cancelled, in conflict, or out of room.
    Disturbed,
}

impl Answer {
    pub(super) fn new(mut rows: Vec<Box<[u8]>>, error: Option<Box<str>>) -> Self {
        rows.sort_unstable();
        // Those in front of an error may be more or fewer.
        if error.is_some() {
            rows.clear();
        }
        Self { rows, error }
    }

    fn is_write(&self) -> bool {
        self.error.as_deref() == Some("25006")
    }

    /// Resources, interventions, conflicts with the log, locks: nothing of the read's own.
    fn is_disturbed(&self) -> bool {
        let of = |class: &str| self.error.as_deref().is_some_and(|code| code.starts_with(class));
        ["08", "40", "53", "55", "57", "58", "XX"].into_iter().any(of)
    }
}

/// Of the primary's first answer, the replica's, and the primary's second.
pub(super) fn compare(first: &Answer, replica: &Answer, second: &Answer) -> Finding {
    let all = [first, replica, second];
    if all.into_iter().any(Answer::is_write) {
        Finding::Writes
    } else if all.into_iter().any(Answer::is_disturbed) {
        Finding::Disturbed
    } else if first != second {
        Finding::Unstable
    } else if first == replica {
        Finding::Same
    } else {
        Finding::Different
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[&str]) -> Answer {
        Answer::new(values.iter().map(|value| value.as_bytes().into()).collect(), None)
    }

    fn error(code: &str) -> Answer {
        Answer::new(vec![b"a row"[..].into()], Some(code.into()))
    }

    #[test]
    fn what_three_answers_say() {
        for (first, replica, second, finding) in [
            (rows(&["1", "2"]), rows(&["2", "1"]), rows(&["1", "2"]), Finding::Same),
            (rows(&["1"]), rows(&["1", "1"]), rows(&["1"]), Finding::Different),
            (rows(&["t"]), rows(&["f"]), rows(&["t"]), Finding::Different),
            (rows(&["1"]), rows(&["2"]), rows(&["3"]), Finding::Unstable),
            (rows(&["1"]), rows(&["2"]), rows(&["2"]), Finding::Unstable),
            (error("22012"), error("22012"), error("22012"), Finding::Same),
            (rows(&["1"]), error("22012"), rows(&["1"]), Finding::Different),
            (rows(&["1"]), error("40001"), rows(&["1"]), Finding::Disturbed),
            (rows(&["1"]), rows(&["2"]), error("57014"), Finding::Disturbed),
            (error("25006"), error("25006"), error("25006"), Finding::Writes),
        ] {
            assert_eq!(
                compare(&first, &replica, &second),
                finding,
                "{first:?} {replica:?} {second:?}"
            );
        }
    }
}
