//! Message streams: what is buffered is handed over whether or not somebody waits for it.
//!
//! With threads the sink is held until the future is dropped or has waited. In a simulation nothing waits for a sink.

use std::time::Duration;

use doca_dpa::log::Delivery;
use doca_dpa::{Dpa, Error, MessageStream};
use tests::messages::{EveryLevelArgs, every_level};

use crate::harness::{Cut, cut_everywhere};
use crate::sink::Sink;

/// Lines that a call sends, but for the one that is not let through.
const LINES: usize = 4;

async fn cut_a_flush(
    (dpa, cut): (&Dpa, &Cut),
    flush: impl AsyncFnOnce(&MessageStream),
) -> Result<(), Error> {
    let sink = Sink::new(!cut.simulated);
    let stream = dpa.message_stream().delivery(Delivery::Batch);
    let stream = stream.to_writer(sink.clone()).expect("a stream");
    let stream_handle = stream.handle();
    let args = || EveryLevelArgs {
        stream: stream_handle,
    };
    dpa.call(every_level, args()).await?;
    let releasing = async {
        dpa.sleep(Duration::from_micros(1)).await;
        sink.release();
    };
    futures::join!(flush(&stream), releasing);
    stream.flushed().await.expect("a sink that works");
    assert_eq!(sink.lines(), LINES);
    dpa.call(every_level, args()).await?;
    stream.close().expect("a sink that works");
    assert_eq!(sink.lines(), 2 * LINES);
    Ok(())
}

#[test]
fn a_flush_of_one_stream() {
    cut_everywhere(async |dpa, cut| {
        cut_a_flush((dpa, cut), async |stream| {
            let flushed = cut.off(stream.flushed()).await;
            assert!(flushed.is_none_or(|flushed| flushed.is_ok()));
        })
        .await
    });
}

#[test]
fn a_flush_of_all_streams() {
    cut_everywhere(async |dpa, cut| {
        let flush = async |_: &MessageStream| _ = cut.off(dpa.flush_messages()).await;
        cut_a_flush((dpa, cut), flush).await
    });
}
