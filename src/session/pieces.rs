//! Bytes for one write: runs of what was read, and pieces put in between.

use super::worker::Worker;
use std::ops::Range;

/// Bytes for one write.
pub(super) struct Pieces<'a> {
    data: &'a [u8],
    run: Range<usize>,
    assembly: &'a mut Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(data: &'a [u8], assembly: &'a mut Vec<u8>) -> Self {
        Worker::trim(assembly);
        Self { data, run: 0..0, assembly }
    }

    /// Bytes of the data as they are.
    #[inline]
    pub(super) fn keep(&mut self, range: Range<usize>) {
        if range.start == self.run.end {
            self.run.end = range.end;
        } else {
            self.cut();
            self.run = range;
        }
    }

    fn cut(&mut self) {
        self.assembly.extend_from_slice(self.data.get(self.run.clone()).unwrap_or_default());
        self.run = 0..0;
    }

    /// A place for other bytes, behind all that came before.
    pub(super) fn insert(&mut self) -> &mut Vec<u8> {
        self.cut();
        self.assembly
    }

    /// Other bytes, in front of all that came before.
    pub(super) fn insert_in_front(&mut self, bytes: &[u8]) {
        self.cut();
        self.assembly.splice(0..0, bytes.iter().copied());
    }

    /// All of it so far, which does not stay.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.cut();
        std::mem::take(self.assembly)
    }

    /// All of it.
    pub(super) fn finish(mut self) -> &'a [u8] {
        if !self.assembly.is_empty() {
            self.cut();
            return self.assembly;
        }
        self.data.get(self.run).unwrap_or_default()
    }
}
