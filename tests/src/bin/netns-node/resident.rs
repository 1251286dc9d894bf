//! Code that stays in memory.

use rustix::mm::{MlockAllFlags, mlockall};

/// Keeps what is mapped now, the code above all. Systems that take back what was not used for a while read it in again when it is:
/// a node that waits for its disk is given up by its peer.
pub fn stay() {
    if let Err(error) = mlockall(MlockAllFlags::CURRENT) {
        eprintln!("code may be taken out of memory: {error}");
    }
}
