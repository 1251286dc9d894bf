//! Message streams, from kernels to their sinks.

#[path = "messages/sink.rs"]
mod sink;
#[path = "messages/sinks.rs"]
mod sinks;

use std::io;
use std::time::{Duration, Instant};

use doca_dpa::log::{Delivery, Handle, LogFilter, MessageStreamError, Overflow, StreamHandle};
use doca_dpa::{Dpa, Error, MessageStream, Sim, SyncEvent};
use sink::Sink;
use tests::messages::*;

const LONG: Duration = Duration::from_secs(20);

fn open() -> Dpa {
    Dpa::builder().workers(2).open().expect("a device")
}

fn numbered(rank: u64, lines: std::ops::Range<u64>) -> Vec<String> {
    lines.map(|n| format!("{rank}/{n}")).collect()
}

async fn let_say(dpa: &Dpa, stream: StreamHandle, lines: u64) -> Result<(), Error> {
    let said = SyncEvent::device_to_host(dpa)?;
    let args = SayArgs {
        stream,
        lines,
        said: &said,
    };
    dpa.launch(say).args(args).submit()?.await?;
    Ok(())
}

#[tokio::test]
async fn sync_the_sink_has_the_line_when_the_call_returns() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::slow(Duration::from_millis(50));
    let stream = dpa.message_stream().patience(LONG);
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let said = SyncEvent::device_to_host(&dpa)?;
    for round in 1..=3 {
        let args = SayArgs {
            stream: stream.handle(),
            lines: 1,
            said: &said,
        };
        let _running = dpa.launch(say).args(args).submit()?;
        said.ge(round).await?;
        assert_eq!(sink.lines().len() as u64, round);
    }
    Ok(())
}

#[tokio::test]
async fn async_the_kernel_does_not_wait_and_the_lines_come_in_order() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::held();
    let stream = dpa.message_stream().delivery(Delivery::Async);
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let_say(&dpa, stream.handle(), 100).await?;
    assert_eq!(sink.text(), "");
    sink.release();
    stream.flushed().await.expect("a sink that works");
    assert_eq!(sink.lines(), numbered(0, 0..100));
    Ok(())
}

#[test]
fn batch_lines_are_delivered_when_the_buffer_is_full_or_flushed() {
    let run = Sim::new(1).run(async |dpa: Dpa| -> Result<(), Error> {
        let sink = Sink::default();
        let stream = dpa.message_stream().delivery(Delivery::Batch);
        let stream = stream.buffer_bytes(2048).to_writer(sink.clone());
        let stream = stream.expect("a stream");
        // A line takes 64 bytes and its text: 20 of them fit, 40 do not.
        let_say(&dpa, stream.handle(), 20).await?;
        dpa.sleep(Duration::from_secs(1)).await;
        assert_eq!(sink.text(), "");
        let_say(&dpa, stream.handle(), 20).await?;
        dpa.sleep(Duration::from_secs(1)).await;
        let seen = sink.lines().len();
        assert!((20..40).contains(&seen), "{seen} lines of a full buffer");
        stream.flush().expect("a sink that works");
        assert_eq!(sink.lines().len(), 40);
        assert_eq!(stream.lost(), 0);
        Ok(())
    });
    run.expect("ends").value.expect("works");
}

/// Checks that each line is the next, but for what is told to be lost before it: how many are, and the next number.
fn told(lines: &[String]) -> (u64, u64) {
    let (mut all, mut next) = (0, 0);
    for line in lines {
        let (lost, text) = match line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
            Some((lost, text)) => (lost.split(' ').next().expect("a number"), text),
            None => ("0", &line[..]),
        };
        let lost: u64 = lost.parse().expect("a number");
        assert_eq!(text, format!("0/{}", next + lost), "{lines:?}");
        (all, next) = (all + lost, next + lost + 1);
    }
    (all, next)
}

#[tokio::test]
async fn overflow_the_oldest_are_lost_counted_and_told_with_the_next_line() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::held();
    let stream = dpa.message_stream().delivery(Delivery::Async);
    let stream = stream.buffer_bytes(2048).to_writer(sink.clone());
    let stream = stream.expect("a stream");
    let_say(&dpa, stream.handle(), 1000).await?;
    let lost = stream.lost();
    sink.release();
    stream.flushed().await.expect("a sink that works");
    let lines = sink.lines();
    assert_eq!(lines.len() as u64 + lost, 1000);
    assert_eq!(stream.lost(), lost);
    assert_eq!(told(&lines), (lost, 1000));
    assert_eq!(lines.last().map(|s| &s[..]), Some("0/999"));
    Ok(())
}

#[tokio::test]
async fn overflow_the_newest_are_lost_if_asked_for() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::held();
    let stream = dpa.message_stream().delivery(Delivery::Async);
    let stream = stream.overflow(Overflow::DropNewest).buffer_bytes(2048);
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let_say(&dpa, stream.handle(), 1000).await?;
    let lost = stream.lost();
    sink.release();
    stream.flushed().await.expect("a sink that works");
    let lines = sink.lines();
    let (last, lines) = lines.split_last().expect("lines");
    let at_the_end = last
        .strip_prefix('[')
        .and_then(|l| l.strip_suffix(" lines lost]"));
    let at_the_end: u64 = at_the_end.and_then(|l| l.parse().ok()).expect("a loss");
    let (before, next) = told(lines);
    assert_eq!((before + at_the_end, next + at_the_end), (lost, 1000));
    assert_eq!(lines[..20], numbered(0, 0..20), "the first lines are there");
    Ok(())
}

#[tokio::test]
async fn levels_of_a_stream_keep_back_what_is_less_important() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::default();
    let stream = dpa.message_stream().patience(LONG).to_writer(sink.clone());
    let stream = stream.expect("a stream");
    let all = ["always", "error", "warn", "info", "debug"];
    let mut before = 0;
    let filters = [
        LogFilter::Off,
        LogFilter::Always,
        LogFilter::Error,
        LogFilter::Warn,
        LogFilter::Info,
        LogFilter::Debug,
    ];
    for (passes, filter) in filters.into_iter().enumerate() {
        stream.set_level(filter);
        let args = EveryLevelArgs {
            stream: stream.handle(),
        };
        let answered = dpa.call(every_level, args).await?;
        assert_eq!(answered, if passes == 0 { 0 } else { 0b11111 });
        let lines = sink.lines();
        assert_eq!(lines[before..], all[..passes], "{filter:?}");
        before = lines.len();
    }
    Ok(())
}

#[tokio::test]
async fn there_are_255_streams_and_a_stale_handle_is_none_of_them() -> Result<(), Error> {
    let dpa = open();
    let mut streams: Vec<_> = (1..=254)
        .map(|_| {
            dpa.message_stream()
                .patience(LONG)
                .to_writer(io::sink())
                .expect("one more")
        })
        .collect();
    let ids: Vec<_> = streams.iter().map(MessageStream::id).collect();
    assert_eq!(ids, (1..=254).collect::<Vec<u8>>());
    let full = dpa.message_stream().patience(LONG).to_writer(io::sink());
    assert!(matches!(full, Err(MessageStreamError::Full { limit: 255 })));
    let old = streams.remove(99);
    let stale = EveryLevelArgs {
        stream: old.handle(),
    };
    old.close().expect("a sink that works");
    let sink = Sink::default();
    let new = dpa
        .message_stream()
        .patience(LONG)
        .to_writer(sink.clone())
        .expect("room");
    assert_eq!(new.id(), 100);
    assert_eq!(dpa.call(every_level, stale).await?, 0);
    assert_eq!(sink.text(), "");
    let args = EveryLevelArgs {
        stream: new.handle(),
    };
    assert_eq!(dpa.call(every_level, args).await?, 0b11111);
    Ok(())
}

#[tokio::test]
async fn a_buffer_is_a_power_of_two() {
    let dpa = open();
    for asked in [0, 1024, 3000, 2049, 1 << 27] {
        let refused = dpa.message_stream().buffer_bytes(asked).to_tracing();
        assert!(matches!(refused, Err(MessageStreamError::BufferBytes { asked: a }) if a == asked));
    }
    for good in [2048, 1 << 26] {
        assert!(dpa.message_stream().buffer_bytes(good).to_tracing().is_ok());
    }
}

#[tokio::test]
async fn broadcast_reaches_all_streams_that_let_it_through() -> Result<(), Error> {
    let dpa = open();
    let (one, two, deaf) = (Sink::default(), Sink::default(), Sink::default());
    let builder = || dpa.message_stream().patience(LONG);
    let one_stream = builder().to_writer(one.clone()).expect("a stream");
    let two_stream = builder()
        .level(LogFilter::Debug)
        .to_writer(two.clone())
        .expect("a stream");
    let _deaf = builder()
        .level(LogFilter::Off)
        .to_writer(deaf.clone())
        .expect("a stream");
    let args = || EveryLevelArgs {
        stream: StreamHandle::BROADCAST,
    };
    assert_eq!(dpa.call(every_level, args()).await?, 0b11111);
    assert_eq!(one.lines(), ["always", "error", "warn", "info"]);
    assert_eq!(two.lines(), ["always", "error", "warn", "info", "debug"]);
    assert_eq!(deaf.text(), "");
    // What all let through follows what each does.
    drop(two_stream);
    one_stream.set_level(LogFilter::Debug);
    assert_eq!(dpa.call(every_level, args()).await?, 0b11111);
    assert_eq!(
        one.lines()[4..],
        ["always", "error", "warn", "info", "debug"]
    );
    Ok(())
}

#[tokio::test]
async fn a_process_does_not_reach_the_streams_of_another() -> Result<(), Error> {
    let dpa = open();
    let beside = dpa.open_beside()?;
    let sink = Sink::default();
    let _theirs = dpa
        .message_stream()
        .to_writer(sink.clone())
        .expect("a stream");
    for index in 1..=300 {
        for generation in 0..3 {
            let handle = StreamHandle(Handle { index, generation });
            if handle != StreamHandle::BROADCAST {
                let args = EveryLevelArgs { stream: handle };
                assert_eq!(beside.call(every_level, args).await?, 0);
            }
        }
    }
    assert_eq!(sink.text(), "");
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_visibly() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::default();
    let stream = dpa
        .message_stream()
        .to_writer(sink.clone())
        .expect("a stream");
    for chars in [170, 171] {
        let args = RamblesArgs {
            stream: stream.handle(),
            chars,
        };
        dpa.launch(rambles).args(args).submit()?.await?;
    }
    let lines = sink.lines();
    assert_eq!(lines[0], "\u{20ac}".repeat(170));
    assert_eq!(lines[1], "\u{20ac}".repeat(169) + "\u{2026}");
    Ok(())
}

#[tokio::test]
async fn what_a_stream_holds_is_delivered_after_it_is_dropped() -> Result<(), Error> {
    let dpa = open();
    let sink = Sink::held();
    let stream = dpa.message_stream().delivery(Delivery::Batch);
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let_say(&dpa, stream.handle(), 10).await?;
    drop(stream);
    drop(dpa);
    sink.release();
    let patient = Instant::now() + LONG;
    while sink.lines().len() < 10 && Instant::now() < patient {
        std::thread::yield_now();
    }
    assert_eq!(sink.lines(), numbered(0, 0..10));
    Ok(())
}

fn simulate(seed: u64, delivery: Delivery) -> (String, u64, u64) {
    let run = Sim::new(seed).run(async |dpa: Dpa| -> Result<_, Error> {
        let sink = Sink::default();
        let stream = dpa.message_stream().delivery(delivery).buffer_bytes(2048);
        let stream = stream.to_writer(sink.clone()).expect("a stream");
        let said = SyncEvent::device_to_host(&dpa)?;
        let args = SayArgs {
            stream: stream.handle(),
            lines: 30,
            said: &said,
        };
        dpa.launch(say).args(args).threads(4).submit()?.await?;
        stream.flush().expect("a sink that works");
        Ok((sink.text(), stream.lost()))
    });
    let run = run.expect("ends");
    let (text, lost) = run.value.expect("works");
    (text, lost, run.digest)
}

#[test]
fn seeded_the_same_seed_delivers_the_same_lines_in_the_same_order() {
    for delivery in [Delivery::Sync, Delivery::Async, Delivery::Batch] {
        let runs: Vec<_> = (0..10).map(|seed| simulate(seed, delivery)).collect();
        for (seed, run) in (0..).zip(&runs) {
            assert_eq!(run, &simulate(seed, delivery), "seed {seed}, {delivery:?}");
            let delivered = run.0.lines().count() as u64;
            assert_eq!(delivered + run.1, 120, "seed {seed}, {delivery:?}");
        }
        let orders: std::collections::BTreeSet<_> = runs.iter().map(|run| &run.0).collect();
        assert!(orders.len() > 1, "no choice was made: {delivery:?}");
    }
}
