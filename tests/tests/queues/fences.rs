//! Rule 4.4: what the NIC reads is written back. Each program is right with its fences at any seed, and without them wrong at
//! some.

use std::sync::Arc;

use doca_dpa_dev::Buf;
use dpa_abi::{DevAddr, Rights as Access};
use flexio::queues::{CompletionKind, ReceiveQueue};
use flexio::rdma::{RetryLimit, Rights};
use flexio::{Device, HostMemory, SimPlan, simulate};
use tests::queues::{
    ORDERED, PollByHandArgs, RECEIVES, ReceiveByHandArgs, ReceiveWhileOthersSendArgs,
    SendByHandArgs, SendFromAWindowArgs, WRITTEN_BACK, poll_by_hand, receive_by_hand,
    receive_while_others_send, send_by_hand, send_from_a_window,
};

use super::rig::{End, Rig, config, connect};
use super::{QueuePairSpec, store, word};
use crate::seeds::seeds;

const SEEDS: u64 = 20;

/// With its one fence, and without.
pub fn check(right: impl AsyncFn(Device, u64) -> bool) {
    check_each(1, &[0], right);
}

/// Right with all of these fences at any seed; with each of these fewer, wrong at some.
pub fn check_each(all: u64, fewer: &[u64], right: impl AsyncFn(Device, u64) -> bool) {
    let at = |seed, fenced| {
        let run = simulate(
            SimPlan {
                seed,
                config: config(),
                ..SimPlan::default()
            },
            |device| right(device, fenced),
        );
        run.expect("it ends").value
    };
    for seed in seeds(SEEDS) {
        assert!(at(seed, all), "wrong with its fences at seed {seed}");
    }
    for &fences in fewer {
        let caught = (0..SEEDS).any(|seed| !at(seed, fences));
        assert!(
            caught,
            "nothing goes wrong with the fences {fences:#b} only"
        );
    }
}

/// A write that is posted by hand at this end, with these fences; whether it is done.
pub async fn sends(rig: &Rig, a: &End, fences: u64) -> bool {
    let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
    let args = SendByHandArgs {
        queue: &a.pair,
        bytes: DevAddr::from_raw(from.at),
        local: from.local(0, 8),
        remote: to.remote(0, 8),
        fences,
    };
    rig.run(send_by_hand, args).await;
    let done = a.next().await.kind == CompletionKind::Send;
    done && word(rig, &to, 0) == 42
}

#[test]
fn rule_4_4_a_send_from_device_memory() {
    check_each(WRITTEN_BACK, &[0], async |device, fences| {
        let rig = Rig::new(&device);
        let (a, _b) = rig.two();
        sends(&rig, &a, fences).await
    });
}

#[test]
fn rule_4_4_a_send_from_external_memory() {
    check(async |device, fenced| {
        let rig = Rig::new(&device);
        let (a, _b) = rig.two();
        let memory = Arc::new(HostMemory::new(64).expect("a size"));
        let window = rig.process.window(&memory, Access::ReadWrite);
        let window = window.expect("a window");
        let key = rig.nic.register_host(&memory, 0..64, Rights::empty());
        let key = key.expect("a region");
        let to = rig.memory(Rights::all());
        let args = SendFromAWindowArgs {
            queue: &a.pair,
            bytes: DevAddr::from_raw(window.addr().raw()),
            local: Buf {
                address: key.local_base(),
                len: 8,
                key: key.local_key(),
            },
            remote: to.remote(0, 8),
            fenced,
        };
        rig.run(send_from_a_window, args).await;
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        word(&rig, &to, 0) == 42
    });
}

/// One message, to a receive that is posted by hand to these, with these fences; whether it arrives at once.
pub async fn receives(rig: &Rig, receives: ReceiveQueue, fences: u64) -> bool {
    let spec = QueuePairSpec {
        rnr_retries: RetryLimit::Times(0),
        ..QueuePairSpec::default()
    };
    let a = rig.end_of(spec);
    let b = rig.end_with(spec, receives, rig.completions(64));
    connect(&a, &b);
    let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::LOCAL_WRITE));
    store(rig, &from, 42);
    let args = ReceiveByHandArgs {
        send: &a.pair,
        queue: &b.receives,
        from: from.local(0, 8),
        to: to.local(0, 8),
        fences,
    };
    rig.run(receive_by_hand, args).await;
    let done = a.next().await.kind == CompletionKind::Send;
    done && word(rig, &to, 0) == 42
}

#[test]
fn rule_4_4_a_receive_and_its_doorbell_record() {
    let all = ORDERED | WRITTEN_BACK;
    check_each(all, &[ORDERED, 0], async |device, fences| {
        let rig = Rig::new(&device);
        let queue = rig.nic.receive_queue(8).expect("a queue");
        receives(&rig, queue, fences).await
    });
}

/// The NIC that sees the doorbell record sees the receive: if it did not, it would take what stood there before.
#[test]
fn rule_4_4_a_receive_is_ordered_before_its_doorbell_record() {
    let all = ORDERED | WRITTEN_BACK;
    check_each(all, &[WRITTEN_BACK, 0], async |device, fences| {
        let rig = Rig::new(&device);
        let (a, b) = rig.two();
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::LOCAL_WRITE));
        let args = ReceiveWhileOthersSendArgs {
            send: &a.pair,
            queue: &b.receives,
            from: from.local(0, 8),
            to: to.local(0, 8),
            turn: rig.words(),
            fences,
        };
        rig.run_threads(2, receive_while_others_send, args).await;
        for _ in 0..RECEIVES {
            if a.next().await.kind != CompletionKind::Send {
                return false;
            }
        }
        true
    });
}

#[test]
fn rule_4_4_a_completion_queue_and_its_consumer_index() {
    check(async |device, fenced| {
        let rig = Rig::new(&device);
        let receives = rig.nic.receive_queue(8).expect("a queue");
        let spec = QueuePairSpec::default();
        let (a, b) = (rig.end_with(spec, receives, rig.completions(4)), rig.end(2));
        connect(&a, &b);
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        let read = rig.words();
        let args = PollByHandArgs {
            send: &a.pair,
            queue: &a.completions,
            local: from.local(0, 8),
            remote: to.remote(0, 8),
            read,
            fenced,
        };
        rig.run(poll_by_hand, args).await;
        rig.read(read)[0] == 12
    });
}
