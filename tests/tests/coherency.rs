//! What the seeded driver shows of memory that is shared by hand (SEMANTICS 4.4): each of these programs is right with its
//! fences at every seed, and wrong without them at some.

mod places;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use doca_dpa::rdma::HostBuffer;
use doca_dpa::{Dpa, Error, Location, Sim, SyncEvent};
use seeds::seeds;
use tests::coherency::*;

const SEEDS: u64 = 60;

/// Runs a program at many seeds, with its fence and without: always right with it, sometimes wrong without.
fn check(right: impl AsyncFn(&Dpa, u64) -> Result<bool, Error> + Copy) {
    check_each(&[1], right);
}

/// As [`check`], with each of these fences.
fn check_each(fences: &[u64], right: impl AsyncFn(&Dpa, u64) -> Result<bool, Error> + Copy) {
    let at = |seed: u64, fenced: u64| {
        let run = Sim::new(seed).run(async |dpa: Dpa| right(&dpa, fenced).await);
        run.expect("ends").value.expect("no errors")
    };
    for seed in seeds(SEEDS) {
        for &fence in fences {
            assert!(at(seed, fence), "wrong with fence {fence} at seed {seed}");
        }
    }
    assert!(
        (0..SEEDS).any(|seed| !at(seed, 0)),
        "nothing goes wrong without the fence"
    );
}

/// Runs a program that needs no fence at many seeds.
fn always(right: impl AsyncFn(&Dpa) -> Result<(), Error>) {
    for seed in seeds(SEEDS) {
        let run = Sim::new(seed).run(async |dpa: Dpa| right(&dpa).await);
        let ended = run.expect("ends").value;
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

fn word(buffer: &HostBuffer) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    buffer.read(0, &mut bytes).map_err(Error::from)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Lets the device go on for a step or two.
async fn a_while(dpa: &Dpa) {
    dpa.sleep(std::time::Duration::from_nanos(50)).await;
}

#[test]
fn rule_4_4_a_flag_that_the_host_sets_is_polled_with_invalidation() {
    check_each(&[1, 2], async |dpa, fenced| {
        let window = dpa.read_window::<u64>(HostBuffer::new(64))?;
        let seen = dpa.zeroed::<u64>(1).await?;
        let ready = SyncEvent::device_to_host(dpa)?;
        let args = PollAFlagArgs {
            flag: &window,
            seen: &seen,
            ready: &ready,
            fenced,
        };
        let polling = dpa.launch(poll_a_flag).args(args).submit()?;
        ready.ge(1).await?;
        window.buffer().write(0, &1u64.to_ne_bytes())?;
        polling.await?;
        Ok(seen.copy_out().await? == [1])
    });
}

/// Waiting for an event is an acquire, looking at it is none.
#[test]
fn rule_4_4_what_an_event_that_is_polled_has_published_is_read_behind_invalidation() {
    check(async |dpa, fenced| {
        let window = dpa.read_window::<u64>(HostBuffer::new(64))?;
        let seen = dpa.zeroed::<u64>(1).await?;
        let ready = SyncEvent::device_to_host(dpa)?;
        let told = SyncEvent::host_to_device(dpa)?;
        let args = PollAnEventArgs {
            flag: &window,
            seen: &seen,
            ready: &ready,
            told: &told,
            fenced,
        };
        let polling = dpa.launch(poll_an_event).args(args).submit()?;
        ready.ge(1).await?;
        window.buffer().write(0, &1u64.to_ne_bytes())?;
        told.add(1)?;
        polling.await?;
        Ok(seen.copy_out().await? == [1])
    });
}

#[test]
fn rule_4_4_a_flag_that_the_host_reads_is_written_back() {
    check_each(&[1, 2], async |dpa, fenced| {
        let window = dpa.window::<u64>(HostBuffer::new(64))?;
        let told = dpa.zeroed::<u64>(1).await?;
        let go_on = SyncEvent::builder(dpa)
            .publisher(Location::Host)
            .subscriber(Location::Device)
            .create()?;
        let args = SetAFlagArgs {
            flag: &window,
            told: &told,
            go_on: &go_on,
            fenced,
        };
        let setting = dpa.launch(set_a_flag).args(args).submit()?;
        while told.copy_out().await? != [1] {
            a_while(dpa).await;
        }
        let seen = word(window.buffer())?;
        go_on.add(1)?;
        setting.await?;
        assert_eq!(word(window.buffer())?, 7, "a thread's end writes back");
        Ok(seen == 7)
    });
}

#[test]
fn rule_4_4_a_value_is_stored_before_its_flag() {
    check(async |dpa, fenced| {
        let (value, flag) = (dpa.zeroed::<u64>(2).await?, dpa.zeroed::<u64>(1).await?);
        let args = HandOverArgs {
            value: &value,
            flag: &flag,
            fenced,
        };
        dpa.launch(hand_over)
            .args(args)
            .threads(2)
            .submit()?
            .await?;
        Ok(value.copy_out().await? == [42, 42])
    });
}

#[test]
fn rule_4_4_what_the_nic_reads_is_written_back_by_who_stored_it() {
    check_each(&[1, 2, 3], async |dpa, fenced| {
        let ops = dpa.async_ops().open()?;
        let (words, copy) = (dpa.zeroed::<u64>(16).await?, dpa.zeroed::<u64>(8).await?);
        let (from, to) = (ops.map(&words)?, ops.map(&copy)?);
        let args = CopyWhatAnotherStoredArgs {
            ops: &ops,
            done: ops.completions(),
            from: &from,
            to: &to,
            words: &words,
            fenced,
        };
        let copying = dpa.launch(copy_what_another_stored).args(args);
        copying.threads(2).submit()?.await?;
        Ok(copy.copy_out().await?[0] == 42)
    });
}

#[test]
fn rule_4_4_who_rings_rings_for_those_who_posted_before() {
    for seed in seeds(SEEDS) {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let ops = dpa.async_ops().open().expect("a queue");
            let flag = dpa.zeroed::<u64>(1).await?;
            let over = SyncEvent::builder(&dpa)
                .publisher(Location::Device)
                .subscriber(Location::Device)
                .create()?;
            let args = RingForAnotherArgs {
                ops: &ops,
                done: ops.completions(),
                flag: &flag,
                over: &over,
            };
            let launch = dpa.launch(ring_for_another).args(args).threads(2);
            launch.submit()?.await?;
            Ok::<_, Error>(())
        });
        let ended = run.expect("a simulation").value;
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn rule_4_4_an_update_releases_what_was_stored_through_windows() {
    always(async |dpa| {
        let window = dpa.window::<u64>(HostBuffer::new(64))?;
        let told = SyncEvent::device_to_host(dpa)?;
        let go_on = SyncEvent::host_to_device(dpa)?;
        let args = SetAndTellArgs {
            flag: &window,
            told: &told,
            go_on: &go_on,
        };
        let setting = dpa.launch(set_and_tell).args(args).submit()?;
        told.ge(1).await?;
        assert_eq!(word(window.buffer())?, 7);
        go_on.add(1)?;
        setting.await?;
        Ok(())
    });
}

#[test]
fn rule_4_4_what_follows_a_wait_is_an_acquire_of_windows() {
    always(async |dpa| {
        let window = dpa.read_window::<u64>(HostBuffer::new(64))?;
        let seen = dpa.zeroed::<u64>(1).await?;
        let ready = SyncEvent::device_to_host(dpa)?;
        let told = SyncEvent::host_to_device(dpa)?;
        let args = LookBehindAWaitArgs {
            flag: &window,
            seen: &seen,
            ready: &ready,
            told: &told,
        };
        let looking = dpa.launch(look_behind_a_wait).args(args).submit()?;
        ready.ge(1).await?;
        window.buffer().write(0, &1u64.to_ne_bytes())?;
        told.add(1)?;
        looking.await?;
        assert_eq!(seen.copy_out().await?, [1]);
        Ok(())
    });
}

#[test]
fn rule_4_4_a_barrier_orders_windows() {
    always(async |dpa| {
        let window = dpa.window::<u64>(HostBuffer::new(64))?;
        let seen = dpa.zeroed::<u64>(2).await?;
        let args = MeetAtAWindowArgs {
            flag: &window,
            seen: &seen,
        };
        let launch = dpa.launch(meet_at_a_window).args(args).threads(2);
        launch.submit()?.await?;
        assert_eq!(seen.copy_out().await?, [0, 7]);
        Ok(())
    });
}

#[test]
fn rule_4_4_a_trigger_orders_windows() {
    always(async |dpa| {
        let window = dpa.window::<u64>(HostBuffer::new(64))?;
        let seen = dpa.zeroed::<u64>(1).await?;
        let ran = places::everywhere(dpa)?;
        let go_on = SyncEvent::host_to_device(dpa)?;
        let args = LookAtEachTriggerArgs {
            flag: &window,
            seen: &seen,
            ran: &ran,
        };
        let thread = dpa.thread(look_at_each_trigger, args);
        let thread = thread.continuable().start()?;
        thread.run()?;
        thread.notify();
        ran.ge(1).await?;
        let args = SetAndWakeArgs {
            flag: &window,
            other: &thread,
            go_on: &go_on,
        };
        let setting = dpa.launch(set_and_wake).args(args).submit()?;
        ran.ge(2).await?;
        assert_eq!(seen.copy_out().await?, [7]);
        go_on.add(1)?;
        setting.await?;
        Ok(())
    });
}
