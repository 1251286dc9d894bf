//! Activations of handlers.

use dpa_abi::DevAddr;

use super::*;
use crate::handler::{Affinity, HandlerSpec};

/// A handler that does nothing.
fn handler_spec(continuable: bool) -> HandlerSpec {
    HandlerSpec {
        entry: &NOTHING,
        args: ArgBytes::new(),
        storage: DevAddr::NULL,
        affinity: Affinity::None,
        continuable,
        keep: None,
    }
}

#[test]
fn the_end_of_an_activation_starts_the_next_if_there_was_a_trigger() {
    let process = Still::new();
    let (handler, handle) = process.handler(handler_spec(false)).expect("a handler");
    process.run_handler(&handler).expect("new");
    process.trigger(&handler);
    let mut started = Vec::new();
    let mut next = || {
        let mut activation = None;
        let taken = |launch| activation = Some(launch);
        process.device.sched.take_ready(process.number, taken);
        let activation: Arc<Launch> = activation?;
        assert!(
            activation
                .handler()
                .is_some_and(|of| Arc::ptr_eq(of, &handler))
        );
        started.push(activation.seq);
        Some(activation)
    };
    let first = next().expect("it was triggered");
    process.trigger(&handler);
    assert!(next().is_none(), "one at a time");
    end(&process, &first, Outcome::Completed);
    let second = next().expect("it was triggered meanwhile");
    end(&process, &second, Outcome::Completed);
    assert!(next().is_none());
    assert_eq!((started.len(), handler.activations()), (2, 2));
    process.drop_handler(&handler, handle);
}

#[test]
fn room_is_given_back_by_launches_of_the_host_and_not_by_activations() {
    let process = Still::with_room(1);
    let full = |process: &Still| process.submit(spec()).is_err();
    let launch = process.accept(spec());
    let (handler, handle) = process.handler(handler_spec(false)).expect("a handler");
    process.run_handler(&handler).expect("new");
    for outcome in [Outcome::Completed, Outcome::ContextClosed] {
        process.trigger(&handler);
        let mut ready = Vec::new();
        let taken = |launch: Arc<Launch>| ready.push(launch);
        process.device.sched.take_ready(process.number, taken);
        let activation = ready.into_iter().find(|one| one.handler().is_some());
        let activation = activation.expect("it was triggered");
        match outcome {
            Outcome::Completed => end(&process, &activation, outcome),
            _ => process.never_started(&activation, outcome),
        }
        assert!(full(&process), "{outcome:?}");
    }
    end(&process, &launch, Outcome::Completed);
    assert!(!full(&process));
    process.drop_handler(&handler, handle);
}

/// Whoever has found it may be about to add to its event, also when both are over.
#[test]
fn the_event_of_a_handler_has_its_place_as_long_as_the_handler_may_be_triggered() {
    let process = Still::new();
    let (handler, handle) = process.handler(handler_spec(true)).expect("a handler");
    let index = handler.resumes().expect("it is continuable").0.index;
    process.drop_handler(&handler, handle);
    assert!(process.events.slot(index).event.closed().is_some());
    let others = [(); 3].map(|()| process.event());
    assert!(others.iter().all(|other| other.handle().0.index != index));
    process.trigger(&handler);
    let live = process.events.live();
    drop(handler);
    assert_eq!(process.events.live(), live - 1);
}
