//! Every public future is polled k times and then dropped, for k from 0 until it completes, at several seeds: nothing is left, nothing
//! hangs, and what was dropped took nothing from the others. Nobody keeps its waker.

mod ends;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use doca_dpa::{Dpa, Error, Location, Sim, SyncEvent};
use ends::ends;
use seeds::seeds;
use tests::cmdq::{TallyArgs, tally};
use tests::{CountArgs, SumToArgs, count, gives_up, sum_to};

const SEEDS: u64 = 4;
/// No future here is polled so often.
const MOST: usize = 200;

/// Wakes the task, and shows by its count who else has it.
struct Passing(Waker);

impl Wake for Passing {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Polls what it is given so many times, and drops it.
struct Cut {
    polls: usize,
    completed: Cell<bool>,
}

impl Cut {
    /// What came of it, if it completed in time.
    async fn off<T>(&self, future: impl IntoFuture<Output = T>) -> Option<T> {
        let mut future = pin!(Some(future.into_future()));
        let mut left = self.polls;
        let passing = OnceCell::new();
        let ended = poll_fn(|cx| {
            let passing = passing.get_or_init(|| Arc::new(Passing(cx.waker().clone())));
            let waker = Waker::from(passing.clone());
            let cx = &mut Context::from_waker(&waker);
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            let running = future
                .as_mut()
                .as_pin_mut()
                .expect("it is polled to its end once");
            match running.poll(cx) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        let ended = ended.await;
        future.set(None);
        let kept = passing.get().map_or(1, Arc::strong_count);
        assert_eq!(kept, 1, "its waker is kept after {} polls", self.polls);
        self.completed.set(ended.is_some());
        ended
    }
}

/// Runs a case with its future dropped after each number of polls. The case lets what it began come to its end; then nothing
/// may be left.
fn cut_everywhere(case: impl AsyncFn(&Dpa, &Cut) -> Result<(), Error>) {
    for seed in seeds(SEEDS) {
        let done = (0..MOST).find(|&polls| {
            let cut = Cut {
                polls,
                completed: Cell::new(false),
            };
            let run = Sim::new(seed).run(async |dpa: Dpa| {
                case(&dpa, &cut).await?;
                dpa.wait_idle().await;
                let left = dpa.snapshot();
                let left = (left.unfinished, left.events, left.heap.allocations);
                assert_eq!(left, (0, 0, 0), "after {polls} polls");
                let report = dpa.close().await?;
                assert_eq!((report.launches_dropped, report.threads_stopped), (0, 0));
                Ok::<_, Error>(())
            });
            let run = run.unwrap_or_else(|stuck| panic!("after {polls} polls: {stuck}"));
            run.value
                .unwrap_or_else(|error| panic!("after {polls} polls: {error}"));
            cut.completed.get()
        });
        let done = done.expect("it completes after some polls");
        assert!(done >= 1, "polled at least once");
    }
}

fn gate(dpa: &Dpa) -> Result<SyncEvent, Error> {
    SyncEvent::builder(dpa)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .create()
}

#[test]
fn rule_2_1_a_launch() {
    cut_everywhere(async |dpa, cut| {
        let (go, total) = (gate(dpa)?, dpa.zeroed::<u64>(1).await?);
        let launch = dpa.launch(count).args(CountArgs { total: &total });
        let launch = launch.threads(3).wait_for(go.ge(1)).submit()?;
        let opening = async {
            go.add(1)?;
            Ok::<_, Error>(())
        };
        let (_, opened) = futures::join!(cut.off(launch), opening);
        opened?;
        dpa.wait_idle().await;
        assert_eq!(
            total.copy_out().await?,
            [3],
            "it goes on without its future"
        );
        Ok(())
    });
}

#[test]
fn rule_2_1_a_submission_that_waits_for_room() {
    let full = |dpa: &Dpa| -> Result<_, Error> {
        let total = dpa.zeroed_blocking::<u64>(1)?;
        let go = gate(dpa)?;
        Ok((total, go))
    };
    for seed in seeds(SEEDS) {
        for polls in 0..6 {
            let cut = Cut {
                polls,
                completed: Cell::new(false),
            };
            let builder = Dpa::builder().max_unfinished(1);
            let run = Sim::new(seed).on(builder).run(async |dpa: Dpa| {
                let (total, go) = full(&dpa)?;
                let args = || CountArgs { total: &total };
                let first = dpa.launch(count).args(args()).wait_for(go.ge(1)).submit()?;
                let opening = async {
                    dpa.sleep(Duration::from_nanos(500)).await;
                    go.add(1)?;
                    Ok::<_, Error>(())
                };
                let second = dpa.launch(count).args(args()).submit_async();
                let (second, opened) = futures::join!(cut.off(second), opening);
                opened?;
                first.await?;
                let taken = second.transpose()?;
                let counted = 1 + u64::from(taken.is_some());
                dpa.wait_idle().await;
                assert_eq!(total.copy_out().await?, [counted]);
                // Whoever waited and went away holds no place.
                dpa.launch(count).args(args()).submit_async().await?.await?;
                Ok::<_, Error>(())
            });
            run.expect("it ends").value.expect("no errors");
        }
    }
}

#[test]
fn rule_1_7_waits_for_an_event() {
    cut_everywhere(async |dpa, cut| {
        let event = gate(dpa)?;
        let other = event.ge(2).into_future();
        let adding = async {
            for _ in 0..2 {
                dpa.sleep(Duration::from_nanos(100)).await;
                event.add(1)?;
            }
            Ok::<_, Error>(())
        };
        let (_, seen, added) = futures::join!(cut.off(event.ge(1)), other, adding);
        added?;
        assert_eq!(seen?, 2, "another wait is not disturbed");
        Ok(())
    });
}

#[test]
fn rule_1_7_waits_with_a_timeout() {
    cut_everywhere(async |dpa, cut| {
        let event = gate(dpa)?;
        let wait = event.ge(1).timeout(Duration::from_nanos(300));
        let _ = cut.off(wait).await;
        event.add(1)?;
        assert_eq!(event.ge(1).await?, 1);
        Ok(())
    });
}

#[test]
fn rule_3_a_call() {
    cut_everywhere(async |dpa, cut| {
        let cut_off = cut.off(dpa.call(sum_to, SumToArgs { last: 10 })).await;
        assert!(cut_off.is_none_or(|sum| sum.ok() == Some(55)));
        assert_eq!(dpa.call(sum_to, SumToArgs { last: 3 }).await?, 6);
        Ok(())
    });
}

#[test]
fn rule_2_11_steps_of_a_stream_and_idleness() {
    cut_everywhere(async |dpa, cut| {
        let stream = dpa.stream();
        let words = dpa.zeroed::<u64>(4).await?;
        stream.fill(&words, 7).submit()?;
        let read = stream.read(&words, ..).submit()?;
        if let Some(read) = cut.off(read).await {
            assert_eq!(read?, [7; 4]);
        }
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let total = dpa.zeroed::<u64>(1).await?;
        for _ in 0..3 {
            drop(
                dpa.launch(count)
                    .args(CountArgs { total: &total })
                    .submit()?,
            );
        }
        let _ = cut.off(dpa.wait_idle()).await;
        dpa.wait_idle().await;
        assert_eq!(total.copy_out().await?, [3]);
        Ok(())
    });
}

#[test]
fn a_command_queue_and_sleep() {
    cut_everywhere(async |dpa, cut| {
        let words = dpa.zeroed::<u64>(1).await?;
        let queue = dpa.command_queue().workers(2).open()?;
        for _ in 0..5 {
            let args = TallyArgs {
                at: words.addr(),
                index: 0,
            };
            queue.add(tally, args)?;
        }
        queue.run();
        let _ = cut.off(queue.idle()).await;
        queue.idle().await?;
        assert_eq!(words.copy_out().await?, [5]);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let _ = cut.off(dpa.sleep(Duration::from_micros(1))).await;
        Ok(())
    });
}

#[test]
fn rule_7_a_close_and_a_failure_that_is_awaited() {
    cut_everywhere(async |dpa, cut| {
        let other = dpa.open_beside()?;
        let total = other.zeroed::<u64>(1).await?;
        let running = other.launch(count).args(CountArgs { total: &total });
        let running = running.submit()?;
        let watched = other.clone();
        let _ = cut.off(other.close()).await;
        assert!(watched.launch(tests::nothing).submit().is_err() || cut.polls == 0);
        drop((watched, running, total));
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let other = dpa.open_beside()?;
        let failing = other.launch(gives_up).args(tests::GivesUpArgs { code: 1 });
        let failing = failing.submit()?;
        let _ = cut.off(other.failed()).await;
        assert!(failing.await.is_err());
        Ok(())
    });
}

#[test]
fn rule_6_2_work_of_the_host() {
    for kind in 0..4 {
        cut_everywhere(async |dpa, cut| {
            let ends = ends(dpa, 7)?;
            let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
            let map = ends.there.0.map_host(HostBuffer::new(64), rights)?;
            let remote = RemoteMemoryMap::import(&map.map().export())?;
            let from = &ends.here.1;
            let posted = match kind {
                0 => from.write(HostBuffer::from_bytes(&[1; 64]), &remote, 0),
                1 => from.read(HostBuffer::new(64), &remote, 0),
                2 => Ok(from.fetch_add(&remote, 0, 1)?),
                _ => Ok(from.compare_swap(&remote, 0, 0, 9)?),
            };
            let posted = posted?;
            let _ = cut.off(posted).await;
            // What was dropped was done all the same, and the next is done after it.
            let next = from.fetch_add(&remote, 0, 0)?.await?;
            let expected = [u64::from_ne_bytes([1; 8]), 0, 1, 9];
            assert_eq!(next.original, expected[kind]);
            drop((map, ends));
            Ok(())
        });
    }
}

#[test]
fn rule_6_6_messages_and_their_buffers() {
    cut_everywhere(async |dpa, cut| {
        let ends = ends(dpa, 7)?;
        let receive = ends.there.0.receive(HostBuffer::new(8));
        let receive = receive?;
        let sent = ends.here.1.send_imm(HostBuffer::from_bytes(&[5; 8]), 1);
        let sent = sent?;
        let (received, sent) = futures::join!(cut.off(receive), sent);
        sent?;
        if let Some(received) = received {
            assert_eq!(received?.buffer.to_vec(), [5; 8]);
        }
        drop(ends);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let ends = ends(dpa, 7)?;
        let failing = ends
            .other
            .launch(gives_up)
            .args(tests::GivesUpArgs { code: 1 });
        assert!(failing.submit()?.await.is_err());
        let _ = cut.off(ends.there.1.failed()).await;
        ends.there.1.failed().await;
        drop(ends);
        Ok(())
    });
}
