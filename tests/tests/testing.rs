//! `doca_dpa::testing`: mishaps at every place where they can happen, the story of a run, and what a failing test prints.

#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;
#[path = "testing/stories.rs"]
mod stories;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use doca_dpa::error::LaunchError;
use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use doca_dpa::testing::{Chance, MishapCounters, Mishaps, NetworkSpec, When};
use doca_dpa::{Dpa, Error, Location, Sim, SyncEvent, dpa_test};
use seeds::seeds;
use tests::{CountArgs, PanicsArgs, RelayArgs, count, nothing, panics, relay};

const HOST_TO_DEVICE: (Location, Location) = (Location::Host, Location::Device);
const DEVICE_TO_HOST: (Location, Location) = (Location::Device, Location::Host);

fn event(dpa: &Dpa, (publisher, subscriber): (Location, Location)) -> Result<SyncEvent, Error> {
    let event = SyncEvent::builder(dpa);
    event.publisher(publisher).subscriber(subscriber).create()
}

/// Two kernels pass a number on.
async fn passed_on(dpa: Dpa) -> Result<u64, Error> {
    let both = (Location::Device, Location::Device);
    let first = event(&dpa, HOST_TO_DEVICE)?;
    let (between, last) = (event(&dpa, both)?, event(&dpa, DEVICE_TO_HOST)?);
    for (from, to) in [(&first, &between), (&between, &last)] {
        let launch = dpa.launch(relay).args(RelayArgs { from, value: 1, to });
        drop(launch.submit()?);
    }
    first.add(1)?;
    Ok(last.ge(1).await?)
}

fn counters(dpa: &Dpa) -> MishapCounters {
    dpa.fate().expect("a simulation").counters()
}

/// Runs a program with a mishap at its first chance, at its second, and so on, until it had no further chance; how often it
/// has struck.
fn everywhere<T>(
    mishap: impl Fn(When) -> Mishaps,
    struck: impl Fn(&MishapCounters) -> u64,
    program: impl AsyncFn(Dpa) -> T,
    check: impl Fn(T, u64),
) -> u64 {
    for n in 0..1000 {
        let run = Sim::new(n).mishaps(mishap(When::At(n))).run(async |dpa| {
            let value = program(dpa.clone()).await;
            (value, struck(&counters(&dpa)))
        });
        let (value, struck) = run.expect("it ends").value;
        check(value, struck);
        if struck == 0 {
            return n;
        }
    }
    panic!("it never ran through")
}

#[test]
fn rule_5_1_a_kernel_may_panic_at_every_device_call() {
    let mishap = |kernel_panic| Mishaps {
        kernel_panic,
        ..Mishaps::NONE
    };
    let program = async |dpa: Dpa| {
        let ended = passed_on(dpa.clone()).await;
        let after = event(&dpa, DEVICE_TO_HOST);
        let fault = dpa.last_error().map(|fault| fault.to_string());
        (ended, after.is_err(), fault)
    };
    let check = |(ended, refused, fault): (Result<u64, Error>, bool, Option<String>), struck| {
        assert_eq!(struck == 1, fault.is_some(), "{fault:?}");
        assert_eq!(struck == 1, refused);
        match ended {
            Ok(value) => assert!(value == 1 && struck <= 1),
            Err(_) => assert_eq!(struck, 1),
        }
        assert!(fault.is_none_or(|text| text.contains("mishap")));
    };
    let times = everywhere(mishap, |c| c.kernel_panic.struck, program, check);
    assert!(times >= 2, "{times} device calls");
}

#[test]
fn rule_4_1_every_allocation_may_be_refused_and_nothing_is_lost() {
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let mishap = |allocation| Mishaps {
        allocation,
        ..Mishaps::NONE
    };
    let once = async |dpa: &Dpa| -> Result<u64, Error> {
        let total = dpa.zeroed::<u64>(1).await?;
        dpa.launch(count)
            .args(CountArgs { total: &total })
            .threads(4)
            .submit()?
            .await?;
        let rdma = dpa.rdma().address(HERE).open()?;
        let one = rdma.export()?;
        let other = rdma.export()?;
        one.connect(&other.blob())?;
        other.connect(&one.blob())?;
        Ok(total.copy_out().await?[0])
    };
    let program = async |dpa: Dpa| {
        let before = dpa.snapshot().heap.allocations;
        let first = once(&dpa).await;
        let second = once(&dpa).await;
        dpa.wait_idle().await;
        let left = dpa.snapshot().heap.allocations - before;
        (first, second, left)
    };
    let check = |(first, second, left): (Result<u64, Error>, Result<u64, Error>, usize), struck| {
        let refused = [first, second].into_iter().filter(|run| match run {
            Ok(total) => *total != 4,
            Err(error) => error.to_string().contains("out of device memory"),
        });
        assert_eq!(refused.count() as u64, struck);
        assert_eq!(left, 0, "allocations are left");
    };
    let times = everywhere(mishap, |c| c.allocation.struck, program, check);
    assert!(times >= 8, "{times} allocations");
}

#[dpa_test(seeds = 30, mishaps = Mishaps { queue_full: When::By(Chance::percent(40)), ..Mishaps::NONE })]
async fn a_full_queue_delays_who_waits_and_refuses_who_does_not(dpa: Dpa) -> Result<(), Error> {
    let total = dpa.zeroed::<u64>(1).await?;
    let mut accepted = 0;
    for _ in 0..10 {
        drop(
            dpa.launch(count)
                .args(CountArgs { total: &total })
                .submit_async()
                .await?,
        );
        accepted += 1;
        match dpa.launch(count).args(CountArgs { total: &total }).submit() {
            Ok(_) => accepted += 1,
            Err(refused) => assert!(refused.to_string().contains("full"), "{refused}"),
        }
    }
    dpa.wait_idle().await;
    assert_eq!(total.copy_out().await?, [accepted]);
    Ok(())
}

const STUMBLES: Mishaps = Mishaps {
    nic_stall: When::By(Chance::percent(2)),
    clock_jump: When::By(Chance::per_million(2000)),
    longest_jump: Duration::from_millis(3),
    ..Mishaps::NONE
};

fn rough() -> NetworkSpec {
    NetworkSpec {
        loss: Chance::percent(3),
        outage: Chance::percent(1),
        longest_outage: Duration::from_millis(2),
        ..NetworkSpec::default()
    }
}

/// Adds to a number on another node; both have kept count.
async fn adds_up(dpa: Dpa) -> Result<(MishapCounters, u64), Error> {
    let node = |dpa: &Dpa, last: u8| {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        dpa.rdma().address(address).open()
    };
    let beside = dpa.open_beside()?;
    let (a, b) = (node(&dpa, 1)?, node(&beside, 2)?);
    let (from, to) = (a.export()?, b.export()?);
    from.connect(&to.blob())?;
    to.connect(&from.blob())?;
    let map = b.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let number = RemoteMemoryMap::import(&map.map().export())?;
    for n in 0..20 {
        let added = from.fetch_add(&number, 0, 1)?;
        assert_eq!(added.await?.original, n);
    }
    let outages = dpa.network().expect("a simulation").counters().outages;
    Ok((counters(&dpa), outages))
}

#[test]
fn rule_6_4_exactly_once_while_nics_stand_still_time_jumps_and_links_fail_for_a_time() {
    let (mut stalls, mut jumps, mut outages) = (0, 0, 0);
    let seeds = seeds(30);
    let enough = seeds.clone().count() >= 30;
    for seed in seeds {
        let sim = Sim::new(seed).mishaps(STUMBLES).network(rough());
        let run = sim.run(adds_up).expect("it ends");
        let (seen, cut) = run.value.expect("every operation completes");
        stalls += seen.nic_stall.struck;
        jumps += seen.clock_jump.struck;
        outages += cut;
    }
    assert!(
        !enough || (stalls > 0 && jumps > 0 && outages > 0),
        "{stalls} {jumps} {outages}"
    );
}

/// Not only those of `#[dpa_test]`: a test that ran others than it was told would pass for the wrong reason.
#[test]
fn loops_over_seeds_take_those_that_the_environment_gives() {
    let child = |seed: &str| {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["rule_6_4_exactly_once_while", "--nocapture"]);
        child.env_remove("DPA_SEEDS").env("DPA_SEED", seed);
        let output = child.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    for (seed, passes) in [("17", true), ("", true), ("seventeen", false)] {
        let (passed, said) = child(seed);
        assert_eq!(passed, passes, "{seed}: {said}");
        assert_eq!(said.contains("DPA_SEED is"), !passes, "{seed}: {said}");
    }
}

#[test]
fn child_that_fails_in_a_loop() {
    let asked = std::env::var_os("DPA_TEST_FAILS").is_some();
    for seed in seeds(5) {
        assert!(!asked || seed < 3);
    }
}

#[test]
fn a_loop_over_seeds_names_the_one_that_fails() {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["child_that_fails_in_a_loop", "--nocapture"]);
    child.env("DPA_TEST_FAILS", "1");
    let child = child.env_remove("DPA_SEEDS").env_remove("DPA_SEED");
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    let replay = "replay: DPA_SEED=3 cargo test -p tests child_that_fails_in_a_loop -- --exact";
    assert!(said.contains(replay), "{said}");
}

/// Fails at seeds where another way is taken, if it is asked to.
#[dpa_test(seeds = 40)]
async fn child_that_fails_at_some_seed(dpa: Dpa) -> Result<(), Error> {
    let value = passed_on(dpa.clone()).await?;
    let asked = std::env::var_os("DPA_TEST_FAILS").is_some();
    assert!(
        !asked || !dpa.now().as_nanos().is_multiple_of(3),
        "the value is {value}"
    );
    Ok(())
}

fn child(name: &str, seed: Option<&str>) -> (bool, String) {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args([name, "--exact", "--nocapture"]);
    child.env("DPA_TEST_FAILS", "1").env_remove("DPA_SEEDS");
    child
        .env_remove("DPA_SEED")
        .envs(seed.map(|seed| ("DPA_SEED", seed)));
    let output = child.output().expect("it starts");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_failure_prints_its_story_and_the_command_that_replays_it() {
    let name = "child_that_fails_at_some_seed";
    let (passed, printed) = child(name, None);
    assert!(!passed);
    let replay = printed
        .lines()
        .find_map(|line| line.strip_prefix("replay: DPA_SEED="));
    let (seed, command) = replay
        .and_then(|rest| rest.split_once(' '))
        .expect("a command");
    assert_eq!(
        command,
        "cargo test -p tests child_that_fails_at_some_seed -- --exact --include-ignored"
    );
    for part in [
        "fails at seed",
        "the value is 1",
        "submits",
        "+= 1, was 0, is 1",
    ] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    // It is said before the run is made again, which may not end.
    let (before, _) = printed.split_once("fails at seed").expect("said above");
    assert_eq!(before.matches("panicked at").count(), 1, "{printed}");
    let (passed, again) = child(name, Some(seed));
    assert!(!passed && again.contains(&format!("fails at seed {seed}: ")));
}

/// Its kernel panics, if it is asked to.
#[dpa_test(seeds = 1)]
async fn child_whose_kernel_panics(dpa: Dpa) -> Result<(), Error> {
    if std::env::var_os("DPA_TEST_FAILS").is_some() {
        let args = PanicsArgs { number: 13u64 };
        dpa.launch(panics).args(args).submit()?.await?;
    }
    Ok(())
}

#[test]
fn that_each_run_writes_a_crash_report_of_its_own_is_no_difference() {
    let dir = std::env::temp_dir().join(format!("dpa-testing-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a directory");
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["child_whose_kernel_panics", "--exact", "--nocapture"]);
    child
        .env("DPA_TEST_FAILS", "1")
        .env("DPA_CRASH_PATH", &dir)
        .env_remove("DPA_SEEDS")
        .env_remove("DPA_SEED");
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports = std::fs::read_dir(&dir).expect("the directory").count();
    std::fs::remove_dir_all(&dir).expect("it goes");
    assert!(!output.status.success() && reports > 2, "{reports}: {said}");
    assert!(said.contains("(crash report: "), "{said}");
    assert!(!said.contains("it ended otherwise"), "{said}");
}

/// What cannot strike, if it is asked to.
fn unmet(when: When) -> Mishaps {
    let asked = std::env::var_os("DPA_TEST_FAILS").is_some();
    Mishaps {
        allocation: if asked { when } else { When::Never },
        ..Mishaps::NONE
    }
}

#[dpa_test(seeds = 3, mishaps = unmet(When::At(10_000)))]
async fn child_whose_mishap_never_strikes(dpa: Dpa) -> Result<(), Error> {
    let _one = dpa.zeroed::<u64>(8).await?;
    Ok(())
}

#[dpa_test(seeds = 3, mishaps = unmet(When::By(Chance::NEVER)))]
async fn child_whose_mishap_may_strike(dpa: Dpa) -> Result<(), Error> {
    let _one = dpa.zeroed::<u64>(8).await?;
    Ok(())
}

#[test]
fn a_mishap_that_never_strikes_is_told_and_fails_if_it_was_to_strike_once() {
    let once =
        "`allocation: At(10000)` has struck at none of 3 seeds: none had more than 1 chances";
    let (passed, printed) = child("child_whose_mishap_never_strikes", None);
    assert!(!passed && printed.contains(once), "{printed}");
    // One seed says nothing about the others.
    let (passed, printed) = child("child_whose_mishap_never_strikes", Some("1"));
    assert!(passed && !printed.contains("mishap"), "{printed}");
    let (passed, printed) = child("child_whose_mishap_may_strike", None);
    let told = printed.contains("has struck at none of 3 seeds");
    assert!(passed && told, "{printed}");
}

#[test]
fn a_mishap_that_is_asked_for_later_counts_its_chances_from_then() {
    let run = Sim::new(0).run(async |dpa: Dpa| {
        let _before = dpa.zeroed::<u64>(1).await?;
        let fate = dpa.fate().expect("a simulation");
        fate.set(Mishaps {
            allocation: When::At(0),
            ..Mishaps::NONE
        });
        let refused = dpa.zeroed::<u64>(1).await;
        assert!(refused.is_err(), "it was to strike at the first");
        let _after = dpa.zeroed::<u64>(1).await?;
        Ok::<_, Error>(())
    });
    let run = run.expect("it ends");
    run.value.expect("only one is refused");
    assert_eq!(
        (
            run.mishaps.allocation.chances,
            run.mishaps.allocation.struck
        ),
        (3, 1)
    );
}

/// What a program awaits before it takes a launch back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Awaits {
    Nothing,
    CopyOut,
    Write,
    Fill,
    Memory,
    WhatHolds,
    NoTime,
}

async fn takes_back_behind(dpa: &Dpa, awaits: Awaits) -> Result<bool, Error> {
    let word = dpa.zeroed::<u64>(1).await?;
    let event = event(dpa, (Location::Host, Location::Host))?;
    let launch = dpa.launch(nothing).submit()?;
    match awaits {
        Awaits::Nothing => {}
        Awaits::CopyOut => assert_eq!(word.copy_out().await?, [0]),
        Awaits::Write => word.write(0, &[1]).await?,
        Awaits::Fill => word.fill(2).await?,
        Awaits::Memory => drop(dpa.copy_in(&[1u64]).await?),
        Awaits::WhatHolds => assert_eq!(event.ge(0).await?, 0),
        Awaits::NoTime => dpa.sleep(Duration::ZERO).await,
    }
    Ok(launch.cancel())
}

#[test]
fn rule_2_6_others_may_go_on_wherever_a_program_awaits_and_nowhere_else() {
    for awaits in [
        Awaits::Nothing,
        Awaits::CopyOut,
        Awaits::Write,
        Awaits::Fill,
        Awaits::Memory,
        Awaits::WhatHolds,
        Awaits::NoTime,
    ] {
        let taken_back = |seed| {
            let run = Sim::new(seed).run(async |dpa: Dpa| takes_back_behind(&dpa, awaits).await);
            run.expect("it ends").value.expect("no errors")
        };
        let taken: Vec<_> = (0..60).map(taken_back).collect();
        assert!(taken.contains(&true), "{awaits:?}");
        let is_turn = awaits != Awaits::Nothing;
        assert_eq!(taken.contains(&false), is_turn, "{awaits:?}");
    }
}

#[test]
fn a_kernel_that_fails_a_launch_names_the_mishap() {
    let mishaps = Mishaps {
        kernel_panic: When::At(0),
        ..Mishaps::NONE
    };
    let run = Sim::new(0).mishaps(mishaps).run(async |dpa: Dpa| {
        let (go, done) = (event(&dpa, HOST_TO_DEVICE)?, event(&dpa, DEVICE_TO_HOST)?);
        go.add(1)?;
        let ended = dpa
            .launch(relay)
            .args(RelayArgs {
                from: &go,
                value: 2,
                to: &done,
            })
            .submit()?
            .await;
        Ok::<_, Error>(ended)
    });
    let ended = run.expect("it ends").value.expect("it is submitted");
    assert!(matches!(ended, Err(LaunchError::Faulted(_))), "{ended:?}");
}
