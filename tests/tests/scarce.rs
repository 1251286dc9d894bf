//! The system refuses memory or threads, or the host's subscriber panics: who asked is told, nothing that was there is lost, and
//! whatever else the device does goes on. Each test is a program of its own, as limits and subscribers are a program's.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doca_dpa::error::LaunchError;
use doca_dpa::{Builder, Dpa, FaultKind, SyncEvent};
use flexio::{LogSpec, ProcessSpec, TraceSpec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::hostile::{PanicsAtLengthArgs, panics_at_length, panics_without_end};
use tests::messages::{TracesArgs, logs, traces};
use tests::*;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);
const CHILD: &str = "DPA_SCARCE_TEST_CHILD";

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The test of this name alone, in a program of its own.
fn child(test: &str) -> Output {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("a child");
    let begun = Instant::now();
    while child.try_wait().expect("its end").is_none() {
        if begun.elapsed() > 4 * PATIENCE {
            child.kill().expect("it ends");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("what it said")
}

/// Where the memory ends just between a new thread's stack and what the standard library wants for that thread's signals, that ends the
/// program: one of some hundred limits is such.
fn was_unlucky(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    !output.status.success() && said.contains("failed to allocate an alternative stack")
}

/// Runs the test of this name again, as the only one of its program.
fn alone<F: Future<Output = Outcome>>(test: &str, body: impl FnOnce() -> F) {
    if std::env::var_os(CHILD).is_none() {
        let ended = (0..5)
            .map(|_| child(test))
            .find(|output| !was_unlucky(output));
        let output = ended.expect("no bad luck five times in a row");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = async { tokio::time::timeout(3 * PATIENCE, body()).await };
    let outcome = runtime.expect("a runtime").block_on(ended);
    // At once: what hangs would keep the program.
    let code = match outcome {
        Ok(Ok(())) => 0,
        wrong => {
            eprintln!("{wrong:?}");
            1
        }
    };
    std::process::exit(code);
}

/// What the program has of something, in bytes.
fn has(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status");
    let line = status.lines().find(|line| line.starts_with(key));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure.expect("it").parse::<u64>().expect("a figure") * 1024
}

/// So many bytes more, and not another one.
fn limit(resource: Resource, key: &str, more: u64) {
    let limits = Rlimit {
        current: Some(has(key) + more),
        ..getrlimit(resource)
    };
    setrlimit(resource, limits).expect("a lower limit");
}

fn no_stacks() {
    settled();
    limit(Resource::Data, "VmData:", 3 << 20);
}

/// Until what was started has begun and waits, and what was ended has gone: a thread that begins takes memory, too.
fn settled() {
    let others_wait = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
        let states = tasks.flatten().filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            stat.rsplit_once(')')?.1.trim_start().chars().next()
        });
        // This one runs.
        states.filter(|state| *state != 'S').count() <= 1
    };
    let begun = Instant::now();
    let mut waited = 0;
    while waited < 20 {
        assert!(begun.elapsed() < PATIENCE, "they never wait");
        waited = if others_wait() { waited + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// There are no threads any more, for they need two mebibytes each; those that were had for it wait.
fn no_threads() {
    settled();
    limit(Resource::As, "VmSize:", 3 << 19);
    let one = || std::thread::Builder::new().spawn(std::thread::park);
    let refused = (0..1000).find_map(|_| one().err());
    refused.expect("there is an end to them");
}

fn builder() -> Builder {
    Dpa::builder().workers(1).heap_bytes(1 << 18)
}

/// Launches whose threads wait, from this rank on, take all stacks that there are and one more.
async fn ranks_without_a_stack(first: u64) -> Outcome {
    let dpa = builder().open()?;
    let other = dpa.open_beside()?;
    let go = SyncEvent::host_to_device(&dpa)?;
    let waits = |threads, first| {
        let args = WaitsFromArgs { event: &go, first };
        let launch = dpa.launch(waits_from).threads(threads).args(args);
        launch.submit().map_err(doca_dpa::Error::from)
    };
    let before = waits(63, 0u64)?;
    let begun = Instant::now();
    while dpa.snapshot().waiting.len() < 63 {
        assert!(begun.elapsed() < PATIENCE, "they never wait");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    no_stacks();
    let launch = waits(100, first)?;
    for launch in [before, launch] {
        let ended = tokio::time::timeout(PATIENCE, launch).await?;
        assert!(matches!(ended, Err(LaunchError::Faulted(_))), "{ended:?}");
    }
    let fault = dpa.last_error().expect("a fault");
    let errno = 12;
    assert_eq!(fault.kind, FaultKind::StackRefused { errno }, "{fault}");
    let launch = other.launch(nothing).threads(190).submit()?;
    tokio::time::timeout(PATIENCE, launch).await??;
    dpa.close_within(PATIENCE).await?;
    Ok(())
}

#[test]
fn rule_5_2_ranks_that_are_claimed_and_get_no_stack_end_with_the_cause() {
    alone(
        "rule_5_2_ranks_that_are_claimed_and_get_no_stack_end_with_the_cause",
        || ranks_without_a_stack(40),
    );
}

#[test]
fn rule_5_2_a_launch_that_gets_no_stack_ends_with_the_cause() {
    alone(
        "rule_5_2_a_launch_that_gets_no_stack_ends_with_the_cause",
        || ranks_without_a_stack(0),
    );
}

#[test]
fn rule_5_3_of_what_a_panic_says_a_little_is_kept() {
    alone("rule_5_3_of_what_a_panic_says_a_little_is_kept", || async {
        const LENGTH: u64 = 256 << 20;
        let dpa = builder().open()?;
        let other = dpa.open_beside()?;
        dpa.launch(nothing).submit()?.await?;
        settled();
        // The text itself, and not another one.
        limit(Resource::As, "VmSize:", LENGTH + LENGTH / 4);
        let kibibytes = LENGTH / 1024;
        let launch = dpa
            .launch(panics_at_length)
            .args(PanicsAtLengthArgs { kibibytes });
        let ended = tokio::time::timeout(PATIENCE, launch.submit()?).await?;
        let said = ended.expect_err("it panicked").to_string();
        let fault = dpa.last_error().expect("a fault");
        assert_eq!(fault.kind, FaultKind::Panic);
        let message = fault.message.as_ref().expect("a message");
        let says = format!("xx.. (4096 of {LENGTH} bytes)");
        assert!(message.ends_with(&says));
        for text in [&said, message, &fault.to_string()] {
            assert!(text.len() < 5000, "{}", text.len());
        }
        let launch = other.launch(nothing).submit()?;
        tokio::time::timeout(PATIENCE, launch).await??;
        Ok(())
    });
}

#[test]
fn a_device_without_memory_for_a_kernel_is_not_opened() {
    alone(
        "a_device_without_memory_for_a_kernel_is_not_opened",
        || async {
            no_stacks();
            let refused = builder().open().expect_err("no stack").to_string();
            let says = "kernel stacks: the system refused 9437184 bytes: Cannot allocate memory";
            assert!(refused.contains(says), "{refused}");
            Ok(())
        },
    );
}

#[test]
fn a_device_says_which_of_its_threads_could_not_be_had() {
    alone(
        "a_device_says_which_of_its_threads_could_not_be_had",
        || async {
            // Their kernel stacks take 1.5 GiB, and each takes 2 MiB for its own.
            limit(Resource::As, "VmSize:", 5 << 29);
            let many = builder().workers(1000).stack_bytes(32 << 10);
            let refused = many.open().expect_err("not so many").to_string();
            let says = "the thread dpa-worker-";
            assert!(refused.contains(says), "{refused}");
            assert!(
                refused.contains(" of a device with 1000 workers "),
                "{refused}"
            );
            Ok(())
        },
    );
}

/// A file that was there before, gone at the end.
struct Earlier(PathBuf);

impl Earlier {
    fn new(name: &str) -> Self {
        let name = format!("dpa-scarce-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "of an earlier run").expect("a file");
        Self(path)
    }

    fn is_untouched(&self) -> bool {
        std::fs::read(&self.0).is_ok_and(|bytes| bytes == b"of an earlier run")
    }
}

impl Drop for Earlier {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_context_that_is_not_opened_leaves_the_trace_of_an_earlier_one() {
    alone(
        "a_context_that_is_not_opened_leaves_the_trace_of_an_earlier_one",
        || async {
            let trace = Earlier::new("trace");
            limit(Resource::As, "VmSize:", 1 << 30);
            let open = builder().heap_bytes(1 << 40).trace_file(&trace.0).open();
            let refused = open.expect_err("no heap").to_string();
            assert!(refused.contains("the heap of"), "{refused}");
            assert!(trace.is_untouched());
            Ok(())
        },
    );
}

#[test]
fn files_of_a_context_have_their_threads_or_it_is_not_opened() {
    alone(
        "files_of_a_context_have_their_threads_or_it_is_not_opened",
        || async {
            let file = Earlier::new("file");
            let traced = builder().trace_file(&file.0).open()?;
            drop(traced.open_beside()?);
            assert!(!file.is_untouched(), "it was begun anew");
            let file = Earlier::new("other");
            let first = builder().open()?;
            let beside = |spec: &ProcessSpec| first.device().process_with(spec).map(drop);
            no_threads();
            let trace = TraceSpec {
                file: Some(file.0.clone()),
                ..TraceSpec::default()
            };
            let spec = ProcessSpec {
                trace,
                ..ProcessSpec::default()
            };
            let refused = beside(&spec).expect_err("no thread").to_string();
            let says = "the thread of the trace could not be started: ";
            assert!(refused.contains(says), "{refused}");
            let log = LogSpec {
                file: Some(file.0.clone()),
                ..LogSpec::default()
            };
            let spec = ProcessSpec {
                log,
                ..ProcessSpec::default()
            };
            let refused = beside(&spec).expect_err("no thread").to_string();
            let says = "the log: the thread of the stream could not be started: ";
            assert!(refused.contains(says), "{refused}");
            assert!(file.is_untouched());
            Ok(())
        },
    );
}

#[test]
fn rule_5_2_a_report_without_a_file_for_its_core_has_its_text() {
    alone(
        "rule_5_2_a_report_without_a_file_for_its_core_has_its_text",
        || async {
            let reports = Earlier::new("core");
            let dpa = builder().crash_path(&reports.0).open()?;
            dpa.launch(nothing).submit()?.await?;
            // Others may just have opened one.
            settled();
            // One file may be opened, and no other.
            let next = std::fs::File::open("/dev/null")?.as_raw_fd();
            let limits = Rlimit {
                current: Some(next as u64 + 1),
                ..getrlimit(Resource::Nofile)
            };
            setrlimit(Resource::Nofile, limits)?;
            let launch = dpa.launch(panics).args(PanicsArgs { number: 1u64 });
            assert!(launch.submit()?.await.is_err());
            let fault = dpa.last_error().expect("a fault");
            let report = fault.wait_for_crash_report(PATIENCE).expect("a report");
            let path = report.text.as_ref().expect("a text");
            let text = std::fs::read_to_string(path)?;
            std::fs::remove_file(path)?;
            let [problem] = &report.problems[..] else {
                panic!("one: {report:?}");
            };
            let says = problem.to_string();
            assert!(says.contains(".core could not be made: "), "{says}");
            assert!(text.contains(&says), "{text}");
            Ok(())
        },
    );
}

/// The host program's subscriber: it panics, once it is to, at what is said of faults.
struct Subscriber;

static PANICS: AtomicBool = AtomicBool::new(false);

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let of_faults = event.metadata().target() == "doca_dpa::fault";
        if PANICS.load(Ordering::Relaxed) && of_faults {
            panic!("a subscriber that panics");
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_log_without_a_thread_delays_nobody_and_says_so() {
    alone(
        "a_log_without_a_thread_delays_nobody_and_says_so",
        || async {
            tracing::subscriber::set_global_default(Subscriber)?;
            let dpa = builder().open()?;
            dpa.launch(nothing).submit()?.await?;
            no_threads();
            dpa.launch(logs).submit()?.await?;
            let begun = Instant::now();
            let refused = dpa.trace_flush();
            assert!(refused.is_ok(), "nothing is traced: {refused:?}");
            dpa.launch(traces)
                .args(TracesArgs {
                    records: 5u64,
                    flush: 0u64,
                })
                .submit()?
                .await?;
            let refused = dpa.trace_flush().expect_err("no thread").to_string();
            let says = "the thread that calls the sink could not be started: ";
            assert!(refused.contains(says), "{refused}");
            dpa.close_within(3 * PATIENCE).await?;
            assert!(begun.elapsed() < Duration::from_secs(4), "somebody waited");
            Ok(())
        },
    );
}

#[test]
fn rule_5_2_a_subscriber_that_panics_harms_neither_workers_nor_the_keeper() {
    alone(
        "rule_5_2_a_subscriber_that_panics_harms_neither_workers_nor_the_keeper",
        || async {
            tracing::subscriber::set_global_default(Subscriber)?;
            PANICS.store(true, Ordering::Relaxed);
            let builder = builder().run_time_limit(Some(Duration::from_millis(200)));
            let builder = builder.deadlock_grace(Duration::from_millis(50));
            let reports = Earlier::new("reports");
            let dpa = builder.crash_path(&reports.0).crash_core_bytes(0).open()?;
            let [deadlocked, spinning, beside] =
                [dpa.open_beside()?, dpa.open_beside()?, dpa.open_beside()?];
            let in_time = |launch| tokio::time::timeout(PATIENCE, launch);
            let launch = dpa.launch(panics).args(PanicsArgs { number: 1u64 });
            assert!(in_time(launch.submit()?).await?.is_err());
            // Of the keeper.
            let event = SyncEvent::device_to_device(&deadlocked)?;
            let args = WaitsFromArgs {
                event: &event,
                first: 0u64,
            };
            let launch = deadlocked.launch(waits_from).args(args);
            assert!(in_time(launch.submit()?).await?.is_err());
            let launch = spinning.launch(spins).args(SpinsArgs { from: 1u64 });
            assert!(in_time(launch.submit()?).await?.is_err());
            in_time(beside.launch(nothing).submit()?).await??;
            let kinds = [&dpa, &deadlocked, &spinning].map(Dpa::last_error);
            let kinds = kinds.map(|fault| fault.expect("a fault").kind);
            let limit_ms = 200;
            let run_time = FaultKind::RunTimeExceeded { limit_ms };
            assert_eq!(kinds, [FaultKind::Panic, FaultKind::Deadlock, run_time]);
            // The report is there all the same.
            let fault = dpa.last_error().expect("a fault");
            let report = fault.wait_for_crash_report(PATIENCE).expect("a report");
            std::fs::remove_file(report.text.as_ref().expect("a text"))?;
            Ok(())
        },
    );
}

#[test]
fn rule_5_3_a_panic_whose_message_does_not_end_takes_nobody_with_it() {
    alone(
        "rule_5_3_a_panic_whose_message_does_not_end_takes_nobody_with_it",
        || async {
            let builder = builder().run_time_limit(Some(Duration::from_millis(200)));
            let dpa = builder.open()?;
            let [other, last] = [dpa.open_beside()?, dpa.open_beside()?];
            let endless = dpa.launch(panics_without_end).submit()?;
            let ended = tokio::time::timeout(PATIENCE, endless).await?;
            assert!(ended.is_err());
            let limit_ms = 200;
            let kind = dpa.last_error().expect("a fault").kind;
            assert_eq!(kind, FaultKind::RunTimeExceeded { limit_ms });
            // On the same worker.
            let launch = other.launch(panics).args(PanicsArgs { number: 1u64 });
            let ended = tokio::time::timeout(PATIENCE, launch.submit()?).await?;
            assert!(ended.is_err());
            let fault = other.last_error().expect("a fault");
            assert_eq!(fault.message.as_deref(), Some("the number is 1"));
            let launch = last.launch(nothing).submit()?;
            tokio::time::timeout(PATIENCE, launch).await??;
            Ok(())
        },
    );
}
