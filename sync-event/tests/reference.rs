//! Random programs over several events, beside a sequential reference that keeps a list of waiters per event.
//!
//! `DPA_CASES` programs are tried (1,000 unless set), each from its own seed. A failure prints the command that
//! replays it.

#[path = "../../dpa-model/tests/seeds/number.rs"]
mod number;

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use number::number;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use sync_event::{
    CloseReason, Closed, Condition, Event, Gate, Outcome, Registered, Update, Wait, WaiterId,
};

const EVENTS: usize = 3;
const REASON: CloseReason = CloseReason::Explicit;

#[derive(Clone, Debug)]
enum Step {
    Update(Update),
    Register(Condition),
    Wait(Condition),
    Cancel(usize),
    Close,
}

fn condition() -> impl Strategy<Value = Condition> {
    let mask = prop_oneof![4 => Just(u64::MAX), 1 => 0..32u64];
    (0..4u8, 0..24u64, mask).prop_map(|(op, v, mask)| {
        let conditions = [Condition::ge, Condition::gt, Condition::eq, Condition::ne];
        conditions[usize::from(op)](v).masked(mask)
    })
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        3 => (0..24u64).prop_map(|v| Step::Update(Update::Set(v))),
        4 => (0..4u64).prop_map(|n| Step::Update(Update::Add(n))),
        1 => Just(Step::Update(Update::Add(u64::MAX))),
        5 => condition().prop_map(Step::Register),
        5 => condition().prop_map(Step::Wait),
        3 => any::<usize>().prop_map(Step::Cancel),
        1 => Just(Step::Close),
    ];
    (0..EVENTS, step)
}

/// Who was opened or woken, in order.
type Log = Arc<Mutex<Vec<u32>>>;

struct Named(u32, Log);

impl Gate for Named {
    fn open(self, _: Outcome) {
        self.1.lock().unwrap().push(self.0);
    }
}

impl Wake for Named {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

/// The reference: what an event should be.
struct Model {
    value: u64,
    closed: Option<Closed>,
    waiting: Vec<(u32, Condition)>,
}

impl Model {
    fn update(&mut self, update: Update) -> (Result<u64, Closed>, Vec<u32>) {
        if let Some(closed) = self.closed {
            return (Err(closed), Vec::new());
        }
        let previous = self.value;
        self.value = update.apply(previous);
        let met = self.waiting.extract_if(.., |(_, c)| c.holds(self.value));
        (Ok(previous), met.map(|w| w.0).collect())
    }

    fn close(&mut self) -> (bool, Vec<u32>) {
        let first = self.closed.is_none();
        self.closed.get_or_insert(Closed {
            last: self.value,
            reason: REASON,
        });
        (first, self.waiting.drain(..).map(|w| w.0).collect())
    }
}

enum Waiter<'a> {
    Gate(WaiterId),
    Task(Wait<'a, Named>),
}

struct Run<'a> {
    events: &'a [Event<Named>],
    models: Vec<Model>,
    waiters: Vec<(u32, usize, Waiter<'a>)>,
    log: Log,
    next: u32,
}

impl<'a> Run<'a> {
    fn new(events: &'a [Event<Named>]) -> Self {
        let models = events.iter().map(|_| Model {
            value: 0,
            closed: None,
            waiting: Vec::new(),
        });
        let (models, waiters) = (models.collect(), Vec::new());
        Self {
            events,
            models,
            waiters,
            log: Log::default(),
            next: 0,
        }
    }

    fn step(&mut self, at: usize, step: Step) {
        match step {
            Step::Update(update) => {
                let expected = self.models[at].update(update);
                self.log.lock().unwrap().clear();
                let answer = self.events[at].update(update);
                assert_eq!((answer, self.log.lock().unwrap().clone()), expected);
            }
            Step::Close => {
                let expected = self.models[at].close();
                self.log.lock().unwrap().clear();
                let answer = self.events[at].close(REASON);
                assert_eq!((answer, self.log.lock().unwrap().clone()), expected);
            }
            Step::Register(condition) => self.register(at, condition),
            Step::Wait(condition) => self.wait(at, condition),
            Step::Cancel(n) => self.cancel(n),
        }
        let (event, model) = (&self.events[at], &self.models[at]);
        assert_eq!((event.get(), event.closed()), (model.value, model.closed));
        assert_eq!(event.waiters(), model.waiting.len());
    }

    fn register(&mut self, at: usize, condition: Condition) {
        self.next += 1;
        let (model, name) = (&mut self.models[at], self.next);
        let gate = Named(name, self.log.clone());
        match self.events[at].register(condition, |_| gate) {
            Registered::Holds(_, value) => {
                assert_eq!(value, model.value);
                assert!(condition.holds(value));
            }
            Registered::Closed(_, closed) => {
                assert_eq!(Some(closed), model.closed);
                assert!(!condition.holds(closed.last));
            }
            Registered::Waiting(id) => {
                assert!(!condition.holds(model.value) && model.closed.is_none());
                model.waiting.push((name, condition));
                self.waiters.push((name, at, Waiter::Gate(id)));
            }
        }
    }

    fn wait(&mut self, at: usize, condition: Condition) {
        self.next += 1;
        let (model, name) = (&mut self.models[at], self.next);
        let waker = Waker::from(Arc::new(Named(name, self.log.clone())));
        let mut wait = self.events[at].wait(condition);
        match Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(value)) => assert!(value == model.value && condition.holds(value)),
            Poll::Ready(Err(closed)) => assert_eq!(Some(closed), model.closed),
            Poll::Pending => {
                assert!(!condition.holds(model.value) && model.closed.is_none());
                model.waiting.push((name, condition));
                self.waiters.push((name, at, Waiter::Task(wait)));
            }
        }
    }

    fn cancel(&mut self, n: usize) {
        if self.waiters.is_empty() {
            return;
        }
        let (name, at, waiter) = self.waiters.swap_remove(n % self.waiters.len());
        let waiting = &mut self.models[at].waiting;
        let waited = waiting
            .iter()
            .position(|w| w.0 == name)
            .map(|i| waiting.remove(i))
            .is_some();
        let was_waiting = match waiter {
            Waiter::Gate(id) => self.events[at]
                .cancel(id)
                .is_some_and(|gate| gate.0 == name),
            Waiter::Task(mut wait) => wait.cancel().is_none(),
        };
        assert_eq!(was_waiting, waited, "waiter {name}");
    }
}

fn program(seed: u64) -> Vec<(usize, Step)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let steps = prop::collection::vec(step(), 0..100).new_tree(&mut runner);
    steps.expect("the strategy rejects nothing").current()
}

fn run(seed: u64) {
    let events: Vec<_> = (0..EVENTS).map(|_| Event::new(0)).collect();
    let done = RefCell::new(Vec::new());
    let mut run = Run::new(&events);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for (at, step) in program(seed) {
            done.borrow_mut().push((at, step.clone()));
            run.step(at, step);
        }
    }));
    if let Err(panic) = outcome {
        eprintln!("steps until the failure: {:#?}", done.borrow());
        eprintln!("replay: DPA_SEED={seed} cargo test -p sync-event --test reference");
        resume_unwind(panic);
    }
}

#[test]
fn random_programs_equal_the_sequential_reference() {
    match number("DPA_SEED") {
        Some(seed) => run(seed),
        None => (0..number("DPA_CASES").unwrap_or(1000)).for_each(run),
    }
}
