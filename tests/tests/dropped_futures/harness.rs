//! Polls a future some times, drops it, and looks at what is left.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use doca_dpa::{Builder, CloseReport, Dpa, Error, Location, Sim, Snapshot, SyncEvent};
use flexio::{DeviceConfig, SimPlan};

use crate::seeds::seeds;

/// Of a simulation each.
const SEEDS: u64 = 8;
/// No future here is polled so often.
const MOST: usize = 200;
/// Only what hangs takes so long.
const LONG: Duration = Duration::from_secs(60);

/// Wakes the task, and shows by its count who else has it.
struct Passing(Waker);

impl Wake for Passing {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// Polls what it is given so many times, and drops it.
pub struct Cut {
    pub polls: usize,
    /// Whether time is virtual, and all happens on this thread.
    pub simulated: bool,
    completed: Cell<bool>,
    waited: Cell<bool>,
}

impl Cut {
    fn after(polls: usize, simulated: bool) -> Self {
        Self {
            polls,
            simulated,
            completed: Cell::new(false),
            waited: Cell::new(false),
        }
    }

    /// What came of it, if it completed in time.
    pub async fn off<T>(&self, future: impl IntoFuture<Output = T>) -> Option<T> {
        let mut future = pin!(Some(future.into_future()));
        let mut left = self.polls;
        let passing = OnceCell::new();
        let ended = poll_fn(|cx| {
            let passing = passing.get_or_init(|| Arc::new(Passing(cx.waker().clone())));
            let waker = Waker::from(passing.clone());
            let cx = &mut Context::from_waker(&waker);
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            let running = future
                .as_mut()
                .as_pin_mut()
                .expect("it is polled to its end once");
            match running.poll(cx) {
                Poll::Ready(value) => return Poll::Ready(Some(value)),
                Poll::Pending => self.waited.set(true),
            }
            (left == 0)
                .then_some(None)
                .map_or(Poll::Pending, Poll::Ready)
        });
        let ended = ended.await;
        future.set(None);
        self.until("nobody has its waker", || {
            passing
                .get()
                .is_none_or(|passing| Arc::strong_count(passing) == 1)
        });
        self.completed.set(ended.is_some());
        ended
    }

    /// What is dropped here may be over before anybody has to wait for it, as far as the case can tell.
    pub fn need_not_wait(&self) {
        self.waited.set(true);
    }

    /// Another thread may be about to bring it about; in a simulation there is none.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + LONG;
        while !holds() {
            let late = self.simulated || Instant::now() > until;
            assert!(!late, "after {} polls: {what}: it is not so", self.polls);
            std::thread::yield_now();
        }
    }
}

/// Runs something with its future dropped after 0 polls, after 1, and so on, until it completes. Whether it ever had to wait.
fn at_each_poll(simulated: bool, run: impl Fn(&Cut)) -> bool {
    let mut waited = false;
    let done = (0..MOST).find(|&polls| {
        let cut = Cut::after(polls, simulated);
        run(&cut);
        waited |= cut.waited.get();
        cut.completed.get()
    });
    let done = done.expect("it completes after some polls");
    assert!(done >= 1, "polled at least once");
    waited
}

/// With each seed, and with threads. A future that never has to wait is dropped at no interesting point: the case must make it.
fn on_all_drivers(simulated: impl Fn(u64, &Cut), threaded: impl Fn(&Cut)) {
    let (mut tried, mut waited) = (0, false);
    for seed in seeds(SEEDS) {
        tried += 1;
        waited |= at_each_poll(true, |cut| simulated(seed, cut));
    }
    waited |= at_each_poll(false, threaded);
    assert!(waited || tried < SEEDS, "it never had to wait");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let ended = tokio::time::timeout(LONG, future).await;
        ended.expect("nothing hangs")
    })
}

/// Runs a case with its future dropped after each number of polls. The case lets what it began come to its end, and sees that what
/// it worked on still works; then nothing may be left.
pub fn cut_everywhere(case: impl AsyncFn(&Dpa, &Cut) -> Result<(), Error>) {
    cut_everywhere_on(&Dpa::builder(), case);
}

/// As [`cut_everywhere`], on a device of these figures.
pub fn cut_everywhere_on(device: &Builder, case: impl AsyncFn(&Dpa, &Cut) -> Result<(), Error>) {
    let device = device.clone().max_queues(16).max_regions(16).workers(2);
    on_all_drivers(
        |seed, cut| {
            let run = Sim::new(seed).on(device.clone());
            let run = run.run(async |dpa: Dpa| whole(dpa, cut, &case).await);
            let run = run.unwrap_or_else(|stuck| panic!("after {} polls: {stuck}", cut.polls));
            run.value
                .unwrap_or_else(|error| panic!("after {} polls: {error}", cut.polls));
        },
        |cut| {
            let dpa = device.clone().open().expect("a device");
            block_on(whole(dpa, cut, &case)).expect("no errors");
        },
    );
}

async fn whole(
    dpa: Dpa,
    cut: &Cut,
    case: impl AsyncFn(&Dpa, &Cut) -> Result<(), Error>,
) -> Result<(), Error> {
    let units = dpa.snapshot().free_units;
    case(&dpa, cut).await?;
    dpa.wait_idle().await;
    cut.until("nothing is left", || {
        let left = dpa.snapshot();
        let threads = (left.started, left.free_units);
        threads == (0, units) && is_empty(&left)
    });
    let stacks = dpa.device().stacks_in_use();
    assert!(stacks <= dpa.device().config().workers, "{stacks} stacks");
    assert_ended(dpa.close().await?);
    Ok(())
}

/// As [`cut_everywhere`], for a process of the low layer.
pub fn cut_low(case: impl AsyncFn(&flexio::Process, &Cut)) {
    let config = config();
    let whole = async |device: flexio::Device, cut: &Cut| {
        let process = device.process().expect("a process");
        case(&process, cut).await;
        process.idle().await;
        cut.until("nothing is left", || is_empty(&process.snapshot()));
        process.refuse();
        process.at_rest().await;
        assert_ended(process.shut_down());
    };
    on_all_drivers(
        |seed, cut| {
            let plan = plan(seed, &config);
            let run = flexio::simulate(plan, |device| whole(device, cut));
            run.unwrap_or_else(|stuck| panic!("after {} polls: {stuck}", cut.polls));
        },
        |cut| {
            let device = flexio::Device::open(config.clone()).expect("a device");
            block_on(whole(device, cut));
        },
    );
}

/// As [`cut_everywhere`], for a process of the software device.
pub fn cut_model(case: impl AsyncFn(&Arc<dpa_model::Process>, &Cut)) {
    let config = config();
    let whole = async |device: Arc<dpa_model::Device>, cut: &Cut| {
        let process = device.process().expect("a process");
        case(&process, cut).await;
        process.idle().await;
        cut.until("nothing is left", || is_empty(&process.snapshot()));
        process.refuse();
        process.at_rest().await;
        assert_ended(process.shut_down());
    };
    on_all_drivers(
        |seed, cut| {
            let plan = plan(seed, &config);
            let run = dpa_model::seeded::run(plan, |device| whole(device, cut));
            run.unwrap_or_else(|stuck| panic!("after {} polls: {stuck}", cut.polls));
        },
        |cut| {
            let threads = dpa_model::threads::Threads::open(config.clone());
            let threads = threads.expect("a device");
            block_on(whole(threads.device().clone(), cut));
        },
    );
}

fn config() -> DeviceConfig {
    DeviceConfig {
        workers: 2,
        ..DeviceConfig::default()
    }
}

fn plan(seed: u64, config: &DeviceConfig) -> SimPlan {
    let config = config.clone();
    SimPlan {
        seed,
        config,
        ..SimPlan::default()
    }
}

fn is_empty(left: &Snapshot) -> bool {
    (left.unfinished, left.events, left.heap.allocations) == (0, 0, 0)
}

fn assert_ended(report: CloseReport) {
    assert_eq!((report.launches_dropped, report.threads_stopped), (0, 0));
}

/// An event that both sides may publish and wait for.
pub fn gate(dpa: &Dpa) -> Result<SyncEvent, Error> {
    SyncEvent::builder(dpa)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .create()
}
