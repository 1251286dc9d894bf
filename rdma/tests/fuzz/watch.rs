//! A node's memory before, to be compared with what it is after.

use std::ops::Range;

use crate::rig::{GUARD, Node, REGION};

/// What stands wherever a peer may not read.
pub const SECRET: u8 = 0x5e;

/// The bytes of a node's region as they were, and which of them may change.
#[derive(Debug)]
pub struct Watch {
    before: Vec<u8>,
    /// In order.
    allowed: Vec<Range<usize>>,
}

impl Watch {
    pub fn new(node: &Node, allowed: Vec<Range<usize>>) -> Self {
        Self {
            before: node.bytes(0, REGION),
            allowed,
        }
    }

    /// From now on these may change too; they lie behind those that were allowed before.
    pub fn allow(&mut self, range: Range<usize>) {
        self.allowed.push(range);
    }

    /// Nothing else has changed.
    pub fn check(&self, node: &Node) {
        node.assert_guards();
        let bytes = node.memory.bytes.borrow();
        let now = &bytes[GUARD..GUARD + REGION];
        let mut start = 0;
        for range in self.allowed.iter().chain([&(REGION..REGION)]) {
            let end = range.start.max(start);
            assert!(
                now[start..end] == self.before[start..end],
                "bytes in {start}..{end} were touched"
            );
            start = range.end.max(start);
        }
    }
}

/// Whether bytes that nobody may read are among these: eight in a row are no accident.
pub fn leaks(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| window == [SECRET; 8])
}
