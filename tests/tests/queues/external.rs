//! Queues whose entries lie in external memory: right with their fences, caught without, refused where they cannot lie.

use std::sync::Arc;

use dpa_abi::Rights as Access;
use flexio::queues::{
    CompletionKind, CompletionQueue, CompletionSpec, QueueMemory, QueueMemoryError, QueuePair,
    QueuePairQueues, QueuePairSpec, RawQueueError, ReceiveQueue,
};
use flexio::rdma::{CompletionQueueError, Rights};
use flexio::{Device, HostMemory, Window};
use tests::queues::{
    ENTRY_WRITTEN_BACK, PollInExternalMemoryArgs, TalkInExternalMemoryArgs, WRITTEN_BACK,
    poll_in_external_memory, talk_in_external_memory,
};

use super::fences::{check, check_each, receives, sends};
use super::rig::{End, Rig, both, config, connect};
use super::{store, word};

const ENTRIES: u32 = 8;
const PAGE: usize = 4096;

fn window(rig: &Rig, access: Access) -> Arc<Window> {
    let memory = Arc::new(HostMemory::new(PAGE).expect("a size"));
    Arc::new(rig.process.window(&memory, access).expect("a window"))
}

fn external(window: &Arc<Window>, offset: u64) -> QueueMemory {
    let window = window.clone();
    QueueMemory::External { window, offset }
}

fn pair_in(
    rig: &Rig,
    memory: QueueMemory,
    spec: QueuePairSpec,
    completions: &CompletionQueue,
    receives: Option<&ReceiveQueue>,
) -> QueuePair {
    let queues = QueuePairQueues {
        send: completions,
        receive: completions,
        receives,
    };
    let pair = rig.nic.queue_pair_in(memory, spec, queues);
    pair.expect("a queue pair")
}

/// An end as the rig makes them, but for its send queue's entries.
fn end_in(rig: &Rig, memory: QueueMemory) -> End {
    let completions = rig.completions(64);
    let receives = rig.nic.receive_queue(ENTRIES).expect("a queue");
    let spec = QueuePairSpec::default();
    End {
        pair: pair_in(rig, memory, spec, &completions, Some(&receives)),
        completions,
        receives,
    }
}

/// Both writebacks, and each of them alone.
const BOTH: u64 = WRITTEN_BACK | ENTRY_WRITTEN_BACK;
const NOT_BOTH: [u64; 3] = [WRITTEN_BACK, ENTRY_WRITTEN_BACK, 0];

#[test]
fn rule_4_4_a_send_whose_entry_lies_in_external_memory() {
    check_each(BOTH, &NOT_BOTH, async |device, fences| {
        let rig = Rig::new(&device);
        let window = window(&rig, Access::ReadWrite);
        let (a, b) = (end_in(&rig, external(&window, 0)), rig.end(2));
        connect(&a, &b);
        sends(&rig, &a, fences).await
    });
}

#[test]
fn rule_4_4_a_receive_whose_entry_lies_in_external_memory() {
    check_each(BOTH, &NOT_BOTH, async |device, fences| {
        let rig = Rig::new(&device);
        let window = window(&rig, Access::ReadWrite);
        let queue = rig.nic.receive_queue_in(external(&window, 0), ENTRIES);
        receives(&rig, queue.expect("a queue"), fences).await
    });
}

#[test]
fn rule_4_4_a_completion_queue_in_external_memory_is_polled() {
    check(async |device, fenced| {
        let rig = Rig::new(&device);
        let window = window(&rig, Access::ReadWrite);
        let spec = CompletionSpec {
            entries: ENTRIES,
            ..CompletionSpec::default()
        };
        let completions = rig.nic.raw_completion_queue_in(external(&window, 0), spec);
        let receives = rig.nic.receive_queue(ENTRIES).expect("a queue");
        let completions = completions.expect("a queue");
        let (a, b) = (
            rig.end_with(QueuePairSpec::default(), receives, completions),
            rig.end(2),
        );
        connect(&a, &b);
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        let found = rig.words();
        let args = PollInExternalMemoryArgs {
            send: &a.pair,
            queue: &a.completions,
            local: from.local(0, 8),
            remote: to.remote(0, 8),
            found,
            fenced,
        };
        rig.run(poll_in_external_memory, args).await;
        rig.read(found)[0] == 1
    });
}

/// All three in one page, worked by the library's own posts, doorbells and polls, many times around. What stands there the host
/// sees.
async fn talk(device: Device) {
    const ROUNDS: u64 = 20;
    let rig = Rig::new(&device);
    let window = window(&rig, Access::ReadWrite);
    let spec = CompletionSpec {
        entries: ENTRIES,
        ..CompletionSpec::default()
    };
    let completions = rig
        .nic
        .raw_completion_queue_in(external(&window, 1024), spec);
    let completions = completions.expect("a queue");
    let receives = rig.nic.receive_queue_in(external(&window, 2048), ENTRIES);
    let receives = receives.expect("a queue");
    let spec = QueuePairSpec {
        send_entries: ENTRIES,
        ..QueuePairSpec::default()
    };
    let in_window = external(&window, 512);
    let a = pair_in(&rig, in_window, spec, &completions, None);
    let b = pair_in(
        &rig,
        QueueMemory::Device,
        spec,
        &completions,
        Some(&receives),
    );
    let (to_a, to_b) = (a.info().clone(), b.info().clone());
    a.connect(&to_b).expect("a peer");
    b.connect(&to_a).expect("a peer");
    let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::LOCAL_WRITE));
    store(&rig, &from, 7);
    let args = TalkInExternalMemoryArgs {
        send: &a,
        receive: &receives,
        completions: &completions,
        from: from.local(0, 8),
        to: to.local(0, 8),
        rounds: ROUNDS,
    };
    rig.run(talk_in_external_memory, args).await;
    assert_eq!(word(&rig, &to, 0), 7);
    let written = |from: u64, to: u64| {
        let mut bytes = vec![0; (to - from) as usize];
        assert!(window.memory().read(from, &mut bytes));
        bytes
            .chunks(64)
            .all(|entry| entry.iter().any(|byte| *byte != 0))
    };
    let entries = u64::from(ENTRIES);
    assert!(written(512, 512 + entries * 64), "sends");
    assert!(written(1024, 1024 + entries * 64), "completions");
    assert!(written(2048, 2048 + entries * 16), "receives");
    let mut rest = [0; PAGE - 2048 - ENTRIES as usize * 16];
    assert!(window.memory().read(2048 + entries * 16, &mut rest));
    assert_eq!(rest, [0; PAGE - 2048 - ENTRIES as usize * 16]);
}

#[test]
fn queues_in_external_memory_work_with_the_librarys_fences() {
    both(talk);
}

/// The window is closed with the last of what uses it, and may be dropped before.
#[test]
fn a_queue_keeps_the_window_of_its_memory_open() {
    both(async |device| {
        let rig = Rig::new(&device);
        let window = window(&rig, Access::ReadWrite);
        let still_there = Arc::downgrade(&window);
        let (a, b) = (end_in(&rig, external(&window, 0)), rig.end(2));
        connect(&a, &b);
        drop(window);
        let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
        store(&rig, &from, 5);
        super::rig::write(&rig, &a, &from, &to, 1).await;
        assert_eq!(a.next().await.kind, CompletionKind::Send);
        assert_eq!(word(&rig, &to, 0), 5);
        assert!(still_there.upgrade().is_some());
        drop(a);
        // The kernel that posted kept it, too.
        rig.idle().await;
        assert!(still_there.upgrade().is_none());
    });
}

/// A queue pair keeps those of the queues it works with open, too, though nobody else has these any more.
#[test]
fn a_queue_pair_keeps_the_windows_of_its_queues_open() {
    let device = Device::open(config()).expect("a device");
    let rig = Rig::new(&device);
    let [sends, completed, received] = [(); 3].map(|()| window(&rig, Access::ReadWrite));
    let still_there = [&sends, &completed, &received].map(Arc::downgrade);
    let spec = CompletionSpec {
        entries: ENTRIES,
        ..CompletionSpec::default()
    };
    let completions = rig
        .nic
        .raw_completion_queue_in(external(&completed, 0), spec);
    let completions = completions.expect("a queue");
    let receives = rig.nic.receive_queue_in(external(&received, 0), ENTRIES);
    let receives = receives.expect("a queue");
    let spec = QueuePairSpec::default();
    let pair = pair_in(
        &rig,
        external(&sends, 0),
        spec,
        &completions,
        Some(&receives),
    );
    let single = rig
        .nic
        .send_queue(ENTRIES, &completions, 0)
        .expect("a queue");
    drop((sends, completed, received, completions, receives));
    assert!(still_there.iter().all(|window| window.upgrade().is_some()));
    drop(pair);
    let left = still_there
        .each_ref()
        .map(|window| window.upgrade().is_some());
    assert_eq!(left, [false, true, false]);
    drop(single);
    assert!(still_there[1].upgrade().is_none());
}

#[test]
fn where_entries_cannot_lie_is_refused_by_what_it_is() {
    let device = Device::open(config()).expect("a device");
    let rig = Rig::new(&device);
    let good = window(&rig, Access::ReadWrite);
    let refusal = |memory| match rig.nic.receive_queue_in(memory, ENTRIES) {
        Err(RawQueueError::External(error)) => error,
        other => panic!("{other:?}"),
    };
    let (bytes, len) = (128, PAGE as u64);
    for offset in [8, len, len - 64, u64::MAX - 63] {
        let range = QueueMemoryError::Range { offset, bytes, len };
        assert_eq!(refusal(external(&good, offset)), range);
    }
    let said = refusal(external(&good, 8)).to_string();
    assert_eq!(
        said,
        "the queue's 128 bytes were to lie at offset 8 of external memory: that must be a multiple of 64, and there are 4096 bytes"
    );
    let reads_only = window(&rig, Access::Read);
    assert_eq!(
        refusal(external(&reads_only, 0)),
        QueueMemoryError::NotWritable
    );
    let foreign = window(&rig.beside(), Access::ReadWrite);
    assert_eq!(refusal(external(&foreign, 0)), QueueMemoryError::Foreign);
    let spec = CompletionSpec {
        entries: 64,
        ..CompletionSpec::default()
    };
    let refused = rig.nic.raw_completion_queue_in(external(&good, 64), spec);
    let (offset, bytes) = (64, 4096);
    let range = QueueMemoryError::Range { offset, bytes, len };
    assert_eq!(refused.err(), Some(CompletionQueueError::External(range)));
    let completions = rig.completions(4);
    let refused = rig
        .nic
        .send_queue_in(external(&good, 64), 64, &completions, 0);
    assert_eq!(refused.err(), Some(RawQueueError::External(range)));
}
