//! The log and the trace of a context, from kernels to files and to `tracing`.

#[path = "drivers/on.rs"]
mod drivers;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doca_dpa::log::LogFilter;
use doca_dpa::trace::{TraceReader, TraceRecord};
use doca_dpa::{Dpa, Error, LogLevel, Sim, SyncEvent};
use drivers::both_on;
use tests::messages::*;
use tests::{WaitThenCountArgs, wait_then_count};

/// A file name of its own, gone at the end.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        let name = format!("dpa-messages-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a file says behind what it said when this was called last.
struct News<'p> {
    path: &'p Path,
    read: Cell<usize>,
}

impl<'p> News<'p> {
    fn of(path: &'p Path) -> Self {
        let read = Cell::new(0);
        Self { path, read }
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path.0).expect("the log");
        let lines = text.lines().skip(self.read.get()).map(str::to_owned);
        let lines: Vec<_> = lines.collect();
        self.read.set(self.read.get() + lines.len());
        lines
    }
}

/// On both drivers: on each device the log is opened anew, and what stands there stays.
#[test]
fn the_log_goes_to_its_file_at_its_level() {
    let file = Path::new("log");
    std::fs::write(&file.0, "before\n").expect("a file");
    let news = News::of(&file);
    assert_eq!(news.lines(), ["before"]);
    let builder = Dpa::builder().log_file(&file.0).log_level(LogLevel::Warn);
    both_on(&builder, async |dpa| {
        assert_eq!(dpa.log_level(), LogFilter::Warn);
        assert_eq!(dpa.log_file(), Some(&*file.0));
        dpa.launch(logs).submit()?.await?;
        dpa.flush_messages().await;
        let lines = news.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, what) in lines
            .iter()
            .zip([" NOTE logs #", " ERROR logs #", " WARN logs #"])
        {
            assert!(line.contains(what), "{line}");
            assert!(line.contains("tests/src/messages.rs:"), "{line}");
        }
        assert!(lines[0].contains(".0: printed ("), "{}", lines[0]);
        assert_eq!(dpa.log_lost(), 0);
        Ok(())
    });
}

#[test]
fn the_default_level_is_info() {
    let file = Path::new("info");
    let news = News::of(&file);
    both_on(&Dpa::builder().log_file(&file.0), async |dpa| {
        assert_eq!(dpa.log_level(), LogFilter::Info);
        dpa.launch(logs).threads(3).submit()?.await?;
        dpa.flush_messages().await;
        let lines = news.lines();
        assert_eq!(lines.len(), 4 * 3, "{lines:?}");
        let last = |line: &String| line.contains(".2: rank 2 of 3 (");
        assert!(lines.iter().any(last), "{lines:?}");
        Ok(())
    });
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let missing = PathBuf::from("/nowhere/at/all");
    let log = Dpa::builder().log_file(&missing).open();
    let said = log.expect_err("no such directory").to_string();
    assert!(said.contains("log file /nowhere/at/all"), "{said}");
    let trace = Dpa::builder().trace_file(&missing).open();
    let said = trace.expect_err("no such directory").to_string();
    assert!(said.contains("trace file /nowhere/at/all"), "{said}");
    assert!(said.contains("No such file"), "{said}");
    let simulated = Sim::new(1).on(Dpa::builder().log_file(&missing));
    assert!(simulated.run(async |_: Dpa| ()).is_err());
    for records in [0, (1 << 20) + 1] {
        assert!(Dpa::builder().trace_records(records).open().is_err());
    }
}

fn read(path: &Path) -> Vec<TraceRecord> {
    let reader = TraceReader::open(&path.0).expect("a trace");
    reader.collect::<Result<_, _>>().expect("whole records")
}

async fn let_trace(dpa: &Dpa, records: u64, flush: bool) -> Result<(), Error> {
    let args = TracesArgs {
        records,
        flush: u64::from(flush),
    };
    dpa.launch(traces).args(args).submit()?.await?;
    Ok(())
}

#[test]
fn trace_records_are_sent_when_the_buffer_is_full_and_when_flushed() {
    let file = Path::new("sent");
    let builder = Dpa::builder().trace_file(&file.0).trace_records(8);
    let run = Sim::new(5)
        .on(builder)
        .run(async |dpa: Dpa| -> Result<(), Error> {
            let pause = Duration::from_secs(1);
            let_trace(&dpa, 7, false).await?;
            dpa.sleep(pause).await;
            assert_eq!(read(&file).len(), 0);
            let_trace(&dpa, 3, false).await?;
            dpa.sleep(pause).await;
            assert_eq!(read(&file).len(), 8, "the first buffer");
            let_trace(&dpa, 1, true).await?;
            dpa.sleep(pause).await;
            assert_eq!(read(&file).len(), 11, "a kernel has flushed");
            let_trace(&dpa, 2, false).await?;
            dpa.trace_flush().expect("a file");
            assert_eq!(read(&file).len(), 13, "the host has flushed");
            let_trace(&dpa, 1, false).await
        });
    run.expect("ends").value.expect("works");
    assert_eq!(read(&file).len(), 14, "the process has ended");
}

#[tokio::test]
async fn a_trace_file_is_of_one_context() -> Result<(), Error> {
    let file = Path::new("shared");
    let open = || Dpa::builder().trace_file(&file.0).open();
    let dpa = open()?;
    let_trace(&dpa, 2, true).await?;
    let said = open().expect_err("it is in use").to_string();
    assert!(said.contains("another context"), "{said}");
    assert!(said.contains(&file.0.display().to_string()), "{said}");
    dpa.trace_flush().expect("a file");
    assert_eq!(read(&file).len(), 2, "it lost nothing");
    // What is left of a context that is closed, or dropped, writes nothing.
    let left = dpa.zeroed::<u64>(1).await?;
    dpa.close().await.expect("in time");
    for _ in 0..10 {
        drop(open()?);
    }
    let dpa = open()?;
    let also_left = dpa.zeroed::<u64>(1).await?;
    drop(dpa);
    drop(open()?);
    drop((left, also_left));
    Ok(())
}

/// However long something of the context is held.
#[tokio::test]
async fn a_trace_file_is_free_when_the_last_kernel_of_its_context_has_left() -> Result<(), Error> {
    let file = Path::new("left");
    let open = || Dpa::builder().trace_file(&file.0).open();
    for _ in 0..10 {
        let dpa = open()?;
        let never = SyncEvent::device_to_device(&dpa)?;
        let args = WaitThenCountArgs {
            event: &never,
            value: 1,
            total: &dpa.zeroed::<u64>(1).await?,
        };
        let launch = dpa.launch(wait_then_count).args(args).submit()?;
        // It has begun by then, mostly.
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(dpa);
        assert!(launch.await.is_err(), "its context is gone");
        let again = (0..10).find_map(|_| open().ok());
        drop(again.expect("nothing of it runs"));
        drop(never);
    }
    Ok(())
}

/// In a simulation there is no thread that would let go of it.
#[test]
fn a_simulated_trace_file_is_of_one_context() {
    let file = Path::new("shared-simulated");
    let builder = Dpa::builder().trace_file(&file.0);
    let run = Sim::new(1).on(builder).run(async |dpa: Dpa| {
        let_trace(&dpa, 2, true).await?;
        let left = dpa.zeroed::<u64>(1).await?;
        dpa.close().await.expect("in time");
        Dpa::builder().trace_file(&file.0).open()?;
        drop(left);
        Ok::<_, Error>(())
    });
    run.expect("it ends").value.expect("no errors");
}

#[tokio::test]
async fn a_trace_says_what_when_and_who() -> Result<(), Error> {
    let file = Path::new("who");
    let dpa = Dpa::builder().trace_file(&file.0).trace_records(4).open()?;
    assert_eq!(dpa.trace_file(), Some(&*file.0));
    let before = dpa.now();
    let args = TracesArgs {
        records: 5,
        flush: 0,
    };
    dpa.launch(traces).args(args).threads(3).submit()?.await?;
    let after = dpa.now();
    let beside = dpa.clone();
    dpa.close().await?;
    let records = read(&file);
    assert_eq!(records.len() as u64 + beside.trace_lost(), 15);
    assert!(records.iter().all(|r| before <= r.time && r.time <= after));
    assert!(records.iter().all(|r| r.launch == records[0].launch));
    for rank in 0..3 {
        let mine = records.iter().filter(|r| r.rank == rank);
        let args: Vec<_> = mine.map(|r| r.args).collect();
        if beside.trace_lost() == 0 {
            let made: Vec<_> = (0..5).map(|n| [rank.into(), n, 7, 0, u64::MAX]).collect();
            assert_eq!(args, made);
        }
    }
    Ok(())
}

#[test]
fn seeded_traces_are_equal_byte_for_byte() {
    let trace = |seed| {
        let file = Path::new(&format!("seed-{seed}"));
        let builder = Dpa::builder().trace_file(&file.0).trace_records(16);
        let run = Sim::new(seed)
            .on(builder)
            .run(async |dpa: Dpa| -> Result<(), Error> {
                let args = TracesArgs {
                    records: 10,
                    flush: 1,
                };
                dpa.launch(traces).args(args).threads(4).submit()?.await?;
                Ok(())
            });
        run.expect("ends").value.expect("works");
        let mut reader = TraceReader::open(&file.0).expect("a trace");
        let read: Result<Vec<_>, _> = reader.by_ref().collect();
        assert_eq!(read.expect("whole").len() as u64 + reader.lost(), 40);
        std::fs::read(&file.0).expect("a trace")
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

/// Keeps what `tracing` is given by kernels.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Seen {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let metadata = event.metadata();
        if metadata.target().starts_with("doca_dpa::") {
            let mut fields = Fields(format!("{} {}", metadata.target(), metadata.level()));
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[test]
fn without_files_lines_and_records_go_to_tracing() {
    use tracing_subscriber::layer::SubscriberExt;
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(seen.clone());
    tracing::subscriber::with_default(subscriber, || {
        let run = Sim::new(1).run(async |dpa: Dpa| -> Result<(), Error> {
            assert_eq!((dpa.log_file(), dpa.trace_file()), (None, None));
            dpa.launch(logs).submit()?.await?;
            let_trace(&dpa, 1, true).await?;
            dpa.close().await?;
            Ok(())
        });
        run.expect("ends").value.expect("works");
    });
    let seen = seen.0.lock().unwrap();
    let line = |n: usize, begin: &str, text: &str| {
        assert!(seen[n].starts_with(begin), "{}", seen[n]);
        assert!(seen[n].contains(text), "{}", seen[n]);
        assert!(seen[n].contains("rank=0"), "{}", seen[n]);
    };
    line(0, "doca_dpa::kernel INFO", "printed");
    line(1, "doca_dpa::kernel ERROR", "an error");
    line(2, "doca_dpa::kernel WARN", "a warning");
    line(3, "doca_dpa::kernel INFO", "rank 0 of 1");
    line(
        4,
        "doca_dpa::trace TRACE",
        "args=[0, 0, 7, 0, 18446744073709551615]",
    );
    assert_eq!(seen.len(), 5, "{seen:?}");
}
