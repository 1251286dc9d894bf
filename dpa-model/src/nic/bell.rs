//! Whose turn it is to work a NIC, and how a doorbell reaches whoever does.
//!
//! Kernels ring from any worker, idle workers poll, a thread of the NIC's own attends when all others are busy. Only
//! one of them works the NIC at a time, and nobody waits for it: who finds it busy leaves word and goes on. Rules:
//!
//! 1. One word has two bits. BUSY: somebody works the NIC. RUNG: there may be something the NIC has not looked at.
//! 2. Who rings first makes its work visible and then sets RUNG. If BUSY was clear, it must try to begin, or see to it that another
//!    looks.
//! 3. Who begins sets BUSY and clears RUNG in one step, then looks at everything, or at what it is there for.
//! 4. Who ends clears BUSY, but only while RUNG is clear, in one step; else it clears RUNG and looks again. Who has looked often
//!    enough for others, or leaves something to others, clears BUSY, sets RUNG, and sees to it that another looks.
//!
//! All steps are read-modify-writes of one word, so they have one order: a ring either finds BUSY clear (and its own
//! caller works), or comes before the end of whoever works, who then looks again.

use dpa_abi::sync::atomic::{AtomicU32, Ordering};

const BUSY: u32 = 1;
const RUNG: u32 = 2;

/// The bell of a NIC.
#[derive(Debug)]
pub struct Bell {
    word: AtomicU32,
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl Bell {
    /// A bell that has not been rung.
    pub fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
        }
    }

    /// Rings. True: nobody works the NIC, so the caller must try to (rule 2).
    #[must_use]
    pub fn ring(&self) -> bool {
        self.word.fetch_or(RUNG, Ordering::AcqRel) & BUSY == 0
    }

    /// Begins to work the NIC; false if somebody else does.
    #[must_use]
    pub fn try_begin(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & BUSY != 0 {
                return false;
            }
            match self
                .word
                .compare_exchange_weak(word, BUSY, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// As [`Bell::try_begin`], but only while nobody has rung: a caller who rings has then nothing to look at but its own.
    #[must_use]
    pub fn try_begin_unrung(&self) -> bool {
        self.word
            .compare_exchange(0, BUSY, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends. False: it was rung meanwhile; the caller is still at work and must look again (rule 4).
    #[must_use]
    pub fn end(&self) -> bool {
        #[cfg(dpa_mutant = "bell_end_ignores_ring")]
        {
            self.word.swap(0, Ordering::AcqRel);
            return true;
        }
        #[cfg(not(dpa_mutant = "bell_end_ignores_ring"))]
        match self
            .word
            .compare_exchange(BUSY, 0, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(_) => {
                self.word.swap(BUSY, Ordering::AcqRel);
                false
            }
        }
    }

    /// Ends where [`Bell::end`] has just said that it was rung, or where something is left for others, without another look: somebody
    /// else must begin soon, and whoever rings next does.
    pub fn leave_rung(&self) {
        self.word.swap(RUNG, Ordering::AcqRel);
    }

    /// Whether it was rung and nobody has looked yet.
    pub fn is_rung(&self) -> bool {
        self.word.load(Ordering::Acquire) & RUNG != 0
    }
}
