//! Counters: why packets were dropped, and what the transport had to do about loss.

/// What a NIC or a queue pair has counted since it was made. All count packets unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Dropped: too short, too long, or not a multiple of four bytes.
    pub bad_length: u64,
    /// Dropped: a transport version other than 0.
    pub bad_version: u64,
    /// Dropped: not the default partition.
    pub bad_partition: u64,
    /// Dropped: no such queue pair.
    pub unknown_queue_pair: u64,
    /// Dropped: the queue pair is in a state that takes no such packet.
    pub wrong_state: u64,
    /// Dropped: not from the peer's address, or not to ours.
    pub wrong_address: u64,
    /// Dropped: the ICRC is wrong.
    pub bad_icrc: u64,
    /// Dropped: an opcode of another transport, or headers that do not fit.
    pub bad_opcode: u64,
    /// Dropped: an answer that is not between the oldest unacknowledged and the last sent number.
    pub stale_answers: u64,
    /// Dropped: an answer that does not fit its request.
    pub bad_answers: u64,
    /// Dropped: a repeated read or atomic whose resources are gone, or that differs from the first.
    pub lost_duplicates: u64,
    /// Dropped: behind a gap that has been reported, or after "receiver not ready".
    pub behind_gap: u64,
    /// Requests seen before: acknowledged or answered again.
    pub duplicates: u64,
    /// Congestion notifications received.
    pub congestion_notifications: u64,
    /// Sequence NAKs sent.
    pub sequence_naks_sent: u64,
    /// Sequence NAKs received.
    pub sequence_naks_received: u64,
    /// "Receiver not ready" sent.
    pub rnr_naks_sent: u64,
    /// "Receiver not ready" received.
    pub rnr_naks_received: u64,
    /// Other NAKs sent: each moved a queue pair to ERR.
    pub fatal_naks_sent: u64,
    /// Answers to later requests that showed that a read or atomic was lost.
    pub implied_naks: u64,
    /// Times (not packets) the acknowledgement timer struck.
    pub timeouts: u64,
    /// The longest time, in microseconds, by which the NIC was late to see the acknowledgement timer strike: nobody worked it, so that
    /// an answer may have been there.
    pub timer_lag_us: u64,
    /// Requests sent again.
    pub resent: u64,
    /// Last packets sent again with AckReq, because nothing else would be acknowledged.
    pub solicited_tails: u64,
    /// Replies not queued because too many were waiting; the peer will ask again.
    pub replies_refused: u64,
}

impl Counters {
    /// Nothing counted.
    pub const NONE: Self = Self {
        bad_length: 0,
        bad_version: 0,
        bad_partition: 0,
        unknown_queue_pair: 0,
        wrong_state: 0,
        wrong_address: 0,
        bad_icrc: 0,
        bad_opcode: 0,
        stale_answers: 0,
        bad_answers: 0,
        lost_duplicates: 0,
        behind_gap: 0,
        duplicates: 0,
        congestion_notifications: 0,
        sequence_naks_sent: 0,
        sequence_naks_received: 0,
        rnr_naks_sent: 0,
        rnr_naks_received: 0,
        fatal_naks_sent: 0,
        implied_naks: 0,
        timeouts: 0,
        timer_lag_us: 0,
        resent: 0,
        solicited_tails: 0,
        replies_refused: 0,
    };

    /// Packets dropped without an answer, whatever the reason.
    pub const fn dropped(&self) -> u64 {
        self.bad_length
            + self.bad_version
            + self.bad_partition
            + self.unknown_queue_pair
            + self.wrong_state
            + self.wrong_address
            + self.bad_icrc
            + self.bad_opcode
            + self.stale_answers
            + self.bad_answers
            + self.lost_duplicates
            + self.behind_gap
    }
}
