//! What the NIC leaves to be done when its lock is free: opening gates, waking tasks, closing events.
//!
//! By then whoever held an event may have let go of it. So what concerns one uses it, from where somebody is known to hold it, and
//! another event does not get its place before that is done.

use std::sync::Arc;

use dpa_abi::Update;
use sync_event::Reached;

use super::pending::{Ended, Pending};
use super::period::Begun;
use super::watch::Watch;
use crate::event::EventUse;
use crate::handler::Handler;
use crate::process::Process;
use crate::wakers::Woken;

/// Something to be done without the NIC's lock.
#[derive(Debug)]
pub(crate) enum After {
    /// An event's counter was changed, and someone waits for its value.
    Open { event: EventUse, reached: Reached },
    /// 1 is added to a notification event.
    Notify(EventUse),
    /// The thread of a completion queue is triggered.
    Trigger {
        process: Arc<Process>,
        handler: Arc<Handler>,
    },
    /// The last who could have updated an event is gone.
    Close(EventUse),
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
            Self::Open { event, reached } => open(&event, reached),
            Self::Notify(event) => notify(&event),
            Self::Trigger { process, handler } => {
                process.trigger(&handler);
                true
            }
            Self::Close(event) => {
                event.process().publisher_gone(event.index());
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

fn open(event: &EventUse, reached: Reached) -> bool {
    let (process, mut opened) = (event.process(), false);
    // A close that came between wins: whoever waited has its answer.
    let _ = event.finish_update(reached, |gate, value| {
        opened = true;
        process.opened(gate, value);
    });
    if opened {
        process.device.notify();
    }
    opened
}

fn notify(event: &EventUse) -> bool {
    // A closed event takes no notification: its waiters know.
    event.process().update(event.index(), Update::Add(1)).is_ok()
}
