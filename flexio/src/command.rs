//! Commands: launches of kernels, calls, and steps of the copy engine, on their way to a process.

use std::fmt;
use std::mem::needs_drop;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use dpa_abi::pod::Bytes;
use dpa_abi::{Condition, EventHandle, KernelEntry, Pod, RpcEntry, Update};
use sync_event::Closed;

use crate::backend::{self, ArgBytes, Body, Outcome, Spec, Stream, SubmitError};
use crate::process::ProcessRef;

/// Something to be done on the device.
#[derive(Debug)]
#[must_use = "a command does nothing until it is submitted"]
pub struct Command {
    spec: Spec,
}

pub(crate) fn packed<A: Pod>(args: A) -> ArgBytes {
    let mut bytes = ArgBytes::from_elem(0, A::SIZE);
    args.store(&mut Bytes(&mut bytes[..]), 0);
    bytes
}

impl Command {
    /// Runs a kernel.
    pub fn kernel<A: Pod>(entry: &'static KernelEntry, args: A) -> Self {
        Self {
            spec: Spec::new(Body::Kernel(entry), packed(args)),
        }
    }

    /// Runs a call: one thread, one time; its result is 64 bits.
    #[doc(alias = "flexio_process_call")]
    pub fn call<A: Pod>(entry: &'static RpcEntry, args: A) -> Self {
        Self {
            spec: Spec::new(Body::Rpc(entry), packed(args)),
        }
    }

    /// Does some work of the host in its place in the order: a copy or a fill. It takes no unit.
    pub fn step(name: &'static str, work: impl FnOnce() + Send + 'static) -> Self {
        let step = backend::Step::new(name, work);
        Self {
            spec: Spec::new(Body::Step(Box::new(step)), ArgBytes::new()),
        }
    }

    /// With these arguments in place of those before.
    pub fn with_args<A: Pod>(mut self, args: A) -> Self {
        self.spec.args = packed(args);
        self
    }

    /// With so many threads.
    pub fn threads(mut self, threads: u32) -> Self {
        self.spec.threads = threads;
        self
    }

    /// Starts when the condition of this event holds.
    pub fn wait_for(mut self, event: EventHandle, condition: Condition) -> Self {
        self.spec.wait = Some((event, condition));
        self
    }

    /// Updates this event when it has completed.
    pub fn then(mut self, event: EventHandle, update: Update) -> Self {
        self.spec.then = Some((event, update));
        self
    }

    /// Keeps something alive until it is over. Nothing is allocated for what is nothing and does nothing when it is dropped.
    pub fn keep<T: Send + 'static>(mut self, kept: T) -> Self {
        if size_of::<T>() > 0 || needs_drop::<T>() {
            self.spec.keep = Some(Box::new(Some(kept)));
        }
        self
    }

    /// As a part of this stream.
    pub fn in_stream(mut self, stream: Option<Arc<Stream>>) -> Self {
        self.spec.stream = stream;
        self
    }

    /// At this place in the order of submission, reserved before.
    pub fn at_place(mut self, place: u64) -> Self {
        self.spec.seq = Some(place);
        self
    }

    /// What it does.
    pub fn name(&self) -> &'static str {
        self.spec.body.name()
    }

    /// Hands it to the process.
    ///
    /// # Errors
    /// Why it was refused, and the command back.
    #[expect(
        clippy::result_large_err,
        reason = "the refused command goes back to the caller, whole"
    )]
    pub fn submit(self, process: &ProcessRef) -> Result<Submitted, (SubmitError, Self)> {
        let submitted = self.submit_owned(process.clone());
        submitted.map_err(|(error, command, _)| (error, command))
    }

    /// As [`Command::submit`], for a caller who needs the process no longer.
    ///
    /// # Errors
    /// Why it was refused, and the command and the process back.
    #[expect(
        clippy::result_large_err,
        reason = "the refused command goes back to the caller, whole"
    )]
    pub fn submit_owned(
        self,
        process: ProcessRef,
    ) -> Result<Submitted, (SubmitError, Self, ProcessRef)> {
        let (given, takes) = (self.spec.args.len(), self.spec.body.arg_bytes());
        if given != takes {
            return Err((SubmitError::Arguments { given, takes }, self, process));
        }
        match process.raw().submit(self.spec) {
            Ok(launch) => Ok(Submitted { process, launch }),
            Err((error, spec)) => Err((error, Self { spec }, process)),
        }
    }
}

/// A command that was accepted. Dropping this detaches: it neither cancels nor waits.
pub struct Submitted {
    process: ProcessRef,
    launch: Arc<backend::Launch>,
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted")
            .field("launch", &self.launch)
            .field("outcome", &self.launch.outcome())
            .finish()
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        self.launch.unwatch();
    }
}

impl Submitted {
    /// Its process.
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// Its number, in order of submission.
    pub fn number(&self) -> u64 {
        self.launch.seq
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.launch.outcome()
    }

    /// Polls for its end. Of several tasks the last that polled is woken.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        self.launch.poll(cx)
    }

    /// Polls for its end, and before it says that it must wait, looks for a microsecond or two if the device is awake: a
    /// short kernel is over sooner than a task is put to sleep and woken. In a simulation others may go on before it looks.
    pub fn poll_eagerly(&self, cx: &Context<'_>) -> Poll<Outcome> {
        const LOOKS: u32 = 48;
        let device = self.process.device();
        ready!(device.poll_turn(cx));
        if !device.is_simulated() && device.is_awake() {
            for _ in 0..LOOKS {
                if let Some(outcome) = self.outcome() {
                    return Poll::Ready(outcome);
                }
                std::hint::spin_loop();
            }
        }
        self.poll(cx)
    }

    /// Blocks until it ends: spins a bounded time, then parks; under the seeded driver it steps the device. `None` if
    /// nothing is left that could end it. Any number of threads may, each is woken.
    pub fn wait(&self) -> Option<Outcome> {
        if self.process.device().is_simulated() {
            return self.process.device().step_until(|| self.outcome());
        }
        self.spin()
            .or_else(|| Some(block_on(|cx| self.launch.poll_blocking(cx))))
    }

    fn spin(&self) -> Option<Outcome> {
        const SPIN: Duration = Duration::from_micros(50);
        let until = Instant::now() + SPIN;
        loop {
            for _ in 0..64 {
                if let Some(outcome) = self.outcome() {
                    return Some(outcome);
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }

    /// Takes it back if it has not started; whether it did.
    pub fn cancel(&self) -> bool {
        self.process.raw().cancel(&self.launch)
    }

    /// Device time of its start and end, once it has completed.
    pub fn times(&self) -> (Duration, Duration) {
        let [start, end] = self.launch.times();
        (Duration::from_nanos(start), Duration::from_nanos(end))
    }

    /// The result of a call that has completed.
    pub fn result(&self) -> u64 {
        self.launch.times()[0]
    }

    /// Why the event was closed that a command waited for, and its last value, if the outcome says that it was.
    pub fn wait_closed(&self) -> Closed {
        self.launch.wait_event()
    }
}

/// Blocks this thread until `poll` is ready.
pub(crate) fn block_on<R>(mut poll: impl FnMut(&Context<'_>) -> Poll<R>) -> R {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = poll(&cx) {
            return result;
        }
        std::thread::park();
    }
}
