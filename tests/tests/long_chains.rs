//! Chains of launches that are far longer than any stack is deep, and end before they have begun.

mod drivers;
mod places;

use doca_dpa::error::LaunchError;
use doca_dpa::{Dpa, Error, Launch, SyncEvent};
use drivers::both;
use tests::*;

const LINKS: usize = 20_000;

/// Launches of which each waits for the one before; nobody but them holds the events between.
struct Chain {
    first: SyncEvent,
    launches: Vec<Launch>,
}

fn chain(dpa: &Dpa) -> Result<Chain, Error> {
    let first = places::everywhere(dpa)?;
    let mut before = first.clone();
    let mut launches = Vec::new();
    for _ in 0..LINKS {
        let next = places::everywhere(dpa)?;
        let launch = dpa.launch(nothing).wait_for(before.ge(1));
        launches.push(launch.then_add(&next, 1).submit()?);
        before = next;
    }
    Ok(Chain { first, launches })
}

/// What became of the last of them.
async fn last(dpa: &Dpa, mut launches: Vec<Launch>) -> LaunchError {
    let last = launches.pop().expect("there are some");
    drop(launches);
    let error = last.await.expect_err("it has not begun");
    dpa.wait_idle().await;
    assert_eq!((dpa.snapshot().unfinished, dpa.snapshot().events), (0, 1));
    error
}

#[test]
fn rule_1_9_the_first_is_cancelled() {
    both(async |dpa| {
        let chain = chain(&dpa)?;
        assert!(chain.launches[0].cancel());
        let error = last(&dpa, chain.launches).await;
        assert!(
            matches!(error, LaunchError::WaitEventClosed { .. }),
            "{error}"
        );
        Ok(())
    });
}

#[test]
fn rule_1_9_the_first_event_is_closed() {
    both(async |dpa| {
        let chain = chain(&dpa)?;
        chain.first.close();
        let error = last(&dpa, chain.launches).await;
        assert!(
            matches!(error, LaunchError::WaitEventClosed { .. }),
            "{error}"
        );
        Ok(())
    });
}

#[test]
fn rule_1_9_nobody_publishes_the_first_event_any_more() {
    both(async |dpa| {
        let Chain { first, launches } = chain(&dpa)?;
        drop(first);
        let kept = places::everywhere(&dpa)?;
        let error = last(&dpa, launches).await;
        assert!(
            matches!(error, LaunchError::WaitEventClosed { .. }),
            "{error}"
        );
        drop(kept);
        Ok(())
    });
}

#[test]
fn rule_2_1_all_are_cancelled() {
    both(async |dpa| {
        let chain = chain(&dpa)?;
        let cancelled = dpa.cancel_chain(&chain.first);
        assert_eq!(cancelled, LINKS);
        let error = last(&dpa, chain.launches).await;
        assert!(matches!(error, LaunchError::Cancelled), "{error}");
        Ok(())
    });
}

#[test]
fn rule_7_their_context_is_closed_or_fails() {
    both(async |dpa| {
        for fails in [false, true] {
            let other = dpa.open_beside()?;
            let mut chain = chain(&other)?;
            let last = chain.launches.pop().expect("there are some");
            if fails {
                let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
                assert!(failing.submit()?.await.is_err());
                assert!(matches!(last.await, Err(LaunchError::Faulted(_))));
            } else {
                let report = other.close().await?;
                assert_eq!(report.launches_dropped, LINKS);
                assert!(matches!(last.await, Err(LaunchError::ContextClosed)));
            }
        }
        Ok(())
    });
}
