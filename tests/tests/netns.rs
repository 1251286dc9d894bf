//! Two nodes in network namespaces of their own, with a bad network between them: everything is done exactly once.
//!
//! Needs root, `ip` and `iptables`; without them a test says so and passes, unless `DPA_NEEDED` is set: then it fails. What it makes it takes away again.

mod namespaces;
mod skipped;

use namespaces::{Lab, Loss, Report};
use skipped::skipped;

/// Says why it is skipped, if it is.
fn lab(name: &str, middle_box: bool) -> Option<Lab> {
    match Lab::build(name, middle_box) {
        Ok(lab) => Some(lab),
        Err(why) => {
            skipped(&format!("netns: {name}"), &why);
            None
        }
    }
}

/// Acknowledgement timeouts, in milliseconds. With the seven retries of the standard the shorter one gives a peer up after 0.13 s, which
/// it may need to be served at all, where others want the same processors: as in a soak.
const PATIENT: u32 = 67;
const QUICK: u32 = 16;

fn with_loss(name: &str, loss: Loss, (retries, timeout): (u32, u32)) {
    let Some(mut lab) = lab(name, false) else {
        return;
    };
    lab.lose(loss);
    let reports = lab.run(retries, timeout);
    println!("{reports:?}");
    let resent: u64 = reports.iter().map(|report| report.resent).sum();
    assert!(resent > 0, "nothing was lost: {reports:?}");
}

#[test]
fn rule_6_4_one_percent_lost() {
    with_loss("one", Loss("0.01"), (7, PATIENT));
}

#[test]
fn rule_6_4_five_percent_lost() {
    with_loss("five", Loss("0.05"), (7, PATIENT));
}

/// More than the seven retries of the standard can be needed here; a soft NIC takes any number.
#[test]
fn rule_6_4_a_fifth_lost() {
    with_loss("fifth", Loss("0.2"), (40, QUICK));
}

#[test]
fn rule_6_4_delayed_reordered_duplicated_and_corrupted() {
    let Some(mut lab) = lab("box", true) else {
        return;
    };
    let reports = lab.run(20, QUICK);
    println!("{reports:?}");
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert!(sum(|r| r.resent) > 0, "{reports:?}");
    assert!(sum(|r| r.duplicates) > 0, "{reports:?}");
    assert!(sum(|r| r.corrupt) > 0, "{reports:?}");
    assert!(sum(|r| r.mismatched) > 0, "{reports:?}");
    let done = lab.middle_box_did();
    assert!(done.iter().all(|&count| count > 0), "{done:?}");
}
