//! Sync events as a kernel sees them.

use core::time::Duration;

use dpa_abi::{Condition, EventError, EventHandle, FaultKind, KernelArg, Pod, Update};

use crate::context::{BindArg, ThreadContext};

/// A sync event bound to a thread.
///
/// A wait or an update from a side that the event is not configured for, and a handle that refers to nothing, are
/// faults of the process. A closed event is an answer, not a fault.
#[doc(alias = "doca_dpa_dev_sync_event_t")]
#[derive(Clone, Copy, Debug)]
pub struct DevEvent<'t> {
    handle: EventHandle,
    thread: &'t ThreadContext<'t>,
}

impl<'t> DevEvent<'t> {
    /// The event of this handle. Whether it refers to one is checked at each use.
    pub fn new(thread: &'t ThreadContext<'t>, handle: EventHandle) -> Self {
        Self { handle, thread }
    }

    /// The plain handle, which can stand in memory.
    pub fn handle(&self) -> EventHandle {
        self.handle
    }

    #[track_caller]
    fn answer(&self, result: Result<u64, EventError>) -> Result<u64, EventError> {
        match self.thread.noting(result) {
            Err(EventError::Stale) => self.thread.fault(FaultKind::StaleHandle {
                bits: self.handle.0.to_bits(),
            }),
            Err(error @ (EventError::NotPublisher { .. } | EventError::NotSubscriber { .. })) => {
                self.wrong_side(error)
            }
            other => other,
        }
    }

    #[cold]
    #[track_caller]
    fn wrong_side(&self, error: EventError) -> ! {
        let event = self.handle;
        self.thread.fault(FaultKind::EventSide { event, error })
    }

    /// The value now. Reading is allowed from everywhere; for polling, each is a safe point.
    ///
    /// Whoever has published it: what that has stored to the heap before is seen. What it has stored to host memory is seen through a
    /// window behind a wait or [`ThreadContext::window_read_inv`].
    #[doc(alias = "doca_dpa_dev_sync_event_get")]
    #[track_caller]
    pub fn get(&self) -> u64 {
        let value = self.answer(self.thread.unit().event_get(self.handle));
        self.thread.polled();
        value.unwrap_or_else(|error| match error {
            EventError::Closed { last } => last,
            other => self.wrong_side(other),
        })
    }

    /// Stores a value; the previous one. Everything this thread did before happens before what a waiter does after.
    ///
    /// # Errors
    /// [`EventError::Closed`].
    #[doc(alias = "doca_dpa_dev_sync_event_update_set")]
    #[track_caller]
    pub fn set(&self, value: u64) -> Result<u64, EventError> {
        self.answer(
            self.thread
                .unit()
                .event_update(self.handle, Update::Set(value)),
        )
    }

    /// Adds, wrapping; the previous value. Ordered like [`DevEvent::set`].
    ///
    /// # Errors
    /// [`EventError::Closed`].
    #[doc(alias = "doca_dpa_dev_sync_event_update_add")]
    #[track_caller]
    pub fn add(&self, n: u64) -> Result<u64, EventError> {
        self.answer(self.thread.unit().event_update(self.handle, Update::Add(n)))
    }

    /// Blocks this thread until the condition holds; the value that satisfied it: `event.wait(Condition::ge(1))`.
    ///
    /// # Errors
    /// [`EventError::Closed`].
    #[doc(alias = "doca_dpa_dev_sync_event_wait_gt")]
    #[track_caller]
    pub fn wait(&self, condition: Condition) -> Result<u64, EventError> {
        self.answer(self.thread.unit().event_wait(self.handle, condition, None))
    }

    /// As [`DevEvent::wait`], for at most `timeout` (device time).
    ///
    /// # Errors
    /// [`EventError::Closed`], [`EventError::TimedOut`].
    #[track_caller]
    pub fn wait_timeout(&self, condition: Condition, timeout: Duration) -> Result<u64, EventError> {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.answer(
            self.thread
                .unit()
                .event_wait(self.handle, condition, Some(nanos)),
        )
    }
}

/// The wire form of a [`DevEvent`]: its handle.
#[diagnostic::do_not_recommend]
impl KernelArg for DevEvent<'_> {
    type Wire = EventHandle;
}

impl<'t> BindArg<'t> for DevEvent<'t> {
    fn bind_arg(wire: EventHandle, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        Ok(Self::new(thread, wire))
    }
}

const _: () = assert!(<EventHandle as Pod>::SIZE == 8);
