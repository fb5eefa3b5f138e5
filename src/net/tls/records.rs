//! Where one TLS record ends and the next begins (RFC 8446 section 5.1).
//!
//! Owns a header's bytes. `rustls` does not tell whether it holds a part of a record, and a
//! connection that does is neither quiet nor cleanly ended.

const RECORD_HEADER: usize = 5;

/// Where the incoming bytes stand between two records.
#[derive(Debug, Default)]
pub(super) struct RecordCursor {
    header: [u8; RECORD_HEADER],
    have: usize,
    left: usize,
}

impl RecordCursor {
    /// Goes on by what was read.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.have < RECORD_HEADER {
                let n = bytes.len().min(RECORD_HEADER - self.have);
                let (head, rest) = bytes.split_at(n);
                self.header[self.have..self.have + n].copy_from_slice(head);
                self.have += n;
                bytes = rest;
                let [_, _, _, high, low] = self.header;
                self.left = usize::from(u16::from_be_bytes([high, low]));
            } else {
                let n = bytes.len().min(self.left);
                self.left -= n;
                bytes = bytes.get(n..).unwrap_or_default();
            }
            if self.have == RECORD_HEADER && self.left == 0 {
                self.have = 0;
            }
        }
    }

    /// Whether no record is half read.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0
    }
}
