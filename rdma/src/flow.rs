//! Flow control: how many packets may be on their way.
//!
//! The scarce thing is the receiver's socket buffer. Its owner divides it by the connections and tells each peer
//! its *budget* in packets; the requester keeps at most min(budget, window) unacknowledged. The window grows by
//! one packet for each window acknowledged and is halved, once per window, when something says "too much":
//! a sequence NAK, a timeout, a congestion notification.

use crate::mtu::PathMtu;
use crate::psn::Psn;

/// The most packets on their way towards any peer: what the kernel's soft-RoCE uses.
pub const MAX_WINDOW: u32 = 128;

/// What a packet of this MTU takes of a socket's receive buffer, in bytes, with the kernel's overhead
/// (measured: 129 packets of 1 KiB or 51 of 4 KiB in 425,984 bytes).
pub const fn packet_cost(mtu: PathMtu) -> usize {
    match mtu {
        PathMtu::B256 | PathMtu::B512 | PathMtu::B1024 => 3302,
        PathMtu::B2048 => 4_608,
        PathMtu::B4096 => 8_352,
    }
}

/// The budget of one connection: its share of a receive buffer, in packets, at least one.
///
/// `buffer` is what the kernel granted (`SO_RCVBUF` as read back).
pub fn budget(buffer: usize, mtu: PathMtu, connections: usize) -> u32 {
    let packets = buffer / packet_cost(mtu) / connections.max(1);
    packets.clamp(1, MAX_WINDOW as usize) as u32
}

/// What one side offers: its MTU, and its budget in packets, if it has one.
pub type Offer = (PathMtu, Option<u32>);

/// The path MTU of two sides, the same whichever of them asks. The smaller offer wins; where only one of them knows budgets, the
/// other sends up to 128 packets without control: then it is at most 1,024, unless the budget is that large.
pub fn path_mtu(one: Offer, other: Offer) -> PathMtu {
    let offered = one.0.min(other.0);
    match (one.1, other.1) {
        (Some(budget), None) | (None, Some(budget)) if budget < MAX_WINDOW => {
            offered.min(PathMtu::B1024)
        }
        _ => offered,
    }
}

/// The window of a requester.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    budget: u32,
    size: u32,
    /// Packets acknowledged since the window last grew.
    acknowledged: u32,
    /// What was sent before this number says nothing new about the present window.
    recovered_at: Option<Psn>,
}

impl Window {
    pub(crate) fn new(budget: u32) -> Self {
        let budget = budget.clamp(1, MAX_WINDOW);
        Self {
            budget,
            size: budget,
            acknowledged: 0,
            recovered_at: None,
        }
    }

    /// How many packets may be unacknowledged.
    pub(crate) const fn size(&self) -> u32 {
        self.size
    }

    /// `count` packets were acknowledged; all before `oldest` are.
    pub(crate) fn acknowledged(&mut self, count: u32, oldest: Psn) {
        if self
            .recovered_at
            .is_some_and(|recovered| !oldest.is_before(recovered))
        {
            self.recovered_at = None;
        }
        self.acknowledged += count;
        if self.acknowledged >= self.size {
            self.acknowledged = 0;
            self.size = (self.size + 1).min(self.budget);
        }
    }

    /// Too much was on its way; `next` is the number behind the last packet sent. Counts once per window.
    pub(crate) fn congested(&mut self, next: Psn) {
        if self.recovered_at.is_none() {
            self.halve(next);
        }
    }

    /// Nothing came back in time. Counts always.
    pub(crate) fn timed_out(&mut self, next: Psn) {
        self.halve(next);
    }

    fn halve(&mut self, next: Psn) {
        self.size = (self.size / 2).max(1);
        self.acknowledged = 0;
        self.recovered_at = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_BUFFER: usize = 425_984;

    #[test]
    fn budget_is_the_share_of_the_buffer() {
        assert_eq!(budget(DEFAULT_BUFFER, PathMtu::B4096, 1), 51);
        assert_eq!(budget(DEFAULT_BUFFER, PathMtu::B1024, 1), 128);
        assert_eq!(budget(DEFAULT_BUFFER, PathMtu::B4096, 10), 5);
        assert_eq!(budget(0, PathMtu::B4096, 1000), 1);
    }

    #[test]
    fn a_peer_without_budget_gets_small_packets_unless_the_buffer_is_large() {
        let large = budget(2 * 1024 * 1024, PathMtu::B4096, 1);
        let small = budget(DEFAULT_BUFFER, PathMtu::B4096, 1);
        let mtu = |one, other| {
            let agreed = path_mtu(one, other);
            assert_eq!(agreed, path_mtu(other, one), "whoever asks");
            agreed
        };
        let (known, unknown) = (
            |budget| (PathMtu::B4096, Some(budget)),
            (PathMtu::B4096, None),
        );
        assert_eq!(mtu(known(small), unknown), PathMtu::B1024);
        assert_eq!(mtu(known(large), unknown), PathMtu::B4096);
        assert_eq!(mtu(known(small), known(large)), PathMtu::B4096);
        assert_eq!(mtu(unknown, unknown), PathMtu::B4096, "two devices");
        assert_eq!(mtu((PathMtu::B256, None), known(1)), PathMtu::B256);
    }

    #[test]
    fn halved_once_per_window_and_grows_by_one() {
        let mut window = Window::new(64);
        window.congested(Psn::new(64));
        window.congested(Psn::new(64));
        assert_eq!(window.size(), 32);
        window.acknowledged(32, Psn::new(32));
        assert_eq!(window.size(), 33);
        window.congested(Psn::new(70));
        assert_eq!(
            window.size(),
            33,
            "packets of the old window are still on their way"
        );
        window.acknowledged(32, Psn::new(64));
        window.congested(Psn::new(80));
        assert_eq!(window.size(), 16);
        (0..9).for_each(|_| window.timed_out(Psn::new(80)));
        assert_eq!(window.size(), 1);
    }

    #[test]
    fn never_grows_beyond_the_budget() {
        let mut window = Window::new(4);
        (0..50).for_each(|n| window.acknowledged(4, Psn::new(n)));
        assert_eq!(window.size(), 4);
        assert_eq!(Window::new(0).size(), 1);
        assert_eq!(Window::new(9999).size(), MAX_WINDOW);
    }
}
