//! NICs that nobody has a share in any more, and whose sockets are not closed yet.
//!
//! The last share ends at once, but the NIC's own thread holds the sockets until it is awake and sees that. Who opens a NIC at
//! the same address in this program meanwhile waits for that thread, instead of being told that the address is taken.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long it is waited for at most.
const PATIENCE: Duration = Duration::from_secs(2);

static LEAVING: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

/// How often a NIC began to leave, or had left.
static MOVES: AtomicU64 = AtomicU64::new(0);

/// What a NIC drops after its sockets.
#[derive(Debug)]
pub(super) struct Leaving {
    address: SocketAddr,
    began: AtomicBool,
}

impl Leaving {
    /// Of a NIC at this address, which somebody has a share in, or which has no sockets.
    pub(super) fn new(address: SocketAddr) -> Self {
        let began = AtomicBool::new(false);
        Self { address, began }
    }

    /// Nobody has a share in the NIC any more.
    pub(super) fn begin(&self) {
        let mut leaving = LEAVING.lock();
        self.began.store(true, Ordering::Relaxed);
        leaving.push(self.address);
        MOVES.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // Another may be leaving at this address: a simulated one has none of the system's.
        if !*self.began.get_mut() {
            return;
        }
        let mut leaving = LEAVING.lock();
        if let Some(at) = leaving.iter().position(|address| *address == self.address) {
            leaving.swap_remove(at);
            MOVES.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tries to open a NIC at an address.
#[derive(Debug)]
pub(super) struct Attempts {
    address: SocketAddr,
    began: Instant,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Attempt {
    leaves: bool,
    moves: u64,
}

impl Attempts {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            began: Instant::now(),
        }
    }

    /// One begins now.
    pub(super) fn begin(&self) -> Attempt {
        let leaving = LEAVING.lock();
        Attempt {
            leaves: leaving.contains(&self.address),
            moves: MOVES.load(Ordering::Relaxed),
        }
    }

    /// The address was taken: whether to try again, as it was, or may have been, about to be free. One of our own may have begun to leave
    /// since the attempt began, and have left by now.
    pub(super) fn again(&self, attempt: &Attempt) -> bool {
        let now = self.begin();
        let about_to_be_free = attempt.leaves || now.leaves || now.moves != attempt.moves;
        about_to_be_free && self.began.elapsed() < PATIENCE
    }
}

/// Between two tries.
pub(super) fn pause() {
    std::thread::sleep(Duration::from_micros(100));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_began_to_be_left_during_the_attempt_is_tried_again() {
        let address = SocketAddr::from(([127, 9, 9, 9], 4791));
        let attempts = Attempts::new(address);
        let attempt = attempts.begin();
        let nic = Leaving::new(address);
        nic.begin();
        assert!(attempts.again(&attempt), "it leaves now");
        let attempt = attempts.begin();
        drop(nic);
        assert!(attempts.again(&attempt), "it left meanwhile");
        let attempt = attempts.begin();
        let nic = Leaving::new(address);
        nic.begin();
        drop(nic);
        assert!(attempts.again(&attempt), "it began and left meanwhile");
    }

    /// As those of simulations, at whatever address.
    #[test]
    fn one_that_never_began_to_leave_does_not_end_the_leaving_of_another() {
        let address = SocketAddr::from(([127, 9, 9, 10], 4791));
        let nic = Leaving::new(address);
        nic.begin();
        drop(Leaving::new(address));
        let attempt = Attempts::new(address).begin();
        assert!(attempt.leaves);
        drop(nic);
        assert!(!Attempts::new(address).begin().leaves);
    }
}
