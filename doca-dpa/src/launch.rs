//! Launches.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use dpa_abi::kernel::{ArgsState, HasArgs, NeedsArgs};
use dpa_abi::{IntoArgs, Kernel, Update};
use flexio::{Command, ProcessRef, SubmitError, Submitted};

use crate::args;
use crate::error::{Error, LaunchError, LaunchRefused, MemoryError};
use crate::event::{EventCondition, SyncEvent};

/// What was given that cannot be used. What is given in its place later counts instead.
#[derive(Debug, Default)]
pub(crate) struct Unusable {
    /// The event to wait for is of another context.
    wait: bool,
    /// So is the event to update.
    then: bool,
    /// So is something among the arguments of this kernel or call.
    args: Option<&'static str>,
    /// The range of a step.
    range: Option<MemoryError>,
}

impl Unusable {
    /// Arguments of this kernel or call, if some are foreign.
    pub(crate) fn args(foreign: bool, kernel: &'static str) -> Self {
        Self {
            args: foreign.then_some(kernel),
            ..Self::default()
        }
    }

    /// The range of a step, if it is none.
    pub(crate) fn range(range: Option<MemoryError>) -> Self {
        Self {
            range,
            ..Self::default()
        }
    }

    /// What stands first, as the refusal that it is.
    fn refusal(&self) -> Option<LaunchRefused> {
        let range = self.range.map(LaunchRefused::Memory);
        let args = |kernel| LaunchRefused::ForeignArgument { kernel };
        let event = |foreign: bool, what| foreign.then_some(LaunchRefused::ForeignEvent { what });
        range
            .or_else(|| self.args.map(args))
            .or_else(|| event(self.wait, "wait for"))
            .or_else(|| event(self.then, "update"))
    }
}

/// What a launch waits for and updates; shared by launches, calls and steps.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) process: ProcessRef,
    pub(crate) command: Command,
    pub(crate) unusable: Unusable,
}

impl Order {
    pub(crate) fn wait_for(mut self, condition: &EventCondition) -> Self {
        let event = condition.event();
        self.unusable.wait = !event.belongs_to(&self.process);
        self.command = self.command.wait_for(event.handle(), condition.condition());
        self
    }

    pub(crate) fn then(mut self, event: &SyncEvent, update: Update) -> Self {
        self.unusable.then = !event.belongs_to(&self.process);
        self.command = self.command.then(event.handle(), update);
        self
    }

    pub(crate) fn in_stream(mut self, stream: std::sync::Arc<flexio::Stream>) -> Self {
        self.command = self.command.in_stream(Some(stream));
        self
    }

    #[expect(
        clippy::result_large_err,
        reason = "the refused order goes back to the caller, whole"
    )]
    pub(crate) fn submit(self) -> Result<Submitted, (LaunchRefused, Self)> {
        if let Some(refused) = self.unusable.refusal() {
            return Err((refused, self));
        }
        let Self {
            process,
            command,
            unusable,
        } = self;
        match command.submit_owned(process) {
            Ok(submitted) => Ok(submitted),
            Err((error, command, process)) => {
                let refused = LaunchRefused::of(error, process.fault());
                Err((
                    refused,
                    Self {
                        process,
                        command,
                        unusable,
                    },
                ))
            }
        }
    }

    /// Submits, and waits for room in the queue if there is none, or if others wait for it already.
    pub(crate) async fn submit_async(self) -> Result<Submitted, (LaunchRefused, Self)> {
        // Nobody goes on in between: who has its place and is not in the line yet is passed by those who come later.
        let mut place = Place::reserve(&self.process);
        let mut order = self;
        let mut waits = order.unusable.refusal().is_none() && place.process.has_line();
        loop {
            if waits {
                place.wait_for_room().await;
            }
            order.command = order.command.at_place(place.number);
            match order.submit() {
                Err((LaunchRefused::Refused(SubmitError::QueueFull { .. }), back)) => order = back,
                result => return result,
            }
            waits = true;
        }
    }
}

/// A place in the order of submission, given up when dropped.
struct Place {
    process: ProcessRef,
    number: u64,
    /// It has stood in the line of those who wait for room.
    in_line: bool,
}

impl Place {
    fn reserve(process: &ProcessRef) -> Self {
        Self {
            process: process.clone(),
            number: process.reserve_place(),
            in_line: false,
        }
    }

    async fn wait_for_room(&mut self) {
        self.in_line = true;
        poll_fn(|cx| self.process.poll_room(self.number, cx)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.in_line {
            self.process.leave_queue(self.number);
        }
    }
}

/// A launch to be submitted. `S` says whether it has its arguments.
#[must_use = "a launch does nothing until it is submitted"]
pub struct LaunchBuilder<K: Kernel, S: ArgsState> {
    order: Order,
    kernel: K,
    state: PhantomData<fn() -> S>,
}

impl<K: Kernel, S: ArgsState> fmt::Debug for LaunchBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchBuilder")
            .field("kernel", &self.kernel.entry().name)
            .finish_non_exhaustive()
    }
}

impl<K: Kernel> LaunchBuilder<K, K::Given> {
    pub(crate) fn new(process: ProcessRef, kernel: K) -> Self {
        let command = Command::kernel(kernel.entry(), ());
        Self {
            order: Order {
                process,
                command,
                unusable: Unusable::default(),
            },
            kernel,
            state: PhantomData,
        }
    }
}

impl<K: Kernel> LaunchBuilder<K, NeedsArgs> {
    /// The kernel's arguments: the struct of its name. What they refer to is kept alive until the launch is over.
    pub fn args<A: IntoArgs<K::Args>>(self, args: A) -> LaunchBuilder<K, HasArgs> {
        let Self { order, kernel, .. } = self;
        let ((wire, kept), foreign) = args::pack(&order.process, || args.into_args());
        let unusable = Unusable {
            args: foreign.then_some(kernel.entry().name),
            ..order.unusable
        };
        LaunchBuilder {
            order: Order {
                process: order.process,
                command: order.command.with_args(wire).keep(kept),
                unusable,
            },
            kernel,
            state: PhantomData,
        }
    }
}

/// Nothing is allocated for plain arguments, which keep nothing.
pub(crate) fn boxed<T: Send + 'static>(kept: T) -> Option<Box<dyn Any + Send>> {
    if size_of::<T>() == 0 {
        None
    } else {
        Some(Box::new(kept))
    }
}

impl<K: Kernel, S: ArgsState> LaunchBuilder<K, S> {
    fn with(self, change: impl FnOnce(Order) -> Order) -> Self {
        Self {
            order: change(self.order),
            ..self
        }
    }

    /// How many threads run the kernel. They start together. Default 1.
    pub fn threads(self, threads: u32) -> Self {
        self.with(|order| Order {
            command: order.command.threads(threads),
            ..order
        })
    }

    /// Starts when the condition holds. Until then it takes no execution unit.
    ///
    /// It does not keep the event: if the last handle of that is dropped before the launch is submitted, it is refused; if later, it ends
    /// ([`LaunchError::WaitEventClosed`]).
    pub fn wait_for(self, condition: EventCondition) -> Self {
        self.with(|order| order.wait_for(&condition))
    }

    /// Adds to an event, once, when all threads have returned. The launch keeps the event, but not before it is submitted: one that is gone
    /// then is refused.
    pub fn then_add(self, event: &SyncEvent, n: u64) -> Self {
        self.with(|order| order.then(event, Update::Add(n)))
    }

    /// Sets an event, once, when all threads have returned. The event is kept as by [`LaunchBuilder::then_add`].
    pub fn then_set(self, event: &SyncEvent, value: u64) -> Self {
        self.with(|order| order.then(event, Update::Set(value)))
    }

    pub(crate) fn in_stream(self, stream: std::sync::Arc<flexio::Stream>) -> Self {
        self.with(|order| order.in_stream(stream))
    }
}

impl<K: Kernel> LaunchBuilder<K, HasArgs> {
    fn back(order: Order, kernel: K) -> Self {
        Self {
            order,
            kernel,
            state: PhantomData,
        }
    }

    /// Submits the launch. Dropping what it returns detaches: it neither cancels nor waits.
    ///
    /// # Errors
    /// Why it was refused, and the launch back: the queue is full, the number of threads is out of range, the device is
    /// not on the right side of an event, an event or a buffer of another context, an event that is gone, a stream that is broken,
    /// the context is faulted or closed.
    pub fn submit(self) -> Result<Launch, TrySubmitError<Self>> {
        let Self { order, kernel, .. } = self;
        match order.submit() {
            Ok(submitted) => Ok(Launch {
                submitted,
                polled: false,
            }),
            Err((kind, order)) => Err(TrySubmitError::new(kind, Self::back(order, kernel))),
        }
    }

    /// Submits the launch, and waits for room if the queue is full. It takes its place in the order at its first poll, and those who
    /// wait for room already have it before: keep no future of this that you do not poll, as beside the branch of a `select!` that
    /// submits in its turn. It would wait in front for ever, and with it those behind.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the launch was not submitted and its place is given up.
    ///
    /// # Errors
    /// As [`LaunchBuilder::submit`], but for the full queue.
    pub async fn submit_async(self) -> Result<Launch, TrySubmitError<Self>> {
        let Self { order, kernel, .. } = self;
        match order.submit_async().await {
            Ok(submitted) => Ok(Launch {
                submitted,
                polled: false,
            }),
            Err((kind, order)) => Err(TrySubmitError::new(kind, Self::back(order, kernel))),
        }
    }
}

/// A launch that was refused, and why. It may go wherever errors go: to other threads, and into boxes that are `Send` and
/// `Sync`.
pub struct TrySubmitError<L> {
    kind: LaunchRefused,
    /// What a launch keeps alive is not for several threads at a time. The lock is never taken. Boxed, for a launch takes some 200
    /// bytes, and whoever hands errors on would hand on as much room for what is hardly ever there.
    launch: Box<Mutex<L>>,
}

impl<L> TrySubmitError<L> {
    pub(crate) fn new(kind: LaunchRefused, launch: L) -> Self {
        let launch = Box::new(Mutex::new(launch));
        Self { kind, launch }
    }

    /// Why.
    pub fn kind(&self) -> &LaunchRefused {
        &self.kind
    }

    /// The launch, to be changed or submitted again.
    pub fn into_inner(self) -> L {
        self.launch
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> fmt::Debug for TrySubmitError<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySubmitError")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<L> fmt::Display for TrySubmitError<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the launch was not accepted: {}", self.kind)
    }
}

impl<L> std::error::Error for TrySubmitError<L> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.kind)
    }
}

impl<L> From<TrySubmitError<L>> for Error {
    fn from(error: TrySubmitError<L>) -> Self {
        Self::Refused(error.kind)
    }
}

/// When a launch ran, in device time since the device was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When its first thread began.
    pub start: Duration,
    /// When its last thread had returned.
    pub end: Duration,
}

/// A launch that was accepted: a future of its end. Dropping it detaches.
///
/// # Cancel safety
/// Awaiting it by reference can be given up and taken up again; dropping it lets the launch go on.
#[derive(Debug)]
pub struct Launch {
    submitted: Submitted,
    polled: bool,
}

impl Launch {
    fn ended(&self, outcome: flexio::Outcome) -> Result<Times, LaunchError> {
        match LaunchError::of(outcome, &self.submitted) {
            Some(error) => Err(error),
            None => {
                let (start, end) = self.submitted.times();
                Ok(Times { start, end })
            }
        }
    }

    /// Its number, in order of submission on its device.
    pub fn number(&self) -> u64 {
        self.submitted.number()
    }

    /// Takes it back if it has not started; whether it did. Its completion update is not made then, and what waits for
    /// that stays parked: see [`Dpa::cancel_chain`](crate::Dpa::cancel_chain).
    pub fn cancel(&self) -> bool {
        self.submitted.cancel()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.submitted.outcome().is_some()
    }

    /// Waits for its end by blocking this thread: spins a bounded time, then parks. Under a simulation it steps the
    /// device instead.
    ///
    /// # Errors
    /// As awaiting it; [`LaunchError::Stuck`] under a simulation in which nothing is left to run.
    pub fn wait(&self) -> Result<Times, LaunchError> {
        match self.submitted.wait() {
            Some(outcome) => self.ended(outcome),
            None => Err(LaunchError::Stuck),
        }
    }
}

impl Future for Launch {
    type Output = Result<Times, LaunchError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let first = !std::mem::replace(&mut self.polled, true);
        let polled = if first {
            self.submitted.poll_eagerly(cx)
        } else {
            self.submitted.poll(cx)
        };
        polled.map(|outcome| self.ended(outcome))
    }
}
