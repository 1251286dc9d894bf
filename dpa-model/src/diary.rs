//! What happened in a simulation, in order: who updated which event, what that opened, which packet went where.
//!
//! Only the seeded driver writes one, and only if it is asked to: the same seed gives the same run, so a run that has
//! failed is run again with a diary.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

/// The most notes that are kept: the last ones.
pub const MOST: usize = 1 << 16;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, in device time.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14} ns  {}", self.at.as_nanos(), self.what)
    }
}

/// The notes of one run.
#[derive(Debug, Default)]
pub struct Diary {
    notes: Mutex<VecDeque<Note>>,
}

impl Diary {
    /// One more. Beyond [`MOST`] the oldest goes.
    pub(crate) fn write(&self, now: u64, what: String) {
        let mut notes = self.notes.lock();
        if notes.len() == MOST {
            notes.pop_front();
        }
        let at = Duration::from_nanos(now);
        notes.push_back(Note { at, what });
    }

    /// Takes all notes out, the oldest first.
    pub fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_notes_are_kept() {
        let diary = Diary::default();
        for n in 0..MOST as u64 + 3 {
            diary.write(n, n.to_string());
        }
        let notes = diary.take();
        assert_eq!((notes.len(), notes[0].what.as_str()), (MOST, "3"));
        assert!(diary.take().is_empty());
    }
}
