//! The RDMA examples, as a user runs them: several processes, real packets on loopback.

mod processes;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use processes::{Running, err, out, run};

const PING_PONG: &str = env!("CARGO_BIN_EXE_ping-pong");
const ALL_TO_ALL: &str = env!("CARGO_BIN_EXE_all-to-all");
const KV_SERVER: &str = env!("CARGO_BIN_EXE_kv-server");

/// Two nodes of ping-pong in the middle of a long game.
fn in_the_middle() -> (Running, Running) {
    let rounds = ["--rounds", "10000000"];
    let mut listens = Running::start(
        PING_PONG,
        &[&rounds[..], &["listen", "127.0.0.1:0"]].concat(),
    );
    let waiting = listens.line();
    let address = waiting
        .split_whitespace()
        .nth(2)
        .expect("waiting at ADDRESS")
        .to_owned();
    let connects = Running::start(PING_PONG, &[&rounds[..], &["connect", &address]].concat());
    assert!(listens.line().starts_with("RDMA: "));
    assert!(listens.line().contains("<->"));
    assert!(listens.line().contains("bytes"));
    // The table's head is out: the first leg, which takes minutes, is being played.
    std::thread::sleep(Duration::from_millis(300));
    (listens, connects)
}

#[test]
fn ping_pong_prints_its_table_and_verified() {
    let output = run(PING_PONG, &["--rounds", "300"]);
    let out = out(&output);
    assert!(output.status.success(), "{}", err(&output));
    for bytes in ["8", "64", "512", "4096", "32768", "262144", "1048576"] {
        let rows = out
            .lines()
            .filter(|line| line.split_whitespace().next() == Some(bytes));
        assert_eq!(rows.count(), 1, "{out}");
    }
    assert!(out.ends_with("verified\n"), "{out}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let with = |provider: &str| {
        let mut both = Command::new(PING_PONG);
        both.args(["--rounds", "10"]).env("DPA_DEVICE", "");
        both.env("DPA_RDMA", provider).output().expect("it starts")
    };
    let empty = with("");
    assert!(empty.status.success(), "{}", err(&empty));
    let wrong = with("nothing");
    assert!(!wrong.status.success());
    let said = "names no RDMA provider";
    assert!(err(&wrong).contains(said), "{}", err(&wrong));
}

#[test]
fn all_to_all_is_verified() {
    let output = run(ALL_TO_ALL, &["5", "--bytes", "20000", "--rounds", "3"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).ends_with("verified\n"), "{}", out(&output));
}

#[test]
fn rule_6_7_a_killed_peer_is_noticed_within_the_bound() {
    for survivor_listens in [true, false] {
        let (listens, connects) = in_the_middle();
        let (mut survivor, mut victim) = match survivor_listens {
            true => (listens, connects),
            false => (connects, listens),
        };
        let begin = Instant::now();
        victim.kill();
        let (status, said) = survivor.end();
        let took = begin.elapsed();
        assert!(!status.success());
        assert!(said.contains("the peer was lost after"), "{said}");
        // (7 + 1) x 4 x 67.1 ms + 50 ms after the keep-alive of at most 500 ms, and a scheduler's delays.
        assert!(took < Duration::from_secs(10), "it took {took:?}");
        println!("noticed after {took:?}: {said}");
    }
}

/// Three nodes of all-to-all in the middle of many rounds, each started by hand.
fn three_by_hand() -> Vec<Running> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let address = port.expect("a free port").to_string();
    let nodes = ["0", "1", "2"].map(|rank| {
        let args = ["3", "--rounds", "100000", "--rank", rank];
        Running::start(ALL_TO_ALL, &[&args[..], &["--address", &address]].concat())
    });
    std::thread::sleep(Duration::from_millis(1500));
    nodes.into()
}

/// Wherever the others are: in their kernels, or between two rounds.
#[test]
fn rule_6_7_a_killed_node_is_noticed_by_all_others() {
    for victim in [0, 1, 2, 2, 0] {
        let mut nodes = three_by_hand();
        let begin = Instant::now();
        nodes[victim].kill();
        nodes.remove(victim);
        for node in &mut nodes {
            let (status, said) = node.end();
            assert_eq!(status.code(), Some(1), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("rank "), "{said}");
        }
        // As above; one survivor may hear of it from the other.
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(10), "it took {took:?}");
    }
}

#[test]
fn ctrl_c_ends_both_nodes() {
    let mut both = Running::start(PING_PONG, &["--rounds", "10000000"]);
    assert!(both.line().starts_with("RDMA: "));
    assert!(both.line().contains("<->"));
    both.interrupt();
    let (status, said) = both.end();
    assert_eq!(status.code(), Some(130));
    assert_eq!(said, "ping-pong: interrupted\n");
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let wrong = run(PING_PONG, &["connect", "127.0.0.1:1"]);
    assert!(!wrong.status.success());
    assert_eq!(err(&wrong).lines().count(), 1, "{}", err(&wrong));
    let wrong = run(PING_PONG, &["connect", "nowhere"]);
    assert_eq!(err(&wrong).lines().count(), 1, "{}", err(&wrong));
    let wrong = run(PING_PONG, &["--rounds", "5"]);
    assert!(err(&wrong).contains("10..=10000000"), "{}", err(&wrong));
    let wrong = run(ALL_TO_ALL, &["1"]);
    assert!(err(&wrong).contains("2..=64"), "{}", err(&wrong));
}

#[test]
fn different_numbers_of_rounds_are_told_to_both() {
    let mut listens = Running::start(PING_PONG, &["--rounds", "20", "listen", "127.0.0.1:0"]);
    let waiting = listens.line();
    let address = waiting
        .split_whitespace()
        .nth(2)
        .expect("waiting at ADDRESS");
    let connects = run(PING_PONG, &["--rounds", "30", "connect", address]);
    assert!(err(&connects).contains("20 rounds"), "{}", err(&connects));
    let (_, said) = listens.end();
    assert!(said.contains("30 rounds"), "{said}");
}

/// More nodes than an earlier version found addresses for.
#[test]
fn many_nodes_of_one_machine_find_an_address_each() {
    let output = run(ALL_TO_ALL, &["40", "--bytes", "64", "--rounds", "1"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).ends_with("verified\n"), "{}", out(&output));
}

#[test]
fn what_keeps_a_node_from_taking_part_is_said_once() {
    let output = run(ALL_TO_ALL, &["17", "--bytes", "16777216"]);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("a smaller --bytes"), "{said}");
    assert!(said.contains("out of device memory"), "{said}");
}

/// Two nodes of all-to-all, each started by hand with its own options.
fn two_by_hand(options: [&[&str]; 2]) -> [Running; 2] {
    let start = |rank: &str, address: &str, more: &[&str]| {
        let args = ["2", "--rank", rank, "--address", address];
        Running::start(ALL_TO_ALL, &[&args[..], more].concat())
    };
    let mut first = start("0", "127.0.0.1:0", options[0]);
    let waiting = first.line();
    assert!(waiting.starts_with("waiting at "), "{waiting}");
    let address = waiting.split_whitespace().nth(2).expect("an address");
    let second = start("1", address, options[1]);
    [first, second]
}

#[test]
fn nodes_that_were_given_different_options_are_told_so() {
    for [ours, theirs] in [
        [&["--rounds", "5"], &["--rounds", "7"]],
        [&["--bytes", "64"], &["--bytes", "128"]],
    ] {
        for (mut node, other) in two_by_hand([ours, theirs]).into_iter().zip([theirs, ours]) {
            let (status, said) = node.end();
            assert_eq!(status.code(), Some(1), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains(&other.join(" ")), "{said}");
            assert!(said.contains("give all nodes the same"), "{said}");
        }
    }
}

#[test]
fn why_a_bench_is_not_let_in_or_ended_is_said() {
    let output = run(KV_SERVER, &["--rdma", "::1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(said.contains("was not let in: "), "{said}");
    let output = run(KV_SERVER, &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("say by --rdma"), "{}", err(&output));
}

#[test]
fn who_waits_says_for_what() {
    let nobody = "127.0.0.1:1";
    for (program, args) in [
        (PING_PONG, ["connect", nobody]),
        (KV_SERVER, ["bench", &format!("--connect={nobody}")]),
    ] {
        let mut waits = Running::start(program, &args);
        let line = waits.line();
        assert!(line.starts_with("waiting for a "), "{line}");
        assert!(line.ends_with(" at 127.0.0.1:1\n"), "{line}");
    }
}

#[test]
fn an_address_of_another_machine_is_said_to_be_so() {
    let nobody = "127.0.0.1:1";
    for (program, args) in [
        (PING_PONG, &["--rounds", "10"][..]),
        (PING_PONG, &["listen", "127.0.0.1:0"]),
        (PING_PONG, &["connect", nobody]),
        (
            ALL_TO_ALL,
            &["2", "--rank", "0", "--address", "127.0.0.1:0"],
        ),
        (ALL_TO_ALL, &["2", "--rank", "1", "--address", nobody]),
        (KV_SERVER, &[]),
        (KV_SERVER, &["serve", "--listen", "127.0.0.1:0"]),
        (KV_SERVER, &["bench", "--connect", nobody]),
    ] {
        // Before anybody is waited for: that would take ten seconds or more.
        let begin = Instant::now();
        let output = run(program, &[args, &["--rdma", "192.0.2.1"]].concat());
        assert!(begin.elapsed() < Duration::from_secs(9), "{args:?}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(out(&output), "", "{args:?}");
        let said = ": 192.0.2.1 is not an address of this machine (`ip address` lists them)\n";
        assert!(err(&output).ends_with(said), "{}", err(&output));
        assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
    }
}
