//! Sync events on the host: 64-bit counters with waiters.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dpa_abi::{Condition, EventHandle, Update};
use flexio::{Event, EventLimit, EventPlace, Fault, HostMemory, HostWait, ProcessRef};
use sync_event::{CloseReason, LocationSet, Locations};

use crate::buffer::BufferSlice;
use crate::dpa::Dpa;
use crate::error::{Error, EventCreateError, EventError};
use crate::rdma::HostBuffer;
use crate::time::Deadline;

/// A 64-bit counter that host, kernels and (by RDMA) other nodes update, and for whose conditions host, launches and
/// kernels wait.
///
/// Clones are the same event. While one exists the event has a publisher; when the last is gone, and no unfinished
/// launch could update it, its waiters resolve as closed.
#[doc(alias = "doca_sync_event")]
#[derive(Clone, Debug)]
pub struct SyncEvent {
    // One count: a condition, of which every launch has one, holds it too.
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    event: Event,
    process: ProcessRef,
}

/// An event to be made, with publishers, subscribers and a first value.
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `create`"]
pub struct EventBuilder<'d> {
    dpa: &'d Dpa,
    publishers: LocationSet,
    subscribers: LocationSet,
    initial: u64,
    place: Option<Place>,
}

/// Where an event stands.
#[derive(Clone, Debug)]
enum Place {
    Host(Arc<HostMemory>, u64),
    Device(BufferSlice<u64>),
}

impl EventBuilder<'_> {
    /// One more place, or several, from which it is updated.
    #[doc(alias = "doca_sync_event_add_publisher_location_cpu")]
    #[doc(alias = "doca_sync_event_add_publisher_location_dpa")]
    #[doc(alias = "doca_sync_event_add_publisher_location_remote_net")]
    pub fn publisher(mut self, places: impl Into<LocationSet>) -> Self {
        self.publishers = self.publishers | places;
        self
    }

    /// One more place, or several, from which it is waited for.
    #[doc(alias = "doca_sync_event_add_subscriber_location_cpu")]
    #[doc(alias = "doca_sync_event_add_subscriber_location_dpa")]
    pub fn subscriber(mut self, places: impl Into<LocationSet>) -> Self {
        self.subscribers = self.subscribers | places;
        self
    }

    /// Its first value. Default 0.
    pub fn initial(mut self, value: u64) -> Self {
        self.initial = value;
        self
    }

    /// It stands in eight bytes of a host buffer, aligned to eight: they show its value. Where the host is a publisher,
    /// [`HostBuffer::write`] to them updates it; where a remote node or the device is, so do writes, atomics and
    /// copies of the NIC. Everything else that is stored there is overwritten by the next update.
    #[doc(alias = "doca_sync_event_set_addr")]
    #[doc(alias = "doca_sync_event_set_doca_buf")]
    pub fn in_host_memory(mut self, buffer: &HostBuffer, offset: usize) -> Self {
        self.place = Some(Place::Host(buffer.memory().clone(), offset as u64));
        self
    }

    /// It stands in the first word of device memory, as [`EventBuilder::in_host_memory`] in a host buffer. Kernels may read
    /// it there, too.
    pub fn in_device_memory(mut self, word: &BufferSlice<u64>) -> Self {
        self.place = Some(Place::Device(word.clone()));
        self
    }

    /// Makes the event.
    ///
    /// # Errors
    /// No publisher, no subscriber or a remote subscriber; too many events; the context is closed or faulted; it cannot
    /// stand where it was to.
    #[doc(alias = "doca_sync_event_create")]
    #[doc(alias = "doca_sync_event_start")]
    pub fn create(self) -> Result<SyncEvent, Error> {
        let locations =
            Locations::new(self.publishers, self.subscribers).map_err(EventCreateError::from)?;
        let (process, initial) = (self.dpa.process(), self.initial);
        let event = match self.place {
            None => return Ok(SyncEvent::new(process, initial, locations)?),
            Some(Place::Host(memory, offset)) => {
                let place = EventPlace::Host(memory, offset);
                process.event_at(initial, locations, place, ())
            }
            Some(Place::Device(word)) if word.is_empty() => {
                let at = word.addr().raw();
                return Err(EventCreateError::from(EventLimit::NotThere { at }).into());
            }
            Some(Place::Device(word)) if word.hold().process().is(process) => {
                let at = EventPlace::Heap(word.addr().raw());
                process.event_at(initial, locations, at, word.hold().clone())
            }
            Some(Place::Device(_)) => return Err(EventCreateError::Foreign.into()),
        };
        let event = event.map_err(EventCreateError::from)?;
        Ok(SyncEvent::of(process, event))
    }
}

impl SyncEvent {
    fn new(
        process: &ProcessRef,
        initial: u64,
        locations: Locations,
    ) -> Result<Self, EventCreateError> {
        Ok(Self::of(process, process.event(initial, locations)?))
    }

    fn of(process: &ProcessRef, event: Event) -> Self {
        let process = process.clone();
        Self {
            parts: Arc::new(Parts { event, process }),
        }
    }

    /// To make an event with any publishers and subscribers.
    pub fn builder(dpa: &Dpa) -> EventBuilder<'_> {
        EventBuilder {
            dpa,
            publishers: LocationSet::NONE,
            subscribers: LocationSet::NONE,
            initial: 0,
            place: None,
        }
    }

    /// Updated by the host, waited for by launches and kernels.
    ///
    /// # Errors
    /// Too many events; the context is closed or faulted.
    pub fn host_to_device(dpa: &Dpa) -> Result<Self, Error> {
        Ok(Self::new(dpa.process(), 0, Locations::HOST_TO_DEVICE)?)
    }

    /// Updated by launches and kernels, waited for by the host.
    ///
    /// # Errors
    /// Too many events; the context is closed or faulted.
    pub fn device_to_host(dpa: &Dpa) -> Result<Self, Error> {
        Ok(Self::new(dpa.process(), 0, Locations::DEVICE_TO_HOST)?)
    }

    /// Updated and waited for by launches and kernels.
    ///
    /// # Errors
    /// Too many events; the context is closed or faulted.
    pub fn device_to_device(dpa: &Dpa) -> Result<Self, Error> {
        Ok(Self::new(dpa.process(), 0, Locations::DEVICE_TO_DEVICE)?)
    }

    pub(crate) fn event(&self) -> &Event {
        &self.parts.event
    }

    pub(crate) fn belongs_to(&self, process: &ProcessRef) -> bool {
        process.owns(self.event())
    }

    pub(crate) fn process(&self) -> &ProcessRef {
        &self.parts.process
    }

    fn fault(&self) -> Option<Arc<Fault>> {
        self.process().fault()
    }

    /// The handle by which kernels know it. Plain: it keeps nothing alive.
    #[doc(alias = "doca_sync_event_get_dpa_handle")]
    pub fn handle(&self) -> EventHandle {
        self.event().handle()
    }

    /// Who may publish and who may wait.
    pub fn locations(&self) -> Locations {
        self.event().locations()
    }

    /// The value now; after a close, the last. Happens after every update it includes.
    #[doc(alias = "doca_sync_event_get")]
    pub fn get(&self) -> u64 {
        self.event().get()
    }

    /// Stores a value; the previous one.
    ///
    /// # Errors
    /// The host is no publisher; closed; faulted.
    #[doc(alias = "doca_sync_event_update_set")]
    pub fn set(&self, value: u64) -> Result<u64, EventError> {
        self.event()
            .update(Update::Set(value))
            .map_err(|error| EventError::of(error, self.fault()))
    }

    /// Adds, wrapping modulo 2^64; the previous value.
    ///
    /// # Errors
    /// The host is no publisher; closed; faulted.
    #[doc(alias = "doca_sync_event_update_add")]
    pub fn add(&self, n: u64) -> Result<u64, EventError> {
        self.event()
            .update(Update::Add(n))
            .map_err(|error| EventError::of(error, self.fault()))
    }

    /// Whenever this condition holds.
    pub fn when(&self, condition: Condition) -> EventCondition {
        EventCondition {
            event: self.clone(),
            condition,
            timeout: None,
        }
    }

    /// When the value is greater than `v`.
    #[doc(alias = "doca_sync_event_wait_gt")]
    pub fn gt(&self, v: u64) -> EventCondition {
        self.when(Condition::gt(v))
    }

    /// When the value is at least `v`.
    pub fn ge(&self, v: u64) -> EventCondition {
        self.when(Condition::ge(v))
    }

    /// When the value is `v`.
    #[doc(alias = "doca_sync_event_wait_eq")]
    pub fn eq(&self, v: u64) -> EventCondition {
        self.when(Condition::eq(v))
    }

    /// When the value is not `v`.
    #[doc(alias = "doca_sync_event_wait_neq")]
    pub fn ne(&self, v: u64) -> EventCondition {
        self.when(Condition::ne(v))
    }

    /// Closes it: every waiter resolves with an error that carries the last value, and updates are refused. False if it
    /// was closed before.
    #[doc(alias = "doca_sync_event_stop")]
    pub fn close(&self) -> bool {
        self.event().close(CloseReason::Explicit)
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.event().closed().is_some()
    }
}

/// A condition of an event: the host awaits it, or a launch waits for it.
///
/// Awaiting it happens after all updates up to the one it saw. It is cancel safe: dropping the wait leaves nothing
/// behind.
#[derive(Clone, Debug)]
#[must_use = "a condition does nothing until it is awaited or a launch waits for it"]
pub struct EventCondition {
    event: SyncEvent,
    condition: Condition,
    timeout: Option<Duration>,
}

impl EventCondition {
    /// Compares only the bits of `mask`.
    pub fn masked(mut self, mask: u64) -> Self {
        self.condition = self.condition.masked(mask);
        self
    }

    /// Waits at most so long, in device time. A launch that waits has no timeout: there this has no effect.
    pub fn timeout(mut self, most: Duration) -> Self {
        self.timeout = Some(most);
        self
    }

    /// The event.
    pub fn event(&self) -> &SyncEvent {
        &self.event
    }

    /// The condition alone.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Waits for it by blocking this thread: spins a bounded time, then parks. Under a simulation it steps the device
    /// instead. The value that satisfied it.
    ///
    /// # Errors
    /// The host is no subscriber; closed; faulted; timed out; under a simulation, nothing is left to run.
    #[doc(alias = "doca_sync_event_wait_gt_yield")]
    #[doc(alias = "doca_sync_event_wait_eq_yield")]
    #[doc(alias = "doca_sync_event_wait_neq_yield")]
    pub fn blocking(self) -> Result<u64, EventError> {
        let waited = self
            .event
            .event()
            .wait_blocking(self.condition, self.timeout);
        waited.map_err(|error| EventError::of(error, self.event.fault()))
    }
}

impl IntoFuture for EventCondition {
    type Output = Result<u64, EventError>;
    type IntoFuture = EventWait;

    fn into_future(self) -> EventWait {
        let process = self.event.process().clone();
        let deadline = self.timeout.map(|most| Deadline::after(&process, most));
        let state = match self.event.event().wait(self.condition) {
            Ok(wait) => State::Waits(wait),
            Err(refused) => State::Over(Err(EventError::of(refused, None))),
        };
        EventWait {
            state,
            has_turn: false,
            deadline,
            process,
        }
    }
}

/// A wait of the host for a condition. It keeps no event open.
///
/// # Cancel safety
/// Dropping it leaves nothing behind; an update it would have seen is seen by the next wait.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct EventWait {
    state: State,
    /// The program has had its turn, or has had to wait.
    has_turn: bool,
    deadline: Option<Deadline>,
    process: ProcessRef,
}

#[derive(Debug)]
enum State {
    Waits(HostWait),
    Over(Result<u64, EventError>),
    Given,
}

impl EventWait {
    /// Whether it is over. From its first poll on that sees what passes by.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Waits(wait) = &mut self.state else {
            return Poll::Ready(());
        };
        let outcome = match Pin::new(&mut *wait).poll(cx) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => {
                let deadline = self.deadline.as_mut();
                ready!(deadline.map_or(Poll::Pending, |at| Pin::new(at).poll(cx)));
                // An update that came before the wait is unlinked still wins.
                wait.cancel()
            }
        };
        let ended = match outcome {
            Some(outcome) => {
                outcome.map_err(|closed| EventError::closed(closed, self.process.fault()))
            }
            None => Err(EventError::TimedOut {
                value: wait.value(),
            }),
        };
        self.state = State::Over(ended);
        Poll::Ready(())
    }
}

impl Future for EventWait {
    type Output = Result<u64, EventError>;

    /// # Panics
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let over = this.poll_over(cx).is_ready();
        let has_turn = std::mem::replace(&mut this.has_turn, true);
        if !over || (!has_turn && this.process.device().poll_turn(cx).is_pending()) {
            return Poll::Pending;
        }
        match std::mem::replace(&mut this.state, State::Given) {
            State::Over(ended) => Poll::Ready(ended),
            _ => panic!("polled after it was ready"),
        }
    }
}
