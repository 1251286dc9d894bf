//! Handlers at a completion queue, and tasks of the host that wait at it when those are over.

use std::pin::pin;

use dpa_abi::DevAddr;
use dpa_abi::queue::CompletionEntry;

use super::*;
use crate::handler::{Affinity, Handler, HandlerSpec};
use crate::launch::ArgBytes;
use crate::rig::{NOTHING, Wakes};

/// A queue, and a handler that is attached to it and runs.
struct Attached {
    process: Still,
    done: Arc<CompletionQueue>,
    handler: Arc<Handler>,
    handle: dpa_abi::Handle,
}

impl Attached {
    fn new() -> Self {
        let process = Still::new();
        let lease = process.local_nic().expect("a NIC");
        let done = CompletionQueue::new(&lease, &process, 8).expect("a queue");
        let (handler, handle) = handler(&process);
        done.attach(&handler).expect("the first");
        process.run_handler(&handler).expect("new");
        process.trigger(&handler);
        Self {
            process,
            done,
            handler,
            handle,
        }
    }

    fn drop_handler(&self) {
        self.process.drop_handler(&self.handler, self.handle);
    }

    /// The NIC writes an entry.
    fn put(&self) {
        let (nic, key) = (self.done.lease().nic(), self.done.key());
        nic.with(|engine| engine.world.dummy(key, &CompletionEntry::DUMMY));
    }
}

fn handler(process: &Still) -> (Arc<Handler>, dpa_abi::Handle) {
    let spec = HandlerSpec {
        entry: &NOTHING,
        args: ArgBytes::new(),
        storage: DevAddr::from_raw(0),
        affinity: Affinity::None,
        continuable: false,
        keep: None,
    };
    process.handler(spec).expect("a handler")
}

/// A program may open and close its NIC for as long as a handler of it lives.
#[test]
fn a_handler_remembers_no_queue_of_a_nic_that_is_closed() {
    let process = Still::new();
    let (handler, handle) = handler(&process);
    for _ in 0..3 {
        let lease = process.local_nic().expect("a NIC");
        let done = CompletionQueue::new(&lease, &process, 8).expect("a queue");
        done.attach(&handler).expect("the first");
        assert_eq!(handler.queues(), 1);
    }
    process.drop_handler(&handler, handle);
    assert_eq!(handler.queues(), 0);
}

#[test]
fn a_handler_in_its_last_activation_takes_no_notification() {
    let at = Attached::new();
    at.drop_handler();
    let (task, mut next) = (Wakes::new(), pin!(at.done.next()));
    assert!(task.poll(|cx| next.as_mut().poll(cx)).is_pending());
    at.put();
    assert_eq!(task.count(), 1);
    assert!(task.poll(|cx| next.as_mut().poll(cx)).is_ready());
    let (another, _) = handler(&at.process);
    at.done.attach(&another).expect("it has none");
}

/// Their question was taken with its own.
#[test]
fn tasks_that_wait_are_told_when_a_handler_is_over() {
    let ends: [fn(&Attached); 2] = [Attached::drop_handler, |at| {
        at.handler.finish();
        at.process.activation_ended(&at.handler);
    }];
    for end in ends {
        let at = Attached::new();
        let (task, mut next) = (Wakes::new(), pin!(at.done.next()));
        assert!(task.poll(|cx| next.as_mut().poll(cx)).is_pending());
        at.put();
        assert_eq!(task.count(), 0, "it is the handler's");
        end(&at);
        assert_eq!(task.count(), 1);
        assert!(task.poll(|cx| next.as_mut().poll(cx)).is_ready());
    }
}
