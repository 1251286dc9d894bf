//! Threads that are unwound: their destructors, and error handlers, may do wrong and may not end. What cannot be unwound stays on its
//! stack for good.

#[path = "drivers/on.rs"]
mod on;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use doca_dpa::error::LaunchError;
use doca_dpa::{Builder, Dpa, Error, FaultKind, SyncEvent};
use doca_dpa_dev::prelude::*;
use on::both_on;
use tests::destructors::*;
use tests::{GivesUpArgs, gives_up, nothing};

/// Generous: everything here takes milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

fn one_worker() -> Builder {
    Dpa::builder().workers(1)
}

async fn in_time<T>(program: impl Future<Output = Result<T, Error>>) -> T {
    let ended = tokio::time::timeout(LIMIT, program);
    ended.await.expect("in time").expect("no errors")
}

/// Starts, one at a time, everything that does not end while it is unwound or its error is handled.
async fn each_endless(
    builder: &Builder,
    then: impl AsyncFn(doca_dpa::Launch, &Dpa, &Dpa) -> Result<(), Error>,
) {
    for (calls, panics, handler) in [
        (0, 0, false),
        (1, 0, false),
        (0, 1, false),
        (1, 1, false),
        (0, 0, true),
        (1, 0, true),
    ] {
        in_time(async {
            let other = builder.clone().open()?;
            let dpa = other.open_beside()?;
            let launched = match handler {
                true => {
                    let set = dpa.on_error(endless_handler, EndlessHandlerArgs { calls });
                    set.expect("none is set");
                    let args = GivesUpArgs { code: 0x80 };
                    dpa.launch(gives_up).args(args).submit()?
                }
                false => {
                    let args = EndlessDestructorArgs { calls, panics };
                    dpa.launch(endless_destructor).args(args).submit()?
                }
            };
            then(launched, &dpa, &other).await
        })
        .await;
    }
}

#[tokio::test]
async fn rule_2_8_a_destructor_or_a_handler_that_does_not_end_lets_others_run() {
    each_endless(
        &one_worker().run_time_limit(None),
        async |launched, _, other| {
            for _ in 0..20 {
                other.launch(nothing).submit()?.await?;
            }
            assert!(!launched.is_over());
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn rule_2_9_a_destructor_or_a_handler_that_does_not_end_is_stopped() {
    let limit = Duration::from_millis(200);
    each_endless(
        &one_worker().run_time_limit(Some(limit)),
        async |launched, dpa, other| {
            assert!(matches!(launched.await, Err(LaunchError::Faulted(_))));
            let kind = dpa.last_error().expect("a fault").kind;
            let first = matches!(kind, FaultKind::Panic | FaultKind::User { code: 0x80 });
            assert!(first, "{kind:?}");
            other.launch(nothing).submit()?.await?;
            Ok(())
        },
    )
    .await;
}

/// A thread that ends by two wrongs has not completed.
#[test]
fn rule_5_1_a_destructor_that_does_wrong_makes_its_process_fatal() {
    both_on(&one_worker(), async |other| {
        for (panics, wrong) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
            let dpa = other.open_beside()?;
            let done = SyncEvent::device_to_host(&dpa)?;
            let launch = dpa.launch(ends_twice).args(EndsTwiceArgs { panics, wrong });
            let ended = launch.then_add(&done, 1).submit()?.await;
            assert!(matches!(ended, Err(LaunchError::Faulted(_))), "{ended:?}");
            let kind = dpa.last_error().expect("a fault").kind;
            let expected = match (panics, wrong) {
                (0, 1) => FaultKind::User { code: 0x81 },
                _ => FaultKind::Panic,
            };
            assert_eq!(kind, expected);
            assert_eq!(done.get(), 0, "no completion update");
            other.launch(nothing).submit()?.await?;
        }
        Ok(())
    });
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_5_1_a_panic_that_nothing_can_catch_ends_its_process_and_no_other() {
    both_on(&one_worker(), async |other| {
        for by_destructor in [1, 0] {
            let dpa = other.open_beside()?;
            let panics = 1;
            let args = CannotBeUnwoundArgs {
                panics,
                by_destructor,
            };
            let ended = dpa.launch(cannot_be_unwound).args(args).submit()?.await;
            assert!(matches!(ended, Err(LaunchError::Faulted(_))), "{ended:?}");
            let fault = dpa.last_error().expect("a fault");
            assert_eq!(fault.kind, FaultKind::Panic);
            assert_eq!(fault.message.as_deref(), Some("it panics"), "{fault}");
            other.launch(nothing).submit()?.await?;
        }
        Ok(())
    });
}

#[cfg(not(dpa_sanitize))]
#[tokio::test]
async fn rule_5_1_a_kernel_that_cannot_be_unwound_is_stopped() {
    in_time(async {
        let other = one_worker().open()?;
        for by_destructor in [1, 0] {
            let dpa = other.open_beside()?;
            let panics = 0;
            let args = CannotBeUnwoundArgs {
                panics,
                by_destructor,
            };
            let launch = dpa.launch(cannot_be_unwound).args(args).submit()?;
            while dpa.snapshot().started == 0 {
                tokio::task::yield_now().await;
            }
            let closed = dpa.clone().close_within(Duration::from_millis(10)).await;
            assert!(closed.is_err(), "it was not at rest");
            let ended = launch.await;
            assert!(
                matches!(ended, Err(LaunchError::ContextClosed)),
                "{ended:?}"
            );
            assert_eq!(dpa.last_error().map(|fault| fault.kind), None);
            other.launch(nothing).submit()?.await?;
        }
        Ok(())
    })
    .await;
}

/// Nothing of the device's is held by a thread whose stack overflows in a bind.
#[tokio::test]
async fn rule_5_1_an_overflow_in_a_bind_holds_nothing() {
    in_time(async {
        let dpa = one_worker().open()?;
        let mut all = Vec::new();
        for _ in 0..64 {
            all.push(dpa.zeroed::<u64>(1).await?);
        }
        let addrs: Vec<u64> = all.iter().map(|words| words.addr().raw()).collect();
        let addrs = dpa.copy_in(&addrs).await?;
        let args = BindsDownArgs { addrs: &addrs };
        let ended = dpa.launch(binds_down).args(args).submit()?.await;
        assert!(matches!(ended, Err(LaunchError::Faulted(_))), "{ended:?}");
        let (tell, told) = std::sync::mpsc::channel();
        let freeing = std::thread::spawn(move || {
            drop(all);
            let _ = tell.send(());
        });
        assert!(told.recv_timeout(LIMIT / 2).is_ok(), "freeing hangs");
        freeing.join().expect("freed");
        Ok(())
    })
    .await;
}

const MINE: u64 = 0x5a5a_5a5a_5a5a_5a5a;
static STOP: AtomicBool = AtomicBool::new(false);
static READERS: AtomicU64 = AtomicU64::new(0);
static CHANGED: AtomicU64 = AtomicU64::new(0);

struct Faults<'a>(&'a Thread<'a>);

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        self.0.error(0x80);
    }
}

/// Lends its stack to another thread, and leaves it in a way in which no destructor waits for that.
#[dpa_kernel]
fn lends(thread: &Thread, how: u32) {
    let mine = [MINE; 64];
    let before = READERS.load(SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            READERS.fetch_add(1, SeqCst);
            while !STOP.load(SeqCst) {
                let other = black_box(&mine).iter().find(|word| **word != MINE);
                CHANGED.fetch_add(other.is_some().into(), SeqCst);
            }
            READERS.fetch_sub(1, SeqCst);
        });
        while READERS.load(SeqCst) == before {
            std::thread::yield_now();
        }
        match how {
            0 => {
                let _faults = Faults(thread);
                panic!("it is unwound");
            }
            1 => loop {
                std::hint::spin_loop();
            },
            _ => descend(0),
        }
    });
}

fn descend(depth: u64) {
    let frame = black_box([depth; 32]);
    if depth < u64::MAX {
        descend(depth + 1);
    }
    black_box(frame);
}

/// Writes over all of a stack.
#[dpa_kernel]
fn fills(_thread: &Thread) {
    black_box([0x77u64; 4000]);
}

#[tokio::test]
async fn rule_5_1_what_a_kernel_lends_stays_although_its_stack_is_left() {
    in_time(async {
        let limit = Duration::from_millis(50);
        let other = one_worker().run_time_limit(Some(limit)).open()?;
        for how in 0..3 {
            let dpa = other.open_beside()?;
            let lent = dpa.launch(lends).args(LendsArgs { how }).submit()?;
            assert!(matches!(lent.await, Err(LaunchError::Faulted(_))));
            for _ in 0..20 {
                other.launch(fills).submit()?.await?;
            }
        }
        drop(other);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(READERS.load(SeqCst), 3);
        STOP.store(true, SeqCst);
        while READERS.load(SeqCst) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(CHANGED.load(SeqCst), 0, "it changed while it was borrowed");
        Ok(())
    })
    .await;
}

static WAITED: AtomicU64 = AtomicU64::new(0);

/// Catches a panic of its own, if it is to; then waits for an event that another will update, if it is to.
#[dpa_kernel]
fn catches(thread: &Thread, event: EventHandle, catches: u32, waits: u32) {
    if catches != 0 {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
    }
    if waits != 0 {
        let waited = thread.event(event).wait(Condition::ge(1)).is_ok();
        WAITED.fetch_add(waited.into(), SeqCst);
    }
}

#[tokio::test]
async fn rule_2_8_who_catches_a_panic_waits_as_before() {
    in_time(async {
        let dpa = one_worker().open()?;
        let other = dpa.open_beside()?;
        let launch = |context: &Dpa, event: &SyncEvent, catches_one, waits| {
            let args = CatchesArgs {
                event: event.handle(),
                catches: catches_one,
                waits,
            };
            let launch = context.launch(catches).args(args);
            launch.submit().expect("room")
        };
        let (event, theirs) = (
            SyncEvent::host_to_device(&dpa)?,
            SyncEvent::host_to_device(&other)?,
        );
        // The second runs on the stack of the first, and of another process.
        let first = launch(&dpa, &event, 1, 0);
        let second = launch(&other, &theirs, 0, 1);
        let third = launch(&dpa, &event, 1, 1);
        first.await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        event.add(1)?;
        theirs.add(1)?;
        second.await?;
        third.await?;
        assert_eq!(WAITED.load(SeqCst), 2);
        Ok(())
    })
    .await;
}
