//! A few seeds of `whole-system`, and what it says of wrong arguments. Many seeds are `cargo xtask simulate`.

use std::process::{Command, Output};

fn whole_system(args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_whole-system"));
    let program = program.args(args).env("RUST_BACKTRACE", "0");
    program.output().expect("it starts")
}

#[test]
fn a_few_seeds_come_out_right() {
    let output = whole_system(&["--seeds", "100"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{output:?}");
    assert!(printed.contains("100 seeds from 0 on"), "{printed}");
}

#[test]
fn what_few_seeds_have_not_come_to_is_said_and_no_failure() {
    let output = whole_system(&["--seeds", "1"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("never seen: ") && said.contains("R "),
        "{said}"
    );
}

#[test]
fn a_seed_tells_its_story() {
    let args = ["--seeds", "1", "--start", "7", "--story"];
    let (first, second) = (whole_system(&args), whole_system(&args));
    let stories = [first, second].map(|output| {
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed
            .lines()
            .filter(|line| line.contains(" ns  "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    assert!(stories[0].iter().any(|line| line.contains("submits")));
    assert_eq!(stories[0], stories[1]);
}

#[test]
fn to_run_nothing_is_no_success() {
    let output = whole_system(&["--seeds", "0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no seed was run"), "{said}");
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    let output = soak.args(["--seconds", "0"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_wrong_argument_is_said() {
    let output = whole_system(&["--seed", "3"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("--seed") && said.contains("--seeds"),
        "{said}"
    );
}
