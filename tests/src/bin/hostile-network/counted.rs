//! What becomes of each kind of packet, by the counters of NICs and connections.

use clap::ValueEnum;
use rdma::counters::Counters;

use crate::Outcome;
use crate::stranger::{Kind, Sent};

/// What has been counted so far.
pub struct Counted {
    pub nics: [Counters; 2],
    /// By the connections of the game.
    pub direct: [Counters; 2],
    /// By those whose packets pass the box that records.
    pub relayed: [Counters; 2],
}

/// A reason, by name, and how many packets have met it.
type Reason = (&'static str, u64);

fn sum(counters: &[Counters; 2], of: impl Fn(&Counters) -> u64) -> u64 {
    counters.iter().map(of).sum()
}

impl Counted {
    /// Of one NIC and its connection without the box, in words.
    pub fn told(&self, at: usize) -> String {
        let (nic, connection) = (&self.nics[at], &self.direct[at]);
        format!(
            "dropped {}: length {}, version {}, partition {}, queue pair {}, address {}, ICRC {}, opcode {}, \
                 stale answers {}, behind a gap {}, lost duplicates {}; answered again {}; sequence NAKs {} sent, {} received; \
                 resent {}; timeouts {}",
            nic.dropped() + connection.dropped(),
            nic.bad_length + connection.bad_length,
            nic.bad_version + connection.bad_version,
            nic.bad_partition + connection.bad_partition,
            nic.unknown_queue_pair,
            connection.wrong_address,
            nic.bad_icrc + connection.bad_icrc,
            nic.bad_opcode + connection.bad_opcode,
            connection.stale_answers,
            connection.behind_gap,
            connection.lost_duplicates,
            connection.duplicates,
            connection.sequence_naks_sent,
            connection.sequence_naks_received,
            connection.resent,
            connection.timeouts,
        )
    }

    /// What meets packets of this kind.
    fn reasons(&self, kind: Kind) -> Vec<Reason> {
        let Self {
            nics,
            direct,
            relayed,
        } = self;
        let by_nic = |of: fn(&Counters) -> u64| sum(nics, of);
        let by_direct = |of: fn(&Counters) -> u64| sum(direct, of);
        let by_relayed = |of: fn(&Counters) -> u64| sum(relayed, of);
        match kind {
            Kind::Random => vec![("length", by_nic(|c| c.bad_length))],
            Kind::Malformed => vec![
                ("length", by_nic(|c| c.bad_length)),
                ("version", by_nic(|c| c.bad_version)),
                ("partition", by_nic(|c| c.bad_partition)),
                ("ICRC", by_nic(|c| c.bad_icrc)),
                ("opcode", by_nic(|c| c.bad_opcode)),
            ],
            Kind::Foreign => vec![("address", by_direct(|c| c.wrong_address))],
            Kind::Replayed => vec![
                ("duplicates", by_direct(|c| c.duplicates)),
                ("lost duplicates", by_direct(|c| c.lost_duplicates)),
            ],
            Kind::Recorded => vec![
                ("duplicates", by_relayed(|c| c.duplicates)),
                ("stale answers", by_relayed(|c| c.stale_answers)),
            ],
            Kind::Spoofed => vec![
                ("queue pair", by_nic(|c| c.unknown_queue_pair)),
                ("stale answers", by_direct(|c| c.stale_answers)),
            ],
            Kind::WrongNumber => vec![
                ("behind a gap", by_relayed(|c| c.behind_gap)),
                ("stale answers", by_relayed(|c| c.stale_answers)),
            ],
        }
    }
}

/// Says what came of each kind that was asked for.
///
/// # Errors
/// One was never sent, or a reason to drop it was never met.
pub fn check(asked: Option<Kind>, sent: &Sent, before: &Counted, after: &Counted) -> Outcome {
    let kinds = Kind::value_variants().iter().copied();
    for kind in kinds.filter(|kind| asked.is_none_or(|asked| asked == *kind)) {
        let name = kind.name();
        if sent.of(kind) == 0 {
            return Err(format!("no {name} packet was sent").into());
        }
        let reasons = after.reasons(kind).into_iter().zip(before.reasons(kind));
        let met: Vec<Reason> = reasons
            .map(|((reason, after), (_, before))| (reason, after - before))
            .collect();
        let told: Vec<String> = met.iter().map(|(r, n)| format!("{r} +{n}")).collect();
        println!("{name}: {}", told.join(", "));
        if let Some((reason, _)) = met.iter().find(|(_, n)| *n == 0) {
            return Err(format!("no {name} packet was dropped for its {reason}").into());
        }
    }
    println!("each was dropped for its reason");
    Ok(())
}
