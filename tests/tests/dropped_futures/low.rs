//! The low layer: what tasks wait for at processes, their queues, and their messages.

use dpa_abi::{IntoArgs, Kernel, Rpc};
use flexio::cmdq::QueueSpec;
use flexio::message::Delivery;
use flexio::queues::{CompletionSpec, QueuePairQueues, QueuePairSpec};
use flexio::rdma::Cause;
use flexio::{Command, Outcome, Process, Submitted};
use tests::messages::{EveryLevelArgs, every_level};
use tests::queues::{DummyArgs, dummy};
use tests::{GivesUpArgs, gives_up, nothing};

use crate::harness::{Cut, cut_low};
use crate::sink::Sink;

/// A kernel on its way.
fn submit<K: Kernel>(process: &Process, kernel: K, args: impl IntoArgs<K::Args>) -> Submitted {
    let command = Command::kernel(kernel.entry(), args.into_args().0);
    let submitted = command.submit(process).map_err(|(error, _)| error);
    submitted.expect("taken")
}

/// Runs a kernel to its end.
async fn run<K: Kernel>(process: &Process, kernel: K, args: impl IntoArgs<K::Args>) -> Outcome {
    let submitted = submit(process, kernel, args);
    std::future::poll_fn(|cx| submitted.poll(cx)).await
}

#[test]
fn a_process_that_becomes_idle_or_comes_to_rest() {
    cut_low(async |process, cut| {
        let running = submit(process, nothing, ());
        cut.off(process.idle()).await;
        process.idle().await;
        assert_eq!(running.outcome(), Some(Outcome::Completed));
        assert_eq!(run(process, nothing, ()).await, Outcome::Completed);
    });
    cut_low(async |process, cut| {
        let other = process.device().process().expect("a process");
        let running = submit(&other, nothing, ());
        other.refuse();
        cut.off(other.at_rest()).await;
        other.at_rest().await;
        assert_eq!(running.outcome(), Some(Outcome::Completed));
        assert_eq!(run(process, nothing, ()).await, Outcome::Completed);
    });
}

#[test]
fn a_process_that_fails() {
    cut_low(async |process, cut| {
        let other = process.device().process().expect("a process");
        let failing = submit(&other, gives_up, GivesUpArgs { code: 1 });
        cut.off(other.failed()).await;
        assert!(other.failed().await.is_some());
        drop(failing);
        assert_eq!(run(process, nothing, ()).await, Outcome::Completed);
    });
}

#[test]
fn jobs_of_a_command_queue() {
    cut_low(async |process, cut| {
        let spec = QueueSpec {
            workers: 2,
            batch: 2,
            capacity: 8,
        };
        let queue = process.command_queue(spec).expect("a queue");
        let add = || queue.add(nothing.entry(), ()).expect("room");
        (0..5).for_each(|_| add());
        queue.run();
        cut.off(queue.idle()).await;
        queue.idle().await.expect("open");
        add();
        queue.idle().await.expect("open");
        assert_eq!(queue.done(), 6);
    });
}

#[test]
fn completions_of_a_queue() {
    cut_low(async |process, cut| {
        let nic = process.local_nic().expect("a NIC");
        let queue = nic.raw_completion_queue(CompletionSpec::default());
        let queue = queue.expect("a queue");
        let number = queue.number();
        let posting = run(process, dummy, DummyArgs { number, times: 2 });
        let (first, posted) = futures::join!(cut.off(queue.next()), posting);
        assert_eq!(posted, Outcome::Completed);
        // A completion is taken only by a call that gives it.
        let taken = u32::from(first.transpose().expect("no overrun").is_some());
        for _ in taken..2 {
            queue.next().await.expect("a completion");
        }
        assert_eq!(queue.poll(), Ok(None));
    });
}

#[test]
fn a_queue_pair_that_fails() {
    cut_low(async |process, cut| {
        let nic = process.local_nic().expect("a NIC");
        let queue = nic.raw_completion_queue(CompletionSpec::default());
        let queue = queue.expect("a queue");
        let queues = QueuePairQueues {
            send: &queue,
            receive: &queue,
            receives: None,
        };
        let pair = nic.queue_pair(QueuePairSpec::default(), queues);
        let pair = pair.expect("a queue pair");
        let failing = async {
            process.idle().await;
            a_turn(process).await;
            pair.set_error_state();
        };
        let (cause, ()) = futures::join!(cut.off(pair.failed()), failing);
        assert!(cause.is_none_or(|cause| cause == Cause::Closed));
        assert_eq!(pair.failed().await, Cause::Closed);
    });
}

/// Others may go on.
async fn a_turn(process: &Process) {
    assert_eq!(run(process, nothing, ()).await, Outcome::Completed);
}

async fn cut_a_flush(process: &Process, cut: &Cut, all: bool) {
    let sink = Sink::new(!cut.simulated);
    let stream = process.message_stream().delivery(Delivery::Async);
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let args = EveryLevelArgs {
        stream: stream.handle(),
    };
    let call = Command::call(every_level.entry(), args.into_args().0);
    let call = call.submit(process).map_err(|(error, _)| error);
    let call = call.expect("taken");
    std::future::poll_fn(|cx| call.poll(cx)).await;
    let releasing = async {
        a_turn(process).await;
        sink.release();
    };
    let flushing = async {
        match all {
            true => _ = cut.off(process.flush_all()).await,
            false => _ = cut.off(stream.flushed()).await,
        }
    };
    futures::join!(flushing, releasing);
    process.flush_all().await;
    assert_eq!(sink.lines(), 4, "it is handed over all the same");
    stream.close().expect("a sink that works");
}

#[test]
fn flushes_of_one_stream_and_of_all() {
    for all in [false, true] {
        cut_low(async |process, cut| cut_a_flush(process, cut, all).await);
    }
}
