//! Queues of the low layer, on both drivers: two queue pairs move data, their states, shared receives, completion queues
//! and who is told of them, doorbells by number, and what comes of what goes wrong.

#[path = "queues/completions.rs"]
mod completions;
#[path = "queues/entries.rs"]
mod entries;
#[path = "queues/external.rs"]
mod external;
#[path = "queues/fences.rs"]
mod fences;
#[path = "queues/numbers.rs"]
mod numbers;
#[path = "queues/order.rs"]
mod order;
#[path = "queues/outboxes.rs"]
mod outboxes;
#[path = "queues/rig.rs"]
mod rig;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use flexio::queues::{
    CompletionKind, CompletionSpec, HostReadError, ModifyError, QueuePair, QueuePairSpec,
    QueuePairState, QueuePairStep, Syndrome,
};
use flexio::rdma::{Cause, PathMtu, RetryLimit, Rights, WorkError};
use flexio::{Device, SimPlan, simulate};
use rig::{NONE, Rig, address, both, config, connect, work, write};
use tests::queues::*;

fn word(rig: &Rig, memory: &rig::Memory, index: usize) -> u64 {
    rig.read(dpa_abi::DevAddr::from_raw(memory.at))[index]
}

fn store(rig: &Rig, memory: &rig::Memory, value: u64) {
    let bytes = value.to_le_bytes();
    rig.process.write(memory.at, &bytes).expect("its memory");
}

#[test]
fn two_queue_pairs_of_one_nic_move_data() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, b) = rig.two();
        let (from, to) = (rig.memory(Rights::LOCAL_WRITE), rig.memory(Rights::all()));
        store(&rig, &from, 77);
        // A message.
        rig.receive(&b.receives, to.local(16, 8), 1).await;
        rig.post(&a, work(SEND), from.local(0, 8), NONE, 1).await;
        let (sent, received) = (a.next().await, b.next().await);
        assert_eq!((sent.kind, sent.user_data), (CompletionKind::Send, 1));
        assert_eq!((sent.index, sent.queue_pair), (0, a.pair.number()));
        assert_eq!(received.kind, CompletionKind::ReceiveSend);
        assert_eq!((received.user_data, received.len), (2, 8));
        assert_eq!(word(&rig, &to, 2), 77);
        // A write, and a read of what was written.
        write(&rig, &a, &from, &to, 1).await;
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        assert_eq!(word(&rig, &to, 0), 77);
        let (into, back) = (from.local(8, 8), to.remote(0, 8));
        rig.post(&a, work(READ), into, back, 1).await;
        assert_eq!(a.next().await.index, 2);
        assert_eq!(word(&rig, &from, 1), 77);
        // Atomics, with the word before.
        let mut atomic = work(FETCH_ADD);
        atomic.swap_or_add = 3;
        rig.post(&a, atomic, from.local(16, 8), back, 2).await;
        assert_eq!((a.next().await.original, a.next().await.original), (77, 80));
        atomic = Work {
            opcode: COMPARE_SWAP,
            swap_or_add: 5,
            compare: 83,
        };
        rig.post(&a, atomic, from.local(16, 8), back, 1).await;
        assert_eq!(a.next().await.original, 83);
        assert_eq!((word(&rig, &to, 0), word(&rig, &from, 2)), (5, 83));
        assert_eq!(a.completions.poll(), Ok(None));
    });
}

#[test]
fn a_queue_pair_reaches_one_of_another_process_at_another_nic() {
    both(async |device| {
        let near = Rig::at(&device, address(0));
        let far = Rig::at(&device, address(1));
        let (a, b) = (near.end(1), far.end(2));
        connect(&a, &b);
        let (from, to) = (near.memory(Rights::empty()), far.memory(Rights::all()));
        store(&near, &from, 9);
        write(&near, &a, &from, &to, 1).await;
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        assert_eq!(word(&far, &to, 0), 9);
        far.receive(&b.receives, to.local(8, 8), 1).await;
        near.post(&a, work(SEND), from.local(0, 8), NONE, 1).await;
        assert_eq!(b.next().await.kind, CompletionKind::ReceiveSend);
        assert_eq!(word(&far, &to, 1), 9);
    });
}

#[test]
fn a_path_mtu_that_is_not_given_is_what_is_usual_at_the_address() {
    let plan = SimPlan {
        config: config(),
        ..SimPlan::default()
    };
    let run = simulate(plan, async |device: Device| {
        let offers = |address: &str, mtu| {
            let rig = Rig::at(&device, (address.parse().expect("an address"), 4791));
            let spec = QueuePairSpec {
                mtu,
                ..QueuePairSpec::default()
            };
            rig.end_of(spec).pair.info().mtu
        };
        assert_eq!(offers("192.0.2.7", None), PathMtu::B1024);
        assert_eq!(offers("127.0.0.7", None), PathMtu::B4096);
        assert_eq!(offers("192.0.2.7", Some(PathMtu::B2048)), PathMtu::B2048);
    });
    run.expect("a simulation");
}

#[test]
fn states_follow_each_other_in_one_order() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, b) = (rig.end(1), rig.end(2));
        let impossible = |step, state| Err(ModifyError::Impossible { state, step });
        let to_rtr = || a.pair.ready_to_receive(b.pair.info());
        assert_eq!(a.pair.state(), QueuePairState::Reset);
        let step = QueuePairStep::ReadyToReceive;
        assert_eq!(to_rtr(), impossible(step, QueuePairState::Reset));
        assert_eq!(a.pair.init(), Ok(()));
        assert_eq!(a.pair.state(), QueuePairState::Init);
        let step = QueuePairStep::Init;
        assert_eq!(a.pair.init(), impossible(step, QueuePairState::Init));
        let step = QueuePairStep::ReadyToSend;
        assert_eq!(
            a.pair.ready_to_send(),
            impossible(step, QueuePairState::Init)
        );
        // Whom it cannot talk to it does not connect to; another it does.
        let c = rig.end(3);
        let mut stranger = b.pair.info().clone();
        stranger.address = std::net::Ipv6Addr::LOCALHOST.into();
        c.pair.connect(&stranger).expect_err("of another family");
        assert_eq!(c.pair.state(), QueuePairState::Init);
        assert_eq!(c.pair.connect(b.pair.info()), Ok(()));
        // What is posted before RTS is kept until then.
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        store(&rig, &from, 4);
        write(&rig, &a, &from, &to, 1).await;
        assert_eq!(to_rtr(), Ok(()));
        assert_eq!(a.pair.state(), QueuePairState::ReadyToReceive);
        assert_eq!(a.completions.poll(), Ok(None));
        b.pair.connect(a.pair.info()).expect("RST");
        assert_eq!(a.pair.ready_to_send(), Ok(()));
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        assert_eq!(
            (a.pair.state(), word(&rig, &to, 0)),
            (QueuePairState::ReadyToSend, 4)
        );
        // ERR is the end: what is posted is flushed.
        a.pair.set_error_state();
        assert_eq!(a.pair.failed().await, Cause::Closed);
        let state = QueuePairState::Error(Cause::Closed);
        assert_eq!(a.pair.state(), state);
        assert_eq!(a.pair.init(), impossible(QueuePairStep::Init, state));
        write(&rig, &a, &from, &to, 1).await;
        let flushed = a.next().await;
        assert_eq!(flushed.syndrome, Syndrome::FLUSHED);
        assert_eq!(flushed.vendor_syndrome(), 1, "nothing was sent");
    });
}

#[test]
fn queue_pairs_share_receives() {
    both(async |device| {
        let rig = Rig::new(&device);
        let pool = rig.nic.receive_queue(4).expect("a queue");
        let completions = rig.completions(16);
        let shared = |name| {
            let spec = QueuePairSpec {
                name,
                ..QueuePairSpec::default()
            };
            rig.end_with(spec, pool.clone(), completions.clone())
        };
        let (first, second) = (shared(10), shared(20));
        let (a, b) = (rig.end(1), rig.end(2));
        connect(&a, &first);
        connect(&b, &second);
        let memory = rig.memory(Rights::LOCAL_WRITE);
        rig.receive(&pool, memory.local(0, 8), 4).await;
        for (number, end) in [&a, &b, &b, &a].into_iter().enumerate() {
            rig.post(end, work(SEND), memory.local(64, 8), NONE, 1)
                .await;
            assert_eq!(end.next().await.kind, CompletionKind::Send);
            let received = completions.next().await.expect("a message");
            let name = if std::ptr::eq(end, &a) { 10 } else { 20 };
            assert_eq!((received.user_data, received.index), (name, number as u16));
            assert_eq!(received.receive_queue, pool.number());
        }
    });
}

#[test]
fn a_receive_queue_that_runs_empty_is_an_rnr() {
    both(async |device| {
        let rig = Rig::new(&device);
        let retries = |rnr_retries| QueuePairSpec {
            rnr_retries,
            ..QueuePairSpec::default()
        };
        let (a, b) = (rig.end_of(retries(RetryLimit::Times(1))), rig.end(2));
        connect(&a, &b);
        let memory = rig.memory(Rights::LOCAL_WRITE);
        rig.post(&a, work(SEND), memory.local(0, 8), NONE, 1).await;
        let failed = a.next().await;
        assert_eq!(failed.kind, CompletionKind::SendError);
        assert_eq!(failed.syndrome, Syndrome::RNR_RETRIES_EXCEEDED);
        let cause = Cause::Work(WorkError::RnrRetriesExceeded { attempts: 2 });
        assert_eq!(a.pair.failed().await, cause);
        assert_eq!(b.pair.state(), QueuePairState::ReadyToSend);
        // A sender that is patient comes through when there is a receive.
        let (a, b) = (rig.end_of(retries(RetryLimit::Forever)), rig.end(2));
        connect(&a, &b);
        rig.post(&a, work(SEND), memory.local(0, 8), NONE, 1).await;
        assert_eq!(a.completions.poll(), Ok(None));
        rig.receive(&b.receives, memory.local(8, 8), 1).await;
        assert_eq!(b.next().await.kind, CompletionKind::ReceiveSend);
        assert_eq!(a.next().await.kind, CompletionKind::Send);
    });
}

#[test]
fn a_receive_queue_in_the_error_state_flushes_and_fails_its_queue_pair() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (_a, b) = rig.two();
        let memory = rig.memory(Rights::LOCAL_WRITE);
        rig.receive(&b.receives, memory.local(0, 8), 3).await;
        b.receives.set_error_state();
        assert_eq!(b.pair.failed().await, Cause::Closed);
        for index in 0..3 {
            let flushed = b.next().await;
            assert_eq!(flushed.receive_queue, b.receives.number());
            assert_eq!(flushed.kind, CompletionKind::ReceiveError);
            assert_eq!(
                (flushed.syndrome, flushed.index),
                (Syndrome::FLUSHED, index)
            );
        }
        assert_eq!(b.completions.poll(), Ok(None));
    });
}

#[test]
fn inline_data_and_indices_are_checked() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, b) = rig.two();
        let memory = rig.memory(Rights::LOCAL_WRITE);
        rig.receive(&b.receives, memory.local(0, 8), 1).await;
        let answers = rig.words();
        let args = SendInlineArgs {
            queue: &a.pair,
            value: 0x1234,
            answers,
        };
        rig.run(send_inline, args).await;
        assert_eq!(rig.read(answers), [3, 0, 0, 1]);
        assert_eq!(b.next().await.len, 8);
        assert_eq!(word(&rig, &memory, 0), 0x1234);
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        assert_eq!(a.completions.poll(), Ok(None), "it was sent once");
    });
}

/// Doorbells have 16 bits of an index.
#[test]
fn indices_go_on_behind_their_sixteen_bits() {
    let device = flexio::Device::open(rig::config()).expect("a device");
    let rig = Rig::new(&device);
    let (a, _b) = rig.two();
    let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
    let times = 70_000;
    let args = WriteOftenArgs {
        queue: &a.pair,
        local: from.local(0, 8),
        remote: to.remote(0, 8),
        times,
    };
    futures::executor::block_on(async {
        rig.run(write_often, args).await;
        let last = a.next().await;
        assert_eq!(last.index, (times - 1) as u16);
    });
    assert_eq!(a.completions.poll(), Ok(None));
}

/// What a kernel writes into the record of its queue spoils its own receives, and nothing else.
#[test]
fn a_producer_index_too_far_ahead_counts_as_none() {
    both(async |device| {
        let rig = Rig::new(&device);
        let spec = QueuePairSpec {
            rnr_retries: RetryLimit::Times(0),
            ..QueuePairSpec::default()
        };
        let (a, b) = (rig.end_of(spec), rig.end(2));
        connect(&a, &b);
        let (queue, count) = (&b.receives, 9);
        rig.run(raise, RaiseArgs { queue, count }).await;
        let memory = rig.memory(Rights::LOCAL_WRITE);
        rig.post(&a, work(SEND), memory.local(0, 8), NONE, 1).await;
        assert_eq!(a.next().await.syndrome, Syndrome::RNR_RETRIES_EXCEEDED);
        assert_eq!(b.pair.state(), QueuePairState::ReadyToSend);
    });
}

#[test]
fn a_send_queue_by_itself_waits_and_copies() {
    both(async |device| {
        let rig = Rig::new(&device);
        let completions = rig.completions(4);
        let queue = rig.nic.send_queue(4, &completions, 7).expect("a queue");
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        store(&rig, &from, 6);
        let event = rig.event();
        let mut remote = to.remote(0, 8);
        let local = to.local(0, 8);
        (remote.address, remote.key) = (local.address, local.key);
        let args = WaitThenCopyArgs {
            queue: &queue,
            event: event.handle(),
            from: from.local(0, 8),
            to: remote,
        };
        rig.run(wait_then_copy, args).await;
        assert_eq!((completions.poll(), word(&rig, &to, 0)), (Ok(None), 0));
        event.update(dpa_abi::Update::Set(3)).expect("the host's");
        let copied = completions.next().await.expect("a completion");
        assert_eq!((copied.user_data, copied.index), (7, 1));
        assert_eq!(copied.queue_pair, queue.number());
        assert_eq!(word(&rig, &to, 0), 6);
    });
}

#[test]
fn a_memory_key_is_revoked_with_its_registration() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, _b) = rig.two();
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        let (local, remote) = (from.local(0, 8), to.remote(0, 8));
        rig.post(&a, work(WRITE), local, remote, 1).await;
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        drop(from.key);
        rig.post(&a, work(WRITE), local, remote, 1).await;
        let refused = a.next().await;
        assert_eq!(refused.kind, CompletionKind::SendError);
        // Soft-RoCE calls it an operation error (6.1) or says only that it was flushed (6.12).
        if !rig::over_verbs() {
            assert_eq!(refused.syndrome, Syndrome::LOCAL_PROTECTION);
        }
    });
}

/// Also with nothing outstanding: no completion comes of the end itself.
#[test]
fn rule_5_2_who_waits_for_a_completion_is_told_of_the_end_of_its_process() {
    both(async |device| {
        let rig = Rig::new(&device);
        let queue = rig.completions(4);
        let ends = async { rig.process.shut_down() };
        let (got, _) = futures::join!(queue.next(), ends);
        assert_eq!(got.err(), Some(HostReadError::Stopped));
    });
}

#[test]
fn queues_are_dropped_in_any_order() {
    both(async |device| {
        let rig = Rig::new(&device);
        for order in 0..4 {
            let (a, b) = rig.two();
            let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
            rig.receive(&b.receives, to.local(0, 8), 2).await;
            write(&rig, &a, &from, &to, 5).await;
            let rig::End {
                pair,
                completions,
                receives,
            } = b;
            let pair: QueuePair = pair;
            match order {
                0 => drop((completions, receives, pair)),
                1 => drop((pair, receives, completions)),
                2 => drop((receives, pair, a, completions)),
                _ => drop((from.key, to.key, a, completions, pair)),
            }
        }
        // The process before its queues.
        let Rig { process, nic } = rig.beside();
        let queue = nic.raw_completion_queue(CompletionSpec::default());
        let queue = queue.expect("a queue");
        let closes = async { process.shut_down() };
        let (read, _) = futures::join!(queue.next(), closes);
        assert_eq!(read, Err(HostReadError::Stopped));
        let refused = nic.receive_queue(4).expect_err("it is stopped");
        assert!(!refused.to_string().is_empty());
        let none = rig.nic.receive_queue(0).expect_err("no entries");
        assert!(none.to_string().contains("from 1 to"), "{none}");
    });
}

#[test]
fn a_completion_names_an_entry_that_says_what_it_asked_for() {
    both(async |device| {
        let rig = Rig::new(&device);
        let (a, _b) = rig.two();
        let (from, to) = (rig.memory(Rights::LOCAL_WRITE), rig.memory(Rights::all()));
        let said = rig.words();
        let args = SayOpcodesArgs {
            send: &a.pair,
            queue: &a.completions,
            local: from.local(0, 8),
            remote: to.remote(0, 8),
            said,
        };
        rig.run(say_opcodes, args).await;
        assert_eq!(rig.read(said)[..2], [0x08, 0x12], "a write, a fetch-add");
    });
}
