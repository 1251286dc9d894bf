//! What the tests beside the code are made with: launches of nothing, and a process of a device without workers.
#![cfg(not(dpa_loom))]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use dpa_abi::{KernelEntry, UnitRef};
use sync_event::sync::Arc as ModelArc;
use sync_event::{Location, Locations};

use crate::config::DeviceConfig;
use crate::device::Device;
use crate::event::EventRef;
use crate::launch::{ArgBytes, Body, Extra, Gang, Launch, Parts, Step};
use crate::layout::{FunctionKind, FunctionSpec};
use crate::process::{Process, ProcessSpec};
use crate::submit::Spec;

/// A kernel that does nothing.
pub(crate) static NOTHING: KernelEntry = kernel("nothing", |_, _| ());

/// A kernel that runs `body` and may move. It keeps nothing across device calls, nor when it returns.
pub(crate) const fn kernel(name: &'static str, body: fn(UnitRef<'_>, &[u8])) -> KernelEntry {
    KernelEntry {
        name,
        file: "",
        line: 0,
        arg_bytes: 0,
        reach: {
            // SAFETY: it keeps nothing across device calls, and calls nothing that does.
            unsafe { dpa_abi::kernel::Reach::new(|| true, || true) }
        },
        run: body,
        promise: {
            // SAFETY: it keeps nothing.
            unsafe { dpa_abi::kernel::Promise::new() }
        },
    }
}

/// What a launch of nothing is made of.
pub(crate) fn parts(proc: u32, seq: u64, threads: u32) -> Parts {
    Parts {
        body: Body::Kernel(&NOTHING),
        args: ArgBytes::new(),
        threads,
        proc,
        seq,
        then: None,
        keep: None,
    }
}

/// A launch of nothing, which waits.
pub(crate) fn launch(seq: u64, threads: u32) -> ModelArc<Launch> {
    launch_of(0, seq, threads)
}

/// A step of this process that does nothing, which waits.
pub(crate) fn step_of(proc: u32, seq: u64) -> ModelArc<Launch> {
    let parts = Parts {
        body: step_body(),
        ..parts(proc, seq, 1)
    };
    ModelArc::new(Launch::new(parts, None))
}

fn step_body() -> Body {
    Body::Step(Box::new(Step::new("nothing", || ())))
}

/// A launch of nothing of this process, which waits.
pub(crate) fn launch_of(proc: u32, seq: u64, threads: u32) -> ModelArc<Launch> {
    let extra = (threads > 1).then(|| {
        Box::new(Extra {
            gang: Some(Gang::new(threads)),
            ..Extra::default()
        })
    });
    ModelArc::new(Launch::new(parts(proc, seq, threads), extra))
}

/// A process whose launches nobody runs: what becomes of them is the test's. It is shut down when it is dropped.
pub(crate) struct Still(Arc<Process>);

impl Still {
    /// With room for so many launches.
    pub(crate) fn with_room(max_unfinished: usize) -> Self {
        let config = DeviceConfig {
            workers: 1,
            heap_bytes: 1 << 16,
            max_unfinished,
            ..DeviceConfig::default()
        };
        let device = Device::new(config, None).expect("a device");
        Self(device.process().expect("a process"))
    }

    /// One on each of these functions of a device, which have a unit each.
    pub(crate) fn on_functions<const N: usize>(names: [&str; N]) -> [Self; N] {
        let function = |(unit, name): (usize, &&str)| {
            let units = std::iter::once(unit as u32).collect();
            FunctionSpec::with_units(*name, FunctionKind::Virtual, units)
        };
        let config = DeviceConfig {
            workers: 1,
            heap_bytes: 1 << 16,
            functions: names.iter().enumerate().map(function).collect(),
            ..DeviceConfig::default()
        };
        let device = Device::new(config, None).expect("a device");
        names.map(|name| {
            let spec = ProcessSpec {
                function: Some(name.into()),
                ..ProcessSpec::default()
            };
            Self(device.process_with(&spec).expect("a process"))
        })
    }

    /// With room enough.
    pub(crate) fn new() -> Self {
        Self::with_room(1 << 10)
    }

    /// An event that may be updated and waited for everywhere.
    pub(crate) fn event(&self) -> EventRef {
        let everywhere = || Location::Host | Location::Device;
        let locations = Locations::new(everywhere(), everywhere()).expect("locations");
        self.0.event(0, locations).expect("an event")
    }

    /// Submits it, and it is accepted.
    pub(crate) fn accept(&self, spec: Spec) -> ModelArc<Launch> {
        let submitted = self.0.submit(spec).map_err(|(error, _)| error);
        submitted.expect("accepted")
    }

    /// Launches that are not over.
    pub(crate) fn unfinished(&self) -> usize {
        self.0.unfinished.count()
    }
}

impl Deref for Still {
    type Target = Arc<Process>;
    fn deref(&self) -> &Arc<Process> {
        &self.0
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

/// A launch of nothing, as the host asks for it.
pub(crate) fn spec() -> Spec {
    Spec::new(Body::Kernel(&NOTHING), ArgBytes::new())
}

/// A step that does nothing, as the host asks for it.
pub(crate) fn step() -> Spec {
    Spec::new(step_body(), ArgBytes::new())
}

/// A task that counts how often it is woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What `poll` says to this task.
    pub(crate) fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let waker = Waker::from(self.clone());
        poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
