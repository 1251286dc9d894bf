//! A sync event of a process, as the host holds it.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dpa_abi::{Condition, EventHandle, Update};
use sync_event::{CloseReason, Closed, Event, Location, Locations, WaitOwned};
use thiserror::Error;

use crate::events::Slot;
use crate::gate::Gate;
use crate::placed::{EventPlace, Keep, Misplaced, Placed};
use crate::process::Process;

/// Why an event could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventLimit {
    /// There are as many as there may be.
    #[error("the process has {limit} sync events, as many as it may have")]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
    /// There are no eight aligned bytes where it was to stand.
    #[error("an event stands in 8 bytes aligned to 8, which are not at {at:#x}")]
    NotThere {
        /// The offset in the host buffer, or the device address.
        at: u64,
    },
    /// Another event stands there.
    #[error("another event stands at {at:#x}")]
    Taken {
        /// The offset in the host buffer, or the device address.
        at: u64,
    },
    /// Peers can write there already, by a device behind verbs, which tells nobody.
    #[error(
        "over verbs peers can already write at {at:#x}: make an event that they publish before its memory is registered"
    )]
    Registered {
        /// The offset in the host buffer, or the device address.
        at: u64,
    },
}

/// Why the host could not use an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventUseError {
    /// The host is not among its publishers.
    #[error(transparent)]
    NotPublisher(#[from] sync_event::location::NotPublisher),
    /// The host is not among its subscribers.
    #[error(transparent)]
    NotSubscriber(#[from] sync_event::location::NotSubscriber),
    /// It is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The wait's time was up.
    #[error("timed out at value {value}")]
    TimedOut {
        /// The value then.
        value: u64,
    },
    /// It is updated by a device behind verbs, which refuses.
    #[error(transparent)]
    Device(#[from] rdma::provider::SystemError),
    /// Under the seeded driver: nothing can happen any more that would end the wait.
    #[error("the wait can never end: nothing is left to run")]
    Stuck,
}

/// A host handle of an event. While one exists the event has a publisher.
#[derive(Debug)]
pub struct EventRef {
    process: Arc<Process>,
    handle: EventHandle,
    locations: Locations,
}

/// What keeps an event's slot from being used again without being a publisher: a wait, or what is yet to be done with the event.
/// When it is dropped, it takes no lock but that of the free slots.
#[derive(Debug)]
pub struct EventUse {
    process: Arc<Process>,
    index: u32,
}

/// As [`EventUse`], of what the process itself keeps.
#[derive(Debug)]
pub(crate) struct InnerUse {
    process: Weak<Process>,
    index: u32,
}

impl Process {
    /// A new event.
    ///
    /// # Errors
    /// There are as many as there may be, or the process is stopped.
    pub fn event(
        self: &Arc<Self>,
        initial: u64,
        locations: Locations,
    ) -> Result<EventRef, EventLimit> {
        let limit = self.device.config.max_events;
        let handle = self
            .events
            .create(&self.epochs, initial, locations)
            .ok_or(EventLimit::Full { limit })?;
        let event = EventRef {
            process: self.clone(),
            handle,
            locations,
        };
        // A stop that came before the event was entered has not closed it.
        if self.is_stopped() {
            event.close(CloseReason::ContextClosed);
            return Err(EventLimit::Stopped);
        }
        Ok(event)
    }

    /// A new event that stands in memory; `keep` is what keeps that allocated, and is let go of when the event is closed.
    ///
    /// # Errors
    /// As [`Process::event`]; there are no such eight bytes; another event stands there; peers can write there already by a
    /// device behind verbs.
    pub fn event_at(
        self: &Arc<Self>,
        initial: u64,
        locations: Locations,
        place: EventPlace,
        keep: Option<Keep>,
    ) -> Result<EventRef, EventLimit> {
        let at = place.offset();
        let event = self.event(initial, locations)?;
        let index = event.handle.0.index;
        match Placed::begin(self, index, locations, place, keep) {
            Ok(()) => Ok(event),
            Err(Misplaced::NotThere) => Err(EventLimit::NotThere { at }),
            Err(Misplaced::Taken) => Err(EventLimit::Taken { at }),
            Err(Misplaced::Registered) => Err(EventLimit::Registered { at }),
        }
    }
}

impl Process {
    /// One more user of the event of this handle; `None` if that is gone.
    pub(crate) fn use_of(self: &Arc<Self>, event: EventHandle) -> Option<EventUse> {
        let slot = self.events.find(event)?;
        self.used(slot.try_use(event), event).then(|| EventUse {
            process: self.clone(),
            index: event.0.index,
        })
    }

    /// One more user of an event of which the caller knows that it has one.
    pub(crate) fn another_use(self: &Arc<Self>, index: u32) -> EventUse {
        self.events.slot(index).use_();
        EventUse {
            process: self.clone(),
            index,
        }
    }

    /// As [`Process::update`], of an event that a device behind verbs may begin to write meanwhile; `None` if one does.
    fn update_near(self: &Arc<Self>, index: u32, update: Update) -> Option<Result<u64, Closed>> {
        let slot = self.events.slot(index);
        self.note_update(index, update, slot.event);
        let updated = slot.update_near(update)?;
        Some(updated.or_else(|reached| self.finish_update(slot.event, reached)))
    }

    /// The value of an event now.
    #[inline]
    pub(crate) fn value_of(&self, slot: Slot<'_>) -> u64 {
        if slot.is_far() {
            self.device.nics.each(|nic| nic.carry_words());
        }
        slot.event.get()
    }
}

impl EventRef {
    /// The process it belongs to.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// The handle by which kernels know it.
    pub fn handle(&self) -> EventHandle {
        self.handle
    }

    /// Who may publish and who may wait.
    pub fn locations(&self) -> Locations {
        self.locations
    }

    pub(crate) fn slot(&self) -> crate::events::Slot<'_> {
        self.process.events.slot(self.handle.0.index)
    }

    /// The value now; after a close, the last.
    pub fn get(&self) -> u64 {
        self.process.value_of(self.slot())
    }

    /// How it was closed, if it was.
    pub fn closed(&self) -> Option<Closed> {
        self.slot().event.closed()
    }

    /// Updates it from the host.
    ///
    /// # Errors
    /// The host is no publisher; it is closed.
    #[inline]
    pub fn update(&self, update: Update) -> Result<u64, EventUseError> {
        self.locations.check_publish(Location::Host)?;
        if cfg!(feature = "verbs") && self.is_for_peers() {
            return self.update_of_peers(update);
        }
        Ok(self.process.update(self.handle.0.index, update)?)
    }

    /// Whether a device behind verbs may write it.
    #[inline]
    fn is_for_peers(&self) -> bool {
        self.locations.publishers().contains(Location::Remote) || self.slot().is_far()
    }

    /// Updates one that a device behind verbs may write, or begin to.
    fn update_of_peers(&self, update: Update) -> Result<u64, EventUseError> {
        loop {
            if let Some(updated) = self.process.update_near(self.handle.0.index, update) {
                return Ok(updated?);
            }
            if let Some(updated) = self.update_far(update)? {
                return Ok(updated);
            }
            // Its registration went meanwhile.
        }
    }

    /// Updates it where a device writes it, by a request of that device to itself. `None`: none does.
    #[cold]
    fn update_far(&self, update: Update) -> Result<Option<u64>, EventUseError> {
        if let Some(closed) = self.closed() {
            return Err(closed.into());
        }
        let index = self.handle.0.index;
        let mut done = None;
        let nics = &self.process.device.nics;
        nics.each(|nic| {
            if done.is_none() {
                done = nic.update_word(&self.process, index, update);
            }
        });
        Ok(done.transpose()?)
    }

    /// A wait of the host, as a future.
    ///
    /// # Errors
    /// The host is no subscriber.
    pub fn wait(&self, condition: Condition) -> Result<HostWait, EventUseError> {
        self.locations.check_subscribe(Location::Host)?;
        Ok(HostWait {
            wait: WaitOwned::new(self.use_(), condition),
        })
    }

    /// One more user of it.
    pub(crate) fn use_(&self) -> EventUse {
        self.process.another_use(self.handle.0.index)
    }

    /// A wait of the host that blocks its thread, for at most `timeout`.
    ///
    /// Under the seeded driver it steps the model instead.
    ///
    /// # Errors
    /// The host is no subscriber; closed; timed out; stuck.
    pub fn wait_blocking(
        &self,
        condition: Condition,
        timeout: Option<Duration>,
    ) -> Result<u64, EventUseError> {
        self.locations.check_subscribe(Location::Host)?;
        if self.process.device.is_seeded() {
            return self.wait_stepping(condition, timeout);
        }
        let event = self.slot().event;
        let outcome = match timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            None => event.wait_blocking(condition),
            Some(until) => event.wait_deadline(condition, until).map_err(|timed_out| {
                EventUseError::TimedOut {
                    value: timed_out.value,
                }
            })?,
        };
        Ok(outcome?)
    }

    fn wait_stepping(
        &self,
        condition: Condition,
        timeout: Option<Duration>,
    ) -> Result<u64, EventUseError> {
        let device = self.process.device.clone();
        let mut wait = self.wait(condition)?;
        let until = timeout.map(|timeout| device.clock.after(timeout));
        // A timer, so that virtual time can pass to the deadline.
        let timer = until.map(|at| {
            device
                .clock
                .set_wake(at, self.process.number, std::task::Waker::noop().clone())
        });
        let ended = device.step_until(|| match Pin::new(&mut wait).poll_once() {
            Poll::Ready(outcome) => Some(outcome.map_err(EventUseError::from)),
            Poll::Pending if until.is_some_and(|at| device.clock.now() >= at) => {
                Some(Err(EventUseError::TimedOut { value: self.get() }))
            }
            Poll::Pending => None,
        });
        timer.into_iter().for_each(|key| device.clock.clear(key));
        ended.unwrap_or(Err(EventUseError::Stuck))
    }

    /// Closes it; false if it was closed already.
    pub fn close(&self, reason: CloseReason) -> bool {
        self.process.close_event(self.handle.0.index, reason)
    }
}

impl Clone for EventRef {
    fn clone(&self) -> Self {
        self.slot().hold();
        Self {
            process: self.process.clone(),
            ..*self
        }
    }
}

impl Drop for EventRef {
    fn drop(&mut self) {
        self.process.let_go_of_event(self.handle.0.index, 1, None);
    }
}

impl EventUse {
    /// The process that the event belongs to.
    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Its index.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// One more.
    pub(crate) fn again(&self) -> Self {
        self.process.another_use(self.index)
    }
}

impl Deref for EventUse {
    type Target = Event<Gate>;
    fn deref(&self) -> &Event<Gate> {
        self.process.events.event(self.index)
    }
}

impl Drop for EventUse {
    fn drop(&mut self) {
        self.process.unuse_event(self.index, 1);
    }
}

impl InnerUse {
    /// One more user of an event of which the caller knows that it has one.
    pub(crate) fn begin(process: &Arc<Process>, index: u32) -> Self {
        process.events.slot(index).use_();
        Self {
            process: Arc::downgrade(process),
            index,
        }
    }

    /// The event's index.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for InnerUse {
    fn drop(&mut self) {
        if let Some(process) = self.process.upgrade() {
            process.unuse_event(self.index, 1);
        }
    }
}

/// A wait of the host. Cancel safe: dropping it leaves nothing behind.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct HostWait {
    wait: WaitOwned<EventUse>,
}

impl HostWait {
    /// Ends the wait; the outcome, if an update came before.
    pub fn cancel(&mut self) -> Option<Result<u64, Closed>> {
        self.wait.cancel()
    }

    /// The event's value now.
    pub fn value(&self) -> u64 {
        self.wait.event().get()
    }

    fn poll_once(mut self: Pin<&mut Self>) -> Poll<Result<u64, Closed>> {
        Pin::new(&mut self.wait).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}

impl Future for HostWait {
    type Output = Result<u64, Closed>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.wait).poll(cx)
    }
}
