//! What the NIC leaves to be done when its lock is free: opening gates, waking tasks, closing events.

use std::sync::Arc;

use dpa_abi::Update;
use sync_event::Reached;

use super::pending::{Ended, Pending};
use super::period::Begun;
use super::watch::Watch;
use crate::handler::Handler;
use crate::process::Process;
use crate::wakers::Woken;

/// Something to be done without the NIC's lock.
#[derive(Debug)]
pub(crate) enum After {
    /// An event's counter was changed, and someone waits for its value.
    Open {
        process: Arc<Process>,
        index: u32,
        reached: Reached,
    },
    /// 1 is added to a notification event.
    Notify { process: Arc<Process>, index: u32 },
    /// The thread of a completion queue is triggered.
    Trigger {
        process: Arc<Process>,
        handler: Arc<Handler>,
    },
    /// The last who could have updated an event is gone.
    Close { process: Arc<Process>, index: u32 },
    /// Tasks of the host that wait for a completion are woken.
    Wake(Woken),
    /// A completion queue holds a notification back for so long.
    Moderate(Arc<Begun>),
    /// Work of the host is over.
    Ended(Arc<Pending>, Ended),
    /// A connection has changed its state.
    Changed(Arc<Watch>),
}

impl After {
    /// Does it; whether a kernel may have been opened.
    pub(crate) fn run(self) -> bool {
        match self {
            Self::Open {
                process,
                index,
                reached,
            } => open(&process, index, reached),
            Self::Notify { process, index } => notify(&process, index),
            Self::Trigger { process, handler } => {
                process.trigger(&handler);
                true
            }
            Self::Close { process, index } => {
                process.publisher_gone(index);
                true
            }
            Self::Wake(woken) => {
                woken.wake();
                false
            }
            Self::Moderate(period) => {
                period.begin();
                false
            }
            Self::Ended(pending, ended) => {
                pending.end(ended);
                false
            }
            Self::Changed(watch) => {
                watch.wake();
                false
            }
        }
    }
}

fn open(process: &Arc<Process>, index: u32, reached: Reached) -> bool {
    let mut opened = false;
    // A close that came between wins: whoever waited has its answer.
    let _ = process
        .events
        .slot(index)
        .event
        .finish_update(reached, |gate, value| {
            opened = true;
            process.opened(gate, value);
        });
    if opened {
        process.device.notify();
    }
    opened
}

fn notify(process: &Arc<Process>, index: u32) -> bool {
    // A closed event takes no notification: its waiters know.
    process.update(index, Update::Add(1)).is_ok()
}
