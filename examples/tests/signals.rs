//! Ctrl-C and SIGTERM end every program that takes a while: at once, with its children, in one line, and what it held is
//! free again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is promised is a second; where many tests share two processors, nobody is that quick.
const SOON: Duration = Duration::from_secs(5);

/// Each in a group of processes of its own, which its children are in too.
fn start(program: &str, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(args).process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

fn kill(signal: &str, whom: &str) -> bool {
    let mut kill = Command::new("kill");
    let kill = kill.args([signal, "--", whom]).stderr(Stdio::null());
    kill.status().expect("there is kill").success()
}

/// Who gets the signal: the program alone, as from a supervisor, or all of its group, as from a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Program,
    Group,
}

fn ends(program: &str, args: &[&str], whom: Whom, (signal, code, said): (&str, i32, &str)) {
    let mut child = start(program, args);
    std::thread::sleep(Duration::from_millis(400));
    assert!(
        child.try_wait().expect("a child").is_none(),
        "{program} takes a while"
    );
    let began = Instant::now();
    let group = format!("-{}", child.id());
    assert!(match whom {
        Whom::Program => kill(signal, &child.id().to_string()),
        Whom::Group => kill(signal, &group),
    });
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if began.elapsed() > SOON => panic!("{program} goes on after {signal}"),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(status.code(), Some(code), "{program}, {signal}");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let lines: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let name = Path::new(program).file_name().expect("a program");
    let all = format!("{}: {said}", name.to_string_lossy());
    assert_eq!(lines, [all], "{signal} to {whom:?}");
    // Its children are in its group: nobody is left there.
    while kill("-0", &group) {
        assert!(began.elapsed() < SOON, "a child of {program} goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn by_both(program: &str, args: &[&str]) {
    for whom in [Whom::Program, Whom::Group] {
        ends(program, args, whom, ("-INT", 130, "interrupted"));
        ends(program, args, whom, ("-TERM", 143, "terminated"));
    }
}

#[test]
fn programs_of_one_process() {
    by_both(env!("CARGO_BIN_EXE_kv-server"), &["serve"]);
    by_both(
        env!("CARGO_BIN_EXE_event-handler"),
        &["--kib", "65536", "--block", "64"],
    );
}

#[test]
fn programs_that_start_others() {
    by_both(
        env!("CARGO_BIN_EXE_kv-server"),
        &["--seconds", "30", "--requests", "100000000"],
    );
    by_both(env!("CARGO_BIN_EXE_ping-pong"), &["--rounds", "10000000"]);
    by_both(
        env!("CARGO_BIN_EXE_all-to-all"),
        &["4", "--rounds", "100000"],
    );
}

#[test]
fn a_program_that_waits_for_another_and_its_port() {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    let address = port.expect("a free port").to_string();
    by_both(env!("CARGO_BIN_EXE_ping-pong"), &["listen", &address]);
    TcpListener::bind(&address).expect("it is free again");
}

/// To open a pipe that nobody writes to, and to read one that somebody only holds open, takes without end.
#[test]
fn a_program_that_waits_for_a_pipe() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("there is mkfifo").success());
    let pipe = path.to_str().expect("a plain path");
    by_both(env!("CARGO_BIN_EXE_pipeline"), &[pipe]);
    let both_ends = File::options().read(true).write(true).open(&path);
    let _held = both_ends.expect("no end waits for another");
    by_both(env!("CARGO_BIN_EXE_pipeline"), &[pipe]);
}
