//! Sinks that block, fail, panic, or need much stack.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use doca_dpa::error::LaunchError;
use doca_dpa::log::{Delivery, FlushError, MessageStreamError, SinkError};
use doca_dpa::{Dpa, Error, Sim};
use tests::messages::*;

use super::sink::Sink;
use super::{LONG, let_say, numbered, open};

#[tokio::test]
async fn a_sink_that_blocks_holds_no_kernel_for_ever_not_even_in_sync() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(1).open()?;
    let sink = Sink::held();
    let stream = dpa.message_stream().patience(Duration::from_millis(20));
    let stream = stream.buffer_bytes(2048).to_writer(sink.clone());
    let stream = stream.expect("a stream");
    let begun = Instant::now();
    let_say(&dpa, stream.handle(), 10_000).await?;
    assert!(begun.elapsed() < LONG, "each line has waited its patience");
    let held = stream.flush();
    assert!(matches!(held, Err(FlushError::TimedOut { left: 1.., .. })));
    sink.release();
    stream.flushed().await.expect("a sink that works again");
    assert_eq!(sink.lines().len() as u64 + stream.lost(), 10_000);
    Ok(())
}

/// Refuses a line with `refuse` in it, and panics at one with `panic`.
struct Moody(Sink);

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("error"), "panics on purpose");
        if text.contains("warn") {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_fails_or_panics_hurts_its_stream_only() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::default();
    let stream = dpa
        .message_stream()
        .patience(LONG)
        .to_writer(Moody(sink.clone()));
    let stream = stream.expect("a stream");
    let args = || EveryLevelArgs {
        stream: stream.handle(),
    };
    dpa.call(every_level, args()).await?;
    let failed = stream.flush();
    assert!(matches!(failed, Err(FlushError::Sink(SinkError::Panicked))));
    assert_eq!(sink.lines(), ["always"]);
    assert_eq!(stream.lost(), 3);
    dpa.call(every_level, args()).await?;
    assert_eq!(stream.lost(), 7);
    assert!(dpa.last_error().is_none());
    Ok(())
}

#[tokio::test]
async fn what_a_flush_of_everything_met_is_told_to_who_flushes_the_stream() -> Result<(), Error> {
    let dpa = open();
    let stream = dpa.message_stream().patience(LONG);
    let stream = stream.to_writer(Moody(Sink::default()));
    let stream = stream.expect("a stream");
    let args = EveryLevelArgs {
        stream: stream.handle(),
    };
    dpa.call(every_level, args).await?;
    dpa.flush_messages().await;
    dpa.close().await.expect("nothing runs");
    let failed = stream.flushed().await;
    assert!(matches!(failed, Err(FlushError::Sink(SinkError::Panicked))));
    stream.flushed().await.expect("it was told");
    Ok(())
}

/// Uses far more stack than a kernel has.
struct Deep(Sink);

impl Write for Deep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let deep = std::hint::black_box([1u8; 512 * 1024]);
        let last = deep[std::hint::black_box(deep.len() - 1)];
        self.0.write(&bytes[..bytes.len() * usize::from(last)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn sinks_do_not_run_on_a_kernels_stack() {
    for delivery in [Delivery::Sync, Delivery::Async, Delivery::Batch] {
        let small = Dpa::builder().stack_bytes(32 * 1024);
        let run = async |dpa: Dpa| -> Result<(), Error> {
            let sink = Sink::default();
            let stream = dpa.message_stream().delivery(delivery);
            let stream = stream.to_writer(Deep(sink.clone())).expect("a stream");
            let_say(&dpa, stream.handle(), 100).await?;
            stream.flush().expect("a sink that works");
            assert_eq!(sink.lines(), numbered(0, 0..100));
            Ok(())
        };
        let dpa = small.clone().open().expect("a device");
        futures::executor::block_on(run(dpa)).expect("works");
        let simulated = Sim::new(3).on(small).run(run);
        simulated.expect("ends").value.expect("works");
    }
}

#[tokio::test]
async fn a_thread_that_is_unwound_does_not_wait_for_a_sink() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(1).open()?;
    let sink = Sink::held();
    let stream = dpa.message_stream().patience(Duration::from_secs(60));
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let args = LastWordsArgs {
        stream: stream.handle(),
        lines: 3,
    };
    let begun = Instant::now();
    let end = dpa.launch(last_words).args(args).submit()?.await;
    assert!(matches!(end, Err(LaunchError::Faulted(_))));
    assert!(begun.elapsed() < LONG, "it waited for the sink");
    sink.release();
    stream.flushed().await.expect("a sink that works");
    assert_eq!(sink.lines(), ["last 0", "last 1", "last 2"]);
    Ok(())
}

/// Its thread and its buffer are there as long as the sink has something of it.
#[tokio::test]
async fn a_stream_that_is_dropped_counts_until_its_sink_has_returned() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::held();
    let stream = || {
        let stream = dpa.message_stream().delivery(Delivery::Async);
        stream.buffer_bytes(2048).to_writer(sink.clone())
    };
    let mut opened = 0;
    let refused = loop {
        assert!(opened < 300, "never refused");
        match stream() {
            Ok(stream) => let_say(&dpa, stream.handle(), 1).await?,
            Err(refused) => break refused,
        }
        opened += 1;
    };
    let full = MessageStreamError::Full { limit: 255 };
    assert_eq!(refused.to_string(), full.to_string());
    assert_eq!(opened, 254, "beside the log");
    sink.release();
    let begun = Instant::now();
    while stream().is_err() {
        assert!(begun.elapsed() < LONG, "there is room again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
