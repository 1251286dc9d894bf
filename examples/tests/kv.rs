//! `kv-server`, as a user runs it: server and clients as processes, real packets on loopback.

mod processes;

use std::process::Output;
use std::time::{Duration, Instant};

use examples::exchange::Exchange;
use examples::kv;
use processes::{Running, err, out};

const KV: &str = env!("CARGO_BIN_EXE_kv-server");
fn run(args: &[&str]) -> Output {
    processes::run(KV, args)
}

fn start(args: &[&str]) -> Running {
    Running::start(KV, args)
}

/// A server, and where it waits.
fn server(args: &[&str]) -> (Running, String) {
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let mut server = start(&[&serve[..], args].concat());
    let waiting = server.line();
    let address = waiting
        .split_whitespace()
        .nth(2)
        .expect("waiting at ADDRESS");
    (server, address.to_owned())
}

/// A bench that asks for minutes, seen by its server.
fn long_bench(server: &mut Running, address: &str) -> Running {
    let bench = ["bench", "--connect", address];
    let long = ["--requests", "100000000", "--seconds", "600"];
    let bench = start(&[&bench[..], &long].concat());
    assert!(server.line().ends_with("came\n"));
    std::thread::sleep(Duration::from_millis(300));
    bench
}

#[test]
fn one_command_starts_both_and_verifies_every_answer() {
    for args in [
        &["--requests", "20000"][..],
        &["--requests", "500", "--outstanding", "1", "--value", "1"],
        &[
            "--requests",
            "5000",
            "--outstanding",
            "64",
            "--value",
            "256",
            "--gets",
            "0",
        ],
        &[
            "--requests",
            "5000",
            "--keys",
            "1",
            "--workers",
            "1",
            "--value",
            "13",
        ],
    ] {
        let output = run(args);
        let said = out(&output);
        assert!(output.status.success(), "{args:?}: {}", err(&output));
        assert!(said.contains(&format!("{} requests", args[1])), "{said}");
        assert!(
            said.contains("operations/s") && said.contains("p99.9"),
            "{said}"
        );
        assert!(said.ends_with("verified\n"), "{said}");
    }
}

#[test]
fn the_time_limit_ends_it_with_or_without_requests_under_way() {
    for outstanding in ["1", "2", "32"] {
        let many = ["--requests", "100000000", "--seconds", "1"];
        let output = run(&[&many[..], &["--outstanding", outstanding]].concat());
        assert!(output.status.success(), "{}", err(&output));
        assert!(out(&output).ends_with("verified\n"));
    }
}

#[test]
fn a_full_store_is_an_answer() {
    let output = run(&[
        "--entries",
        "16",
        "--keys",
        "100",
        "--requests",
        "3000",
        "--gets",
        "40",
    ]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(
        out(&output).contains("puts found the store full"),
        "{}",
        out(&output)
    );
    assert!(out(&output).ends_with("verified\n"));
}

#[test]
fn clients_side_by_side_and_one_after_the_other() {
    let (_server, address) = server(&["--workers", "2"]);
    let args = [
        "bench",
        "--connect",
        &address,
        "--requests",
        "5000",
        "--keys",
        "500",
    ];
    for _ in 0..2 {
        let mut clients: Vec<_> = (0..3).map(|_| start(&args)).collect();
        for client in &mut clients {
            let (status, said) = client.end();
            assert!(status.success(), "{said}");
        }
    }
}

/// Clients that say nothing once they are welcome.
async fn silent(address: &str, clients: usize) -> Vec<Exchange> {
    let mut silent = Vec::new();
    for _ in 0..clients {
        let connecting = Exchange::connect(address, kv::session(), Duration::from_secs(5));
        silent.push(connecting.await.expect("an exchange"));
    }
    silent
}

/// Each has a place of its own.
#[tokio::test]
async fn a_client_that_says_nothing_keeps_nobody_out() {
    let (_server, address) = server(&["--workers", "2"]);
    let began = Instant::now();
    let _silent = silent(&address, 8).await;
    let bench = ["bench", "--connect", &address, "--requests", "100"];
    let output = run(&bench);
    assert!(output.status.success(), "{}", err(&output));
    // Who is silent has ten seconds to introduce himself.
    assert!(began.elapsed() < Duration::from_secs(9), "{began:?}");
}

#[tokio::test]
async fn who_finds_all_places_taken_by_clients_that_say_nothing_waits_for_one() {
    let (_server, address) = server(&["--workers", "1"]);
    let silent = silent(&address, 8).await;
    let mut bench = start(&["bench", "--connect", &address, "--requests", "100"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(silent);
    let (status, said) = bench.end();
    assert!(status.success(), "{said}");
}

#[test]
fn a_killed_client_is_forgotten_and_the_next_is_served() {
    let (mut server, address) = server(&["--workers", "1"]);
    for _ in 0..3 {
        let mut client = long_bench(&mut server, &address);
        client.kill();
        assert!(server.line().contains("client"));
    }
    let output = run(&["bench", "--connect", &address, "--requests", "2000"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).ends_with("verified\n"));
}

#[test]
fn a_killed_server_is_noticed_by_its_client() {
    let (mut server, address) = server(&[]);
    let mut client = long_bench(&mut server, &address);
    let begin = Instant::now();
    server.kill();
    let (status, said) = client.end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("the server"), "{said}");
    // An answer may take five seconds; the rest is a scheduler's delays.
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn ctrl_c_ends_the_server_at_once() {
    let (mut server, address) = server(&[]);
    let _client = long_bench(&mut server, &address);
    let begin = Instant::now();
    server.interrupt();
    let (status, said) = server.end();
    assert_eq!(
        (status.code(), &said[..]),
        (Some(130), "kv-server: interrupted\n")
    );
    println!("after {:?}", begin.elapsed());
}

#[test]
fn one_client_too_many_is_told_so() {
    let (mut server, address) = server(&["--workers", "1"]);
    let _clients: Vec<_> = (0..8).map(|_| long_bench(&mut server, &address)).collect();
    let output = run(&["bench", "--connect", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("the server has 8 clients"),
        "{}",
        err(&output)
    );
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let nobody = run(&["bench", "--connect", "nowhere"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(err(&nobody).lines().count(), 1, "{}", err(&nobody));
    for (args, allowed) in [
        (["--value", "257"], "1..=256"),
        (["--outstanding", "65"], "1..=64"),
        (["--gets", "101"], "0..=100"),
    ] {
        let typo = run(&args);
        assert_eq!(typo.status.code(), Some(2));
        assert!(err(&typo).contains(allowed), "{}", err(&typo));
    }
}

#[test]
fn options_of_the_server_are_taken_before_and_after_its_command_and_not_by_the_bench() {
    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for args in [
        [&["--workers", "3"][..], &listen[..]].concat(),
        [&listen[..], &["--workers", "3"]].concat(),
    ] {
        let mut server = start(&args);
        let line = server.line();
        assert!(line.ends_with(", 3 threads\n"), "{line}");
    }
    for args in [["bench", "--workers", "3"], ["--workers", "3", "bench"]] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("--workers"), "{}", err(&output));
    }
}

#[test]
fn options_of_the_bench_are_taken_before_and_after_its_command_and_not_by_the_server() {
    let bench = ["bench", "--connect", "nowhere"];
    let serve = ["serve", "--listen", "nowhere"];
    for given in [
        ["--requests", "5"],
        ["--seconds", "5"],
        ["--keys", "5"],
        ["--value", "5"],
        ["--outstanding", "5"],
        ["--gets", "5"],
        ["--timeout", "500"],
    ] {
        for args in [[&given[..], &bench].concat(), [&bench[..], &given].concat()] {
            let output = run(&args);
            assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        }
        for args in [[&given[..], &serve].concat(), [&serve[..], &given].concat()] {
            let output = run(&args);
            assert_eq!(output.status.code(), Some(2), "{}", err(&output));
            assert!(err(&output).contains(given[0]), "{}", err(&output));
        }
    }
    let help = out(&run(&["serve", "--help"])).to_owned();
    assert!(
        help.contains("--workers") && help.contains("--rdma"),
        "{help}"
    );
    assert!(!help.contains("--requests"), "{help}");
}

#[test]
fn of_an_option_of_the_bench_that_is_given_twice_the_one_behind_the_command_counts() {
    let (_server, address) = server(&[]);
    let output = run(&[
        "--requests",
        "700",
        "--keys",
        "9",
        "bench",
        "--connect",
        &address,
        "--requests",
        "300",
    ]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(
        out(&output).starts_with("300 requests of 9 keys, values of 64 bytes"),
        "{}",
        out(&output)
    );
}
