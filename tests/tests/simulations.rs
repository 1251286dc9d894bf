//! Simulations: how they end, and what is said of those that do not.

mod ends;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::cell::Cell;
use std::future::poll_fn;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use doca_dpa::testing::{Chance, Diary, Mishaps, When};
use doca_dpa::{Dpa, Error, Sim, SimError, Stuck, SyncEvent, dpa_test};
use futures::channel::oneshot;
use futures::future::select;
use seeds::seeds;
use tests::*;

/// Fails if it is asked to.
#[dpa_test(seeds = 1)]
async fn r#match(_dpa: Dpa) {
    assert!(std::env::var_os("DPA_TEST_FAILS").is_none());
}

#[test]
fn the_replay_of_a_test_with_a_raw_name_is_of_that_test() {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["r#match", "--exact", "--nocapture"]);
    child.env_remove("DPA_SEEDS").env_remove("DPA_SEED");
    child.env("DPA_TEST_FAILS", "1");
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    let replay = "replay: DPA_SEED=0 cargo test -p tests r#match -- --exact --include-ignored";
    assert!(said.contains(replay), "{said}");
}

/// A kernel that polls for what never comes, beside one that waits.
async fn without_end(dpa: &Dpa, blocking: bool) -> Result<(), Error> {
    let flag = dpa.zeroed::<u64>(1).await?;
    let never = SyncEvent::host_to_device(dpa)?;
    let args = WaitsFromArgs {
        event: &never,
        first: 0,
    };
    let waits = dpa.launch(waits_from).args(args).submit()?;
    let polls = dpa.launch(poll).args(PollArgs { flag: &flag }).submit()?;
    match blocking {
        true => polls.wait()?,
        false => polls.await?,
    };
    waits.await?;
    Ok(())
}

#[test]
fn a_run_without_end_is_told_with_its_seed() {
    for blocking in [false, true] {
        let sim = Sim::new(7).steps(2000);
        let run = sim.run(async |dpa| without_end(&dpa, blocking).await);
        let Err(SimError::Endless(endless)) = run else {
            panic!("{run:?}")
        };
        assert_eq!((endless.seed, endless.steps), (7, 2000));
        assert_eq!(endless.waiting.len(), 1, "the other polls: {endless}");
        assert!(endless.time > Duration::ZERO);
        let said = endless.to_string();
        assert!(said.contains("seed 7: the run does not end"), "{said}");
        assert!(said.contains("waits_from"), "{said}");
    }
}

#[test]
fn a_program_that_panics_because_its_wait_ended_is_one_without_end() {
    let run = Sim::new(7).steps(2000).run(async |dpa| {
        let waited = without_end(&dpa, true).await;
        waited.expect("the kernel ends");
    });
    assert!(matches!(run, Err(SimError::Endless(_))), "{run:?}");
}

/// What does not end, and never comes back to its driver.
fn tries_again_without_end(seed: u64) -> Result<(), SimError> {
    let run = Sim::new(seed).steps(2000).run(async |dpa: Dpa| {
        let never = SyncEvent::device_to_host(&dpa)?;
        let most = Duration::from_micros(10);
        while never.ge(1).timeout(most).blocking().is_err() {}
        Ok::<_, Error>(())
    });
    run.map(drop)
}

#[test]
fn a_program_that_tries_again_when_its_wait_ended_is_one_without_end() {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(tries_again_without_end(7)).is_ok());
    let run = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
    assert!(
        matches!(&run, Err(SimError::Endless(endless)) if endless.seed == 7),
        "{run:?}"
    );
}

#[test]
fn steps_are_enough_for_a_run_that_ends() {
    let run = Sim::new(7).steps(2000).run(async |dpa| {
        dpa.launch(nothing).threads(4).submit()?.await?;
        Ok::<_, Error>(())
    });
    run.expect("it ends").value.expect("no errors");
}

/// Lets others go first.
async fn others_first() {
    let mut were = false;
    poll_fn(|cx| match std::mem::replace(&mut were, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Reads memory until a peer has written it.
async fn polls_for_a_write(dpa: Dpa) -> Result<(), Error> {
    let ends = ends::ends(&dpa, 21)?;
    let map = ends
        .there
        .0
        .map_host(HostBuffer::new(8), Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&map.map().export())?;
    let written = HostBuffer::new(8);
    written.write(0, &[7; 8])?;
    let write = ends.here.1.write(written, &to, 0);
    let write = write?;
    let mut seen = [0; 8];
    while seen != [7; 8] {
        others_first().await;
        map.buffer().read(0, &mut seen)?;
    }
    write.await?;
    assert!(ends.other.last_error().is_none());
    Ok(())
}

#[test]
fn packets_arrive_while_the_host_polls() {
    for seed in seeds(20) {
        let run = Sim::new(seed).steps(20_000).run(polls_for_a_write);
        run.expect("it ends").value.expect("no errors");
    }
}

#[test]
fn time_passes_while_the_host_polls() {
    const DELAY: Duration = Duration::from_micros(50);
    for seed in seeds(20) {
        let run = Sim::new(seed).steps(20_000).run(async |dpa| {
            let slept = Cell::new(false);
            let sleeps = async {
                dpa.sleep(DELAY).await;
                slept.set(true);
            };
            let polls = async {
                while !slept.get() {
                    others_first().await;
                }
                dpa.now()
            };
            futures::join!(sleeps, polls).1
        });
        let now = run.expect("it ends").value;
        assert!(DELAY <= now && now < 2 * DELAY, "{now:?}");
    }
}

/// Who is woken goes on before time does.
#[test]
fn a_jump_of_time_that_wakes_the_host_is_no_longer_than_that() {
    const FAR: Duration = Duration::from_secs(3600);
    let mishaps = Mishaps {
        clock_jump: When::By(Chance::percent(50)),
        longest_jump: Duration::from_millis(3),
        ..Mishaps::NONE
    };
    for seed in seeds(60) {
        let run = Sim::new(seed).mishaps(mishaps).run(async |dpa: Dpa| {
            let near = std::pin::pin!(dpa.sleep(Duration::from_micros(100)));
            let far = std::pin::pin!(dpa.sleep(FAR));
            select(near, far).await.factor_first();
            dpa.now()
        });
        let now = run.expect("it ends").value;
        assert!(now < FAR, "seed {seed}: {now:?}");
    }
}

/// Does not end, if it is asked to.
#[dpa_test(seeds = 3)]
async fn child_without_end(dpa: Dpa) -> Result<(), Error> {
    match std::env::var_os("DPA_TEST_FAILS") {
        Some(_) => without_end(&dpa, false).await,
        None => Ok(()),
    }
}

#[test]
fn a_test_without_end_fails_and_says_how_to_replay_it() {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["child_without_end", "--exact", "--nocapture"]);
    child.envs([("DPA_TEST_FAILS", "1"), ("DPA_STEPS", "2000")]);
    let child = child.env_remove("DPA_SEEDS").env_remove("DPA_SEED");
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for part in [
        "child_without_end fails at seed 0: the run does not end: 2000 steps",
        "replay: DPA_SEED=0 DPA_STEPS=2000 cargo test",
    ] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
}

fn stuck<T: std::fmt::Debug>(run: Result<T, SimError>) -> (Stuck, String) {
    let Err(SimError::Stuck(stuck)) = run else {
        panic!("{run:?}")
    };
    let said = stuck.to_string();
    (stuck, said)
}

#[test]
fn threads_outside_are_not_waited_for_and_it_says_so() {
    let (end, ended) = mpsc::channel::<()>();
    let run = Sim::new(3).run(async move |_dpa: Dpa| {
        let (answer, answered) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = ended.recv();
            answer.send(1)
        });
        answered.await
    });
    drop(end);
    let (stuck, said) = stuck(run);
    assert!(!stuck.woken_from_outside);
    let said = said.strip_prefix("seed 3: the host program waits, and nothing in the simulation");
    let said = said.expect("what has happened");
    assert!(said.contains("threads, timers and I/O outside"), "{said}");
}

#[test]
fn who_was_woken_by_a_thread_outside_is_told_that_the_seed_is_not_all() {
    let diary = Arc::new(Diary::default());
    let run = Sim::new(3).diary(&diary).run(async |_dpa: Dpa| {
        let (answer, mut answered) = oneshot::channel();
        assert!(futures::poll!(&mut answered).is_pending());
        let thread = std::thread::spawn(move || answer.send(1));
        let _ = thread.join();
        assert_eq!(answered.await, Ok(1));
        std::future::pending::<()>().await;
    });
    let (stuck, said) = stuck(run);
    assert!(stuck.woken_from_outside);
    assert!(said.contains("more than its seed"), "{said}");
    let story = diary.take();
    let told = |part| story.iter().any(|note| note.what.contains(part));
    assert!(told("woken by a thread outside"), "{story:?}");
}
