//! The handlers of signals: faults and the run-time limit reset a kernel's stack, slices interrupt it. The rules of `trap.rs` are theirs.

use super::entered::ENTERED;
use super::{Entered, Trapped, code};
use crate::crash::stack::Trap;
use crate::fiber::Exit;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// Sent to a worker whose kernel exceeds the run-time limit.
fn run_time_signal() -> libc::c_int {
    libc::SIGRTMIN() + 7
}

/// Sent to a worker whose kernel is to let others run.
fn preempt_signal() -> libc::c_int {
    libc::SIGRTMIN() + 8
}

type Before = [(libc::c_int, libc::sigaction); 4];

struct Handlers(Before);
// SAFETY: plain data, written once before any handler can read it.
unsafe impl Send for Handlers {}
// SAFETY: as above.
unsafe impl Sync for Handlers {}

static BEFORE: OnceLock<Handlers> = OnceLock::new();

pub(super) fn install() {
    let read = |signal| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: only asks what is installed.
        unsafe { libc::sigaction(signal, std::ptr::null(), before.as_mut_ptr()) };
        // SAFETY: filled in, or all zero, which is a valid value too.
        (signal, unsafe { before.assume_init() })
    };
    let signals = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGABRT,
        run_time_signal(),
    ];
    let _ = BEFORE.set(Handlers(signals.map(read)));
    signals.into_iter().for_each(put_ours);
    install_preemption();
}

/// Has our handler handle a signal. Async-signal-safe.
fn put_ours(signal: libc::c_int) {
    // SAFETY: all zero is a valid value; the fields are set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler is async-signal-safe: it reads a thread-local, memory of this worker and the
    // context, and writes the context and an abandoned stack.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

fn install_preemption() {
    // SAFETY: all zero is a valid value; the fields are set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = preempt_handler as *const () as usize;
    // Not on the alternate stack; and not blocked while others run.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_RESTART;
    // SAFETY: the handler reads a thread-local and memory of this worker; it leaves the stack only where a kernel's code was
    // interrupted (see `preempt_handler`).
    unsafe { libc::sigaction(preempt_signal(), &action, std::ptr::null_mut()) };
}

extern "C" fn preempt_handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let here = 0u8;
    let at = std::ptr::from_ref(&here) as usize;
    // SAFETY: set only while its target lives on this worker's stack.
    let Some(entered) = (unsafe { ENTERED.get().as_ref() }) else {
        return;
    };
    // SAFETY: the kernel passes a valid pointer.
    let at_code = program_counter(unsafe { &*context.cast() });
    if (entered.low..entered.high).contains(&at) && code::may_be_left(at_code) {
        // Others run meanwhile. SAFETY: the address of this thread's number.
        let errno = unsafe { *libc::__errno_location() };
        // SAFETY: the core is valid while its stack is entered, and this is its stack.
        unsafe { &*entered.core }.preempt();
        // SAFETY: as above. Who was interrupted does not move.
        unsafe { *libc::__errno_location() = errno };
    }
}

/// Bytes that the system wants of a stack to interrupt code on it, at most.
fn frame_bytes() -> usize {
    // SAFETY: only asks; a system that does not know answers 0.
    let asked = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    // What lies below the stack pointer and is not touched comes to it.
    asked.max(16 * 1024) + 128
}

/// Whether a kernel that was to be interrupted had no room for that on its stack: it goes on.
pub(super) fn had_no_room(signal: libc::c_int, code: libc::c_int, stack_pointer: usize) -> bool {
    // SAFETY: set only while its target lives on this worker's stack.
    let Some(entered) = (unsafe { ENTERED.get().as_ref() }) else {
        return false;
    };
    // The system says so with an error of its own; but so it does of an address that no memory can have.
    signal == libc::SIGSEGV
        && code == libc::SI_KERNEL
        && stack_pointer < entered.limit + frame_bytes()
        // SAFETY: the core is valid while its stack is entered.
        && unsafe { &*entered.core }.worker().end_preemption()
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid pointers.
    let (info_of, stack_pointer) = unsafe { (&*info, stack_pointer(&*context.cast())) };
    if had_no_room(signal, info_of.si_code, stack_pointer) {
        return;
    }
    // SAFETY: as above.
    if !unsafe { try_reset(signal, &*info, &mut *context.cast()) } && signal != run_time_signal() {
        // Who aborts ends the program, whatever a handler does.
        match signal == libc::SIGABRT || is_of_an_access(signal, info_of) {
            true => chain(signal, info, context),
            false => keeping_ours(signal, || chain(signal, info, context)),
        }
    }
}

/// Resets the kernel stack if the signal belongs to it.
unsafe fn try_reset(
    signal: libc::c_int,
    info: &libc::siginfo_t,
    context: &mut libc::ucontext_t,
) -> bool {
    // SAFETY: set only while its target lives on this worker's stack.
    let Some(entered) = (unsafe { ENTERED.get().as_ref() }) else {
        return false;
    };
    if !entered.trap.stack_ptr_in_bounds(stack_pointer(context)) {
        return false;
    }
    let is_ours = match signal {
        libc::SIGABRT => is_of_a_panic(info, entered),
        _ => signal == run_time_signal() || is_of_an_access(signal, info),
    };
    if !is_ours {
        return false;
    }
    let Some(why) = cause(signal, info, entered, program_counter(context)) else {
        return false;
    };
    // SAFETY: the core is valid while its stack is entered, and nobody else looks at it; SIGSEGV and SIGBUS carry an
    // address, and of another signal it is not used.
    unsafe { &*entered.core }
        .trap
        .set(Some(Trap::new(unsafe { info.si_addr() } as usize, context)));
    // SAFETY: the stack pointer lies in the coroutine this worker has entered, nothing of ours is live on it
    // (rules of this file), and the registers are set as demanded.
    let registers = unsafe {
        entered
            .trap
            .setup_trap_handler(move || Exit::Abandoned(why))
    };
    set_registers(context, registers);
    true
}

/// Whether it is what this thread does that brought it. One that somebody has sent may come anywhere, also where something of
/// ours is live; so may the news that memory is broken.
fn is_of_an_access(signal: libc::c_int, info: &libc::siginfo_t) -> bool {
    let found_broken = signal == libc::SIGBUS && info.si_code == libc::BUS_MCEERR_AO;
    let was_sent = info.si_code <= 0;
    !was_sent && !found_broken
}

/// Whether it is the standard library that aborts, for the kernel has panicked in a way that nothing can catch.
fn is_of_a_panic(info: &libc::siginfo_t, entered: &Entered) -> bool {
    // SAFETY: of a signal that was sent to one thread it is who sent it.
    let is_raised = || unsafe { info.si_pid() == libc::getpid() };
    info.si_code == libc::SI_TKILL
        && is_raised()
        // SAFETY: the core is valid while its stack is entered.
        && unsafe { &*entered.core }.is_to_be_aborted()
}

fn cause(
    signal: libc::c_int,
    info: &libc::siginfo_t,
    entered: &Entered,
    at_code: usize,
) -> Option<Trapped> {
    if signal == run_time_signal() {
        // In a library it goes on: the keeper of the time sends another signal before long.
        let may_be_left = code::may_be_left(at_code);
        // SAFETY: the core is valid while its stack is entered.
        let may_be_stopped = || unsafe { &*entered.core }.may_be_stopped_here();
        return (may_be_left && may_be_stopped()).then_some(Trapped::RunTime);
    }
    if signal == libc::SIGABRT {
        return Some(Trapped::Panic);
    }
    // SAFETY: SIGSEGV and SIGBUS carry an address.
    let address = unsafe { info.si_addr() } as usize;
    let overflow = (entered.low..entered.limit).contains(&address);
    Some(if overflow {
        Trapped::Overflow
    } else {
        Trapped::Native(signal)
    })
}

/// Ends the program by a signal whose handler is the default one.
fn end_by(signal: libc::c_int) {
    // It is blocked while it is handled.
    unblock([signal]);
    // SAFETY: it touches no memory.
    unsafe { libc::raise(signal) };
}

/// For a signal that no instruction has brought: who handles it may take it for the end of the program, and our handler away (the
/// standard library does), and then the program goes on. Not where it has sent the signal again: the end comes as soon as this
/// returns.
fn keeping_ours(signal: libc::c_int, hand_on: impl FnOnce()) {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks what is installed.
    unsafe { libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) };
    // SAFETY: filled in, or all zero, which is a valid value too.
    let now = unsafe { now.assume_init() };
    hand_on();
    if is_pending(signal) {
        return;
    }
    match now.sa_sigaction {
        // Ours is away just now, for the same on another thread.
        libc::SIG_DFL => put_ours(signal),
        // SAFETY: installs what was installed.
        _ => unsafe {
            libc::sigaction(signal, &now, std::ptr::null_mut());
        },
    }
}

/// Whether the signal comes again as soon as this handler returns.
fn is_pending(signal: libc::c_int) -> bool {
    let mut pending = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: writes a set of signals, and reads what it has written (or all zero, an empty set).
    unsafe {
        libc::sigpending(pending.as_mut_ptr());
        libc::sigismember(pending.as_ptr(), signal) == 1
    }
}

/// Hands the signal to whoever handled it before us.
fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE
        .get()
        .and_then(|b| b.0.iter().find(|(s, _)| *s == signal));
    let Some((_, before)) = before else {
        return;
    };
    match before.sa_sigaction {
        libc::SIG_IGN => {}
        // SAFETY: puts the default back; the instruction faults again and ends the program as it would have. One that no
        // instruction has brought is sent again.
        libc::SIG_DFL => unsafe {
            libc::sigaction(signal, before, std::ptr::null_mut());
            if !is_of_an_access(signal, &*info) {
                end_by(signal);
            }
        },
        f if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler with SA_SIGINFO has this signature.
            let f: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(f) };
            f(signal, info, context);
        }
        f => {
            // SAFETY: a handler without SA_SIGINFO has this signature.
            let f: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(f) };
            f(signal);
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

/// The flag by which string instructions go backwards. Compiled code rests on its being clear.
#[cfg(target_arch = "x86_64")]
const DIRECTION: i64 = 1 << 10;

#[cfg(target_arch = "x86_64")]
fn set_registers(context: &mut libc::ucontext_t, registers: corosensei::trap::TrapHandlerRegs) {
    let corosensei::trap::TrapHandlerRegs {
        rip,
        rsp,
        rbp,
        rdi,
        rsi,
    } = registers;
    let pairs = [
        (libc::REG_RIP, rip),
        (libc::REG_RSP, rsp),
        (libc::REG_RBP, rbp),
        (libc::REG_RDI, rdi),
        (libc::REG_RSI, rsi),
    ];
    for (register, value) in pairs {
        context.uc_mcontext.gregs[register as usize] = value as i64;
    }
    // Who copied backwards has told the processor so.
    context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !DIRECTION;
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

#[cfg(target_arch = "aarch64")]
fn set_registers(context: &mut libc::ucontext_t, registers: corosensei::trap::TrapHandlerRegs) {
    let corosensei::trap::TrapHandlerRegs {
        pc,
        sp,
        x0,
        x1,
        x29,
        lr,
    } = registers;
    context.uc_mcontext.pc = pc;
    context.uc_mcontext.sp = sp;
    context.uc_mcontext.regs[0] = x0;
    context.uc_mcontext.regs[1] = x1;
    context.uc_mcontext.regs[29] = x29;
    context.uc_mcontext.regs[30] = lr;
}

/// Interrupts a worker whose kernel exceeds the run-time limit.
pub(crate) fn interrupt(pthread: u64) {
    send(pthread, run_time_signal());
}

/// Whether the handlers are in place.
#[cfg(test)]
pub(super) fn are_installed() -> bool {
    let ours = [
        (libc::SIGSEGV, handler as *const () as usize),
        (libc::SIGBUS, handler as *const () as usize),
        (libc::SIGABRT, handler as *const () as usize),
        (run_time_signal(), handler as *const () as usize),
        (preempt_signal(), preempt_handler as *const () as usize),
    ];
    ours.iter().all(|&(signal, ours)| {
        let mut now = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: only asks what is installed.
        unsafe { libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) };
        // SAFETY: filled in, or all zero, which is a valid value too.
        unsafe { now.assume_init() }.sa_sigaction == ours
    })
}

/// Interrupts a worker whose kernel is to let others run.
pub(crate) fn preempt(pthread: u64) {
    send(pthread, preempt_signal());
}

/// Sends a signal to a worker's thread. One that has not begun, or has ended, gets none.
fn send(pthread: u64, signal: libc::c_int) {
    if pthread != 0 {
        // SAFETY: the identity of a worker's thread is good as long as its device, which the caller holds
        // (`Shared::identity`), also behind its end.
        unsafe { libc::pthread_kill(pthread as libc::pthread_t, signal) };
    }
}

/// Makes this thread one on which the handlers can act, whoever has made it.
pub(crate) fn ready_thread() {
    ensure_alternate_stack();
    unblock([
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGABRT,
        run_time_signal(),
        preempt_signal(),
    ]);
}

/// Lets the signals through. A thread blocks what the thread that made it blocked, and a host program may have all signals
/// handled by one thread of its own.
fn unblock(signals: impl IntoIterator<Item = libc::c_int>) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set an empty one, which is a valid value.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: made just now.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: a valid set, and signals that there are.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    // SAFETY: lets only signals through whose handlers are in place (see `install`), and which do nothing off a kernel's
    // stack but go to the handler from before; or one that is to end the program.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
}

/// Gives this thread an alternate signal stack if it has none, as threads not made by std may have none.
fn ensure_alternate_stack() {
    // SAFETY: all zero is a valid value; only asks.
    let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: only asks what is set.
    let asked = unsafe { libc::sigaltstack(std::ptr::null(), &mut now) };
    if asked != 0 || now.ss_flags & libc::SS_DISABLE == 0 {
        return;
    }
    let memory: &'static mut [u8] = Box::leak(vec![0u8; 64 * 1024].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is leaked, so it is the thread's for good.
    unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) };
}
