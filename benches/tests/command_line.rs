//! What `dpa-bench` makes of its arguments and of its readers.

use std::process::{Command, Stdio};

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dpa-bench"));
    command.args(args).stderr(Stdio::piped());
    command
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    for (args, said) in [
        (&["events", "--seconds", "nan"][..], "0.01 to 3600"),
        (&["events", "--seconds", "-1"], "0.01 to 3600"),
        (&["events", "--seconds=0"], "0.01 to 3600"),
        (&["events", "--seconds=inf"], "0.01 to 3600"),
        (&["events", "--peers"], "--peers is for the suite rdma"),
        (&["events", "--only", "nothing"], "no row of that name"),
    ] {
        let output = bench(args).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(said), "{args:?}: {error}");
    }
}

#[test]
fn without_a_reader_it_succeeds_in_silence() {
    for more in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let args = ["events", "--only", "event-add", "--seconds", "0.01"];
        let mut bench = bench(&[&args[..], more].concat());
        let output = bench.stdout(writer).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{error}");
        assert_eq!(error, "");
    }
}
