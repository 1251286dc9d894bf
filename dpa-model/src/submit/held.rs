//! The events that a launch waits for and updates: that they are still those that were found, and that they stay it.

use std::sync::Arc;

use dpa_abi::{Condition, EventHandle};
use sync_event::{Location, NotPublisher, NotSubscriber};

use super::{Spec, SubmitError};
use crate::events::{LetGo, Slot, Tried};
use crate::fiber::Switch;
use crate::foreign::in_turn;
use crate::launch::Launch;
use crate::process::Process;

/// The events of a launch, as they were found.
#[derive(Clone, Copy, Default)]
pub(super) struct Slots<'a> {
    pub(super) wait: Option<Slot<'a>>,
    pub(super) then: Option<Slot<'a>>,
}

/// The event that a launch was to wait for is gone.
pub(super) struct Gone;

impl Process {
    /// The events of a launch, if they are there and the device is on the right side of each (rule 1.8).
    pub(super) fn events_of(&self, spec: &Spec) -> Result<Slots<'_>, SubmitError> {
        let place = Location::Device;
        let mut slots = Slots::default();
        if let Some((event, _)) = spec.wait {
            let slot = self.events.find(event).ok_or(SubmitError::NoWaitEvent)?;
            if !slot.device_subscribes() {
                let allowed = slot.subscribers();
                return Err(NotSubscriber { place, allowed }.into());
            }
            slots.wait = Some(slot);
        }
        if let Some((event, _)) = spec.then {
            let slot = self.events.find(event).ok_or(SubmitError::NoThenEvent)?;
            if !slot.device_publishes() {
                let allowed = slot.publishers();
                return Err(NotPublisher { place, allowed }.into());
            }
            slots.then = Some(slot);
        }
        Ok(slots)
    }

    /// Holds the events that were found, so that they stay what they are until the launch is over: the one it updates, and in a
    /// stream the one it waits for, where it looks only when its turn comes. Else that is looked at again where it is parked. On an
    /// error its room is free again.
    pub(super) fn take_events(
        self: &Arc<Self>,
        spec: &Spec,
        slots: Slots<'_>,
    ) -> Result<(), SubmitError> {
        let taken = self.try_events(spec, slots);
        if taken.is_err() {
            self.finished(1, None);
        }
        taken
    }

    fn try_events(self: &Arc<Self>, spec: &Spec, slots: Slots<'_>) -> Result<(), SubmitError> {
        if let (Some(slot), Some((event, _))) = (slots.then, spec.then) {
            let tried = slot.try_hold(event);
            if tried != Tried::Done {
                if tried == Tried::Another {
                    self.let_go_of_event(event.0.index, 1, None);
                }
                return Err(SubmitError::NoThenEvent);
            }
        }
        if let (Some(_), Some(slot), Some((event, _))) = (&spec.stream, slots.wait, spec.wait)
            && !self.used(slot.try_use(event), event)
        {
            if let Some((event, _)) = spec.then {
                self.let_go_of_event(event.0.index, 1, None);
            }
            return Err(SubmitError::NoWaitEvent);
        }
        Ok(())
    }

    /// Whether an attempt to use the event of a handle has come to that. One that is used instead is not any more.
    pub(crate) fn used(&self, tried: Tried, event: EventHandle) -> bool {
        if tried == Tried::Another {
            self.unuse_event(event.0.index, 1);
        }
        tried == Tried::Done
    }

    /// What a launch was made of that nobody has seen: it has not been submitted. `place`: the one that it came with.
    #[cold]
    pub(super) fn unmake(
        self: &Arc<Self>,
        launch: Arc<Launch>,
        wait: Option<(EventHandle, Condition)>,
        place: Option<u64>,
    ) -> Spec {
        let then = launch.then();
        let then = then.map(|(index, update)| (self.events.handle(index), update));
        if let Some((event, _)) = then {
            self.let_go_of_event(event.0.index, 1, None);
        }
        self.finished(1, None);
        let launch = Arc::into_inner(launch).expect("a launch that is parked nowhere");
        let parts = launch.into_parts();
        Spec {
            body: parts.body,
            args: parts.args,
            threads: parts.threads,
            wait,
            then,
            keep: parts.keep,
            stream: None,
            seq: place,
        }
    }

    /// So many that may update the event less; the last closes it. `off`: the caller is on the stack of a kernel.
    pub(crate) fn let_go_of_event(self: &Arc<Self>, index: u32, count: u32, off: Option<&Switch>) {
        let slot = self.events.slot(index);
        if slot.let_go(count) == LetGo::LastPublisher {
            let process = self.clone();
            in_turn(off, move || {
                process.publisher_gone(index);
                process.unuse_event(index, count);
            });
        }
    }

    /// So many that look at the event less; the last frees its slot.
    pub(crate) fn unuse_event(&self, index: u32, count: u32) {
        if self.events.slot(index).unuse(count) {
            self.events.retire(&self.epochs, index);
        }
    }
}
