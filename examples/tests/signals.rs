//! Ctrl-C and SIGTERM end every program: at once, with its children, in one line, and what it held is free again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// What is promised.
const SOON: Duration = Duration::from_secs(1);
/// Where many tests share two processors one or the other is late for that, but never so late.
const LATE: Duration = Duration::from_secs(5);
/// How often a program may be late: one that does not keep the promise is late each time.
const TRIES: usize = 3;

/// Each in a group of processes of its own, which its children are in too.
fn start(program: &str, args: &[&str], stdout: Stdio) -> Child {
    let mut command = Command::new(program);
    command.args(args).process_group(0);
    command.stdout(stdout).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Whether a program handles both signals.
fn listens(child: &Child) -> bool {
    let both = [Signal::INT, Signal::TERM].map(|signal| 1 << (signal.as_raw() - 1));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("a program that runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a mask");
    both.iter().all(|one: &u64| caught & one != 0)
}

/// Whether anybody of a group still runs. Whom the system has not yet buried does not.
fn goes_on(group: Pid) -> bool {
    let runs = |stat: &str| {
        // Behind the name, which may be anything: the state, the parent, the group.
        let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
        let fields: Vec<&str> = behind.split(' ').take(3).collect();
        let [state, _, of] = fields[..] else {
            return false;
        };
        state != "Z" && of == group.to_string()
    };
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let stats = all.filter_map(|one| fs::read_to_string(one.path().join("stat")).ok());
    { stats }.any(|stat| runs(&stat))
}

fn until(late: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LATE, "{}", late());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Who gets the signal: the program alone, as from a supervisor, or all of its group, as from a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Program,
    Group,
}

/// How a program ends.
#[derive(Clone, Copy, Debug)]
struct End {
    signal: Signal,
    code: i32,
    said: &'static str,
}

const ENDS: [End; 2] = [
    End {
        signal: Signal::INT,
        code: 130,
        said: "interrupted",
    },
    End {
        signal: Signal::TERM,
        code: 143,
        said: "terminated",
    },
];

/// Sends a program the signal while it is at work, and sees how it ends; how long that took.
fn ends(mut child: Child, name: &str, whom: Whom, end: End) -> Duration {
    let End { signal, code, said } = end;
    until(
        || format!("{name} does not handle signals"),
        || listens(&child),
    );
    std::thread::sleep(Duration::from_millis(300));
    let ended = child.try_wait().expect("a child");
    assert!(ended.is_none(), "{name} takes a while");
    let group = Pid::from_child(&child);
    assert!(goes_on(group));
    let began = Instant::now();
    let sent = match whom {
        Whom::Program => kill_process(group, signal),
        Whom::Group => kill_process_group(group, signal),
    };
    sent.expect("it is there");
    let mut status = None;
    until(
        || format!("{name} goes on after {signal:?}"),
        || {
            status = child.try_wait().expect("a child");
            status.is_some()
        },
    );
    let status = status.and_then(|status| status.code());
    assert_eq!(status, Some(code), "{name}, {signal:?}");
    // Its children are in its group: nobody is left there.
    until(|| format!("a child of {name} goes on"), || !goes_on(group));
    let took = began.elapsed();
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let lines: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let expected = format!("{name}: {said}");
    assert_eq!(lines, [expected], "{signal:?} to {whom:?}");
    took
}

fn name(program: &str) -> String {
    let name = Path::new(program).file_name().expect("a program");
    name.to_string_lossy().into_owned()
}

fn with_stdout(program: &str, args: &[&str], stdout: &dyn Fn() -> Stdio) {
    for whom in [Whom::Program, Whom::Group] {
        for end in ENDS {
            let took = |_| ends(start(program, args, stdout()), &name(program), whom, end);
            let soon = (0..TRIES).map(took).any(|took| took < SOON);
            assert!(
                soon,
                "{program} {args:?} is late after {end:?}, {TRIES} times"
            );
        }
    }
}

fn by_both(program: &str, args: &[&str]) {
    with_stdout(program, args, &Stdio::null);
}

/// An address with a port that nobody listens at.
fn free_address() -> String {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr());
    port.expect("a free port").to_string()
}

#[test]
fn programs_of_one_process() {
    by_both(env!("CARGO_BIN_EXE_fan-out"), &["--launches", "1000000"]);
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
fn programs_that_wait_for_others_and_their_ports() {
    let address = free_address();
    by_both(env!("CARGO_BIN_EXE_ping-pong"), &["listen", &address]);
    let serve = ["serve", "--listen", &address];
    by_both(env!("CARGO_BIN_EXE_kv-server"), &serve);
    TcpListener::bind(&address).expect("it is free again");
}

/// Nobody listens there.
#[test]
fn programs_that_go_to_another() {
    let address = free_address();
    by_both(env!("CARGO_BIN_EXE_ping-pong"), &["connect", &address]);
    let bench = ["bench", "--connect", &address];
    by_both(env!("CARGO_BIN_EXE_kv-server"), &bench);
}

#[test]
fn a_bench_at_work() {
    let program = env!("CARGO_BIN_EXE_kv-server");
    let address = free_address();
    let mut server = start(program, &["serve", "--listen", &address], Stdio::null());
    let bench = ["bench", "--seconds", "30", "--requests", "100000000"];
    let bench = [&bench[..], &["--connect", &address]].concat();
    by_both(program, &bench);
    let goes_on = server.try_wait().expect("a child").is_none();
    server.kill().expect("a child");
    server.wait().expect("a child");
    assert!(goes_on, "the server is there for the next");
}

/// Where standard output takes no more, nothing interrupts a write.
#[test]
fn programs_that_nobody_listens_to() {
    let (reader, mut writer) = UnixStream::pair().expect("two sockets");
    writer.set_nonblocking(true).expect("a socket");
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    writer.set_nonblocking(false).expect("a socket");
    let full = || OwnedFd::from(writer.try_clone().expect("a socket")).into();
    for (program, args) in [
        (env!("CARGO_BIN_EXE_hello"), &[][..]),
        (env!("CARGO_BIN_EXE_matrix"), &[]),
        (env!("CARGO_BIN_EXE_window"), &[]),
        (env!("CARGO_BIN_EXE_ping-pong"), &["--rounds", "10"]),
    ] {
        with_stdout(program, args, &full);
    }
    drop(reader);
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
