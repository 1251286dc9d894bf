//! The example programs, as a user runs them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .output()
        .expect("the program starts")
}

fn pipeline(args: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_pipeline"), args)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("plain text")
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

fn name(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

#[test]
fn hello_says_it_four_times() {
    let output = run(env!("CARGO_BIN_EXE_hello"), &[]);
    assert!(output.status.success());
    for rank in 0..4 {
        let line = format!("hello from thread {rank} of 4");
        assert_eq!(text(&output.stdout).matches(&line).count(), 1);
    }
}

#[test]
fn hello_without_a_reader_succeeds_in_silence() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut hello = Command::new(env!("CARGO_BIN_EXE_hello"));
    let output = hello.stdout(writer).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}

/// `program 2>&1 | reader`, and the reader goes: the code is still that of what went wrong.
#[test]
fn what_goes_wrong_without_a_reader_has_its_own_code() {
    let missing = [
        (env!("CARGO_BIN_EXE_hello"), &[][..]),
        (env!("CARGO_BIN_EXE_pipeline"), &["/no/such/file"][..]),
        (env!("CARGO_BIN_EXE_fan-out"), &[]),
    ];
    for (program, arguments) in missing {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut run = Command::new(program);
        run.env("DPA_DEVICE", "/no/such/file").stderr(writer);
        let output = run.args(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{program}");
    }
}

#[test]
fn hello_takes_no_arguments_and_says_what_it_cannot_open() {
    let output = run(env!("CARGO_BIN_EXE_hello"), &["twice"]);
    assert!(text(&output.stderr).contains("unexpected argument 'twice'"));
    let mut hello = Command::new(env!("CARGO_BIN_EXE_hello"));
    let output = hello.env("DPA_DEVICE", "/no/such/file").output();
    let output = output.expect("it starts");
    let says = text(&output.stderr);
    assert!(says.starts_with("hello: "), "{says}");
    assert!(says.contains("/no/such/file"), "{says}");
}

#[test]
fn pipeline_prints_what_the_catalogue_says() {
    let input = file(b"123456789");
    let output = pipeline(&[name(&input)]);
    let out = text(&output.stdout);
    assert!(output.status.success());
    assert!(out.contains("cbf43926"), "{out}");
    assert!(out.contains("median value              '5'"), "{out}");
    assert!(out.ends_with("verified\n"), "{out}");
}

#[test]
fn pipeline_checks_files_of_several_portions() {
    let bytes: Vec<u8> = (0..9_000_001u32).map(|i| (i % 251) as u8).collect();
    let big = file(&bytes);
    let exact = file(&bytes[..4 << 20]);
    let output = pipeline(&[name(&big), name(&exact)]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.contains("9000001") && out.contains("4194304"));
    assert!(out.contains(&format!("{:08x}", crc32fast::hash(&bytes))));
    assert_eq!(out.matches("verified").count(), 1);
}

#[test]
fn pipeline_says_in_one_sentence_what_is_wrong_with_a_file() {
    let empty = file(b"");
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().to_str().expect("a plain path");
    for (path, what) in [
        (name(&empty), "is empty"),
        (directory, "is a directory"),
        ("no/such/file", "cannot be opened"),
    ] {
        let output = pipeline(&[path]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(path) && error.contains(what), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn pipeline_goes_on_with_the_other_files() {
    let good = file(b"good");
    let output = pipeline(&["no/such/file", name(&good)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains(name(&good)));
    assert!(!text(&output.stdout).contains("verified"));
}

#[test]
fn pipeline_without_a_file_shows_how_it_is_used() {
    let output = pipeline(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage"));
}

#[test]
fn fan_out_verifies_its_launches() {
    let program = env!("CARGO_BIN_EXE_fan-out");
    for launches in ["1", "1000"] {
        let output = run(program, &["--launches", launches]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("verified\n"));
    }
    assert_eq!(run(program, &["--launches", "0"]).status.code(), Some(2));
}

#[test]
fn the_readme_of_the_repository_is_verified() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let output = pipeline(&[readme.to_str().expect("a plain path")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn matrix_multiplies_cell_by_cell() {
    for args in [
        &[][..],
        &["--workers", "1"],
        &["--workers", "25", "--seed", "12"],
        &["--seed", "9223372036854775807"],
        &["--seed", "-9223372036854775808"],
    ] {
        let output = run(env!("CARGO_BIN_EXE_matrix"), args);
        let out = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            out.contains("25 jobs") && out.ends_with("verified\n"),
            "{out}"
        );
    }
}

#[test]
fn event_handler_is_started_for_each_block() {
    for (args, blocks) in [
        (&[][..], 256),
        (&["--kib", "1", "--block", "1000"], 2),
        (&["--kib", "1"], 1),
    ] {
        let output = run(env!("CARGO_BIN_EXE_event-handler"), args);
        let out = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(out.ends_with("verified\n"), "{out}");
        assert!(out.starts_with(&format!("blocks: {blocks}; ")), "{out}");
        let starts = out
            .split("started ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let starts: u64 = starts.and_then(|n| n.parse().ok()).expect("how often");
        // One by the host posts the first; the last may be under way when the host sees that all is copied.
        assert!(starts >= blocks, "{out}");
    }
    let typo = run(env!("CARGO_BIN_EXE_event-handler"), &["--block", "1"]);
    assert_eq!(typo.status.code(), Some(2));
}

#[test]
fn a_negative_number_is_told_what_is_allowed() {
    let allowed = [
        (
            env!("CARGO_BIN_EXE_fan-out"),
            &["--launches", "-5"][..],
            "1..=1000000",
        ),
        (env!("CARGO_BIN_EXE_all-to-all"), &["-1"], "2..=64"),
        (
            env!("CARGO_BIN_EXE_all-to-all"),
            &["4", "--rounds", "-1"],
            "1..=100000",
        ),
        (
            env!("CARGO_BIN_EXE_window"),
            &["--key", "-1"],
            "from 0 to 18446744073709551615",
        ),
        (
            env!("CARGO_BIN_EXE_kv-server"),
            &["--gets", "-1"],
            "0..=100",
        ),
        (
            env!("CARGO_BIN_EXE_ping-pong"),
            &["--rounds", "-7", "listen", "127.0.0.1:0"],
            "10..=10000000",
        ),
        (
            env!("CARGO_BIN_EXE_event-handler"),
            &["--kib", "-1"],
            "1..=65536",
        ),
        (
            env!("CARGO_BIN_EXE_matrix"),
            &["--workers", "-1"],
            "1..=190",
        ),
    ];
    for (program, args, range) in allowed {
        let output = run(program, args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(range), "{error}");
        let help = run(program, &["--help"]);
        let range = range.trim_start_matches("from ").replace("..=", " to ");
        assert!(
            text(&help.stdout).contains(&range),
            "{}",
            text(&help.stdout)
        );
    }
}

#[test]
fn window_overwrites_host_memory_and_checks_each_word() {
    for args in [&[][..], &["--kib", "1", "--threads", "3", "--key", "7"]] {
        let output = run(env!("CARGO_BIN_EXE_window"), args);
        let out = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(out.ends_with("verified\n"), "{out}");
    }
    let typo = run(env!("CARGO_BIN_EXE_window"), &["--kib", "0"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(text(&typo.stderr).contains("1..=65536"));
}
