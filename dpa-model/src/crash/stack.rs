//! Registers of kernels, and copies of their stacks.
//!
//! A stack is copied by whoever owns it then: the kernel itself while it panics, the worker while a kernel waits for a
//! device call or after its stack was reset, and whoever has taken a waiting thread out of its wait. A stack that runs
//! on another worker is never read. The bytes are read by `dpa_abi::access`, as device memory is.

use dpa_abi::access::Cell;

use crate::unit::Core;

/// Stack bytes come in multiples of this, so that a core file's segments are aligned.
pub(crate) const STEP: u64 = 64;

/// Registers of the machine that runs the kernels, as `NT_PRSTATUS` has them.
#[cfg(target_arch = "x86_64")]
pub(crate) const COUNT: usize = 27;
/// Registers of the machine that runs the kernels, as `NT_PRSTATUS` has them.
#[cfg(target_arch = "aarch64")]
pub(crate) const COUNT: usize = 34;
/// Registers of the machine that runs the kernels: none are known.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) const COUNT: usize = 0;

/// Where code is: what a debugger needs to unwind a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
}

impl Frame {
    /// Here. The caller's frame must still be there when the stack is copied.
    #[inline(always)]
    pub(crate) fn here() -> Self {
        let (pc, sp, fp): (u64, u64, u64);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: reads three registers.
        unsafe {
            std::arch::asm!("lea {pc}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp",
                pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp, options(nomem, nostack, preserves_flags));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: reads three registers.
        unsafe {
            std::arch::asm!("adr {pc}, .", "mov {sp}, sp", "mov {fp}, x29",
                pc = out(reg) pc, sp = out(reg) sp, fp = out(reg) fp, options(nomem, nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let (pc, sp, fp) = (0, 0, 0);
        Self { pc, sp, fp }
    }
}

/// Registers, and whether they are more than those of a [`Frame`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub(crate) frame: Frame,
    pub(crate) all: Option<[u64; COUNT]>,
}

impl Registers {
    /// In the order of `NT_PRSTATUS`; what is not known is 0.
    pub(crate) fn values(&self) -> [u64; COUNT] {
        self.all.unwrap_or_else(|| {
            let mut values = [0; COUNT];
            let Frame { pc, sp, fp } = self.frame;
            for (at, value) in PLACES.into_iter().zip([pc, sp, fp]) {
                if let Some(register) = values.get_mut(at) {
                    *register = value;
                }
            }
            values
        })
    }
}

/// Where pc, sp and fp are among the registers.
const PLACES: [usize; 3] = if cfg!(target_arch = "x86_64") {
    [16, 19, 4]
} else {
    [32, 31, 29]
};

/// What a signal handler has seen of a kernel whose stack it resets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    /// The address that was accessed, of the host.
    pub(crate) address: u64,
    pub(crate) registers: Registers,
}

#[cfg(not(dpa_sanitize))]
impl Trap {
    /// What the system says of an interrupted thread. Safe in a signal handler.
    pub(crate) fn new(address: usize, context: &libc::ucontext_t) -> Self {
        let all = of_context(context);
        let [pc, sp, fp] = PLACES.map(|at| all.get(at).copied().unwrap_or_default());
        Self {
            address: address as u64,
            registers: Registers {
                frame: Frame { pc, sp, fp },
                all: Some(all),
            },
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(dpa_sanitize)))]
fn of_context(context: &libc::ucontext_t) -> [u64; COUNT] {
    const ORDER: [i32; 17] = [
        libc::REG_R15,
        libc::REG_R14,
        libc::REG_R13,
        libc::REG_R12,
        libc::REG_RBP,
        libc::REG_RBX,
        libc::REG_R11,
        libc::REG_R10,
        libc::REG_R9,
        libc::REG_R8,
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_RAX,
        libc::REG_RIP,
    ];
    let get = |register: i32| context.uc_mcontext.gregs[register as usize] as u64;
    let mut all = [0; COUNT];
    for (value, register) in all.iter_mut().zip(ORDER) {
        *value = get(register);
    }
    // No system call was interrupted.
    all[15] = u64::MAX;
    all[18] = get(libc::REG_EFL);
    all[19] = get(libc::REG_RSP);
    all
}

#[cfg(all(target_arch = "aarch64", not(dpa_sanitize)))]
fn of_context(context: &libc::ucontext_t) -> [u64; COUNT] {
    let machine = &context.uc_mcontext;
    let mut all = [0; COUNT];
    all[..31].copy_from_slice(&machine.regs);
    all[31] = machine.sp;
    all[32] = machine.pc;
    all[33] = machine.pstate;
    all
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", dpa_sanitize)))]
fn of_context(_context: &libc::ucontext_t) -> [u64; COUNT] {
    [0; COUNT]
}

/// What a thread was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It faulted.
    Faulted,
    /// It waited.
    Waited,
}

/// A copy of a thread's stack, from its innermost frame up.
#[derive(Debug)]
pub(crate) struct StackCopy {
    pub(crate) kernel: &'static str,
    pub(crate) launch: u64,
    pub(crate) rank: u32,
    pub(crate) doing: Doing,
    pub(crate) registers: Registers,
    /// The host address that was accessed, if a signal said so.
    pub(crate) stray: Option<u64>,
    /// The host address of the first byte.
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
}

impl StackCopy {
    /// Of the thread that runs, or waits, on this core's stack, with its innermost frame at `frame`. Called by the
    /// owner of the stack (see above).
    pub(crate) fn of(core: &Core, frame: Frame) -> Self {
        Self::with(core, Registers { frame, all: None }, Doing::Faulted, None)
    }

    /// Of the thread that waits.
    pub(crate) fn waiting(core: &Core) -> Self {
        let frame = core.left_at();
        Self::with(core, Registers { frame, all: None }, Doing::Waited, None)
    }

    /// Of the thread under which the stack was reset.
    pub(crate) fn trapped(core: &Core, trap: Trap, stray: bool) -> Self {
        let stray = stray.then_some(trap.address);
        Self::with(core, trap.registers, Doing::Faulted, stray)
    }

    fn with(core: &Core, registers: Registers, doing: Doing, stray: Option<u64>) -> Self {
        let running = core.running.borrow();
        let of = running.as_ref().map(|running| {
            let launch = &running.launch;
            let kernel = launch.kernel_name(core.job.get());
            (kernel, launch.seq, running.rank)
        });
        let (kernel, launch, rank) = of.unwrap_or_default();
        let (address, bytes) = copy(core.stack_bounds(), registers.frame.sp);
        Self {
            kernel,
            launch,
            rank,
            doing,
            registers,
            stray,
            address,
            bytes,
        }
    }
}

/// The bytes from `sp` to the top; from the bottom, if `sp` has left the stack there. None if it is no stack's at all.
fn copy(bounds: std::ops::Range<u64>, sp: u64) -> (u64, Vec<u8>) {
    // An overflow leaves the stack by at most its guard; the frame of a probed function may be larger.
    let overflowed = sp < bounds.start && bounds.start - sp <= 1 << 20;
    let from = if overflowed { bounds.start } else { sp } / STEP * STEP;
    if cfg!(dpa_sanitize) || !bounds.contains(&from) {
        return (0, Vec::new());
    }
    let mut bytes = vec![0; (bounds.end - from) as usize];
    // SAFETY: the range lies in the core's own stack, which stays mapped and is not run by another thread (the caller's
    // promise); the copy is by instructions that the language does not see.
    let cell = unsafe { Cell::new(from as *mut u8, bytes.len()) };
    cell.copy_out(0, &mut bytes);
    (from, bytes)
}
