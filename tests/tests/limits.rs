//! Limits of a context: what is one too many is refused with an error that says how many there may be, takes nothing from
//! another context, and comes back when something is let go.

mod places;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use doca_dpa::error::{LaunchRefused, SubmitError};
use doca_dpa::rdma::{HostBuffer, Rdma, Rights};
use doca_dpa::{Dpa, Error, FunctionKind, FunctionSpec, Launch, Location, Sim, SyncEvent};
use flexio::Device;
use flexio::device_file::parse;
use places::everywhere;
use seeds::seeds;
use tests::{WaitsFromArgs, nothing, waits_from};

type Outcome = Result<(), Error>;

fn rdma(dpa: &Dpa, last: u8, connections: u32) -> Result<Rdma, Error> {
    let address = Ipv4Addr::new(127, 31, 7, last).into();
    let rdma = dpa.rdma().address(address).connections(connections);
    Ok(rdma.open()?)
}

fn said<T: std::fmt::Debug, E: std::fmt::Display>(refused: Result<T, E>) -> String {
    refused.expect_err("one too many").to_string()
}

/// The completion queue, the receives, and each connection are one queue each.
async fn queues(dpa: Dpa) -> Outcome {
    let context = rdma(&dpa, 1, 8)?;
    let held = [context.export()?, context.export()?];
    let full = "the context has 4 queues, as many as it may have";
    assert_eq!(said(context.export()), full);
    let another = rdma(&dpa, 1, 1);
    assert!(said(another).ends_with(full));
    assert!(said(dpa.async_ops().open()).ends_with(full));
    // Another context has its own.
    let beside = dpa.open_beside()?;
    let theirs = rdma(&beside, 1, 2)?;
    let _theirs = [theirs.export()?, theirs.export()?];
    drop(held);
    let _again = [context.export()?, context.export()?];
    assert_eq!(said(context.export()), full);
    Ok(())
}

async fn events(dpa: Dpa) -> Outcome {
    let made = || SyncEvent::device_to_host(&dpa);
    let mut all: Vec<SyncEvent> = (0..5).map(|_| made()).collect::<Result<_, _>>()?;
    let full = "has 5 sync events, as many as it may have";
    let refused = said(made());
    assert!(refused.contains(full), "{refused}");
    let continuable = dpa.thread(nothing, ()).continuable().start();
    let refused = said(continuable);
    assert!(refused.contains("as many as it may have"), "{refused}");
    let beside = SyncEvent::device_to_host(&dpa.open_beside()?)?;
    beside.close();
    drop(all.pop());
    all.push(made()?);
    assert!(said(made()).contains(full));
    Ok(())
}

async fn regions(dpa: Dpa) -> Outcome {
    let context = rdma(&dpa, 2, 1)?;
    let buffer = dpa.zeroed::<u64>(4).await?;
    let first = context.map(&buffer, Rights::REMOTE_READ)?;
    let _second = context.map_host(HostBuffer::new(64), Rights::empty())?;
    let full = "the context has 3 registered regions, as many as it may have";
    let event = SyncEvent::builder(&dpa)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()?;
    let connection = context.export()?;
    let export = connection.export_event(&event)?;
    assert_eq!(said(context.map(&buffer, Rights::empty())), full);
    let host = context.map_host(HostBuffer::from_bytes(b"kept"), Rights::empty());
    let host = host.expect_err("too many");
    assert_eq!(host.to_string(), full);
    assert_eq!(host.into_buffer().to_vec(), b"kept");
    assert_eq!(said(connection.export_event(&event)), full);
    drop(first);
    let third = context.map(&buffer, Rights::empty())?;
    drop((third, export));
    let _both = [
        context.map(&buffer, Rights::empty())?,
        context.map(&buffer, Rights::empty())?,
    ];
    assert_eq!(said(context.map(&buffer, Rights::empty())), full);
    Ok(())
}

/// Each function has as many, and a context that is closed leaves its place.
#[tokio::test]
async fn contexts_of_a_function_are_limited() -> Outcome {
    let function = |name: &str, units: &str| {
        FunctionSpec::with_units(name, FunctionKind::Virtual, units.parse().expect("units"))
    };
    let functions = [function("vf0", "0-3"), function("vf1", "4-7")];
    let dpa = Dpa::builder().functions(functions).max_contexts(2).open()?;
    let beside = dpa.open_beside()?;
    let full = "the device could not be opened: function `vf0` has 2 contexts open, as many as it may have";
    assert_eq!(said(dpa.open_beside()), full);
    let other = dpa.open_on("vf1")?;
    assert_eq!(other.function(), "vf1");
    beside.close().await?;
    let _again = dpa.open_beside()?;
    assert_eq!(said(dpa.open_on("vf0")), full);
    Ok(())
}

/// A thread that waits for the event.
fn waiting(dpa: &Dpa, event: &SyncEvent) -> Result<Launch, Error> {
    let args = WaitsFromArgs { event, first: 0 };
    Ok(dpa.launch(waits_from).args(args).submit()?)
}

/// What is ready beyond its limit waits for its own threads, and keeps nothing from others.
async fn units(dpa: Dpa) -> Outcome {
    assert_eq!((dpa.eus_available(), dpa.max_threads_per_kernel()), (2, 2));
    let three = dpa.launch(nothing).threads(3).submit();
    let three = three.expect_err("one too many");
    assert!(
        matches!(
            three.kind(),
            LaunchRefused::Refused(SubmitError::Threads { asked: 3, max: 2 })
        ),
        "{three}"
    );
    let beside = dpa.open_beside()?;
    let (go, theirs) = (everywhere(&dpa)?, everywhere(&beside)?);
    let first = [waiting(&dpa, &go)?, waiting(&dpa, &go)?];
    while dpa.snapshot().waiting.len() < 2 {
        dpa.sleep(Duration::from_micros(1)).await;
    }
    let third = waiting(&dpa, &go)?;
    let other = [waiting(&beside, &theirs)?, waiting(&beside, &theirs)?];
    while beside.snapshot().waiting.len() < 2 {
        dpa.sleep(Duration::from_micros(1)).await;
    }
    assert_eq!(dpa.snapshot().waiting.len(), 2);
    go.add(1)?;
    for launch in first.into_iter().chain([third]) {
        launch.await?;
    }
    theirs.add(1)?;
    for launch in other {
        launch.await?;
    }
    // All that it has wait for what a launch behind its head does.
    let one = everywhere(&dpa)?;
    let stands = waiting(&dpa, &one)?;
    while dpa.snapshot().waiting.is_empty() {
        dpa.sleep(Duration::from_micros(1)).await;
    }
    let head = dpa.launch(nothing).threads(2).submit()?;
    dpa.launch(nothing).then_add(&one, 1).submit()?.await?;
    stands.await?;
    head.await?;
    Ok(())
}

#[tokio::test]
async fn rule_2_3_units_of_a_context_are_limited() -> Outcome {
    units(Dpa::builder().workers(2).max_units(2).open()?).await
}

#[test]
fn a_device_file_limits_the_units_of_its_contexts() {
    let file = parse(Path::new("device.toml"), "max_units = 2").expect("a device file");
    let device = Device::open(file).expect("a device");
    let process = device.process().expect("a process");
    assert_eq!(process.units(), 2);
}

#[tokio::test]
async fn queues_of_a_context_are_limited() -> Outcome {
    queues(Dpa::builder().max_queues(4).open()?).await
}

#[tokio::test]
async fn regions_of_a_context_are_limited() -> Outcome {
    regions(Dpa::builder().max_regions(3).open()?).await
}

#[tokio::test]
async fn events_of_a_context_are_limited() -> Outcome {
    events(Dpa::builder().max_events(5).open()?).await
}

#[test]
fn the_same_under_the_seeded_driver() {
    let few = Dpa::builder().max_queues(4).max_regions(3).max_units(2);
    for seed in seeds(10) {
        let run = Sim::new(seed).on(Dpa::builder().max_events(5)).run(events);
        run.expect("ends").value.expect("no errors");
        let run = Sim::new(seed).on(few.clone()).run(units);
        run.expect("ends").value.expect("no errors");
        let run = Sim::new(seed).on(few.clone()).run(queues);
        run.expect("ends").value.expect("no errors");
        let run = Sim::new(seed).on(few.clone()).run(regions);
        run.expect("ends").value.expect("no errors");
    }
}

#[tokio::test]
async fn a_figure_out_of_its_range_is_refused() {
    let refused = Dpa::builder().max_units(255).open();
    let text = said(refused);
    assert!(text.contains("max_units") && text.contains("254"), "{text}");
    let refused = Dpa::builder().max_queues(0).open();
    let text = said(refused);
    assert!(text.contains("max_queues") && text.contains('1'), "{text}");
}
