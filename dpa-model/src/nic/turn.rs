//! How long a queue is worked before others have their turn: another process may wait for the NIC that copies.

use rdma::psn::Qpn;

/// Bytes that are copied in a turn, and the rest of the copy that is under way then.
const MOST_COPIED: u64 = 4 << 20;

/// What was done since the lock of the NIC was taken.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    copied: u64,
    /// Queue pairs that have had more than their share, each once: to be looked at in the next turn.
    behind: Vec<Qpn>,
}

impl Turn {
    /// The next begins, with queue pairs that were put behind others.
    pub(crate) fn next(&mut self) -> Vec<Qpn> {
        self.copied = 0;
        let mut behind = std::mem::take(&mut self.behind);
        // The first is the one that has copied most of what was copied.
        if !behind.is_empty() {
            behind.rotate_left(1);
        }
        behind
    }

    /// So many bytes were copied.
    pub(crate) fn copied(&mut self, bytes: u32) {
        self.copied += u64::from(bytes);
    }

    /// Whether this queue pair is to go on in the next turn.
    pub(crate) fn is_over(&mut self, number: Qpn) -> bool {
        let over = self.copied >= MOST_COPIED;
        if over && !self.behind.contains(&number) {
            self.behind.push(number);
        }
        over
    }

    /// Whether there is to be another.
    pub(crate) fn has_next(&self) -> bool {
        !self.behind.is_empty()
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
}
