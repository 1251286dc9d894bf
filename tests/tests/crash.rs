//! Rule 5.2's last part: crash reports, read back by readers that are not ours.

#[cfg(not(dpa_sanitize))]
#[path = "crash/gdb.rs"]
mod gdb;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;
#[path = "crash/unit.rs"]
mod unit;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use doca_dpa::{
    Builder, CrashProblem, CrashReport, Dpa, Error, Fault, FaultKind, FunctionKind, FunctionSpec,
    Sim, SyncEvent,
};
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectKind, ObjectSegment};
use seeds::seeds;
use tests::*;

const LONG: Duration = Duration::from_secs(30);

/// A directory of its own, gone at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("dpa-crash-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        Self(dir)
    }

    fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(&self.0).expect("the directory");
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .map(|name| name.expect("text"))
            .collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn builder(dir: &Dir) -> Builder {
    Dpa::builder().workers(2).crash_path(dir.0.join("p"))
}

fn report(dpa: &Dpa) -> (Arc<Fault>, CrashReport) {
    let fault = dpa.last_error().expect("a fault");
    let report = fault.wait_for_crash_report(LONG).expect("a report").clone();
    (fault, report)
}

/// The files of a report that is complete.
fn complete(report: &CrashReport) -> (&Path, String, Vec<u8>) {
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let core = report.core.as_deref().expect("a core");
    let text = report.text.as_deref().expect("a text");
    let text = std::fs::read_to_string(text).expect("the text");
    (core, text, std::fs::read(core).expect("the core"))
}

/// The line of a text that begins so.
fn line<'a>(text: &'a str, begins: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(begins));
    found.unwrap_or_else(|| panic!("no line {begins} in:\n{text}"))
}

/// Bytes of a core at an address, as the crate `object` reads it.
fn bytes_at(core: &[u8], address: u64, len: u64) -> Vec<u8> {
    let file = object::File::parse(core).expect("an ELF file");
    assert_eq!(file.kind(), ObjectKind::Core);
    let found = file.segments().find_map(|segment| {
        let data = segment.data_range(address, len);
        data.expect("within the file").map(<[u8]>::to_vec)
    });
    found.unwrap_or_else(|| panic!("nothing at {address:#x}"))
}

/// The kinds of a core's notes, by owner.
fn notes(core: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let header = FileHeader64::<Endianness>::parse(core).expect("a header");
    let endian = header.endian().expect("an order");
    let headers = header.program_headers(endian, core).expect("headers");
    let mut notes = headers
        .iter()
        .find_map(|header| header.notes(endian, core).expect("notes"))
        .expect("a segment of notes");
    let mut found = Vec::new();
    while let Some(note) = notes.next().expect("a note") {
        let owner = String::from_utf8_lossy(note.name()).into_owned();
        found.push((owner, note.n_type(endian), note.desc().to_vec()));
    }
    found
}

#[tokio::test]
async fn rule_5_2_a_panic_leaves_a_text_and_a_core() -> Result<(), Error> {
    let dir = Dir::new("panic");
    let dpa = builder(&dir).open()?;
    let gate = SyncEvent::host_to_device(&dpa)?;
    let pattern: Vec<u64> = (0..1000).map(|n| n * 0x0101_0101).collect();
    let kept = dpa.copy_in(&pattern).await?;
    let total = dpa.zeroed::<u64>(1).await?;
    gate.add(3)?;
    let mut parked = Vec::new();
    for _ in 0..3 {
        parked.push(dpa.launch(nothing).wait_for(gate.ge(9)).submit()?);
    }
    let waits = WaitThenCountArgs {
        event: &gate,
        value: 9u64,
        total: &total,
    };
    let waiting = dpa.launch(wait_then_count).args(waits).submit()?;
    while dpa.snapshot().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
    let number = PanicsArgs { number: 13u64 };
    assert!(dpa.launch(panics).args(number).submit()?.await.is_err());
    let (fault, report) = report(&dpa);
    let (path, text, core) = complete(&report);
    assert_eq!(line(&text, "kernel: "), "kernel: panics");
    assert_eq!(line(&text, "fault: "), "fault: panic");
    assert_eq!(line(&text, "message: "), "message: the number is 13");
    assert_eq!(line(&text, "rank: "), "rank: 0");
    // Units have no numbers of their own.
    assert!(fault.unit.is_none() && !text.contains("\nunit: "));
    assert_eq!(line(&text, "launch: "), format!("launch: {}", fault.launch));
    assert!(line(&text, "place: ").contains("tests/src/lib.rs:"));
    assert!(line(&text, "time: ").starts_with("time: 20"));
    assert!(line(&text, "units: ").starts_with("units: 1 running, 1 blocked"));
    let waits = line(&text, "  wait_then_count");
    assert!(waits.contains("value >= 9, value is 3"), "{waits}");
    assert!(
        line(&text, "launches: ").ends_with("and 3 parked"),
        "{text}"
    );
    assert!(text.contains(": value 3, 4 waiters"), "{text}");
    assert!(line(&text, "heap: ").contains("2 allocations of 8008 bytes"));
    assert!(text.contains(": panics\n"), "a backtrace: {text}");
    let expected: Vec<u8> = pattern.iter().flat_map(|n| n.to_le_bytes()).collect();
    assert_eq!(bytes_at(&core, kept.addr().raw(), 8000), expected);
    assert_eq!(report.left_out, 0);
    let shown = fault.to_string();
    let named = report.text.as_deref().expect("a text").display();
    assert!(shown.contains(&format!("crash report: {named}")), "{shown}");
    for file in [path, report.text.as_deref().expect("a text")] {
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    drop((parked, waiting));
    Ok(())
}

#[cfg(not(dpa_sanitize))]
#[tokio::test]
async fn rule_5_2_a_core_has_the_stacks_of_the_faulted_and_the_waiting() -> Result<(), Error> {
    let dir = Dir::new("stacks");
    let dpa = builder(&dir).open()?;
    let gate = SyncEvent::host_to_device(&dpa)?;
    let total = dpa.zeroed::<u64>(1).await?;
    let args = WaitThenCountArgs {
        event: &gate,
        value: 9u64,
        total: &total,
    };
    let waiting = dpa.launch(wait_then_count).args(args).threads(3).submit()?;
    while dpa.snapshot().waiting.len() < 3 {
        tokio::task::yield_now().await;
    }
    let number = PanicsArgs { number: 13u64 };
    assert!(dpa.launch(panics).args(number).submit()?.await.is_err());
    let (_, report) = report(&dpa);
    let (_, text, core) = complete(&report);
    let notes = notes(&core);
    let of = |kind| notes.iter().filter(move |n| n.0 == "CORE" && n.1 == kind);
    let statuses: Vec<_> = of(elf::NT_PRSTATUS).collect();
    assert_eq!(statuses.len(), 4, "{text}");
    assert_eq!(of(elf::NT_PRPSINFO).count(), 1);
    let word = |note: &[u8], at: usize| u64::from_le_bytes(note[at..at + 8].try_into().expect("8"));
    let stack_pointer = if cfg!(target_arch = "x86_64") { 19 } else { 31 };
    for (_, _, status) in statuses {
        let sp = word(status, 112 + stack_pointer * 8);
        assert_eq!(bytes_at(&core, sp, 64).len(), 64, "the stack at {sp:#x}");
    }
    let own = notes.iter().find(|note| note.0 == "DOCA-DPA");
    let own = String::from_utf8_lossy(&own.expect("the text").2).into_owned();
    assert!(text.starts_with(own.trim_end_matches('\0')));
    drop(waiting);
    Ok(())
}

async fn fault_of(dpa: &Dpa, kind: &str) -> Result<(), Error> {
    let xs = dpa.zeroed::<u32>(5).await?;
    let event = SyncEvent::device_to_host(dpa)?;
    let total = dpa.zeroed::<u64>(1).await?;
    let launch = match kind {
        "panics" => dpa
            .launch(panics)
            .args(PanicsArgs { number: 1u64 })
            .submit()?,
        "reads_too_far" => dpa
            .launch(reads_too_far)
            .args(ReadsTooFarArgs { xs: &xs })
            .submit()?,
        "binds" => dpa
            .launch(binds)
            .args(BindsArgs {
                addr: doca_dpa::DevAddr::<u32>::from_raw(0x1230),
                len: 4u64,
            })
            .submit()?,
        "gives_up" => dpa
            .launch(gives_up)
            .args(GivesUpArgs { code: 7u64 })
            .submit()?,
        "overflows" => dpa
            .launch(overflows)
            .args(OverflowsArgs { depth: 0u64 })
            .submit()?,
        "spins" => dpa.launch(spins).args(SpinsArgs { from: 0u64 }).submit()?,
        _ => dpa
            .launch(wait_then_count)
            .args(WaitThenCountArgs {
                event: &event,
                value: 1u64,
                total: &total,
            })
            .submit()?,
    };
    assert!(launch.await.is_err(), "{kind} is a fault");
    Ok(())
}

#[tokio::test]
async fn rule_5_2_every_kind_of_fault_leaves_a_report() -> Result<(), Error> {
    let dir = Dir::new("kinds");
    for kind in [
        "panics",
        "reads_too_far",
        "binds",
        "gives_up",
        "overflows",
        "spins",
        "wait_then_count",
    ] {
        let builder = builder(&dir)
            .run_time_limit(Some(Duration::from_millis(100)))
            .deadlock_grace(Duration::from_millis(20));
        let dpa = builder.open()?;
        fault_of(&dpa, kind).await?;
        let (fault, report) = report(&dpa);
        let (_, text, core) = complete(&report);
        assert_eq!(line(&text, "fault: "), format!("fault: {}", fault.kind));
        assert_eq!(notes(&core)[0].1, elf::NT_PRSTATUS, "{kind}");
        if fault.kind == FaultKind::Deadlock {
            assert!(line(&text, "deadlocked: ").contains(kind), "{text}");
        } else {
            assert_eq!(line(&text, "kernel: "), format!("kernel: {kind}"));
            assert!(text.contains("thread 1: "), "a stack: {text}");
        }
        match fault.kind {
            // Of these the place is where the stack was reset: in the core.
            FaultKind::StackOverflow { .. } | FaultKind::RunTimeExceeded { .. } => {
                assert!(line(&text, "place: ").contains("registers"), "{text}");
            }
            FaultKind::Deadlock => {}
            _ => assert!(line(&text, "place: ").contains(".rs:"), "{kind}: {text}"),
        }
        if let FaultKind::OutOfRange { addr, .. } = fault.kind {
            assert_eq!(addr, 0x1230);
            assert_eq!(line(&text, "device address: "), "device address: 0x1230");
        }
    }
    Ok(())
}

#[tokio::test]
async fn rule_5_2_two_processes_have_each_their_own_and_none_is_overwritten() -> Result<(), Error> {
    let dir = Dir::new("two");
    let dpa = builder(&dir).open()?;
    let other = dpa.open_beside()?;
    assert_eq!(dpa.crash_path(), Some(dir.0.join("p")));
    for (dpa, number) in [(&dpa, 1u64), (&other, 2)] {
        let args = PanicsArgs { number };
        assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
    }
    let pid = std::process::id();
    let reports = [report(&dpa), report(&other)];
    for ((_, report), number) in reports.iter().zip(1..) {
        let (_, text, _) = complete(report);
        let message = format!("message: the number is {number}");
        assert_eq!(line(&text, "message: "), message);
    }
    let names = ["", ".1"].map(|n| [format!("p.{pid}{n}.crash"), format!("p.{pid}{n}.core")]);
    let names: BTreeSet<String> = names.into_iter().flatten().collect();
    assert_eq!(dir.files(), names);
    Ok(())
}

/// Each function has its own names, and so as many reports as there may be.
#[tokio::test]
async fn rule_5_2_another_function_has_names_of_its_own() -> Result<(), Error> {
    let dir = Dir::new("functions");
    let function = |name: &str, units: &str| {
        FunctionSpec::with_units(name, FunctionKind::Virtual, units.parse().expect("units"))
    };
    let functions = [function("vf0", "0-3"), function("vf1", "4-7")];
    let dpa = builder(&dir).functions(functions).open()?;
    let other = dpa.open_on("vf1")?;
    for dpa in [&dpa, &other, &other.open_beside()?] {
        let args = PanicsArgs { number: 1u64 };
        assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
        complete(&report(dpa).1);
    }
    let pid = std::process::id();
    let names = ["", ".vf1", ".vf1"].into_iter().zip(["", "", ".1"]);
    let both = names.map(|(f, n)| {
        [
            format!("p{f}.{pid}{n}.crash"),
            format!("p{f}.{pid}{n}.core"),
        ]
    });
    let names: BTreeSet<String> = both.flatten().collect();
    assert_eq!(dir.files(), names);
    Ok(())
}

#[tokio::test]
async fn rule_5_2_a_core_is_bounded_and_says_what_is_left_out() -> Result<(), Error> {
    const LIMIT: u64 = 300 << 10;
    let dir = Dir::new("bounded");
    let dpa = builder(&dir).crash_core_bytes(LIMIT).open()?;
    let large = dpa.zeroed::<u64>(1 << 18).await?;
    let args = PanicsArgs { number: 1u64 };
    assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
    let (_, report) = report(&dpa);
    let (path, text, core) = complete(&report);
    assert!(core.len() as u64 <= LIMIT, "{} bytes", core.len());
    assert!(core.len() as u64 > LIMIT / 2, "{} bytes", core.len());
    assert!(report.left_out > (1 << 21) - LIMIT);
    let cut = format!("{} bytes of memory left out", report.left_out);
    assert!(line(&text, "core file: ").contains(&cut), "{text}");
    assert!(path.exists());
    assert_eq!(bytes_at(&core, large.addr().raw(), 64), [0; 64]);
    Ok(())
}

#[tokio::test]
async fn rule_5_2_without_room_for_a_core_there_is_the_text() -> Result<(), Error> {
    let dir = Dir::new("text");
    let dpa = builder(&dir).crash_core_bytes(0).open()?;
    let args = PanicsArgs { number: 1u64 };
    assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
    let (_, report) = report(&dpa);
    assert!(report.text.is_some() && report.core.is_none() && report.problems.is_empty());
    assert_eq!(dir.files().len(), 1);
    Ok(())
}

#[tokio::test]
async fn rule_5_2_a_directory_that_cannot_be_written_only_warns() -> Result<(), Error> {
    let dir = Dir::new("nowhere");
    let builder = Dpa::builder().crash_path(dir.0.join("missing").join("p"));
    let dpa = builder.workers(2).open()?;
    let other = dpa.open_beside()?;
    let args = PanicsArgs { number: 1u64 };
    assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
    let (fault, report) = report(&dpa);
    assert!(report.text.is_none() && report.core.is_none());
    let problems = &report.problems;
    assert!(
        matches!(&problems[..], [CrashProblem::Create { .. }]),
        "{problems:?}"
    );
    let shown = fault.to_string();
    assert!(shown.contains("could not be made"), "{shown}");
    other.launch(nothing).submit()?.await?;
    Ok(())
}

#[tokio::test]
async fn rule_5_2_nothing_is_written_if_none_is_wanted() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(2).no_crash_report().open()?;
    assert_eq!(dpa.crash_path(), None);
    let args = PanicsArgs { number: 1u64 };
    assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
    let fault = dpa.last_error().expect("a fault");
    assert!(fault.wait_for_crash_report(LONG).is_none());
    assert!(!fault.to_string().contains("DPA_CRASH_PATH"), "{fault}");
    Ok(())
}

/// Run as a program of its own: without being told where to write, faults and ends at once.
#[tokio::test]
async fn child_that_faults_and_ends() -> Result<(), Error> {
    if std::env::var_os("DPA_CRASH_TEST_CHILD").is_none() {
        return Ok(());
    }
    let dpa = Dpa::builder().workers(2).open()?.open_beside()?;
    let large = dpa.zeroed::<u64>(1 << 21).await?;
    let args = PanicsArgs { number: 1u64 };
    assert!(dpa.launch(panics).args(args).submit()?.await.is_err());
    println!("{}", dpa.last_error().expect("a fault"));
    drop(large);
    std::process::exit(7);
}

/// Wakes nobody: says that it was asked to, and takes its time over it.
struct Slow(std::sync::mpsc::Sender<()>);

impl std::task::Wake for Slow {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Run as a program of its own: learns of the fault while its process is still being stopped, and ends.
#[test]
fn child_that_ends_while_its_process_stops() -> Result<(), Error> {
    if std::env::var_os("DPA_CRASH_TEST_CHILD").is_none() {
        return Ok(());
    }
    let dpa = Dpa::builder().workers(2).open()?;
    let event = SyncEvent::device_to_host(&dpa)?;
    let (told, tells) = std::sync::mpsc::channel();
    let waker = std::task::Waker::from(Arc::new(Slow(told)));
    let mut wait = std::pin::pin!(event.ge(1).into_future());
    let first = wait
        .as_mut()
        .poll(&mut std::task::Context::from_waker(&waker));
    assert!(first.is_pending());
    let launch = dpa
        .launch(panics)
        .args(PanicsArgs { number: 1u64 })
        .submit()?;
    tells.recv().expect("the end of the event");
    drop(launch);
    std::process::exit(7);
}

fn child() -> Command {
    child_of("child_that_faults_and_ends")
}

fn child_of(test: &str) -> Command {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.args(["--exact", test, "--nocapture"]);
    child.env("DPA_CRASH_TEST_CHILD", "1");
    child.env_remove("DPA_CRASH_PATH");
    child
}

#[test]
fn rule_5_2_without_a_path_nothing_is_written_and_the_fault_says_how() {
    let dir = Dir::new("unset");
    let child = child().current_dir(&dir.0).output().expect("a child");
    assert_eq!(child.status.code(), Some(7), "{child:?}");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        said.contains("for a crash report, set DPA_CRASH_PATH"),
        "{said}"
    );
    assert!(dir.files().is_empty());
}

#[test]
fn rule_5_2_a_program_that_ends_at_once_leaves_its_report_where_the_environment_says() {
    let dir = Dir::new("child");
    let child = child().env("DPA_CRASH_PATH", &dir.0).output();
    let child = child.expect("a child");
    assert_eq!(child.status.code(), Some(7), "{child:?}");
    let files = dir.files();
    let [core, text] = &files.iter().collect::<Vec<_>>()[..] else {
        panic!("{files:?}");
    };
    assert!(core.starts_with("doca_dpa_fatal.") && core.ends_with(".core"));
    let text = std::fs::read_to_string(dir.0.join(text)).expect("the text");
    assert_eq!(line(&text, "kernel: "), "kernel: panics");
    let core = std::fs::read(dir.0.join(core)).expect("the core");
    let last = (1u64 << 24) - 4096 + 0x4000_0000_0000;
    assert_eq!(bytes_at(&core, last, 4096), [0; 4096], "it is complete");
}

#[test]
fn rule_5_2_a_program_that_ends_while_its_process_stops_leaves_its_report() {
    let dir = Dir::new("stops");
    let mut child = child_of("child_that_ends_while_its_process_stops");
    let child = child.env("DPA_CRASH_PATH", &dir.0).output();
    let child = child.expect("a child");
    assert_eq!(child.status.code(), Some(7), "{child:?}");
    assert_eq!(dir.files().len(), 2, "{:?}", dir.files());
}

#[test]
fn rule_5_2_under_the_seeded_driver_the_report_is_there_with_the_error() {
    let dir = Dir::new("seeded");
    // Each leaves files, so there are never more than these.
    let mut tried = 0;
    for seed in seeds(10).take(10) {
        tried += 1;
        let run = Sim::new(seed).on(builder(&dir)).run(async |dpa: Dpa| {
            let args = PanicsArgs { number: seed };
            let launch = dpa.launch(panics).args(args).threads(4).submit();
            assert!(launch.expect("accepted").await.is_err());
            let fault = dpa.last_error().expect("a fault");
            fault.crash_report().cloned().expect("it is there already")
        });
        let report = run.expect("it ends").value;
        let (_, text, _) = complete(&report);
        let message = format!("message: the number is {seed}");
        assert_eq!(line(&text, "message: "), message);
    }
    assert_eq!(dir.files().len(), 2 * tried);
}
