//! What is to be told to the host, when nothing of the NIC is being looked at any more.

use std::ops::{Deref, DerefMut};

use super::pair::Pair;
use crate::queue_pair::Cause;
use crate::reports;
use crate::soft::Host;

/// What is to be told to the host, and what was told already.
#[derive(Debug, Default)]
pub(super) struct Reports {
    left: reports::Reports,
    /// Something was told already.
    pub(super) told: bool,
}

impl Deref for Reports {
    type Target = reports::Reports;
    fn deref(&self) -> &reports::Reports {
        &self.left
    }
}

impl DerefMut for Reports {
    fn deref_mut(&mut self) -> &mut reports::Reports {
        &mut self.left
    }
}

impl Reports {
    /// What a queue pair in ERR has to say.
    pub(super) fn settle(&mut self, pair: &mut Pair, cause: Cause) {
        while let Some(completion) = pair.flushed() {
            self.completions.push_back((pair.number, completion));
        }
        if pair.is_idle() && !pair.told {
            pair.told = true;
            self.failures.push_back((pair.number, cause));
        }
        // The device says nothing of what is over without it.
        if pair.takes_again() {
            self.roomy.push_back(pair.number);
        }
    }

    /// Tells what is left; whether there was anything, or something was told already.
    #[inline]
    pub(super) fn tell(&mut self, host: &mut dyn Host) -> bool {
        let told = std::mem::take(&mut self.told);
        match self.left.is_empty() {
            true => told,
            false => self.tell_left(host) | told,
        }
    }

    #[cold]
    fn tell_left(&mut self, host: &mut dyn Host) -> bool {
        self.left.tell(host)
    }
}
