//! The software device by itself: what the layers above wait for is waited for here.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use dpa_abi::pod::Bytes;
use dpa_abi::{Condition, IntoArgs, Kernel, Pod, Rpc, Update};
use dpa_model::cmdq::{Job, QueueSpec};
use dpa_model::launch::{ArgBytes, Body, Launch, Outcome};
use dpa_model::message::{Delivery, Layout, Sink as Outlet, StreamSpec};
use dpa_model::nic::{CompletionQueue, ContextRef, ContextSpec, QueueMemory, QueuePairRef};
use dpa_model::trace::TraceSpec;
use dpa_model::trace::format::{HEADER_BYTES, RECORD_BYTES};
use dpa_model::wakers::{Awaited, Until, Wakers};
use dpa_model::{Process, ProcessSpec, Spec};
use sync_event::{Location, Locations};
use tests::messages::{EveryLevelArgs, every_level, traces};
use tests::queues::{DummyArgs, dummy};
use tests::{gives_up, nothing};

use crate::harness::{Cut, cut_model};
use crate::sink::Sink;

fn submit(process: &Arc<Process>, body: Body, args: impl Pod) -> Arc<Launch> {
    let submitted = process.submit(Spec::new(body, packed(args)));
    submitted.map_err(|(error, _)| error).expect("taken")
}

fn packed<A: Pod>(args: A) -> ArgBytes {
    let mut bytes = ArgBytes::from_iter(std::iter::repeat_n(0, A::SIZE));
    args.store(&mut Bytes(&mut bytes[..]), 0);
    bytes
}

async fn over(launch: &Launch) -> Outcome {
    std::future::poll_fn(|cx| launch.poll(cx)).await
}

/// A kernel that does nothing, to its end: others may go on.
async fn a_turn(process: &Arc<Process>) {
    let launch = submit(process, Body::Kernel(nothing.entry()), ());
    assert_eq!(over(&launch).await, Outcome::Completed);
}

#[test]
fn waits_for_an_event() {
    cut_model(async |process, cut| {
        let here = Locations::new(Location::Host, Location::Host).expect("locations");
        let event = process.event(0, here).expect("an event");
        let updating = async {
            a_turn(process).await;
            event.update(Update::Add(2)).expect("open");
        };
        let wait = event.wait(Condition::ge(2)).expect("the host waits");
        let (seen, ()) = futures::join!(cut.off(wait), updating);
        assert!(seen.is_none_or(|seen| seen == Ok(2)));
        let again = event.wait(Condition::ge(1)).expect("the host waits");
        assert_eq!(again.await, Ok(2));
    });
}

#[test]
fn a_process_that_becomes_idle_comes_to_rest_or_stops() {
    cut_model(async |process, cut| {
        let running = submit(process, Body::Kernel(nothing.entry()), ());
        cut.off(process.idle()).await;
        process.idle().await;
        assert_eq!(running.outcome(), Some(Outcome::Completed));
        a_turn(process).await;
    });
    cut_model(async |process, cut| {
        let other = process.device().process().expect("a process");
        let running = submit(&other, Body::Kernel(nothing.entry()), ());
        other.refuse();
        cut.off(other.at_rest()).await;
        other.at_rest().await;
        assert_eq!(running.outcome(), Some(Outcome::Completed));
        other.shut_down();
    });
    cut_model(async |process, cut| {
        let other = process.device().process().expect("a process");
        let failing = submit(&other, Body::Kernel(gives_up.entry()), 1_u64);
        cut.off(other.stopped()).await;
        other.stopped().await;
        assert!(matches!(over(&failing).await, Outcome::Faulted));
        other.shut_down();
    });
}

#[test]
fn jobs_of_a_command_queue() {
    cut_model(async |process, cut| {
        let spec = QueueSpec {
            workers: 2,
            batch: 2,
            capacity: 8,
        };
        let queue = process.command_queue(spec).expect("a queue");
        for _ in 0..5 {
            let job = Job::new(nothing.entry(), &[]).expect("it fits");
            process.add_job(&queue, job).expect("room");
        }
        process.run_queue(&queue);
        cut.off(queue.idle(process)).await;
        queue.idle(process).await.expect("open");
        assert_eq!(queue.done(), 5);
    });
}

#[test]
fn completions_of_a_queue() {
    cut_model(async |process, cut| {
        let lease = process.local_nic().expect("a NIC");
        let queue = CompletionQueue::new(&lease, process, 16).expect("a queue");
        let number = queue.number();
        let args = DummyArgs { number, times: 1 }.into_args().0;
        let posting = submit(process, Body::Kernel(dummy.entry()), args);
        let (first, posted) = futures::join!(cut.off(queue.next()), over(&posting));
        assert_eq!(posted, Outcome::Completed);
        if first.transpose().expect("no overrun").is_none() {
            queue.next().await.expect("nothing is lost");
        }
        assert_eq!(queue.take(), Ok(None));
    });
}

#[test]
fn queue_pairs_and_connections_that_fail() {
    cut_model(async |process, cut| {
        let lease = process.local_nic().expect("a NIC");
        let queue = CompletionQueue::new(&lease, process, 16).expect("a queue");
        let made = (&QueueMemory::Device, Default::default());
        let pair = QueuePairRef::new(&lease, process, made, &queue, &queue, None);
        let pair = pair.expect("a queue pair");
        let failing = async {
            a_turn(process).await;
            pair.fail();
        };
        futures::join!(cut.off(pair.failed()), failing);
        pair.failed().await;
    });
    cut_model(async |process, cut| {
        let lease = process.local_nic().expect("a NIC");
        let context = ContextRef::new(&lease, process, ContextSpec::local(4, 0), None);
        let context = context.expect("a context");
        let connection = context.export().expect("a connection");
        let failing = async {
            a_turn(process).await;
            connection.disconnect();
        };
        futures::join!(cut.off(connection.failed()), failing);
        connection.failed().await;
    });
}

/// With threads the sink is held until the future is dropped or has waited.
async fn cut_a_flush(process: &Arc<Process>, cut: &Cut, tells: bool) {
    let sink = Sink::new(!cut.simulated);
    let spec = StreamSpec {
        delivery: Delivery::Batch,
        ..StreamSpec::default()
    };
    let outlet = Outlet::Writer(Box::new(sink.clone()), Layout::Plain);
    let stream = process.open_stream(&spec, outlet).expect("a stream");
    let args = EveryLevelArgs {
        stream: stream.handle(),
    };
    let call = Body::Rpc(every_level.entry());
    let call = submit(process, call, args.into_args().0);
    assert_eq!(over(&call).await, Outcome::Completed);
    let releasing = async {
        a_turn(process).await;
        sink.release();
    };
    let flushing = async {
        match tells {
            true => _ = cut.off(stream.flushed()).await,
            false => _ = cut.off(stream.settled()).await,
        }
    };
    futures::join!(flushing, releasing);
    stream.flushed().await.expect("a sink that works");
    assert_eq!(sink.lines(), 4, "it is handed over all the same");
    process.close_stream(&stream);
}

#[test]
fn flushes_of_a_stream() {
    for tells in [false, true] {
        cut_model(async |process, cut| cut_a_flush(process, cut, tells).await);
    }
}

#[test]
fn flushes_of_the_trace() {
    let name = format!("dpa-dropped-futures-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    cut_model(async |process, cut| {
        cut.need_not_wait();
        let trace = TraceSpec {
            file: Some(file.clone()),
            ..TraceSpec::default()
        };
        let spec = ProcessSpec {
            trace,
            ..ProcessSpec::default()
        };
        let other = process.device().process_with(&spec).expect("a process");
        let tracing = submit(&other, Body::Kernel(traces.entry()), [3_u64, 0]);
        assert_eq!(over(&tracing).await, Outcome::Completed);
        let _ = cut.off(other.trace_settled()).await;
        other.trace_flush().expect("a file that can be written");
        let written = std::fs::metadata(&file).expect("a file").len();
        assert_eq!(written, (HEADER_BYTES + 3 * RECORD_BYTES) as u64);
        other.shut_down();
    });
    std::fs::remove_file(&file).expect("it was there");
}

/// Something that is lit some day.
#[derive(Default)]
struct Lamp(Mutex<(bool, Wakers)>);

impl Awaited for &Lamp {
    type Output = ();

    fn look(&self) -> Option<()> {
        self.0.lock().expect("whole").0.then_some(())
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.0.lock().expect("whole").1.wait(number, waker)
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        self.0.lock().expect("whole").1.leave(number)
    }
}

#[test]
fn anything_that_tasks_wait_for() {
    cut_model(async |process, cut| {
        let lamp = Lamp::default();
        let lighting = async {
            a_turn(process).await;
            let mut lamp = lamp.0.lock().expect("whole");
            lamp.0 = true;
            let woken = lamp.1.take();
            drop(lamp);
            woken.wake();
        };
        let other = Until::new(&lamp);
        futures::join!(cut.off(Until::new(&lamp)), other, lighting);
        assert!(lamp.0.lock().expect("whole").1.is_empty());
    });
}
