//! How long queues are worked before others have their turn: another process may wait for the NIC that copies.

use dpa_abi::queue::MAX_ENTRIES;
use rdma::psn::Qpn;

use super::line::Line;

/// Bytes that are copied in a turn, and the rest of the copy that is under way then: some 50 us.
const MOST_COPIED: u64 = 512 << 10;

/// What an entry counts for beside the bytes that it copies. One that fails costs some 500 ns, and who waits for the NIC to post
/// one of its own waits for all of a turn.
const ENTRY: u64 = 16 << 10;

/// What was done since the lock of the NIC was taken.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    done: u64,
    /// Queue pairs that have had more than their share, or came when others had, each once: to be looked at in the next turn.
    behind: Line<Qpn>,
}

impl Turn {
    /// As many as it takes to flush the longest queue.
    pub(crate) const OF_THE_LONGEST: u64 = MAX_ENTRIES as u64 / (MOST_COPIED / ENTRY) + 1;

    /// The lock is taken. Queue pairs that were put behind others stay there.
    pub(crate) fn begin(&mut self) {
        self.done = 0;
    }

    /// The next begins, with queue pairs that were put behind others.
    pub(crate) fn next(&mut self) -> Vec<Qpn> {
        self.begin();
        if self.behind.is_empty() {
            return Vec::new();
        }
        let mut behind = self.behind.take();
        // The first is the one that has done most of what was done.
        behind.rotate_left(1);
        behind
    }

    /// So many bytes were copied.
    pub(crate) fn copied(&mut self, bytes: u32) {
        self.done += u64::from(bytes);
    }

    /// An entry was taken, whatever it asked for.
    #[inline]
    pub(crate) fn took(&mut self) {
        self.done += ENTRY;
    }

    /// Whether this queue pair is to go on in the next turn.
    #[inline]
    pub(crate) fn is_over(&mut self, number: Qpn) -> bool {
        let over = self.done >= MOST_COPIED;
        if over {
            self.behind.push(number);
        }
        over
    }

    /// Whether there is to be another.
    pub(crate) fn has_next(&self) -> bool {
        !self.behind.is_empty()
    }

    /// As when so many entries are left of it.
    #[cfg(test)]
    pub(super) fn leave(&mut self, entries: u64) {
        self.done = MOST_COPIED - entries * ENTRY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_copied_enough_goes_on_in_the_next_turn() {
        let [a, b] = [2, 3].map(|number| Qpn::new(number).expect("a number"));
        let mut turn = Turn::default();
        turn.copied(MOST_COPIED as u32 - 1);
        assert!(!turn.is_over(a) && !turn.has_next());
        turn.copied(1);
        assert!(turn.is_over(a) && turn.is_over(a) && turn.is_over(b));
        assert!(turn.has_next());
        assert_eq!(turn.next(), [b, a], "who had nothing yet comes first");
        assert!(!turn.has_next() && !turn.is_over(a));
    }

    #[test]
    fn entries_that_copy_nothing_count_too() {
        let a = Qpn::new(2).expect("a number");
        let mut turn = Turn::default();
        (1..MOST_COPIED / ENTRY).for_each(|_| turn.took());
        assert!(!turn.is_over(a));
        turn.took();
        assert!(turn.is_over(a));
        turn.begin();
        assert!(!turn.is_over(a) && turn.has_next(), "it stays behind");
    }
}
