//! Who submits by the handle of an event, while its last holder lets go of it and another event gets its slot.

use dpa_abi::EventHandle;
use dpa_model::epoch::Epochs;
use dpa_model::events::{Events, LetGo, Tried};
use dpa_model::gate::Parking;
use sync_event::{Location, Locations};

use super::*;

/// The events of a process, which may have one.
struct One {
    events: Events,
    epochs: Epochs,
}

impl One {
    fn with_event() -> (Arc<Self>, EventHandle) {
        let (events, epochs) = (Events::new(1), Epochs::default());
        let one = Arc::new(Self { events, epochs });
        let event = one.create().expect("the first");
        (one, event)
    }

    fn create(&self) -> Option<EventHandle> {
        let everywhere = || Location::Host | Location::Device;
        let locations = Locations::new(everywhere(), everywhere()).expect("locations");
        self.events.create(&self.epochs, 0, locations)
    }

    /// As a process does; how many gates the close has ended.
    fn let_go(&self, event: EventHandle) -> usize {
        let (slot, mut ended) = (self.events.slot(event.0.index), 0);
        if slot.let_go(1) == LetGo::LastPublisher {
            let reason = CloseReason::PublisherGone;
            slot.event.close_with(reason, |_, _| ended += 1);
            if slot.unuse(1) {
                self.events.retire(&self.epochs, event.0.index);
            }
        }
        ended
    }

    /// As a launch does of the event that it updates.
    fn hold(&self, event: EventHandle) -> bool {
        match self.events.find(event).map(|slot| slot.try_hold(event)) {
            Some(Tried::Done) => true,
            Some(Tried::Another) => {
                self.let_go(event);
                false
            }
            Some(Tried::Gone) | None => false,
        }
    }

    fn is_open(&self, event: EventHandle) -> bool {
        let slot = self.events.find(event);
        slot.is_some_and(|slot| slot.event.closed().is_none())
    }
}

#[test]
fn holding_vs_last_drop_and_another_event() {
    check(|| {
        let (one, event) = One::with_event();
        let other = thread::spawn({
            let one = one.clone();
            move || {
                one.let_go(event);
                one.create()
            }
        });
        let held = one.hold(event);
        let made = other.join().expect("no panic");
        assert!(held != made.is_some(), "a slot has one event at a time");
        let left = made.unwrap_or(event);
        assert!(one.is_open(left), "it has a publisher");
        one.let_go(left);
        assert_eq!(one.events.live(), 0);
    });
}

#[test]
fn parking_vs_last_drop_and_another_event() {
    check(|| {
        let (one, event) = One::with_event();
        let other = thread::spawn({
            let one = one.clone();
            move || {
                let (ended, mut opened) = (one.let_go(event), 0);
                let made = one.create().expect("nobody uses the first");
                let updated = one.events.event(made.0.index);
                let updated = updated.update_with(Update::Add(1), |_, _| opened += 1);
                updated.expect("open");
                (ended, opened)
            }
        });
        let launch = launch(0, 1);
        let slot = one.events.slot(event.0.index);
        let is_it = || slot.is(event);
        let parking = gate::park(slot.event, event.0.index, &launch, Condition::ge(1), is_it);
        let (ended, opened) = other.join().expect("no panic");
        assert_eq!(opened, 0, "it waits for the first event");
        match parking {
            Parking::Done => assert_eq!(ended, 1),
            Parking::Closed(_) | Parking::Gone => assert_eq!(ended, 0),
            Parking::Holds(..) => unreachable!("the first event was never updated"),
        }
        assert_eq!(slot.event.waiters(), 0);
    });
}

/// A device counts on from the event's value, in a word of its own; what that comes to is then stored over the event's.
#[test]
fn update_by_the_host_vs_first_export_over_verbs() {
    check(|| {
        let (one, event) = One::with_event();
        let index = event.0.index;
        let host = thread::spawn({
            let one = one.clone();
            move || {
                let updated = one.events.slot(index).update_near(Update::Add(1));
                updated.map(|updated| updated.expect("nobody waits"))
            }
        });
        let slot = one.events.slot(index);
        let word = slot.begin_far().expect("the only device");
        let updated = host.join().expect("no panic");
        let word = word + 2;
        let carried = slot.event.try_update_fast(Update::Set(word));
        carried.expect("nobody waits");
        // Who was refused asks the device.
        let by_device = u64::from(updated.is_none());
        assert_eq!(slot.event.get() + by_device, 3);
    });
}
