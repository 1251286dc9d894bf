//! What the models are made of: launches, and the parts of a device that these pass through.

use dpa_abi::sync::loom;
use dpa_abi::{Condition, KernelEntry, Update};
use dpa_model::gate::{self, Gate, Parking};
use dpa_model::idle::Idle;
use dpa_model::launch::{ArgBytes, Body, Extra, Gang, Launch, Outcome, Parts};
use dpa_model::sched::{Sched, Tenant};
use loom::sync::Arc;
use sync_event::Event;
use sync_event::sync::{Condvar, Mutex};

static ENTRY: KernelEntry = KernelEntry {
    name: "k",
    file: "",
    line: 0,
    arg_bytes: 0,
    reach: {
        // SAFETY: it keeps nothing across device calls, and calls nothing that does.
        unsafe { dpa_abi::kernel::Reach::new(|| true, || true) }
    },
    run: |_, _| (),
    promise: {
        // SAFETY: it keeps nothing.
        unsafe { dpa_abi::kernel::Promise::new() }
    },
};

pub struct Process;

impl Tenant for Process {
    fn blocked(&self) -> u32 {
        0
    }
}

pub fn check(model: impl Fn() + Send + Sync + 'static) {
    check_with(2, model);
}

/// With at least so many preemptions in an execution.
pub fn check_with(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let asked = builder.preemption_bound.unwrap_or(0);
    builder.preemption_bound = Some(asked.max(preemptions));
    builder.check(model);
}

pub fn launch(seq: u64, threads: u32) -> Arc<Launch> {
    let parts = Parts {
        body: Body::Kernel(&ENTRY),
        args: ArgBytes::new(),
        threads,
        proc: 0,
        seq,
        then: None,
        keep: None,
    };
    let extra = (threads > 1).then(|| {
        Box::new(Extra {
            gang: Some(Gang::new(threads)),
            ..Extra::default()
        })
    });
    Arc::new(Launch::new(parts, extra))
}

/// The parts of a device that a launch passes through, put together as the drivers do.
pub struct Device {
    pub sched: Sched<Process>,
    pub idle: Idle,
    pub event: Event<Gate>,
    /// Stands for `thread::park`, of which loom loses tokens.
    pub woken: Parker,
}

#[derive(Default)]
pub struct Parker {
    token: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub fn unpark(&self) {
        *self.token.lock() = true;
        self.changed.notify_one();
    }

    pub fn park(&self) {
        let mut token = self.token.lock();
        while !*token {
            self.changed.wait(&mut token);
        }
        *token = false;
    }
}

impl Device {
    pub fn new() -> Arc<Self> {
        let sched = Sched::new(4);
        assert!(sched.admit(|_| Arc::new(Process)).is_some());
        Arc::new(Self {
            sched,
            idle: Idle::new(1),
            event: Event::new(0),
            woken: Parker::default(),
        })
    }

    pub fn opened(&self, gate: Gate) {
        if let Gate::Launch(launch) = gate
            && launch.open()
        {
            self.sched.push(launch);
        }
    }

    pub fn submit(&self, launch: &Arc<Launch>, condition: Condition) {
        match gate::park(&self.event, 0, launch, condition, || true) {
            Parking::Done => {}
            Parking::Holds(gate, _) => self.opened(gate),
            Parking::Closed(_) => assert!(launch.take_back(Outcome::Faulted)),
            Parking::Gone => unreachable!("it is always the same event"),
        }
    }

    pub fn update(&self, update: Update) {
        let _ = self.event.update_with(update, |gate, _| self.opened(gate));
    }

    pub fn started(&self) -> Option<u64> {
        self.sched.next(None, None).map(|work| work.launch.seq)
    }
}
