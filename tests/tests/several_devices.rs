//! Programs with several devices: each has units, figures and NICs of its own; in a simulation they share the time, the network and
//! the seed.

mod addresses;
mod drivers;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use doca_dpa::rdma::{HostBuffer, Rdma, RemoteMemoryMap, RemoteSyncEvent, RetryLimit, Rights};
use doca_dpa::testing::{Actor, Chance, Diary, Mishaps, NetworkSpec, When};
use doca_dpa::{Builder, Dpa, Error, FaultKind, Location, Sim, SyncEvent};
use drivers::on::seeds;
use drivers::{Outcome, both};
use tests::rdma::{WriteAndSignalArgs, write_and_signal};
use tests::{RelayArgs, nothing, relay};

const HOST_TO_DEVICE: (Location, Location) = (Location::Host, Location::Device);
const DEVICE_TO_DEVICE: (Location, Location) = (Location::Device, Location::Device);

fn event(dpa: &Dpa, (publisher, subscriber): (Location, Location)) -> Result<SyncEvent, Error> {
    let event = SyncEvent::builder(dpa).publisher(publisher);
    event.subscriber(subscriber).create()
}

fn small() -> Builder {
    Dpa::builder().workers(1).heap_bytes(1 << 20)
}

fn nic(dpa: &Dpa, address: IpAddr) -> Result<Rdma, Error> {
    let rdma = dpa.rdma().address(address);
    let rdma = rdma.timeout(Duration::from_millis(1));
    Ok(rdma.retries(RetryLimit::Times(60)).open()?)
}

/// A kernel of the first device writes into memory of the second and signals it, whose host adds to memory of the first.
async fn ping_pong(dpa: &Dpa, addresses: [IpAddr; 2]) -> Result<(), Error> {
    const BYTES: usize = 5000;
    let other = dpa.open_device(small())?;
    let (a, b) = (nic(dpa, addresses[0])?, nic(&other, addresses[1])?);
    let (ab, ba) = (a.export()?, b.export()?);
    ab.connect(&ba.blob())?;
    ba.connect(&ab.blob())?;
    let source = dpa.zeroed::<u8>(BYTES).await?;
    let from = a.map(&source, Rights::empty())?;
    let target = other.zeroed::<u8>(BYTES).await?;
    let to = b.map(&target, Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&to.export())?;
    let arrived = event(&other, (Location::Remote, Location::Host))?;
    let export = ba.export_event(&arrived)?;
    let signal = RemoteSyncEvent::import(&export.export())?;
    let words = a.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let counted = RemoteMemoryMap::import(&words.map().export())?;
    for round in 1..=4 {
        let bytes: Vec<u8> = (0..BYTES).map(|i| (i as u64 * 3 + round) as u8).collect();
        source.write(0, &bytes).await?;
        let args = WriteAndSignalArgs {
            rdma: &a,
            from: &from,
            to,
            event: signal,
            value: round,
        };
        dpa.launch(write_and_signal).args(args).submit()?.await?;
        arrived.ge(round).await?;
        assert_eq!(target.copy_out().await?, bytes);
        let added = ba.fetch_add(&counted, 0, round)?;
        assert_eq!(added.await?.original, round * (round - 1) / 2);
    }
    assert_eq!(words.buffer().to_vec(), 10u64.to_ne_bytes());
    Ok(())
}

#[test]
fn kernels_of_two_devices_play_ping_pong_under_both_drivers() {
    let addresses = [31, 32].map(|last| addresses::of_this_program(last).into());
    both(async |dpa| Ok(ping_pong(&dpa, addresses).await?));
}

#[test]
fn the_same_seed_gives_the_same_run_of_two_devices_over_a_bad_network() {
    let network = NetworkSpec {
        loss: Chance::percent(5),
        duplicate: Chance::percent(5),
        reorder: Chance::percent(10),
        ..NetworkSpec::default()
    };
    let run = |seed| {
        let sim = Sim::new(seed).network(network);
        let addresses = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let run = sim.run(async |dpa| ping_pong(&dpa, addresses).await);
        run.expect("ends").transpose().expect("no errors").digest
    };
    for seed in seeds(20) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn devices_of_a_simulation_share_the_time_and_what_goes_wrong() {
    let mishaps = Mishaps {
        allocation: When::At(1),
        ..Mishaps::NONE
    };
    let sim = Sim::new(1).mishaps(mishaps);
    let run = sim.run(async |dpa: Dpa| {
        dpa.sleep(Duration::from_secs(3)).await;
        let other = dpa.open_device(small())?;
        assert_eq!(other.now(), dpa.now());
        other.sleep(Duration::from_secs(5)).await;
        assert!(dpa.now() >= Duration::from_secs(8) && other.now() == dpa.now());
        let _first = dpa.zeroed::<u64>(1).await?;
        assert!(other.zeroed::<u64>(1).await.is_err(), "the second anywhere");
        let seen = other.fate().expect("a simulation").counters();
        assert_eq!(seen.allocation.struck, 1);
        Ok::<_, Error>(())
    });
    run.expect("ends").value.expect("no errors");
}

#[test]
fn an_address_is_one_of_the_whole_simulation() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let other = dpa.open_device(small())?;
        let address = IpAddr::from([10, 0, 0, 1]);
        let first = nic(&dpa, address)?;
        let refused = nic(&other, address).expect_err("it is taken").to_string();
        assert!(
            refused.contains("port 4791 of 10.0.0.1 is taken"),
            "{refused}"
        );
        let beside = nic(&dpa.open_beside()?, address)?;
        drop(first);
        assert!(nic(&other, address).is_err(), "a share is left");
        drop(beside);
        drop(nic(&other, address)?);
        nic(&dpa, address)?;
        Ok::<_, Error>(())
    });
    run.expect("ends").value.expect("no errors");
}

/// A ball that goes to and fro between kernels of a device.
async fn relays(dpa: &Dpa) -> Result<(), Error> {
    let (ping, pong) = (event(dpa, DEVICE_TO_DEVICE)?, event(dpa, DEVICE_TO_DEVICE)?);
    let hit = |from, value, to| {
        let args = RelayArgs { from, value, to };
        dpa.launch(relay).args(args).submit()
    };
    let mut all = vec![dpa.launch(nothing).then_add(&ping, 1).submit()?];
    for value in 1..=20 {
        all.push(hit(&ping, value, &pong)?);
        all.push(hit(&pong, value, &ping)?);
    }
    for launch in all {
        launch.await?;
    }
    Ok(())
}

/// All units of one device are held and another launch waits for them; the other device goes on.
async fn one_is_full(dpa: Dpa) -> Result<(), Error> {
    let other = dpa.open_device(small().partition_eus(4))?;
    assert_eq!([&dpa, &other].map(Dpa::max_threads_per_kernel), [2, 4]);
    let (held, never) = (event(&dpa, HOST_TO_DEVICE)?, event(&dpa, DEVICE_TO_DEVICE)?);
    let args = RelayArgs {
        from: &held,
        value: 1,
        to: &never,
    };
    let holder = dpa.launch(relay).args(args).threads(2).submit()?;
    let waiting = dpa.launch(nothing).threads(2).submit()?;
    relays(&other).await?;
    held.add(1)?;
    holder.await?;
    waiting.await?;
    Ok(())
}

#[test]
fn a_device_that_is_full_does_not_hold_up_another() {
    for seed in seeds(50) {
        let sim = Sim::new(seed).on(small().partition_eus(2));
        let run = sim.run(one_is_full);
        let ended = run.unwrap_or_else(|error| panic!("{error}"));
        ended
            .value
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// A kernel that waits for what only it could bring about: its launch. `go_on` is called until it has been reported.
async fn deadlocked(dpa: &Dpa, go_on: impl AsyncFn() -> Result<(), Error>) -> Result<(), Error> {
    let (a, b) = (event(dpa, DEVICE_TO_DEVICE)?, event(dpa, DEVICE_TO_DEVICE)?);
    let args = RelayArgs {
        from: &a,
        value: 1,
        to: &b,
    };
    let stuck = dpa.launch(relay).args(args).submit()?;
    while dpa.last_error().is_none() {
        go_on().await?;
    }
    assert!(stuck.await.is_err());
    Ok(())
}

/// Each device has its own patience, and a deadlock on one is none of the other's.
#[test]
fn rule_2_10_a_deadlock_of_one_device_is_reported_there() {
    let grace = Duration::from_millis(20);
    for seed in seeds(20) {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let other = dpa.open_device(small().deadlock_grace(grace))?;
            let works = async || {
                dpa.launch(nothing).submit()?.await?;
                dpa.sleep(Duration::from_millis(1)).await;
                Ok(())
            };
            deadlocked(&other, works).await?;
            let fault = other.last_error().expect("a fault");
            assert_eq!(fault.kind, FaultKind::Deadlock);
            let said = fault.to_string();
            assert!(
                said.contains("relay (launch 0, rank 0, device 1)"),
                "{said}"
            );
            assert!(dpa.now() < grace * 2 && dpa.last_error().is_none());
            dpa.launch(nothing).submit()?.await?;
            Ok::<_, Error>(())
        });
        let ended = run.unwrap_or_else(|error| panic!("{error}"));
        ended
            .value
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// A device whose host is patient keeps no deadlock of another from being reported, whatever runs there.
#[test]
fn rule_2_10_a_patient_device_does_not_delay_the_deadlocks_of_another() {
    let (patience, grace) = (Duration::from_secs(3600), Duration::from_millis(2));
    let sim = Sim::new(3)
        .on(small().deadlock_grace(patience))
        .steps(200_000);
    let run = sim.run(async |dpa: Dpa| {
        dpa.launch(nothing).submit()?.await?;
        let other = dpa.open_device(small().deadlock_grace(grace))?;
        // It is never idle, so time never jumps.
        let works = async || {
            dpa.launch(nothing).submit()?.await?;
            Ok(())
        };
        deadlocked(&other, works).await?;
        assert!(dpa.now() < grace * 3, "{:?}", dpa.now());
        Ok::<_, Error>(())
    });
    run.expect("ends").value.expect("no errors");
}

#[test]
fn a_story_says_on_which_device_something_was_done() {
    let devices = |count: usize| {
        let diary = Arc::new(Diary::default());
        let run = Sim::new(1).diary(&diary).run(async |dpa: Dpa| {
            let others = (1..count).map(|_| dpa.open_device(small()));
            let others: Vec<_> = others.collect::<Result<_, _>>()?;
            for dpa in [dpa].iter().chain(&others) {
                let done = event(dpa, (Location::Device, Location::Host))?;
                dpa.launch(nothing).then_add(&done, 1).submit()?.await?;
            }
            Ok::<_, Error>(())
        });
        run.expect("ends").value.expect("no errors");
        diary.take()
    };
    assert!(devices(1).iter().all(|note| note.device.is_none()));
    let notes = devices(3);
    for device in 0..3 {
        let of = |who: fn(&Actor) -> bool, what: &str| {
            let found = |note: &&doca_dpa::testing::Note| {
                note.device == Some(device) && who(&note.who) && note.what.contains(what)
            };
            let line = notes.iter().find(found).expect(what).to_string();
            assert!(line.contains(&format!("@{device}")), "{line}");
        };
        of(|who| *who == Actor::Host, "submits");
        of(|who| matches!(who, Actor::Thread { .. }), "+= 1, was 0");
    }
}

/// What the program leaves behind on any device is stopped with the simulation.
#[test]
fn a_program_that_ends_stops_what_runs_on_all_its_devices() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let other = dpa.open_device(small())?;
        let (from, to) = (
            event(&other, HOST_TO_DEVICE)?,
            event(&other, DEVICE_TO_DEVICE)?,
        );
        let args = RelayArgs {
            from: &from,
            value: 1,
            to: &to,
        };
        let waiting = other.launch(relay).args(args).submit()?;
        other.launch(nothing).submit()?.await?;
        Ok::<_, Error>((waiting, from, other))
    });
    let (waiting, from, other) = run.expect("ends").value.expect("no errors");
    assert!(
        futures::executor::block_on(waiting).is_err(),
        "it was stopped"
    );
    assert!(from.add(1).is_err(), "its event is closed");
    let late = other
        .open_device(small())
        .expect_err("it is over")
        .to_string();
    assert!(late.contains("opened beside one of a simulation"), "{late}");
}

#[test]
fn a_device_of_a_simulation_is_opened_by_its_program_only() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let open = || {
            dpa.open_device(small())
                .err()
                .map(|error| error.to_string())
        };
        std::thread::scope(|scope| scope.spawn(open).join().expect("it ends"))
    });
    let refused = run.expect("ends").value.expect("refused");
    assert!(refused.contains("on its thread"), "{refused}");
}

#[test]
fn figures_of_another_device_are_checked_as_those_of_the_first() {
    let program = async |dpa: Dpa| -> Outcome {
        let units = small().partition_eus(0);
        let (beside, alone) = (dpa.open_device(units.clone()), units.open());
        let said = |opened: Result<Dpa, Error>| opened.expect_err("refused").to_string();
        assert_eq!(said(beside), said(alone));
        Ok(())
    };
    both(program);
}

/// What is on its way when the last NIC is closed arrives nowhere, and holds nothing up.
#[test]
fn time_goes_on_behind_the_last_nic() {
    let late = NetworkSpec {
        duplicate: Chance::ALWAYS,
        delay: Chance::ALWAYS,
        ..NetworkSpec::default()
    };
    let mut unreachable = 0;
    for seed in seeds(20) {
        let sim = Sim::new(seed).network(late).steps(100_000);
        let run = sim.run(async |dpa: Dpa| {
            let addresses = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
            ping_pong(&dpa, addresses).await?;
            dpa.sleep(Duration::from_secs(1)).await;
            let counters = dpa.network().expect("a simulation").counters();
            Ok::<_, Error>(counters.unreachable)
        });
        let run = run.unwrap_or_else(|error| panic!("{error}"));
        unreachable += run.value.expect("no errors");
    }
    assert!(unreachable > 0 || seeds(20).count() == 1);
}

#[test]
fn events_of_another_device_are_not_registered() -> Outcome {
    let open = || flexio::Device::open(flexio::DeviceConfig::default());
    let (here, there) = (open()?.process()?, open()?.process()?);
    let address = addresses::of_this_program(33).into();
    let nic = here.nic(address, flexio::rdma::ROCE_PORT)?;
    let locations = flexio::Locations::new(Location::Remote, Location::Host)?;
    let own = here.event(0, locations)?;
    let foreign = there.event(0, locations)?;
    drop(nic.register_event(&own, None)?);
    let refused = nic.register_event(&foreign, None).err();
    let refused = refused.ok_or("it is another device's")?;
    assert!(refused.to_string().contains("another device"), "{refused}");
    Ok(())
}
