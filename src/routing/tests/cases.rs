//! The statements of `cases.tsv`: what each is, in one word, and whether a mistake would be one.
//!
//! Columns: how sure the case is (`must` be primary, `safe` to read anywhere, `policy`, `hidden` in the
//! catalog), a temporary table that the session has, the verdict's word, the statement, with `⏎` and
//! `⇥` for line ends and tabs. Each of these is decided by the text and the names in it alone.

use super::{Schema, verdict_in, word};
use crate::routing::{Access, Isolation, Mode, Verdict};

struct Case {
    sure: &'static str,
    schema: Schema,
    word: &'static str,
    text: String,
}

fn cases() -> Vec<Case> {
    include_str!("cases.tsv")
        .lines()
        .map(|line| {
            let columns: Vec<_> = line.splitn(4, '\t').collect();
            let [sure, temporary, word, text] = columns[..] else { panic!("{line}") };
            let temporary = Some(temporary).filter(|name| !name.is_empty());
            let text = text.replace('⏎', "\n").replace('⇥', "\t");
            Case { sure, schema: Schema { temporary }, word, text }
        })
        .collect()
}

/// Whether a verdict keeps a statement away from standbys, whatever the state of the session is.
fn is_kept(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Read | Verdict::Prepare { statement: Ok(()), .. } => false,
        Verdict::Begin(modes) | Verdict::SetTransaction(modes) => {
            modes.access == Some(Mode::To(Access::ReadWrite))
                || modes.isolation == Some(Mode::To(Isolation::Serializable))
        }
        // Never decided by the text alone.
        _ => true,
    }
}

#[test]
fn every_case_is_what_it_should_be() {
    let mut wrong = Vec::new();
    let (mut must, mut safe) = (0, 0);
    for Case { sure, schema, word: expected, text } in cases() {
        let verdict = verdict_in(&schema, &text);
        let is_right = match sure {
            "must" | "hidden" => is_kept(&verdict),
            "safe" => !matches!(verdict, Verdict::Primary(_)),
            _ => true,
        };
        if !is_right || word(&verdict) != expected {
            let text = text.replace('\n', "⏎").replace('\t', "⇥");
            wrong.push(format!(
                "{sure}\t{}\t{}\t{text}",
                schema.temporary.unwrap_or(""),
                word(&verdict)
            ));
        }
        must += usize::from(sure == "must");
        safe += usize::from(sure == "safe");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(must >= 180 && safe >= 65, "{must} {safe}");
}
