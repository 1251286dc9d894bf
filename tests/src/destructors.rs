//! Kernels whose destructors, or whose error handlers, do not end.

use doca_dpa_dev::prelude::*;

/// Does not end: computes, or makes device calls.
fn goes_on(thread: &Thread, calls: bool) {
    let mut n = 0u64;
    loop {
        n = core::hint::black_box(n.wrapping_add(1));
        if calls {
            thread.yield_now();
        }
    }
}

struct GoesOn<'a, 't>(&'a Thread<'t>, bool);

impl Drop for GoesOn<'_, '_> {
    fn drop(&mut self) {
        goes_on(self.0, self.1);
    }
}

/// Panics, or gives up, with a destructor on its stack that does not end.
#[dpa_kernel]
pub fn endless_destructor(thread: &Thread, calls: u32, panics: u32) {
    let _goes_on = GoesOn(thread, calls != 0);
    match panics {
        0 => thread.error(0x80),
        _ => panic!("it panics"),
    }
}

/// As an error handler: does not end.
#[dpa_kernel]
pub fn endless_handler(thread: &Thread, calls: u32) {
    goes_on(thread, calls != 0);
}

struct Again<'a, 't>(&'a Thread<'t>, bool);

impl Drop for Again<'_, '_> {
    fn drop(&mut self) {
        match self.1 {
            true => self.0.error(0x81),
            false => self.0.reschedule(),
        }
    }
}

/// Panics, or ends itself, with a destructor on its stack that does wrong or ends the kernel once more.
#[dpa_kernel]
pub fn ends_twice(thread: &Thread, panics: u32, wrong: u32) {
    let _again = Again(thread, wrong != 0);
    match panics {
        0 => thread.reschedule(),
        _ => panic!("it panics"),
    }
}

struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("its destructor panics");
    }
}

extern "C" fn foreign(thread: &Thread, panics: bool) {
    match panics {
        true => panic!("it panics"),
        false => goes_on(thread, true),
    }
}

/// Is unwound, by a panic or by its stop, through a destructor that panics or through a function of C.
#[dpa_kernel]
pub fn cannot_be_unwound(thread: &Thread, panics: u32, by_destructor: u32) {
    if by_destructor == 0 {
        return foreign(thread, panics != 0);
    }
    let _panics = Panics;
    match panics {
        0 => goes_on(thread, true),
        _ => panic!("it panics"),
    }
}

/// Binds at each level of a recursion that has no end.
#[dpa_kernel]
pub fn binds_down(thread: &Thread, addrs: DevSlice<u64>) {
    core::hint::black_box(bind_down(thread, &addrs, 0));
}

fn bind_down(thread: &Thread, addrs: &DevSlice<u64>, depth: usize) -> u64 {
    if depth == usize::MAX {
        return 0;
    }
    let addr = DevAddr::<u64>::from_raw(addrs.read(depth % addrs.len()));
    let found = thread.bind(addr, 1).map_or(0, |view| view.read(0));
    found + core::hint::black_box(bind_down(thread, addrs, depth + 1))
}
