//! Interleaved slices: ours and the peer in turn, so that both see the same machine.

use std::time::{Duration, Instant};

use crate::row::Row;

/// A slice is made about this long.
const SLICE: Duration = Duration::from_millis(4);

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How long, about.
    pub(crate) time: Duration,
    /// With the peer.
    pub(crate) peer: bool,
}

/// Something that does `n` operations and says how long they took.
pub(crate) trait Subject {
    fn run(&mut self, n: u64) -> Duration;
}

impl<F: FnMut(u64) -> Duration> Subject for F {
    fn run(&mut self, n: u64) -> Duration {
        self(n)
    }
}

/// Times a loop of one operation.
pub(crate) fn timed(n: u64, mut operation: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..n {
        operation();
    }
    start.elapsed()
}

/// So many operations that they take about a slice, also when nothing comes between: the least of three runs counts.
fn calibrate(subject: &mut dyn Subject) -> u64 {
    let mut n = 1;
    loop {
        let is_long = (0..3).all(|_| subject.run(n) * 2 >= SLICE);
        if is_long || n >= 1 << 30 {
            return n;
        }
        n *= 2;
    }
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures ours beside the peer.
pub(crate) fn compare(
    plan: &Plan,
    (suite, name, goal): (&str, &str, &str),
    mut ours: impl Subject,
    (peer, mut theirs): (&str, impl Subject),
) -> Row {
    let n = calibrate(&mut ours);
    if !plan.peer {
        return Row::new(suite, name, per(ours.run(n), n), goal);
    }
    let m = calibrate(&mut theirs);
    fixed(plan, (suite, name, goal), (n, ours), (peer, m, theirs))
}

fn per(time: Duration, n: u64) -> f64 {
    time.as_nanos() as f64 / n as f64
}

/// As [`compare`], with so many operations in each slice.
pub(crate) fn fixed(
    plan: &Plan,
    (suite, name, goal): (&str, &str, &str),
    (n, mut ours): (u64, impl Subject),
    (peer, m, mut theirs): (&str, u64, impl Subject),
) -> Row {
    if !plan.peer {
        return Row::new(suite, name, per(ours.run(n), n), goal);
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let until = Instant::now() + plan.time;
    while a.len() < 5 || (Instant::now() < until && a.len() < 10_000) {
        a.push(per(ours.run(n), n));
        b.push(per(theirs.run(m), m));
    }
    let mut ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a / b).collect();
    let (ours_ns, peer_ns) = (median(&mut a), median(&mut b));
    let middle = median(&mut ratios);
    let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part) as usize];
    let mut row = Row::new(suite, name, ours_ns, goal);
    row.peer = Some(peer.into());
    row.peer_ns = Some(peer_ns);
    row.ratio = Some(ours_ns / peer_ns);
    row.with("slices", a.len() as f64)
        .with("ratio_median", middle)
        .with("ratio_p10", at(0.1))
        .with("ratio_p90", at(0.9))
}
