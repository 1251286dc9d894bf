//! The rules of a channel, with a sink that can be held.

use super::*;

const LONG: Duration = Duration::from_secs(20);

impl Item for u64 {
    fn cost(&self) -> usize {
        1
    }
}

/// What a sink has got: items, and losses as negative numbers.
#[derive(Default)]
struct Seen {
    items: Mutex<Vec<i64>>,
    held: Mutex<bool>,
    moved: Condvar,
    slow: AtomicBool,
}

impl Seen {
    fn hold(&self, held: bool) {
        *self.held.lock() = held;
        self.moved.notify_all();
    }

    fn items(&self) -> Vec<i64> {
        self.items.lock().clone()
    }

    fn pass(&self) {
        let mut held = self.held.lock();
        while *held {
            self.moved.wait(&mut held);
        }
        if self.slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Fails at 13 and panics at 666.
struct Sink(Arc<Seen>);

impl Outlet<u64> for Sink {
    fn put(&mut self, &item: &u64, lost: u64) -> io::Result<()> {
        self.0.pass();
        if item == 13 {
            return Err(io::Error::other("no luck"));
        }
        assert_ne!(item, 666);
        let mut items = self.0.items.lock();
        if lost > 0 {
            items.push(-(lost as i64));
        }
        items.push(item as i64);
        Ok(())
    }

    fn lost(&mut self, lost: u64) -> io::Result<()> {
        self.0.items.lock().push(-(lost as i64));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn channel(figures: Figures) -> (Arc<Channel<u64>>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    (Channel::new(figures, Box::new(Sink(seen.clone()))), seen)
}

fn figures(delivery: Delivery, overflow: Overflow, seeded: bool) -> Figures {
    Figures {
        name: "test".into(),
        delivery,
        overflow,
        room: 4,
        patience: LONG,
        seeded,
        lingering: Arc::default(),
    }
}

/// Without a thread: the test hands over.
fn by_hand(delivery: Delivery, overflow: Overflow) -> (Arc<Channel<u64>>, Arc<Seen>) {
    channel(figures(delivery, overflow, true))
}

#[test]
fn the_oldest_are_lost_and_told_with_the_next() {
    let (channel, seen) = by_hand(Delivery::Async, Overflow::DropOldest);
    (0..10).for_each(|n| _ = channel.push(n));
    channel.drain();
    assert_eq!(seen.items(), [-6, 6, 7, 8, 9]);
    channel.push(10);
    channel.drain();
    assert_eq!(seen.items()[5..], [10]);
    assert_eq!(channel.lost(), 6);
}

#[test]
fn the_newest_are_lost_and_told_with_the_next_or_at_a_flush() {
    let (channel, seen) = by_hand(Delivery::Async, Overflow::DropNewest);
    (0..10).for_each(|n| _ = channel.push(n));
    channel.drain();
    assert_eq!(seen.items(), [0, 1, 2, 3]);
    channel.push(10);
    channel.drain();
    assert_eq!(seen.items()[4..], [-6, 10]);
    (20..27).for_each(|n| _ = channel.push(n));
    channel.flush().unwrap();
    assert_eq!(seen.items()[6..], [20, 21, 22, 23, -3]);
}

#[test]
fn a_batch_is_due_when_it_is_full_or_flushed() {
    let (channel, seen) = by_hand(Delivery::Batch, Overflow::DropOldest);
    (0..3).for_each(|n| _ = channel.push(n));
    assert!(!channel.is_due());
    channel.push(3);
    assert!(channel.is_due());
    channel.push(4);
    channel.drain();
    assert_eq!(seen.items(), [0, 1, 2, 3]);
    channel.flush().unwrap();
    assert_eq!(seen.items(), [0, 1, 2, 3, 4]);
}

#[test]
fn two_batches_fit_and_no_more() {
    let (channel, seen) = by_hand(Delivery::Batch, Overflow::DropOldest);
    (0..9).for_each(|n| _ = channel.push(n));
    channel.flush().unwrap();
    assert_eq!(seen.items(), [-1, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_sink_that_fails_loses_that_item_and_says_so_once() {
    let (channel, seen) = by_hand(Delivery::Async, Overflow::DropOldest);
    [12, 13, 14].into_iter().for_each(|n| _ = channel.push(n));
    let failed = channel.flush();
    assert!(matches!(failed, Err(FlushError::Sink(SinkError::Io(_)))));
    assert!(channel.flush().is_ok());
    assert_eq!(seen.items(), [12, -1, 14]);
    channel.push(13);
    assert!(channel.flush().is_err());
    assert_eq!(seen.items()[3..], [-1]);
    assert_eq!(channel.lost(), 2);
}

#[test]
fn a_sink_that_panics_gets_nothing_any_more() {
    let (channel, seen) = by_hand(Delivery::Async, Overflow::DropOldest);
    [1, 666, 2].into_iter().for_each(|n| _ = channel.push(n));
    let failed = channel.flush();
    assert!(matches!(failed, Err(FlushError::Sink(SinkError::Panicked))));
    assert_eq!(Arc::strong_count(&seen), 1, "the sink is dropped");
    assert_eq!(channel.lost(), 2);
    channel.push(3);
    assert!(channel.flush().is_err());
    assert_eq!(seen.items(), [1]);
}

#[test]
fn a_closed_channel_hands_over_what_it_has_and_takes_no_more() {
    for seeded in [false, true] {
        let (channel, seen) = channel(figures(Delivery::Batch, Overflow::DropOldest, seeded));
        channel.push(1);
        channel.close();
        assert_eq!(channel.push(2), None);
        channel.flush().unwrap();
        assert_eq!(seen.items(), [1], "seeded: {seeded}");
    }
}

fn wait_for(channel: &Channel<u64>, number: u64) {
    let since = Instant::now();
    while !channel.wait_for(number, since, Duration::from_millis(1)) {}
}

#[test]
fn a_producer_waits_for_its_item() {
    let (channel, seen) = channel(figures(Delivery::Sync, Overflow::DropOldest, false));
    for n in 0..100 {
        wait_for(&channel, channel.push(1000 + n).unwrap());
        assert_eq!(seen.items().len(), n as usize + 1);
    }
}

#[test]
fn a_producer_does_not_wait_for_a_sink_that_does_not_move() {
    let impatient = Figures {
        patience: Duration::from_secs(2),
        ..figures(Delivery::Sync, Overflow::DropOldest, false)
    };
    let (channel, seen) = channel(impatient);
    seen.hold(true);
    let begun = Instant::now();
    for n in 0..10_000 {
        let number = channel.push(n);
        number
            .into_iter()
            .for_each(|number| wait_for(&channel, number));
    }
    assert!(begun.elapsed() < LONG, "each has waited its patience");
    let held = channel.flush();
    assert!(matches!(held, Err(FlushError::TimedOut { left: 4, .. })));
    seen.hold(false);
    let patient = Instant::now() + LONG;
    while channel.flush().is_err() && Instant::now() < patient {}
    assert_eq!(seen.items(), [0, -9995, 9996, 9997, 9998, 9999]);
    seen.slow.store(true, Ordering::Relaxed);
    wait_for(&channel, channel.push(7).unwrap());
    assert_eq!(seen.items().last(), Some(&7), "it waits again");
}

#[test]
fn the_sink_is_let_go_when_a_closed_channel_is_empty() {
    let (channel, seen) = channel(figures(Delivery::Async, Overflow::DropOldest, false));
    channel.push(1);
    channel.close();
    let patient = Instant::now() + LONG;
    while Arc::strong_count(&seen) > 1 && Instant::now() < patient {
        std::thread::yield_now();
    }
    assert_eq!((Arc::strong_count(&seen), seen.items()), (1, vec![1]));
}

#[test]
fn a_sink_that_sends_to_itself_does_not_hang() {
    struct Echo(std::sync::OnceLock<Arc<Channel<u64>>>, Arc<Seen>);
    struct EchoSink(Arc<Echo>);
    impl Outlet<u64> for EchoSink {
        fn put(&mut self, &item: &u64, _: u64) -> io::Result<()> {
            self.0.1.items.lock().push(item as i64);
            if item > 0 {
                let channel = self.0.0.get().expect("set");
                channel.push(item - 1);
                channel.drain();
            }
            Ok(())
        }
        fn lost(&mut self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let echo = Arc::new(Echo(std::sync::OnceLock::new(), Arc::default()));
    let figures = figures(Delivery::Sync, Overflow::DropOldest, true);
    let channel = Channel::new(figures, Box::new(EchoSink(echo.clone())));
    let _ = echo.0.set(channel.clone());
    channel.push(3);
    channel.drain();
    assert_eq!(echo.1.items(), [3, 2, 1, 0]);
}
