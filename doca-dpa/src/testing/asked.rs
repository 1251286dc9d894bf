//! Mishaps that were asked for: a check in which one of them never strikes has not tested what it says.

use flexio::{MishapCounters, Mishaps, Struck, When};

/// Kinds of mishaps.
const KINDS: usize = 8;

/// What the mishaps of a check have come to, over its seeds.
#[derive(Debug, Default)]
pub(super) struct Asked {
    seeds: u64,
    /// Of each kind: how often it has struck, and the most chances that it had at a seed.
    kinds: [Came; KINDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Came {
    struck: u64,
    most: u64,
}

/// Each kind by the name of its field: when it was to strike, and what became of that.
fn kinds(asked: &Mishaps, came: &MishapCounters) -> [(&'static str, When, Struck); KINDS] {
    [
        ("kernel_panic", asked.kernel_panic, came.kernel_panic),
        ("allocation", asked.allocation, came.allocation),
        ("queue_full", asked.queue_full, came.queue_full),
        ("send_full", asked.send_full, came.send_full),
        ("receive_full", asked.receive_full, came.receive_full),
        (
            "completion_late",
            asked.completion_late,
            came.completion_late,
        ),
        ("nic_stall", asked.nic_stall, came.nic_stall),
        ("clock_jump", asked.clock_jump, came.clock_jump),
    ]
}

impl Asked {
    /// One more seed.
    pub(super) fn count(&mut self, asked: &Mishaps, came: &MishapCounters) {
        self.seeds += 1;
        for (kind, (_, _, struck)) in self.kinds.iter_mut().zip(kinds(asked, came)) {
            kind.struck += struck.struck;
            kind.most = kind.most.max(struck.chances);
        }
    }

    /// The mishaps that have struck at no seed: whether that is certain to be the test's mistake, and what to say.
    pub(super) fn missing(&self, asked: &Mishaps) -> Vec<(bool, String)> {
        let kinds = kinds(asked, &MishapCounters::default()).into_iter();
        let missing = kinds
            .zip(&self.kinds)
            .filter(|((_, when, _), came)| *when != When::Never && came.struck == 0);
        missing
            .map(|((name, when, _), came)| {
                let (seeds, most) = (self.seeds, came.most);
                let never = format!(
                    "the mishap `{name}: {when:?}` has struck at none of {seeds} seeds: none had more than {most} chances"
                );
                (matches!(when, When::At(_)), never)
            })
            .collect()
    }
}
