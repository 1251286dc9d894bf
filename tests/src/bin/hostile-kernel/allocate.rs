//! Takes of everything that has a limit, until it is refused.

use doca_dpa::rdma::HostBuffer;
use doca_dpa::{Error, SyncEvent};
use tests::hostile::{HostileFloodArgs, hostile_flood};

use crate::attack::Attacker;

/// More than the limit of anything that is taken here.
const MANY: usize = 100_000;

/// Each in turn, and all of it let go before the next.
pub fn allocate(attacker: &Attacker<'_>) -> Result<(), Error> {
    let dpa = &attacker.dpa;
    take(attacker, "memory", || Ok(dpa.alloc::<u8>(1 << 20)?));
    take(attacker, "events", || SyncEvent::device_to_device(dpa));
    take(attacker, "queues", || Ok(dpa.async_ops().open()?));
    take(attacker, "windows", || {
        Ok(dpa.window::<u64>(HostBuffer::new(8))?)
    });
    let memory = dpa.zeroed_blocking::<u64>(1)?;
    let ops = dpa.async_ops().open()?;
    take(attacker, "regions", || Ok(ops.map(&memory)?));
    parked(attacker)
}

/// Message streams.
pub fn streams(attacker: &Attacker<'_>) {
    take(attacker, "streams", || {
        Ok(attacker.dpa.message_stream().to_tracing()?)
    });
}

/// Launches that wait for what does not come. They end when the event does.
fn parked(attacker: &Attacker<'_>) -> Result<(), Error> {
    let dpa = &attacker.dpa;
    // Two: a launch keeps the events of its arguments.
    let (event, awaited) = (
        SyncEvent::device_to_device(dpa)?,
        SyncEvent::device_to_device(dpa)?,
    );
    take(attacker, "launches", || {
        let args = HostileFloodArgs {
            event: &event,
            times: 1,
        };
        let launch = dpa.launch(hostile_flood).args(args);
        Ok(launch.wait_for(awaited.ge(u64::MAX)).submit()?)
    });
    Ok(())
}

/// Takes until it is refused or the attack is over.
fn take<T>(attacker: &Attacker<'_>, what: &'static str, mut one: impl FnMut() -> Result<T, Error>) {
    let mut taken = Vec::new();
    while attacker.goes_on() && taken.len() < MANY {
        match one() {
            Ok(thing) => taken.push(thing),
            Err(error) => return attacker.tally.limit(what, taken.len(), &error),
        }
    }
}
