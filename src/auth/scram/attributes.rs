//! The comma-separated `x=value` attributes that SCRAM messages consist of (RFC 5802 section 5.1).

use memchr::memchr;

/// Reads attributes in the order in which the grammar prescribes them.
pub(super) struct Attributes<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: Some(text) }
    }

    /// The value of the next attribute, if that is `name`.
    pub(super) fn expect(&mut self, name: u8) -> Option<&'a [u8]> {
        let (found, value) = self.next_pair()?;
        (found == name).then_some(value)
    }

    /// Skips optional extensions; `false` if what follows are none. `m` announces an extension that
    /// the receiver must understand, so it is never skipped.
    pub(super) fn only_optional_extensions(mut self) -> bool {
        while self.rest.is_some() {
            match self.next_pair() {
                Some((name, _)) if name.is_ascii_alphabetic() && name != b'm' => {}
                Some(_) | None => return false,
            }
        }
        true
    }

    fn next_pair(&mut self) -> Option<(u8, &'a [u8])> {
        let rest = self.rest.take()?;
        let attribute = match memchr(b',', rest) {
            Some(comma) => {
                let (attribute, tail) = rest.split_at_checked(comma)?;
                self.rest = tail.strip_prefix(b",");
                attribute
            }
            None => rest,
        };
        match attribute {
            [name, b'=', value @ ..] => Some((*name, value)),
            _ => None,
        }
    }
}

/// Printable ASCII without the comma, which separates attributes.
pub(super) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|b| matches!(b, 0x21..=0x2b | 0x2d..=0x7e))
}
