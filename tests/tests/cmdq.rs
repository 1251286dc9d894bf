//! Command queues: many small jobs, run by few workers.

mod drivers;

use std::time::Duration;

use doca_dpa::{CommandError, Dpa, Error, Sim, SyncEvent};
use drivers::on::seeds;
use drivers::{both, both_on};
use tests::cmdq::*;

#[test]
fn every_job_runs_once_and_only_after_run() {
    const JOBS: u64 = 10_000;
    both(async |dpa| {
        let counts = dpa.zeroed::<u64>(JOBS as usize).await?;
        let queue = dpa.command_queue().workers(2).batch(64).open()?;
        let at = counts.addr();
        for index in 0..JOBS / 2 {
            queue.add(tally, TallyArgs { at, index })?;
        }
        dpa.wait_idle().await;
        assert_eq!(
            (queue.done(), queue.is_empty()),
            (0, false),
            "it is not run yet"
        );
        queue.run();
        for index in JOBS / 2..JOBS {
            queue.add(tally, TallyArgs { at, index })?;
        }
        queue.idle().await?;
        assert_eq!((queue.done(), queue.is_empty()), (JOBS, true));
        assert_eq!(counts.copy_out().await?, vec![1; JOBS as usize]);
        // It goes on as before.
        queue.add(tally, TallyArgs { at, index: 0 })?;
        queue.idle().await?;
        assert_eq!(counts.copy_out().await?[0], 2);
        Ok(())
    });
}

/// At most so many at a time, and batch by batch in turn with launches, whatever the order.
#[test]
fn workers_are_as_many_as_asked() {
    for workers in [1, 3] {
        let mut most = 0;
        let seeds = seeds(40);
        let enough = seeds.clone().count() >= 40;
        for seed in seeds {
            let run = Sim::new(seed).run(async |dpa| {
                let inside = dpa.zeroed::<u64>(2).await?;
                let queue = dpa.command_queue().workers(workers).batch(2).open();
                let queue = queue.expect("a queue");
                queue.run();
                for _ in 0..12 {
                    let at = inside.addr();
                    queue.add(stay, StayArgs { at }).expect("room");
                }
                queue.idle().await.expect("all run");
                Ok::<_, Error>(inside.copy_out().await?[1])
            });
            most = most.max(run.expect("a simulation").value.expect("all well"));
        }
        assert!(most <= u64::from(workers), "{most} of {workers}");
        // A few seeds need not come to that.
        assert!(!enough || most == u64::from(workers), "{most} of {workers}");
    }
}

#[test]
fn a_full_queue_and_figures_out_of_range_are_refused() {
    both(async |dpa| {
        let queue = dpa.command_queue().capacity(3).open()?;
        let at = dpa.zeroed::<u64>(1).await?;
        let add = || {
            queue.add(
                tally,
                TallyArgs {
                    at: at.addr(),
                    index: 0,
                },
            )
        };
        (0..3).try_for_each(|_| add())?;
        let full = add().expect_err("full");
        assert!(full.to_string().contains("3 jobs wait"), "{full}");
        let many = dpa
            .command_queue()
            .workers(191)
            .open()
            .expect_err("too many");
        assert!(
            many.to_string()
                .contains("workers is 191, allowed are 1 to 190"),
            "{many}"
        );
        queue.run();
        queue.idle().await?;
        assert_eq!(at.copy_out().await?, [3]);
        Ok(())
    });
}

#[test]
fn a_job_has_its_name_where_it_waits() {
    let device = Dpa::builder().workers(2);
    let device = device.deadlock_grace(Duration::from_millis(20));
    both_on(&device, async |dpa| {
        let never = SyncEvent::device_to_device(&dpa)?;
        let word = dpa.zeroed::<u64>(1).await?;
        let queue = dpa.command_queue().open()?;
        let args = WaitByNameArgs {
            at: word.addr(),
            event: never.handle(),
        };
        queue.add(wait_by_name, args)?;
        queue.run();
        let fault = dpa.failed().await.expect("a deadlock");
        let waiting: Vec<_> = fault.waiting.iter().map(|w| w.kernel.as_str()).collect();
        assert_eq!(waiting, ["wait_by_name"], "{fault}");
        assert_eq!(word.copy_out().await?, [1]);
        Ok(())
    });
}

/// Each ends its worker; those behind it are run by another.
#[test]
fn a_job_that_ends_itself_is_done() {
    both(async |dpa| {
        let words = dpa.zeroed::<u64>(2).await?;
        let queue = dpa.command_queue().workers(2).batch(4).open()?;
        let at = words.addr();
        for how in 0..12 {
            queue.add(leave, LeaveArgs { at, how: how % 3 })?;
            queue.add(tally, TallyArgs { at, index: 0 })?;
        }
        queue.run();
        queue.idle().await?;
        assert_eq!((queue.done(), queue.is_empty()), (24, true));
        assert_eq!(words.copy_out().await?, [24, 12]);
        Ok(())
    });
}

#[test]
fn rule_5_1_a_job_that_faults_ends_the_queue_with_its_process() {
    both(async |dpa| {
        let at = dpa.zeroed::<u64>(1).await?;
        let queue = dpa.command_queue().open()?;
        queue.add(
            tally,
            TallyArgs {
                at: at.addr(),
                index: 5,
            },
        )?;
        queue.add(
            tally,
            TallyArgs {
                at: at.addr(),
                index: 0,
            },
        )?;
        queue.run();
        assert!(matches!(queue.idle().await, Err(CommandError::Queue(_))));
        let fault = dpa.last_error().expect("a fault");
        assert_eq!(fault.kernel, "tally");
        let late = queue.add(
            tally,
            TallyArgs {
                at: at.addr(),
                index: 0,
            },
        );
        assert!(late.is_err(), "new jobs are refused");
        Ok(())
    });
}
