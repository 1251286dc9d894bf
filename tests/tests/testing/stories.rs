//! What a simulation tells of itself.

use std::sync::Arc;

use doca_dpa::testing::{Actor, Diary};
use doca_dpa::{Dpa, Error, Location, Sim};
use tests::nothing;

use super::{DEVICE_TO_HOST, HOST_TO_DEVICE, adds_up, event, passed_on, rough};

fn story(seed: u64) -> (Vec<String>, u64) {
    let diary = Arc::new(Diary::default());
    let sim = Sim::new(seed).diary(&diary).network(rough());
    let run = sim.run(adds_up).expect("it ends");
    run.value.expect("every operation completes");
    let notes = diary.take().into_iter();
    (notes.map(|note| note.to_string()).collect(), run.digest)
}

#[test]
fn the_same_seed_has_the_same_story_and_telling_it_changes_nothing() {
    for seed in [5, 6] {
        let told = story(seed);
        assert_eq!(told, story(seed));
        let untold = Sim::new(seed).network(rough()).run(adds_up);
        assert_eq!(untold.expect("it ends").digest, told.1);
    }
    assert_ne!(story(5), story(6));
}

#[test]
fn a_story_says_who_did_what_in_order() {
    let diary = Arc::new(Diary::default());
    let run = Sim::new(1).diary(&diary).run(passed_on).expect("it ends");
    assert_eq!(run.value.expect("no errors"), 1);
    let notes = diary.take();
    let mut from = 0;
    let mut then = |who: fn(&Actor) -> bool, what: &str| {
        let found = notes[from..]
            .iter()
            .position(|note| who(&note.who) && note.what.contains(what));
        let all = || {
            notes
                .iter()
                .map(|note| format!("{note}\n"))
                .collect::<String>()
        };
        from += 1 + found.unwrap_or_else(|| panic!("no `{what}` after note {from}:\n{}", all()));
    };
    let host = |who: &Actor| *who == Actor::Host;
    let kernel =
        |who: &Actor| matches!(who, Actor::Thread { kernel, .. } if kernel.ends_with("relay"));
    then(host, "submits");
    then(host, "+= 1, was 0, is 1");
    then(kernel, "+= 1, was 0, is 1");
    then(kernel, "+= 1, was 0, is 1");
    assert!(notes.is_sorted_by_key(|note| note.at));
}

/// Two launches, one behind the other: the host opens the first, and its end the second.
async fn in_turn(dpa: Dpa) -> Result<(), Error> {
    let (go, last) = (event(&dpa, HOST_TO_DEVICE)?, event(&dpa, DEVICE_TO_HOST)?);
    let between = event(&dpa, (Location::Device, Location::Device))?;
    let first = dpa.launch(nothing).wait_for(go.ge(1));
    drop(first.then_set(&between, 7).submit()?);
    let second = dpa.launch(nothing).wait_for(between.eq(7));
    drop(second.then_add(&last, 1).submit()?);
    go.add(1)?;
    last.ge(1).await?;
    Ok(())
}

#[test]
fn a_story_says_which_gate_an_update_opens() {
    for seed in 0..20 {
        let diary = Arc::new(Diary::default());
        let run = Sim::new(seed).diary(&diary).run(in_turn);
        run.expect("it ends").value.expect("no errors");
        let notes: Vec<String> = diary.take().iter().map(ToString::to_string).collect();
        let at = |what: &str| {
            let found = notes.iter().position(|note| note.contains(what));
            found.unwrap_or_else(|| panic!("seed {seed}: no `{what}`:\n{}", notes.join("\n")))
        };
        let order = ["+= 1, was 0", "at 1", "= 7, was 0", "at 7"].map(at);
        assert!(order.is_sorted(), "seed {seed}: {order:?}");
        for opened in [order[1], order[3]] {
            assert!(notes[opened].contains("opens "), "{}", notes[opened]);
        }
    }
}

#[test]
fn a_story_tells_the_fate_of_packets() {
    let (notes, _) = story(5);
    for part in [
        "FetchAdd to 0x",
        "AtomicAcknowledge to 0x",
        ": lost",
        " arrives",
    ] {
        assert!(notes.iter().any(|note| note.contains(part)), "no `{part}`");
    }
}
