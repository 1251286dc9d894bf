//! Says that a simulation stands still: a kernel that comes to no safe point, or a program that waits for something outside, would
//! have it stand without a word.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use flexio::Device;

/// How long, in real time, nothing may be chosen before that is said; and again, for as long as it goes on.
const SAID_EACH: Duration = Duration::from_secs(10);

/// The watch over a simulation, until it is dropped.
pub(crate) struct Watch {
    _over: Option<Sender<()>>,
}

impl Watch {
    /// Over the simulation of this seed and device. Without a thread for it, nobody watches.
    pub(crate) fn begin(seed: u64, device: Device) -> Self {
        Self::each(SAID_EACH, device, move |seconds| {
            // Past what holds back the output of tests: one that stands still never ends, and nobody would read it.
            let _ = writeln!(
                std::io::stderr(),
                "seed {seed}: nothing was chosen for {seconds} s: a kernel comes to no safe point, or the program waits for \
                 something outside of the simulation, or computes"
            );
        })
    }

    fn each(period: Duration, device: Device, say: impl Fn(u64) + Send + 'static) -> Self {
        let (over, is_over) = channel::<()>();
        let watch = move || {
            let made = || device.choices().map_or(0, |(made, _)| made);
            let (mut before, mut still) = (made(), Duration::ZERO);
            while is_over.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                let now = made();
                still = if now == before {
                    still + period
                } else {
                    Duration::ZERO
                };
                before = now;
                if !still.is_zero() {
                    say(still.as_secs());
                }
            }
        };
        let named = thread::Builder::new().name("dpa-sim-watch".into());
        Self {
            _over: named.spawn(watch).is_ok().then_some(over),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::{Dpa, Sim};

    #[test]
    fn a_simulation_that_stands_still_is_told_and_one_that_goes_on_is_not() {
        let said = Arc::new(AtomicU64::new(0));
        let run = Sim::new(1).run(async |dpa: Dpa| {
            let counter = said.clone();
            let say = move |_| {
                counter.fetch_add(1, Ordering::SeqCst);
            };
            let watch = Watch::each(Duration::from_millis(20), dpa.device().clone(), say);
            let enough = Instant::now() + Duration::from_secs(60);
            while said.load(Ordering::SeqCst) < 3 && Instant::now() < enough {
                // It chooses nothing, as a kernel that spins.
                thread::yield_now();
            }
            drop(watch);
            assert!(said.load(Ordering::SeqCst) >= 3);
            // It chooses all the time.
            let (counter, period) = (said.clone(), Duration::from_millis(200));
            let say = move |_| {
                counter.fetch_add(1 << 32, Ordering::SeqCst);
            };
            let _watch = Watch::each(period, dpa.device().clone(), say);
            let enough = Instant::now() + 3 * period;
            while Instant::now() < enough {
                dpa.sleep(Duration::from_micros(1)).await;
            }
            assert!(said.load(Ordering::SeqCst) < 1 << 32);
        });
        assert!(run.is_ok());
    }
}
