//! A device on which one process works and another comes to grief.

use std::time::{Duration, Instant};

use doca_dpa::{Dpa, SyncEvent};
use tests::isolation::{CopyBetweenArgs, copy_between};
use tests::{
    CountArgs, GivesUpArgs, MeetArgs, OverflowsArgs, PanicsArgs, ReadsTooFarArgs, SpinsArgs,
    SumToArgs, count, gives_up, meet, nothing, overflows, panics, reads_too_far, spins, sum_to,
};

use crate::limits::{Dice, Longest};
use crate::{Outcome, left};

const WORKERS: usize = 2;
/// How long a kernel may spin.
const RUN_TIME: Duration = Duration::from_millis(100);

/// Registers memory, has it copied by the NIC, and lets go of all of it.
async fn copy(dpa: &Dpa, dice: &mut Dice, longest: &mut Longest) -> Outcome {
    let ops = dpa.async_ops().open()?;
    let value = dice.below(u64::MAX);
    let (from, to) = (dpa.copy_in(&[value]).await?, dpa.zeroed::<u64>(1).await?);
    let result = dpa.zeroed::<u64>(1).await?;
    let (from_map, to_map) = (ops.map(&from)?, ops.map(&to)?);
    let args = CopyBetweenArgs {
        ops: &ops,
        done: ops.completions(),
        to: &to_map,
        from: &from_map,
        result: &result,
    };
    let launch = dpa.launch(copy_between).args(args).submit()?;
    longest.within("a copy", launch).await??;
    expect("a copy's syndrome", result.copy_out().await?[0], 0)?;
    expect("a copy", to.copy_out().await?[0], value)
}

/// Works until it is time; what it has done.
pub async fn run(until: Instant, seed: u64) -> Outcome<String> {
    let mut dice = Dice(seed ^ 0x10ad);
    let mut longest = Longest::default();
    let dpa = Dpa::builder()
        .workers(WORKERS)
        .run_time_limit(Some(RUN_TIME));
    let dpa = dpa.no_crash_report().open()?;
    let (mut rounds, mut faults) = (0u64, 0u64);
    while Instant::now() < until {
        let chained = chain(&dpa, &mut dice, &mut longest).await;
        chained.map_err(|error| format!("{error}; {:?}", dpa.snapshot()))?;
        gang(&dpa, &mut dice, &mut longest).await?;
        call(&dpa, &mut dice, &mut longest).await?;
        copy(&dpa, &mut dice, &mut longest).await?;
        if rounds % 8 == 0 {
            fault(&dpa, &mut dice, &mut longest).await?;
            faults += 1;
        }
        rounds += 1;
        longest.within("idle", dpa.wait_idle()).await?;
        left::nothing(&dpa, WORKERS).await?;
    }
    left::closed(&longest.within("closing", dpa.close()).await??)?;
    let millis = longest.millis();
    Ok(format!(
        "load: {rounds} rounds beside {faults} faults, the longest wait took {millis} ms"
    ))
}

/// Launches that open one another, and what they count.
async fn chain(dpa: &Dpa, dice: &mut Dice, longest: &mut Longest) -> Outcome {
    let go = SyncEvent::builder(dpa)
        .publisher(doca_dpa::Location::Host | doca_dpa::Location::Device)
        .subscriber(doca_dpa::Location::Host | doca_dpa::Location::Device)
        .create()?;
    let total = dpa.zeroed::<u64>(1).await?;
    let links = 1 + dice.below(50);
    for link in 1..=links {
        let launch = dpa.launch(count).args(CountArgs { total: &total });
        drop(launch.wait_for(go.ge(link)).then_add(&go, 1).submit()?);
    }
    go.add(1)?;
    longest.within("a chain", go.ge(1 + links)).await??;
    longest.within("idle", dpa.wait_idle()).await?;
    expect("a chain", total.copy_out().await?[0], links)
}

async fn gang(dpa: &Dpa, dice: &mut Dice, longest: &mut Longest) -> Outcome {
    let threads = 1 + dice.below(40);
    let (ranks, wrong) = (
        dpa.zeroed::<u64>(threads as usize).await?,
        dpa.zeroed::<u64>(1).await?,
    );
    let args = MeetArgs {
        ranks: &ranks,
        wrong: &wrong,
    };
    let launch = dpa
        .launch(meet)
        .args(args)
        .threads(threads as u32)
        .submit()?;
    longest.within("a meeting", launch).await??;
    expect("a meeting", wrong.copy_out().await?[0], 0)
}

async fn call(dpa: &Dpa, dice: &mut Dice, longest: &mut Longest) -> Outcome {
    let last = dice.below(1000);
    let sum = longest
        .within("a call", dpa.call(sum_to, SumToArgs { last }))
        .await??;
    expect("a call", sum, last * (last + 1) / 2)
}

/// Another process does something wrong. Its own waits end, and it is opened anew next time.
async fn fault(dpa: &Dpa, dice: &mut Dice, longest: &mut Longest) -> Outcome {
    let other = dpa.open_beside()?;
    let gate = SyncEvent::host_to_device(&other)?;
    let parked = other.launch(nothing).wait_for(gate.ge(1)).submit()?;
    let xs = other.zeroed::<u32>(1).await?;
    let launch = match dice.below(20) {
        0 => other.launch(spins).args(SpinsArgs { from: 0 }).submit()?,
        1..5 => other
            .launch(overflows)
            .args(OverflowsArgs { depth: 0 })
            .submit()?,
        5..10 => other
            .launch(panics)
            .args(PanicsArgs { number: 1 })
            .submit()?,
        10..15 => other
            .launch(gives_up)
            .args(GivesUpArgs { code: 3 })
            .submit()?,
        _ => other
            .launch(reads_too_far)
            .args(ReadsTooFarArgs { xs: &xs })
            .submit()?,
    };
    let ended = longest.within("a fault", launch).await?;
    let waited = longest.within("a parked launch", parked).await?;
    if ended.is_ok() || waited.is_ok() || other.last_error().is_none() {
        return Err("a process did wrong and nobody was told".into());
    }
    Ok(())
}

fn expect(what: &str, is: u64, should: u64) -> Outcome {
    match is == should {
        true => Ok(()),
        false => Err(format!("{what}: {is} instead of {should}").into()),
    }
}
