//! A short run of `hostile-network`: each kind of packet is sent, and each reason to drop it is seen. At length: `cargo xtask hostile`.

use std::process::{Command, Output};

fn hostile_network(args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hostile-network"));
    program.args(args).output().expect("it starts")
}

fn printed(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{output:?}");
    printed
}

#[test]
fn every_kind_of_packet_is_sent_and_dropped_for_its_reason() {
    let printed = printed(&hostile_network(&["--seconds", "2"]));
    for said in [
        " random, ",
        " malformed, ",
        " foreign, ",
        " replayed, ",
        " recorded, ",
        " spoofed, ",
        " wrong-number, ",
        "each was dropped for its reason",
    ] {
        assert!(printed.contains(said), "{said:?} in {printed}");
    }
    for none in [": 0 ", ", 0 "] {
        let sent = printed.lines().find(|line| line.starts_with("sent: "));
        let sent = sent.expect("what was sent");
        assert!(!sent.contains(none), "{sent}");
    }
}

#[test]
fn packets_that_were_recorded_change_nothing_when_they_come_again() {
    let args = ["--seconds", "1", "--kind", "recorded"];
    let printed = printed(&hostile_network(&args));
    assert!(printed.contains("duplicates +"), "{printed}");
}
