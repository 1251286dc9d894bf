//! DPA threads: kernels that run once for each event.

mod drivers;
mod places;

use std::time::Duration;

use doca_dpa::{
    Affinity, CollectiveKind, Dpa, DpaThread, Error, FaultKind, HandlerState, Sim, ThreadError,
    ThreadGroup,
};
use drivers::on::seeds;
use drivers::{Outcome, both};
use places::everywhere;
use tests::threads::*;

#[test]
fn each_event_runs_it_once() {
    both(async |dpa| {
        let total = everywhere(&dpa)?;
        let thread = dpa.thread(tick, TickArgs { total: &total }).start()?;
        thread.run()?;
        for number in 1..=100 {
            thread.notify();
            total.ge(number).await?;
        }
        dpa.wait_idle().await;
        assert_eq!((total.get(), thread.activations()), (100, 100));
        assert_eq!(thread.state(), HandlerState::Idle);
        Ok(())
    });
}

#[test]
fn events_before_the_run_are_kept_as_one() {
    both(async |dpa| {
        let total = everywhere(&dpa)?;
        let thread = dpa.thread(tick, TickArgs { total: &total }).start()?;
        thread.notify();
        thread.notify();
        dpa.wait_idle().await;
        assert_eq!((total.get(), thread.state()), (0, HandlerState::New));
        thread.run()?;
        total.ge(1).await?;
        dpa.wait_idle().await;
        assert_eq!(total.get(), 1);
        let again = thread.run().expect_err("it runs");
        assert!(again.to_string().contains("run before"), "{again}");
        Ok(())
    });
}

#[test]
fn rule_2_12_events_that_come_before_it_waits_are_one() {
    both(async |dpa| {
        let (gate, ran) = (everywhere(&dpa)?, everywhere(&dpa)?);
        let args = CountsBehindAGateArgs {
            gate: &gate,
            ran: &ran,
        };
        let thread = dpa.thread(counts_behind_a_gate, args);
        let thread = thread.continuable().start()?;
        thread.run()?;
        thread.notify();
        while dpa.snapshot().waiting.is_empty() {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        (0..5).for_each(|_| thread.notify());
        // The gate holds nobody up from now on.
        gate.set(100)?;
        ran.ge(2).await?;
        dpa.sleep(Duration::from_millis(5)).await;
        assert_eq!((ran.get(), thread.activations()), (2, 1));
        Ok(())
    });
}

/// Whatever the order: after the last event it runs once more, and never more often than there were events.
#[test]
fn events_while_it_runs_make_it_run_once_more() {
    for seed in seeds(200) {
        let run = Sim::new(seed).run(async |dpa| {
            let total = everywhere(&dpa)?;
            let thread = dpa
                .thread(tick, TickArgs { total: &total })
                .start()
                .expect("a thread");
            thread.run().expect("new");
            let args = || WakeArgs {
                other: &thread,
                times: 5,
            };
            dpa.launch(wake).args(args()).submit()?.await?;
            let last = dpa.launch(wake).args(args()).submit()?;
            last.await?;
            dpa.wait_idle().await;
            assert!((2..=10).contains(&total.get()), "{}", total.get());
            assert_eq!(thread.activations(), total.get());
            Ok::<_, Error>(())
        });
        run.expect("a simulation").value.expect("all well");
    }
}

#[test]
fn storage_stays_and_retrigger_runs_it_again() {
    both(async |dpa| {
        let done = everywhere(&dpa)?;
        let storage = dpa.zeroed::<u64>(1).await?;
        let args = CountToArgs {
            until: 50,
            done: &done,
        };
        let thread = dpa.thread(count_to, args).storage(&storage).start()?;
        thread.run()?;
        thread.notify();
        done.ge(1).await?;
        dpa.wait_idle().await;
        assert_eq!(thread.activations(), 50);
        assert_eq!(storage.copy_out().await?, [0]);
        Ok(())
    });
}

/// It runs again where it ran last, as long as nobody else wants the worker.
#[tokio::test]
async fn rule_2_8_a_thread_that_wakes_itself_without_end_lets_others_run() -> Outcome {
    let dpa = Dpa::builder().workers(1).open()?;
    let (turns, total) = (everywhere(&dpa)?, everywhere(&dpa)?);
    let thread = dpa
        .thread(restless, RestlessArgs { total: &turns })
        .start()?;
    thread.run()?;
    thread.notify();
    let other = dpa.thread(tick, TickArgs { total: &total }).start()?;
    other.run()?;
    for number in 1..=100 {
        let args = WakeArgs {
            other: &other,
            times: 1,
        };
        dpa.launch(wake).args(args).submit()?.await?;
        total.ge(number).await?;
    }
    turns.ge(20_000).await?;
    assert!(thread.activations() >= 20_000);
    drop(thread);
    dpa.wait_idle().await;
    assert_eq!(other.activations(), 100);
    Ok(())
}

/// What its arguments name may be freed while it runs without end: it sees that at its next activation (SEMANTICS 4.1).
#[tokio::test]
async fn rule_4_1_memory_that_is_freed_under_a_thread_that_runs_without_end_is_a_fault_of_it()
-> Outcome {
    let dpa = Dpa::builder().workers(1).open()?;
    let turns = everywhere(&dpa)?;
    let memory = dpa.zeroed::<u64>(8).await?;
    let args = RestlessReaderArgs {
        total: &turns,
        at: memory.addr(),
    };
    let thread = dpa.thread(restless_reader, args).start()?;
    thread.run()?;
    thread.notify();
    turns.ge(1_000).await?;
    drop(memory);
    let failed = tokio::time::timeout(Duration::from_secs(20), dpa.failed());
    let fault = failed.await?.expect("a fault").to_string();
    assert!(fault.contains("restless_reader"), "{fault}");
    Ok(())
}

#[test]
fn a_thread_that_finishes_never_runs_again() {
    both(async |dpa| {
        let total = everywhere(&dpa)?;
        let thread = dpa
            .thread(three_times, ThreeTimesArgs { total: &total })
            .start()?;
        thread.run()?;
        for number in 1..=3 {
            thread.notify();
            total.ge(number).await?;
            dpa.wait_idle().await;
        }
        thread.notify();
        dpa.wait_idle().await;
        assert_eq!((total.get(), thread.state()), (3, HandlerState::Over));
        let dead = thread.run().expect_err("it has finished");
        assert!(dead.to_string().contains("finished"), "{dead}");
        Ok(())
    });
}

#[test]
fn threads_wake_each_other_in_a_ring() {
    for seed in seeds(50) {
        let run = Sim::new(seed).run(async |dpa| {
            let passed = everywhere(&dpa)?;
            let last = dpa
                .thread(tick, TickArgs { total: &passed })
                .start()
                .expect("a thread");
            let mut ring = vec![last];
            for _ in 0..5 {
                let args = PassOnArgs {
                    next: &ring[ring.len() - 1],
                    passed: &passed,
                };
                let thread = dpa.thread(pass_on, args).start().expect("a thread");
                ring.push(thread);
            }
            ring.iter().for_each(|thread| thread.run().expect("new"));
            ring[5].notify();
            passed.ge(6).await?;
            dpa.wait_idle().await;
            assert!(ring.iter().all(|thread| thread.activations() == 1));
            Ok::<_, Error>(())
        });
        run.expect("a simulation").value.expect("all well");
    }
}

#[test]
fn rule_2_4_threads_of_a_group_do_not_meet() {
    both(async |dpa| {
        for threads in 1..=3 {
            let dpa = dpa.open_beside()?;
            let done = everywhere(&dpa)?;
            let told = dpa.zeroed::<u64>(1).await?;
            let thread = || {
                let args = AskRankArgs {
                    told: &told,
                    done: &done,
                };
                dpa.thread(ask_rank, args).start()
            };
            let all: Vec<_> = (0..threads).map(|_| thread()).collect::<Result<_, _>>()?;
            let group = ThreadGroup::new(all)?;
            group.run()?;
            let last = group.threads().last().expect("one at least");
            last.notify();
            if threads == 1 {
                done.ge(1).await?;
                assert_eq!(told.copy_out().await?, [1]);
                continue;
            }
            let fault = dpa.failed().await.expect("a fault");
            let called = CollectiveKind::Broadcast { root: 0 };
            assert_eq!(fault.kind, FaultKind::NoMeeting { called, threads });
            let place = fault.place.as_ref().expect("a place");
            assert!(place.file.ends_with("tests/src/threads.rs"), "{fault}");
            assert_eq!(told.copy_out().await?, [0]);
        }
        Ok(())
    });
}

#[test]
fn threads_of_a_group_know_their_ranks() {
    both(async |dpa| {
        let done = everywhere(&dpa)?;
        let ranks = dpa.zeroed::<u64>(4).await?;
        let thread = || {
            let args = SayRankArgs {
                ranks: &ranks,
                done: &done,
            };
            dpa.thread(say_rank, args).start()
        };
        let threads: Vec<_> = (0..4).map(|_| thread()).collect::<Result<_, _>>()?;
        let group = ThreadGroup::new(threads.clone())?;
        let again = ThreadGroup::new(threads).expect_err("in a group");
        assert!(again.to_string().contains("in a group"), "{again}");
        assert_eq!(group.len(), 4);
        group.run()?;
        group.threads().iter().for_each(DpaThread::notify);
        done.ge(4).await?;
        assert_eq!(ranks.copy_out().await?, [5; 4]);
        assert!(matches!(
            ThreadGroup::new(Vec::new()),
            Err(ThreadError::Group)
        ));
        Ok(())
    });
}

#[test]
fn a_group_is_made_of_all_its_threads_or_of_none_and_runs_so() {
    both(async |dpa| {
        let total = everywhere(&dpa)?;
        let thread = || dpa.thread(tick, TickArgs { total: &total }).start();
        let threads = |n| (0..n).map(|_| thread()).collect::<Result<Vec<_>, _>>();
        let [a, b, c] = threads(3)?.try_into().expect("three");
        b.run()?;
        ThreadGroup::new(vec![a.clone(), b]).expect_err("one runs");
        ThreadGroup::new(vec![a.clone(), a.clone()]).expect_err("it is there twice");
        let group = ThreadGroup::new(vec![a.clone(), c.clone()])?;
        ThreadGroup::new(vec![thread()?, a.clone()]).expect_err("one is in a group");
        c.run()?;
        group.run().expect_err("one runs");
        assert_eq!(a.state(), HandlerState::New);
        Ok(())
    });
}

/// How many of six threads are inside at once.
async fn crowded(dpa: &Dpa, affinity: Affinity) -> Result<u64, Error> {
    let done = everywhere(dpa)?;
    let inside = dpa.zeroed::<u64>(2).await?;
    let thread = || {
        let args = CrowdArgs {
            inside: &inside,
            done: &done,
        };
        let thread = dpa.thread(crowd, args).affinity(affinity).start();
        thread.expect("a thread")
    };
    let threads: Vec<_> = (0..6).map(|_| thread()).collect();
    threads.iter().for_each(|thread| thread.run().expect("new"));
    threads.iter().for_each(DpaThread::notify);
    done.ge(6).await?;
    Ok(inside.copy_out().await?[1])
}

#[test]
fn a_unit_has_one_thread_at_a_time_and_a_group_as_many_as_it_has_units() {
    let mut most = [0; 3];
    let seeds = seeds(40);
    let enough = seeds.clone().count() >= 40;
    for seed in seeds {
        let builder = Dpa::builder().eu_groups([2]);
        let run = Sim::new(seed).on(builder).run(async |dpa| {
            let strict = crowded(&dpa, Affinity::Strict(7)).await?;
            let group = crowded(&dpa, Affinity::Group(0)).await?;
            let anywhere = crowded(&dpa, Affinity::None).await?;
            Ok::<_, Error>([strict, group, anywhere])
        });
        let seen = run.expect("a simulation").value.expect("all well");
        most = [0, 1, 2].map(|kind| most[kind].max(seen[kind]));
    }
    assert!(most[0] == 1 && most[1] <= 2, "{most:?}");
    // A few seeds need not come to that.
    assert!(!enough || (most[1] == 2 && most[2] > 2), "{most:?}");
}

#[test]
fn units_that_are_not_there_are_refused() {
    both(async |dpa| {
        let total = everywhere(&dpa)?;
        for (affinity, why) in [
            (
                Affinity::Strict(190),
                "unit 190 was asked for, there are 190",
            ),
            (
                Affinity::Group(0),
                "group 0 of execution units was asked for, there are 0",
            ),
        ] {
            let thread = dpa.thread(tick, TickArgs { total: &total });
            let refused = thread.affinity(affinity).start().expect_err("none");
            assert!(refused.to_string().contains(why), "{refused}");
        }
        let other = Dpa::open()?;
        let foreign = other.thread(tick, TickArgs { total: &total }).start();
        let foreign = foreign.expect_err("another context's event");
        assert!(foreign.to_string().contains("`tick`"), "{foreign}");
        Ok(())
    });
}

#[test]
fn a_thread_that_is_dropped_runs_no_more() {
    both(async |dpa| {
        let total = everywhere(&dpa)?;
        let thread = dpa.thread(tick, TickArgs { total: &total }).start()?;
        thread.run()?;
        let handle = thread.handle();
        drop(thread);
        let args = WakeRawArgs { other: handle };
        let late = dpa
            .launch(wake_raw)
            .args(args)
            .then_add(&total, 100)
            .submit()?;
        late.await?;
        dpa.wait_idle().await;
        assert_eq!(total.get(), 100, "nobody was woken");
        Ok(())
    });
}

#[test]
fn rule_5_1_a_fault_in_a_thread_ends_its_process() {
    both(async |dpa| {
        let done = everywhere(&dpa)?;
        let args = CountToArgs {
            until: 2,
            done: &done,
        };
        // It has no storage.
        let thread = dpa.thread(count_to, args).start()?;
        thread.run()?;
        thread.notify();
        assert!(done.ge(1).await.is_err());
        assert!(dpa.last_error().is_some());
        thread.notify();
        dpa.wait_idle().await;
        assert_eq!(thread.activations(), 1);
        Ok(())
    });
}
