//! What the NIC counts of a connection, as kernels ask for it.

/// A counter of a connection. All count packets unless they say otherwise, since the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NicCounter {
    /// Packets dropped without an answer, whatever the reason.
    Dropped,
    /// Requests of the peer that had been seen before.
    Duplicates,
    /// Requests sent again.
    Resent,
    /// Times (not packets) that the acknowledgement timer struck.
    Timeouts,
    /// Sequence NAKs sent: packets of the peer were lost.
    SequenceNaksSent,
    /// Sequence NAKs received: packets of ours were lost.
    SequenceNaksReceived,
    /// "Receiver not ready" sent.
    RnrNaksSent,
    /// "Receiver not ready" received.
    RnrNaksReceived,
    /// Congestion notifications received.
    CongestionNotifications,
    /// Replies not sent because too many were waiting; the peer asks again.
    RepliesRefused,
}
