//! The command that a failing test of `doca_dpa::testing` prints: it runs that test at that seed, and no other.

use std::process::Command;

use doca_dpa::{Dpa, Error, dpa_test};
use tests::nothing;

/// Fails if it is asked to.
#[dpa_test(seeds = 5)]
async fn child_that_fails(dpa: Dpa) -> Result<(), Error> {
    dpa.launch(nothing).submit()?.await?;
    assert!(std::env::var_os("DPA_TEST_FAILS").is_none());
    Ok(())
}

/// Beside it, for its name begins with that of the other.
#[test]
fn child_that_fails_nowhere() {}

/// What this test program says, run so.
fn said_by(args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    for variable in ["DPA_SEED", "DPA_SEEDS", "DPA_STEPS"] {
        child.env_remove(variable);
    }
    child.args(args).env("DPA_TEST_FAILS", "1");
    child.envs(variables.iter().copied());
    let output = child.output().expect("it starts");
    let (said, failed) = (output.stdout, output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(&said),
        String::from_utf8_lossy(&failed)
    )
}

/// The command in it that replays a failure: its variables, and what the test program gets.
fn replay_in(said: &str) -> (Vec<(&str, &str)>, Vec<&str>) {
    let command = said.lines().find_map(|line| line.strip_prefix("replay: "));
    let (before, after) = command
        .and_then(|command| command.split_once(" cargo test -p tests "))
        .unwrap_or_else(|| panic!("no command in:\n{said}"));
    let variables = before.split(' ').filter_map(|set| set.split_once('='));
    let args = after.split(' ').filter(|&word| word != "--");
    (variables.collect(), args.collect())
}

#[test]
fn the_printed_command_runs_the_test_that_failed_and_no_other() {
    let name = "child_that_fails";
    let first = said_by(&[name, "--exact", "--nocapture"], &[]);
    let (variables, args) = replay_in(&first);
    assert_eq!(variables, [("DPA_SEED", "0")]);
    assert_eq!(args, [name, "--exact", "--include-ignored"]);
    let listed = said_by(&[&args[..], &["--list"]].concat(), &variables);
    let tests = listed.lines().filter(|line| line.ends_with(": test"));
    assert_eq!(tests.collect::<Vec<_>>(), [format!("{name}: test")]);
    let again = said_by(&[&args[..], &["--nocapture"]].concat(), &variables);
    assert!(again.contains("running 1 test\n"), "{again}");
    let failure = format!("{name} fails at seed 0: ");
    assert!(again.contains(&failure), "{again}");
}

#[test]
fn the_printed_command_takes_as_few_steps_as_the_run_that_failed() {
    let name = "child_that_fails";
    for (few, replays) in [("3", "3"), (" 3 ", "3")] {
        let first = [name, "--exact", "--nocapture"];
        let first = said_by(&first, &[("DPA_STEPS", few)]);
        assert!(first.contains("the run does not end: 3 steps"), "{first}");
        let (variables, args) = replay_in(&first);
        assert_eq!(variables, [("DPA_SEED", "0"), ("DPA_STEPS", replays)]);
        let again = said_by(&[&args[..], &["--nocapture"]].concat(), &variables);
        assert!(again.contains("the run does not end: 3 steps"), "{again}");
    }
}
