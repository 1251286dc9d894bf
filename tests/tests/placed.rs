//! Events that stand in memory: their value shows there, and whoever writes there updates them.

mod drivers;

use doca_dpa::rdma::HostBuffer;
use doca_dpa::{Dpa, Error, EventBuilder, Location, Sim, SyncEvent};
use drivers::both;
use drivers::on::seeds;
use tests::*;

fn everywhere(dpa: &Dpa) -> EventBuilder<'_> {
    SyncEvent::builder(dpa)
        .publisher(Location::Host | Location::Device | Location::Remote)
        .subscriber(Location::Host | Location::Device)
}

fn word(buffer: &HostBuffer, offset: usize) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    buffer.read(offset, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

async fn value_shows(dpa: Dpa) -> Result<(), Error> {
    let buffer = HostBuffer::new(64);
    let event = everywhere(&dpa).initial(3).in_host_memory(&buffer, 16);
    let event = event.create()?;
    assert_eq!(word(&buffer, 16)?, 3);
    event.add(4)?;
    assert_eq!(word(&buffer, 16)?, 7);
    let args = RelayArgs {
        from: &event,
        value: 7,
        to: &event,
    };
    let relayed = dpa.launch(relay).args(args).then_add(&event, 100);
    relayed.submit()?.await?;
    assert_eq!((event.get(), word(&buffer, 16)?), (108, 108));
    // Nobody else's bytes are touched, and a closed event lets go of its own.
    event.close();
    buffer.write(16, &5u64.to_ne_bytes())?;
    assert_eq!((event.get(), word(&buffer, 16)?), (108, 5));
    assert_eq!(word(&buffer, 8)? + word(&buffer, 24)?, 0);
    everywhere(&dpa).in_host_memory(&buffer, 16).create()?;
    Ok(())
}

#[tokio::test]
async fn the_value_shows_in_host_memory() -> Result<(), Error> {
    value_shows(Dpa::open()?).await
}

#[test]
fn the_value_shows_in_host_memory_at_any_seed() {
    for seed in seeds(40) {
        let run = Sim::new(seed).run(value_shows);
        run.expect("ends").value.expect("no errors");
    }
}

#[test]
fn copies_of_the_host_update_it() {
    both(async |dpa| {
        let buffer = HostBuffer::new(64);
        let event = everywhere(&dpa).in_host_memory(&buffer, 8).create()?;
        let total = dpa.zeroed::<u64>(1).await?;
        let args = CountArgs { total: &total };
        let counted = dpa
            .launch(count)
            .args(args)
            .wait_for(event.ge(9))
            .submit()?;
        buffer.write(8, &8u64.to_ne_bytes())?;
        assert_eq!(event.get(), 8);
        // A larger copy with the word in its middle, and one that changes a part of it.
        buffer.write(0, &[9; 24])?;
        counted.await?;
        assert_eq!(event.get(), 0x0909_0909_0909_0909);
        buffer.write(8, &[0; 7])?;
        assert_eq!(event.get().to_ne_bytes(), [0, 0, 0, 0, 0, 0, 0, 9]);
        Ok(())
    });
}

#[test]
fn an_event_in_device_memory_is_read_by_kernels_and_copied_by_the_host() {
    both(async |dpa| {
        let words = dpa.zeroed::<u64>(4).await?;
        let place = words.slice(2..3)?;
        let event = everywhere(&dpa).in_device_memory(&place).create()?;
        drop(place);
        event.set(77)?;
        assert_eq!(words.copy_out().await?, [0, 0, 77, 0]);
        let all = dpa.copy_in(&[1u64, 2, 3, 4]).await?;
        words.write(0, &all.copy_out().await?).await?;
        assert_eq!(event.get(), 3);
        // It keeps its memory.
        drop(words);
        event.set(78)?;
        Ok(())
    });
}

#[test]
fn rule_1_8_who_may_not_publish_changes_nothing() {
    both(async |dpa| {
        let buffer = HostBuffer::new(8);
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Device)
            .subscriber(Location::Host)
            .initial(6)
            .in_host_memory(&buffer, 0)
            .create()?;
        buffer.write(0, &[1; 8])?;
        assert_eq!((event.get(), word(&buffer, 0)?), (6, 6));
        Ok(())
    });
}

#[tokio::test]
async fn a_place_that_is_none_is_a_clear_error() -> Result<(), Error> {
    let (dpa, other) = (Dpa::open()?, Dpa::open()?);
    let buffer = HostBuffer::new(64);
    let kept = everywhere(&dpa).in_host_memory(&buffer, 8).create()?;
    let refused = |offset| {
        let event = everywhere(&other).in_host_memory(&buffer, offset).create();
        event.expect_err("no place").to_string()
    };
    let not_there = "an event stands in 8 bytes aligned to 8, which are not at";
    assert_eq!(refused(4), format!("{not_there} 0x4"));
    assert_eq!(refused(64), format!("{not_there} 0x40"));
    assert_eq!(
        refused(usize::MAX - 7),
        format!("{not_there} {:#x}", usize::MAX - 7)
    );
    assert_eq!(refused(8), "another event stands at 0x8");
    let word = dpa.zeroed::<u64>(1).await?;
    let foreign = everywhere(&other)
        .in_device_memory(&word.slice(..)?)
        .create();
    let foreign = foreign.expect_err("another context's").to_string();
    assert_eq!(
        foreign,
        "the event was to stand in a buffer of another context"
    );
    drop(kept);
    assert!(
        everywhere(&other)
            .in_host_memory(&buffer, 8)
            .create()
            .is_ok()
    );
    Ok(())
}
