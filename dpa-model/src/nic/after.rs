//! What the NIC leaves to be done when its lock is free: opening gates, waking tasks, closing events.
//!
//! By then whoever held an event may have let go of it. So what concerns one uses it, from where somebody is known to hold it, and
//! another event does not get its place before that is done.
//!
//! Code of the host program (wakers, and what work kept) may take long, and may wait for what the NIC is yet to do. Whoever works the
//! NIC has made others leave it to him ([`super::bell`]): he runs such code when he has ended that ([`After::is_foreign`]), and the rest
//! at once.

use std::sync::Arc;
use std::task::Waker;

use dpa_abi::Update;
use sync_event::Reached;

use super::pending::{Ended, Pending};
use super::period::Begun;
use super::watch::Watch;
use crate::event::EventUse;
use crate::foreign::in_turn;
use crate::handler::Handler;
use crate::process::Process;
use crate::wakers::Woken;

/// Something to be done without the NIC's lock.
#[derive(Debug)]
pub(crate) enum After {
    /// An event's counter was changed, and someone waits for its value.
    Open { event: EventUse, reached: Reached },
    /// 1 is added to a notification event, and something else is done then.
    Notify {
        event: EventUse,
        then: Option<Box<After>>,
    },
    /// The thread of a completion queue is triggered.
    Trigger {
        process: Arc<Process>,
        handler: Arc<Handler>,
    },
    /// The last who could have updated an event is gone.
    Close(EventUse),
    /// Tasks of the host that wait for a completion are woken.
    Wake(Woken),
    /// A task of the host that waited for an event is woken.
    Tell(Waker),
    /// A completion queue holds a notification back for so long.
    Moderate(Arc<Begun>),
    /// Work of the host is over.
    Ended(Arc<Pending>, Ended),
    /// A connection has changed its state.
    Changed(Arc<Watch>),
}

/// Does what is not foreign, and adds the rest to `foreign`; whether a kernel may have been opened.
#[inline]
pub(crate) fn run_own(mut after: Vec<After>, foreign: &mut Vec<After>) -> bool {
    let mut opened = false;
    for own in after.extract_if(.., |after| !after.is_foreign()) {
        opened |= own.run(foreign);
    }
    match foreign.is_empty() {
        true => *foreign = after,
        false => foreign.append(&mut after),
    }
    opened
}

/// Does all of it, by somebody who keeps nobody from the NIC; whether a kernel may have been opened.
pub(crate) fn run_all(mut all: Vec<After>) -> bool {
    let mut opened = false;
    while !all.is_empty() {
        let mut left = Vec::new();
        for after in all {
            opened |= after.run(&mut left);
        }
        all = left;
    }
    opened
}

impl After {
    /// Whether doing it may run code of the host program.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Notify { .. } | Self::Trigger { .. } | Self::Moderate(_) => {
                false
            }
            Self::Close(_) | Self::Wake(_) | Self::Tell(_) | Self::Ended(..) | Self::Changed(_) => {
                true
            }
        }
    }

    /// Does it; whether a kernel may have been opened. What is left of it runs code of the host program.
    pub(crate) fn run(self, left: &mut Vec<Self>) -> bool {
        match self {
            Self::Open { event, reached } => open(&event, reached, left),
            Self::Notify { event, then } => {
                let opened = notify(&event);
                match then {
                    Some(then) if then.is_foreign() => left.push(*then),
                    Some(then) => return then.run(left) | opened,
                    None => {}
                }
                opened
            }
            Self::Trigger { process, handler } => {
                process.trigger(&handler);
                true
            }
            Self::Close(event) => {
                // It may fail other connections, and so on.
                in_turn(None, move || {
                    event.process().publisher_gone(event.index());
                });
                true
            }
            Self::Tell(waker) => {
                sync_event::wake(waker);
                false
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

fn open(event: &EventUse, reached: Reached, left: &mut Vec<After>) -> bool {
    let (process, mut opened) = (event.process(), false);
    let open = |gate, value| {
        opened = true;
        process.opened(gate, value);
    };
    // A close that came between wins: whoever waited has its answer.
    let _ = event.finish_update_by(reached, open, |waker| left.push(After::Tell(waker)));
    if opened {
        process.device.notify();
    }
    opened
}

fn notify(event: &EventUse) -> bool {
    // A closed event takes no notification: its waiters know.
    event
        .process()
        .update(event.index(), Update::Add(1))
        .is_ok()
}
