//! What comments in front of a text ask for.
//!
//! `/* howdah: primary */` keeps a text on the primary, as do the comments that Pgpool-II knows for it:
//! `/*NO LOAD BALANCE*/` and `/*REPLICATION*/`. `/* howdah: group=cart-42 consistency=monotonic */` says
//! what a read may rely on, for this text only. A comment that speaks to the pooler and is not
//! understood keeps its text on the primary, under a reason of its own, so that it shows.

use super::Reason;

/// The words that `consistency=` takes.
pub const CONSISTENCY_WORDS: [&str; 7] =
    ["eventual", "bounded", "session", "monotonic", "global", "strict", "primary"];

/// Bytes of a group's name.
const GROUP_NAME_MAX: usize = 63;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints<'a> {
    /// Why the text has to run on the primary.
    pub reason: Option<Reason>,
    /// The group whose writes it sees, and which sees its own.
    pub group: Option<&'a str>,
    /// What it may rely on: one of [`CONSISTENCY_WORDS`], in lower case.
    pub consistency: Option<&'static str>,
}

/// Whether this may be the name of a group: it can stand in a comment and in a list of words.
pub fn is_group_name(name: &[u8]) -> bool {
    let may_be = |byte: &u8| byte.is_ascii_graphic() && !b",;'\"\\*".contains(byte);
    !name.is_empty() && name.len() <= GROUP_NAME_MAX && name.iter().all(may_be)
}

/// What the comments in front of a text ask for.
#[inline]
pub fn hints(text: &[u8]) -> Hints<'_> {
    let text = text.trim_ascii_start();
    // Nearly no text begins so.
    if text.starts_with(b"/*") { read(text) } else { Hints::default() }
}

/// Why the text has to run on the primary, if a comment in front of it says so.
#[inline]
pub fn hint(text: &[u8]) -> Option<Reason> {
    hints(text).reason
}

fn read(text: &[u8]) -> Hints<'_> {
    let (mut rest, mut hints) = (text, Hints::default());
    while let Some((said, behind)) = comment(rest) {
        hints.add(said.trim_ascii());
        rest = behind.trim_ascii_start();
    }
    hints
}

/// The comment in front, and what is behind it.
fn comment(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"/*")?;
    let end = inner.windows(2).position(|two| two == b"*/")?;
    let (said, behind) = inner.split_at_checked(end)?;
    Some((said, behind.strip_prefix(b"*/")?))
}

impl<'a> Hints<'a> {
    fn add(&mut self, said: &'a [u8]) {
        if said.eq_ignore_ascii_case(b"no load balance")
            || said.eq_ignore_ascii_case(b"replication")
        {
            self.set_reason(Reason::Hint);
            return;
        }
        let Some((name, wishes)) = said.split_at_checked(b"howdah:".len()) else { return };
        if !name.eq_ignore_ascii_case(b"howdah:") {
            return;
        }
        let is_gap = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        let mut words = wishes.split(is_gap).filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            self.set_reason(Reason::UnknownHint);
        }
        words.for_each(|word| self.add_word(word));
    }

    fn add_word(&mut self, word: &'a [u8]) {
        let understood = if word.eq_ignore_ascii_case(b"primary") {
            self.set_reason(Reason::Hint);
            Some(())
        } else if let Some(name) = value_of(word, b"group=") {
            self.set_group(name)
        } else if let Some(level) = value_of(word, b"consistency=") {
            self.set_consistency(level)
        } else {
            None
        };
        if understood.is_none() {
            self.set_reason(Reason::UnknownHint);
        }
    }

    /// What is not understood weighs more: it has to show.
    fn set_reason(&mut self, reason: Reason) {
        if self.reason != Some(Reason::UnknownHint) {
            self.reason = Some(reason);
        }
    }

    fn set_group(&mut self, name: &'a [u8]) -> Option<()> {
        self.group = Some(std::str::from_utf8(name).ok().filter(|_| is_group_name(name))?);
        Some(())
    }

    fn set_consistency(&mut self, level: &[u8]) -> Option<()> {
        let known =
            CONSISTENCY_WORDS.iter().find(|word| level.eq_ignore_ascii_case(word.as_bytes()));
        self.consistency = Some(*known?);
        Some(())
    }
}

fn value_of<'a>(word: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let (front, value) = word.split_at_checked(key.len())?;
    front.eq_ignore_ascii_case(key).then_some(value)
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
            ("/* howdah: */ SELECT 1", Some(Reason::UnknownHint)),
            ("/* howdah: primry, primary */ SELECT 1", Some(Reason::UnknownHint)),
            ("/* howdah: group= */ SELECT 1", Some(Reason::UnknownHint)),
            ("/* howdah: group=a'b */ SELECT 1", Some(Reason::UnknownHint)),
            ("/* howdah: consistency=strong */ SELECT 1", Some(Reason::UnknownHint)),
            ("/* howdah: group=a primary */ SELECT 1", Some(Reason::Hint)),
            ("/* howdahs: primary */ SELECT 1", None),
            ("SELECT 1 /* howdah: primary */", None),
            ("/* howdah: primary", None),
            ("/*/ SELECT 1", None),
            ("", None),
        ] {
            assert_eq!(hint(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn groups_and_levels() {
        let of = |text: &'static str| {
            let hints = hints(text.as_bytes());
            assert_eq!(hints.reason, None, "{text}");
            (hints.group, hints.consistency)
        };
        assert_eq!(of("/* howdah: group=cart-42 */ SELECT 1"), (Some("cart-42"), None));
        let both = (Some("Cart:42"), Some("monotonic"));
        assert_eq!(of("/*howdah: consistency=MONOTONIC, group=Cart:42*/ SELECT 1"), both);
        assert_eq!(of("/* a */ /*howdah:group=a*/ /*howdah:group=b*/ SELECT 1"), (Some("b"), None));
        assert!(!is_group_name(&[b'x'; 64]) && is_group_name(&[b'x'; 63]));
    }
}
