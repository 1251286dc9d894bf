//! A kernel stack with code on it that can be left and entered again.
//!
//! Two implementations with the same face: stack switches by `corosensei`, and OS threads that hand control to each
//! other (`cfg(dpa_sanitize)`), for sanitizers that cannot follow stack switches.

use dpa_abi::port::Collective;
use dpa_abi::{Condition, EventHandle};

use crate::unit::Core;

/// Why a thread leaves its stack.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// It lets others run.
    Yield,
    /// It was interrupted, for others to run: its time is over.
    Preempted,
    /// It waits for an event, until a time in device nanoseconds if there is one.
    Wait(EventHandle, Condition, Option<u64>),
    /// It meets the other threads of its launch.
    Meet(Collective),
    /// It never returns to its stack; its destructors do not run.
    Abandon,
}

/// How the code on a stack ended.
#[derive(Clone, Copy, Debug)]
pub enum Exit {
    /// It returned.
    Done,
    /// Its stack was reset under a running kernel.
    Abandoned(crate::trap::Trapped),
}

/// What a resumed fiber does next.
#[derive(Debug)]
pub enum Resumed {
    /// It left its stack and waits to be resumed.
    Suspended(Request),
    /// Its code has ended.
    Returned(Exit),
}

pub use imp::{Fiber, Switch};

/// The code on a stack: gets the unit's core and the switch to leave by.
pub type Main = fn(&Core, &Switch);

#[cfg(not(dpa_sanitize))]
mod imp {
    use super::{Core, Exit, Main, Request, Resumed};
    use crate::stack::PooledStack;
    use corosensei::{Coroutine, CoroutineResult, Yielder};
    use std::hint::black_box;
    use std::mem::MaybeUninit;

    /// Bytes at the base of a stack in which no frame of a kernel stands: what resets a stack from a signal handler runs there.
    const BASE: usize = 2048;

    /// What crosses from one stack to the other of the same OS thread.
    struct OnThisThread<T>(T);

    // SAFETY: both stacks are run by the same OS thread; nothing is sent to another.
    unsafe impl<T> Send for OnThisThread<T> {}

    impl<R, F: FnOnce() -> R> OnThisThread<F> {
        fn call(self) -> OnThisThread<R> {
            OnThisThread((self.0)())
        }
    }

    /// A stack with code on it.
    pub struct Fiber(Coroutine<(), Request, Exit, PooledStack>);

    /// The way back from a kernel stack to its worker's.
    #[repr(transparent)]
    pub struct Switch(Yielder<(), Request>);

    impl Fiber {
        /// Code that will run on `stack`.
        ///
        /// # Safety
        /// `core` must stay valid until the fiber has returned or is dropped.
        pub unsafe fn new(stack: PooledStack, main: Main, core: *const Core) -> Self {
            Self(Coroutine::with_stack(
                stack,
                move |yielder: &Yielder<(), Request>, ()| {
                    let mut base = MaybeUninit::<[u8; BASE]>::uninit();
                    black_box(&mut base);
                    // SAFETY: `Switch` is a transparent view of the yielder; the caller promised that `core` is valid.
                    unsafe { main(&*core, &*std::ptr::from_ref(yielder).cast::<Switch>()) };
                    black_box(&mut base);
                    Exit::Done
                },
            ))
        }

        /// Enters the stack.
        pub fn resume(&mut self) -> Resumed {
            match self.0.resume(()) {
                CoroutineResult::Yield(request) => Resumed::Suspended(request),
                CoroutineResult::Return(exit) => Resumed::Returned(exit),
            }
        }

        /// Leaves a suspended stack for good: nothing on it runs again, no destructor either. Its stack is not to be used again.
        pub fn abandon(&mut self) {
            // SAFETY: the frames on a kernel stack own nothing of the model's (rules of `unit.rs`); what the kernel
            // itself owned on it is leaked, with the stack (`PooledStack::leave_behind`).
            unsafe { self.0.force_reset() };
        }

        /// The stack of a fiber that has returned.
        pub fn into_stack(self) -> PooledStack {
            self.0.into_stack()
        }

        /// How to force it to return from a signal handler.
        pub fn trap_handler(&self) -> corosensei::trap::CoroutineTrapHandler<Exit> {
            self.0.trap_handler()
        }
    }

    impl Switch {
        /// Leaves the stack; returns when it is resumed.
        pub fn suspend(&self, request: Request) {
            self.0.suspend(request);
        }

        /// Runs `f` on the worker's stack.
        pub fn on_parent_stack<R>(&self, f: impl FnOnce() -> R) -> R {
            let here = OnThisThread(f);
            self.0.on_parent_stack(move || here.call()).0
        }
    }
}

#[cfg(dpa_sanitize)]
mod imp {
    use super::{Core, Exit, Main, Request, Resumed};
    use crate::stack::PooledStack;
    use parking_lot::{Condvar, Mutex};
    use std::sync::Arc;

    enum Turn {
        Worker,
        Fiber,
        Suspended(Request),
        Returned,
    }

    struct Baton {
        turn: Mutex<Turn>,
        moved: Condvar,
    }

    impl Baton {
        fn pass(&self, to: Turn) {
            *self.turn.lock() = to;
            self.moved.notify_all();
        }

        fn wait<R>(&self, mine: impl Fn(&Turn) -> Option<R>) -> R {
            let mut turn = self.turn.lock();
            loop {
                if let Some(result) = mine(&turn) {
                    return result;
                }
                self.moved.wait(&mut turn);
            }
        }

        fn wait_for_fiber_turn(&self) {
            self.wait(|turn| matches!(turn, Turn::Fiber).then_some(()));
        }
    }

    /// A thread that runs only while it is resumed.
    pub struct Fiber {
        baton: Arc<Baton>,
        start: Option<(Main, SendCore)>,
        stack: PooledStack,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    struct SendCore(*const Core);
    // SAFETY: the two threads never use the core at the same time.
    unsafe impl Send for SendCore {}

    /// The way back from the fiber's thread to its worker's.
    pub struct Switch(Arc<Baton>);

    impl Fiber {
        /// Code that will run beside `stack`, which only counts.
        ///
        /// # Safety
        /// `core` must stay valid until the fiber has returned.
        pub unsafe fn new(stack: PooledStack, main: Main, core: *const Core) -> Self {
            let baton = Arc::new(Baton {
                turn: Mutex::new(Turn::Worker),
                moved: Condvar::new(),
            });
            Self {
                baton,
                start: Some((main, SendCore(core))),
                stack,
                thread: None,
            }
        }

        /// Lets the fiber's thread run until it suspends or returns.
        pub fn resume(&mut self) -> Resumed {
            if let Some((main, core)) = self.start.take() {
                let baton = self.baton.clone();
                self.thread = Some(std::thread::spawn(move || {
                    let core = core;
                    crate::trap::this_thread_is_a_fiber(core.0);
                    baton.wait_for_fiber_turn();
                    // SAFETY: the worker waits, and keeps the core valid, until this thread passes the baton back.
                    main(unsafe { &*core.0 }, &Switch(baton.clone()));
                    baton.pass(Turn::Returned);
                }));
            }
            self.baton.pass(Turn::Fiber);
            self.baton.wait(|turn| match *turn {
                Turn::Suspended(request) => Some(Resumed::Suspended(request)),
                Turn::Returned => Some(Resumed::Returned(Exit::Done)),
                Turn::Worker | Turn::Fiber => None,
            })
        }

        /// Leaves the thread for good, suspended.
        pub fn abandon(&mut self) {
            self.thread = None;
        }

        /// The stack of a fiber that has returned.
        pub fn into_stack(self) -> PooledStack {
            if let Some(thread) = self.thread {
                let _ = thread.join();
            }
            self.stack
        }
    }

    impl Switch {
        /// Passes control to the worker; returns when the fiber is resumed.
        pub fn suspend(&self, request: Request) {
            self.0.pass(Turn::Suspended(request));
            self.0.wait_for_fiber_turn();
        }

        /// Runs `f`: a thread's own stack is large enough.
        pub fn on_parent_stack<R>(&self, f: impl FnOnce() -> R) -> R {
            crate::trap::as_worker(f)
        }
    }
}
