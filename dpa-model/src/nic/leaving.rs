//! NICs that nobody has a share in any more, and whose sockets are not closed yet.
//!
//! The last share ends at once, but the NIC's own thread holds the sockets until it is awake and sees that. Who opens a NIC at
//! the same address in this program meanwhile waits for that thread, instead of being told that the address is taken.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long it is waited for at most.
const PATIENCE: Duration = Duration::from_secs(2);

static LEAVING: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());

/// What a NIC drops after its sockets.
#[derive(Debug)]
pub(super) struct Leaving(pub(super) SocketAddr);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut leaving = LEAVING.lock();
        if let Some(at) = leaving.iter().position(|address| *address == self.0) {
            leaving.swap_remove(at);
        }
    }
}

/// Nobody has a share in the NIC at this address any more.
pub(super) fn begin(address: SocketAddr) {
    LEAVING.lock().push(address);
}

/// Whether the address is about to be free, and there is patience left.
pub(super) fn waits_for(address: SocketAddr, since: Instant) -> bool {
    since.elapsed() < PATIENCE && LEAVING.lock().contains(&address)
}

/// Between two tries.
pub(super) fn pause() {
    std::thread::sleep(Duration::from_micros(100));
}
