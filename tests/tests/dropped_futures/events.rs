//! Waits for events: a wait that is dropped takes nothing from the next, and disturbs no other.

use std::sync::Arc;
use std::time::Duration;

use doca_dpa::{Condition, Dpa, Error};
use sync_event::{Event, NoGate, WaitOwned};

use crate::harness::{cut_everywhere, gate};

/// Calls something twice, a little later each time.
async fn twice<E: Into<Error>>(dpa: &Dpa, call: impl Fn() -> Result<u64, E>) -> Result<(), Error> {
    for _ in 0..2 {
        dpa.sleep(Duration::from_nanos(100)).await;
        call().map_err(Into::into)?;
    }
    Ok(())
}

#[test]
fn rule_1_7_waits_for_an_event() {
    cut_everywhere(async |dpa, cut| {
        let event = gate(dpa)?;
        let other = event.ge(2).into_future();
        let adding = twice(dpa, || event.add(1));
        let (_, seen, added) = futures::join!(cut.off(event.ge(1)), other, adding);
        added?;
        assert_eq!(seen?, 2, "another wait is not disturbed");
        Ok(())
    });
}

#[test]
fn rule_1_7_waits_with_a_timeout() {
    cut_everywhere(async |dpa, cut| {
        let event = gate(dpa)?;
        let wait = event.ge(1).timeout(Duration::from_nanos(300));
        let _ = cut.off(wait).await;
        event.add(1)?;
        assert_eq!(event.ge(1).await?, 1);
        Ok(())
    });
}

/// Of an event by itself.
#[test]
fn rule_1_7_waits_of_a_borrowed_event_and_of_one_that_they_hold() {
    cut_everywhere(async |dpa, cut| {
        let event = Event::<NoGate>::new(0);
        let other = event.wait(Condition::ge(2));
        let adding = twice(dpa, || Ok::<_, Error>(event.add(1).expect("open")));
        let cut_off = cut.off(event.wait(Condition::ge(1)));
        let (_, seen, added) = futures::join!(cut_off, other, adding);
        added?;
        assert_eq!(seen, Ok(2), "another wait is not disturbed");
        assert_eq!(event.wait(Condition::ge(1)).await, Ok(2));
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let event = Arc::new(Event::<NoGate>::new(0));
        let wait = WaitOwned::new(event.clone(), Condition::ge(2));
        let adding = twice(dpa, || Ok::<_, Error>(event.add(1).expect("open")));
        let (seen, added) = futures::join!(cut.off(wait), adding);
        added?;
        assert!(seen.is_none_or(|seen| seen == Ok(2)));
        assert_eq!(Arc::strong_count(&event), 1, "nobody holds the event");
        Ok(())
    });
}
