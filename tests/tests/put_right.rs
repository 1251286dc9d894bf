//! What was refused, or has failed: it says why, and can be put right.

mod drivers;
mod places;

use doca_dpa::error::{LaunchError, LaunchRefused, MemoryError, SubmitError};
use doca_dpa::{Error, Location, SyncEvent};
use drivers::both;
use places::everywhere;
use tests::*;

#[test]
fn rule_2_7_a_foreign_event_that_is_replaced_is_refused_no_more() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let (own, foreign) = (everywhere(&dpa)?, everywhere(&other)?);
        let launch = dpa.launch(nothing).wait_for(foreign.ge(0));
        let refused = launch.then_add(&foreign, 1).submit();
        let launch = refused.expect_err("foreign").into_inner();
        let refused = launch.wait_for(own.ge(0)).submit();
        let refused = refused.expect_err("what it updates still is");
        assert!(
            matches!(
                refused.kind(),
                LaunchRefused::ForeignEvent { what: "update" }
            ),
            "{refused}"
        );
        let launch = refused.into_inner().then_add(&own, 1);
        launch.submit()?.await?;
        let launch = dpa.launch(nothing).then_set(&foreign, 7);
        launch
            .then_set(&own, 7)
            .wait_for(own.ge(1))
            .submit()?
            .await?;
        assert_eq!((own.get(), foreign.get()), (7, 0));
        Ok(())
    });
}

#[test]
fn rule_2_7_another_event_puts_nothing_else_right() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let (own, foreign) = (everywhere(&dpa)?, everywhere(&other)?);
        let elsewhere = other.zeroed::<u64>(1).await?;
        let launch = dpa.launch(count).wait_for(foreign.ge(0));
        let launch = launch.args(CountArgs { total: &elsewhere });
        let refused = launch.wait_for(own.ge(0)).submit();
        let refused = refused.expect_err("its argument is foreign");
        assert!(
            matches!(
                refused.kind(),
                LaunchRefused::ForeignArgument { kernel: "count" }
            ),
            "{refused}"
        );
        let launch = dpa.launch(nothing).wait_for(own.ge(0));
        let refused = launch.wait_for(foreign.ge(0)).submit();
        let refused = refused.expect_err("the later event counts");
        assert!(
            matches!(
                refused.kind(),
                LaunchRefused::ForeignEvent { what: "wait for" }
            ),
            "{refused}"
        );
        Ok(())
    });
}

#[test]
fn rule_2_11_a_step_is_put_right_as_a_launch_is() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let (own, foreign) = (everywhere(&dpa)?, everywhere(&other)?);
        let two = dpa.copy_in(&[20u64, 22]).await?;
        let refused = two.read_step(..).wait_for(foreign.ge(0)).submit();
        let step = refused.expect_err("foreign").into_inner();
        let read = step.wait_for(own.ge(0)).submit()?.await?;
        assert_eq!(read, [20, 22]);
        let beyond = two.read_step(..3).wait_for(foreign.ge(0));
        let refused = beyond.wait_for(own.ge(0)).submit().expect_err("too long");
        assert!(
            matches!(
                refused.kind(),
                LaunchRefused::Memory(MemoryError::Range { end: 3, .. })
            ),
            "{refused}"
        );
        Ok(())
    });
}

#[test]
fn rule_2_11_the_result_of_a_step_is_given_once_and_who_comes_later_is_told_so() {
    both(async |dpa| {
        let two = dpa.copy_in(&[20u64, 22]).await?;
        let mut step = two.read_step(..).submit()?;
        assert_eq!((&mut step).await?, [20, 22]);
        for again in [step.wait(), step.await] {
            assert!(matches!(again, Err(LaunchError::Taken)), "{again:?}");
        }
        Ok(())
    });
}

#[test]
fn rule_1_8_a_launch_on_the_wrong_side_of_an_event_is_told_both_places() {
    both(async |dpa| {
        let inwards = SyncEvent::host_to_device(&dpa)?;
        let outwards = SyncEvent::device_to_host(&dpa)?;
        let waits = dpa.launch(nothing).wait_for(outwards.ge(1)).submit();
        match waits.expect_err("the host waits").kind() {
            LaunchRefused::Refused(SubmitError::NotSubscriber(error)) => {
                assert_eq!(error.place, Location::Device);
                assert_eq!(error.allowed, Location::Host.into());
            }
            other => panic!("{other:?}"),
        }
        let updates = dpa.launch(nothing).then_add(&inwards, 1).submit();
        let refused = updates.expect_err("the host updates");
        match refused.kind() {
            LaunchRefused::Refused(SubmitError::NotPublisher(error)) => {
                assert_eq!(error.place, Location::Device);
                assert_eq!(error.allowed, Location::Host.into());
            }
            other => panic!("{other:?}"),
        }
        let said = Error::from(refused).to_string();
        assert!(said.contains("device") && said.contains("host"), "{said}");
        Ok(())
    });
}
