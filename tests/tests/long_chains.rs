//! Chains that are far longer than any stack is deep and end from one end, and as many of other things as a program may have: what each
//! costs must not grow with how many there are.

mod drivers;
mod places;

use doca_dpa::error::LaunchError;
use doca_dpa::{Dpa, Error, Launch, SyncEvent};
use dpa_abi::Kernel;
use drivers::{both, both_on};
use flexio::{Device, DeviceConfig, EventHandler};
use tests::*;

const LINKS: usize = 20_000;

/// Launches of which each waits for the one before; nobody but them holds the events between.
struct Chain {
    first: SyncEvent,
    launches: Vec<Launch>,
}

fn chain(dpa: &Dpa) -> Result<Chain, Error> {
    let first = places::everywhere(dpa)?;
    let mut before = first.clone();
    let mut launches = Vec::new();
    for _ in 0..LINKS {
        let next = places::everywhere(dpa)?;
        let launch = dpa.launch(nothing).wait_for(before.ge(1));
        launches.push(launch.then_add(&next, 1).submit()?);
        before = next;
    }
    Ok(Chain { first, launches })
}

/// What becomes of the last of them when this is done, and nobody holds the first event any more.
fn when(end: impl Fn(&Dpa, &Chain), expected: fn(&LaunchError) -> bool) {
    both(async |dpa| {
        let mut chain = chain(&dpa)?;
        let last = chain.launches.pop().expect("there are some");
        end(&dpa, &chain);
        drop(chain);
        let error = last.await.expect_err("it has not begun");
        dpa.wait_idle().await;
        assert_eq!((dpa.snapshot().unfinished, dpa.snapshot().events), (0, 0));
        assert!(expected(&error), "{error}");
        Ok(())
    });
}

fn is_closed(error: &LaunchError) -> bool {
    matches!(error, LaunchError::WaitEventClosed { .. })
}

#[test]
fn rule_1_9_the_first_is_cancelled() {
    when(|_, chain| assert!(chain.launches[0].cancel()), is_closed);
}

#[test]
fn rule_1_9_the_first_event_is_closed() {
    when(|_, chain| assert!(chain.first.close()), is_closed);
}

#[test]
fn rule_1_9_nobody_publishes_the_first_event_any_more() {
    when(|_, _| (), is_closed);
}

#[test]
fn rule_2_1_all_are_cancelled() {
    let cancel = |dpa: &Dpa, chain: &Chain| assert_eq!(dpa.cancel_chain(&chain.first), LINKS);
    when(cancel, |error| matches!(error, LaunchError::Cancelled));
}

#[test]
fn rule_7_their_context_is_closed_or_fails() {
    both(async |dpa| {
        for fails in [false, true] {
            let other = dpa.open_beside()?;
            let mut chain = chain(&other)?;
            let last = chain.launches.pop().expect("there are some");
            if fails {
                let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
                assert!(failing.submit()?.await.is_err());
                assert!(matches!(last.await, Err(LaunchError::Faulted(_))));
            } else {
                let report = other.close().await?;
                assert_eq!(report.launches_dropped, LINKS);
                assert!(matches!(last.await, Err(LaunchError::ContextClosed)));
            }
        }
        Ok(())
    });
}

/// What the arguments of a thread keep may be the last that keeps another thread.
#[test]
fn threads_that_keep_the_next() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let process = device.process().expect("a process");
    let make = |kept: Option<EventHandler>| {
        let handler = process.event_handler(nothing.entry(), ());
        let kept = kept.map(|kept| Box::new(kept) as Box<dyn std::any::Any + Send>);
        handler.keep(kept).create().expect("a handler")
    };
    let first = (0..LINKS).fold(make(None), |next, _| make(Some(next)));
    drop(first);
    assert_eq!(process.shut_down().launches_dropped, 0);
}

#[test]
fn rule_4_2_buffers_of_which_every_second_is_freed() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let process = device.process().expect("a process");
    let alloc = || process.alloc(64, false).expect("room");
    let all: Vec<u64> = (0..10 * LINKS).map(|_| alloc()).collect();
    assert!(all.iter().step_by(2).all(|&at| process.free(at)));
    let again: Vec<u64> = (0..5 * LINKS).map(|_| alloc()).collect();
    let rest = all.iter().skip(1).step_by(2).chain(&again);
    assert!(rest.into_iter().all(|&at| process.free(at)));
    assert_eq!(process.memory_info().allocations, 0);
}

/// Units are all taken by kernels that wait, and many launches are ready.
#[test]
fn rule_2_3_many_are_ready_while_nothing_fits() {
    both_on(&Dpa::builder().partition_eus(2).workers(2), async |dpa| {
        let (gate, total) = (places::everywhere(&dpa)?, dpa.zeroed::<u64>(2).await?);
        let wait = || {
            let args = WaitThenCountArgs {
                event: &gate,
                value: 1,
                total: &total,
            };
            dpa.launch(wait_then_count).args(args)
        };
        let waiting = [wait().submit()?, wait().submit()?];
        for _ in 0..LINKS {
            drop(
                dpa.launch(count)
                    .args(CountArgs { total: &total })
                    .submit()?,
            );
        }
        gate.add(1)?;
        for launch in waiting {
            launch.await?;
        }
        dpa.wait_idle().await;
        assert_eq!(total.copy_out().await?[0], 2 + LINKS as u64);
        Ok(())
    });
}
