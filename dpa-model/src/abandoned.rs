//! Events whose last publisher is gone, and how they are closed: one after the other.
//!
//! Closing an event ends the launches that wait for it, which may have been the last publishers of others, and so on: a chain that is
//! as long as memory lasts, where a stack is not as deep. So a thread that closes one already only notes the next; whoever came first
//! closes them all, before it returns.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::fiber::Switch;
use crate::foreign::on_own_stack;
use crate::process::Process;

thread_local! {
    /// What is to be closed behind what this thread closes, if it closes something.
    static BEHIND: RefCell<Option<VecDeque<Abandoned>>> = const { RefCell::new(None) };
}

/// An event that nobody can update any more.
pub(crate) struct Abandoned {
    pub(crate) process: Arc<Process>,
    pub(crate) index: u32,
    /// How many have let go of it: they look at its slot until it is closed.
    pub(crate) publishers: u32,
}

/// This thread has closed them all.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        let _ = BEHIND.try_with(RefCell::take);
    }
}

impl Abandoned {
    /// Closes it, and what that leaves without a publisher; if this thread is closing another, that does it. `off`: the caller is on
    /// the stack of a kernel.
    // Not inlined, for where it is called the thread may be another before and after.
    #[inline(never)]
    pub(crate) fn close(self, off: Option<&Switch>) {
        let Some(first) = self.unless_behind() else {
            return;
        };
        let _over = Over;
        on_own_stack(off, || {
            let mut next = Some(first);
            while let Some(event) = next {
                event.close_one();
                let behind = BEHIND.try_with(|behind| behind.borrow_mut().as_mut()?.pop_front());
                next = behind.ok().flatten();
            }
        });
    }

    /// Itself, if the thread closes nothing yet; else it stands behind what the thread does close.
    fn unless_behind(self) -> Option<Self> {
        let mut this = Some(self);
        // A thread that ends has no variables any more, and closes each where it is.
        let _ = BEHIND.try_with(|behind| match &mut *behind.borrow_mut() {
            Some(queue) => queue.extend(this.take()),
            none => *none = Some(VecDeque::new()),
        });
        this
    }

    fn close_one(self) {
        let process = &self.process;
        process.publisher_gone(self.index);
        process.unuse_event(self.index, self.publishers);
    }
}
