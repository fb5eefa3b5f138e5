//! What a comment in front of a text asks for.
//!
//! `/* howdah: primary */` keeps a text on the primary, as do the comments that Pgpool-II knows for it:
//! `/*NO LOAD BALANCE*/` and `/*REPLICATION*/`. A comment that speaks to the pooler and is not understood
//! does so too, under a reason of its own, so that it shows.

use super::Reason;

/// Why the text has to run on the primary, if a comment in front of it says so.
pub fn hint(text: &[u8]) -> Option<Reason> {
    let mut rest = text.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"/*") {
        let end = comment.windows(2).position(|two| two == b"*/")?;
        let (said, behind) = comment.split_at_checked(end)?;
        if let Some(reason) = meaning(said.trim_ascii()) {
            return Some(reason);
        }
        rest = behind.strip_prefix(b"*/")?.trim_ascii_start();
    }
    None
}

fn meaning(said: &[u8]) -> Option<Reason> {
    if said.eq_ignore_ascii_case(b"no load balance") || said.eq_ignore_ascii_case(b"replication") {
        return Some(Reason::Hint);
    }
    let (name, wish) = said.split_at_checked(b"howdah:".len())?;
    if !name.eq_ignore_ascii_case(b"howdah:") {
        return None;
    }
    let is_known = wish.trim_ascii().eq_ignore_ascii_case(b"primary");
    Some(if is_known { Reason::Hint } else { Reason::UnknownHint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_in_front() {
        for (text, expected) in [
            ("SELECT 1", None),
            ("/* howdah: primary */ SELECT 1", Some(Reason::Hint)),
            ("  /*HOWDAH:Primary*/SELECT 1", Some(Reason::Hint)),
            ("/* by: me */ /* howdah: primary */ SELECT 1", Some(Reason::Hint)),
            ("/*NO LOAD BALANCE*/ SELECT 1", Some(Reason::Hint)),
            ("/*REPLICATION*/ SELECT 1", Some(Reason::Hint)),
            ("/* howdah: primry */ SELECT 1", Some(Reason::UnknownHint)),
            ("/* howdahs: primary */ SELECT 1", None),
            ("SELECT 1 /* howdah: primary */", None),
            ("/* howdah: primary", None),
            ("/*/ SELECT 1", None),
            ("", None),
        ] {
            assert_eq!(hint(text.as_bytes()), expected, "{text}");
        }
    }
}
