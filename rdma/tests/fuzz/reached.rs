//! How far the packets of the responder's worlds get.

use crate::responder::World;

/// What B counted in many worlds.
#[derive(Debug, Default)]
pub struct Reached(Vec<(&'static str, u64)>);

impl Reached {
    pub fn add(&mut self, world: &World) {
        let nic = *world.pair.b.nic.counters();
        let qp = world.pair.b.counters();
        let completions = world.pair.b.completions.len() as u64;
        let events = world.pair.b.memory.event_updates.borrow().len() as u64;
        let sums = [
            ("bad_length", nic.bad_length),
            ("bad_version", nic.bad_version),
            ("bad_partition", nic.bad_partition),
            ("unknown_queue_pair", nic.unknown_queue_pair),
            ("bad_icrc", nic.bad_icrc),
            ("bad_opcode", nic.bad_opcode),
            ("wrong_state", qp.wrong_state),
            ("wrong_address", qp.wrong_address),
            ("stale_answers", qp.stale_answers),
            ("lost_duplicates", qp.lost_duplicates),
            ("behind_gap", qp.behind_gap),
            ("duplicates", qp.duplicates),
            ("sequence_naks_sent", qp.sequence_naks_sent),
            ("rnr_naks_sent", qp.rnr_naks_sent),
            ("fatal_naks_sent", qp.fatal_naks_sent),
            ("replies_refused", qp.replies_refused),
            ("completions", completions),
            ("event updates", events),
            ("replies", world.replies.len() as u64),
        ];
        self.0.resize(sums.len(), ("", 0));
        for (sum, (name, count)) in self.0.iter_mut().zip(sums) {
            *sum = (name, sum.1 + count);
        }
    }

    pub fn missed(&self) -> impl Iterator<Item = &'static str> {
        let zero = |(name, count): &(&'static str, u64)| (*count == 0).then_some(*name);
        self.0.iter().filter_map(zero)
    }
}
