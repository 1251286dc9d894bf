//! Objects of libibverbs, each with one owner.
//!
//! An object keeps what it was made of, so whatever order they are dropped in, each is destroyed after what stands on
//! it. All of them may be used by any thread; what libibverbs does not lock is used through `&mut`.
#![expect(unsafe_code, reason = "calls of libibverbs")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rdma_sys as sys;

use super::library::Library;
use super::pinned::Pinned;
use super::status::MOST_RETRIES;
use crate::connection::AtomicCapability;
use crate::provider::SystemError;
use crate::region::Rights;

pub(super) const PAGE: usize = 4096;

fn failed(what: &'static str) -> SystemError {
    let errno = std::io::Error::last_os_error().raw_os_error();
    SystemError {
        what,
        errno: errno.unwrap_or(libc::EIO),
    }
}

/// The outcome of a function that returns an error number.
pub(super) fn checked(what: &'static str, code: c_int) -> Result<(), SystemError> {
    match code {
        0 => Ok(()),
        // Some return -1 and leave the number in errno.
        -1 => Err(failed(what)),
        errno => Err(SystemError { what, errno }),
    }
}

pub(super) fn object<T>(what: &'static str, made: *mut T) -> Result<NonNull<T>, SystemError> {
    NonNull::new(made).ok_or_else(|| failed(what))
}

/// The vendor that the kernel's soft-RoCE says it is of.
const SOFT_ROCE: u32 = 0xff_ffff;

/// An open device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) lib: &'static Library,
    pub(super) raw: NonNull<sys::ibv_context>,
}

// SAFETY: libibverbs locks what its contexts share.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// What a device can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) initiator_depth: u8,
    pub(super) responder_resources: u8,
    pub(super) completions: u32,
    pub(super) receives: u32,
    pub(super) work: u32,
    pub(super) ports: u8,
    /// How often it sends again at most: soft-RoCE takes 7 for without end.
    pub(super) most_retries: u8,
    /// Whether it says by an event that it has put a queue pair into ERR.
    pub(super) tells_failures: bool,
    pub(super) atomics: AtomicCapability,
}

/// How a port is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortState {
    /// As the standard numbers it: 4 is active.
    pub(super) state: u32,
    /// 1 to 5: 256 to 4,096 bytes.
    pub(super) mtu: u32,
    pub(super) lid: u16,
    pub(super) is_infiniband: bool,
}

/// A device, and where the kernel describes it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) sysfs: PathBuf,
}

/// All devices; the error is the system's.
pub(super) fn devices(lib: &'static Library) -> Result<Vec<Listed>, SystemError> {
    let mut all = Vec::new();
    each_device(lib, |name, device| {
        // SAFETY: a device of the list, which has a C string there.
        let sysfs = unsafe { CStr::from_ptr((*device).ibdev_path.as_ptr()) };
        let sysfs = OsStr::from_bytes(sysfs.to_bytes()).into();
        all.push(Listed { name, sysfs });
    })?;
    Ok(all)
}

/// What an event that is no completion is about: the number of a queue pair, or where the object of another queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    QueuePair(u32),
    Completions(usize),
    Receives(usize),
    /// The device, or what concerns nobody here.
    Device,
}

fn each_device(
    lib: &'static Library,
    mut f: impl FnMut(String, *mut sys::ibv_device),
) -> Result<(), SystemError> {
    let mut count = 0;
    // SAFETY: the list is freed below; its entries are devices, `count` of them.
    unsafe {
        let list = object(
            "listing RDMA devices",
            (lib.get_device_list)(&raw mut count),
        )?;
        for index in 0..usize::try_from(count).unwrap_or(0) {
            let device = *list.as_ptr().add(index);
            let name = CStr::from_ptr((lib.get_device_name)(device));
            f(name.to_string_lossy().into_owned(), device);
        }
        (lib.free_device_list)(list.as_ptr());
    }
    Ok(())
}

impl Device {
    /// Opens the device of this name.
    pub(super) fn open(lib: &'static Library, name: &str) -> Result<Arc<Self>, SystemError> {
        let mut opened = Err(SystemError {
            what: "opening it",
            errno: libc::ENODEV,
        });
        each_device(lib, |found, device| {
            if found == name {
                // SAFETY: the list that the device is of is not freed yet.
                opened = object("opening it", unsafe { (lib.open_device)(device) });
            }
        })?;
        let device = Self { lib, raw: opened? };
        device.make_nonblocking(device.raw_async_fd())?;
        Ok(Arc::new(device))
    }

    pub(super) fn ops(&self) -> &sys::ibv_context_ops {
        // SAFETY: the context is open as long as `self` is; nobody writes its table of functions.
        unsafe { &(*self.raw.as_ptr()).ops }
    }

    fn raw_async_fd(&self) -> RawFd {
        // SAFETY: the context is open.
        unsafe { (*self.raw.as_ptr()).async_fd }
    }

    /// Readable when something happened that is no completion.
    pub(super) fn async_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the context's, and open as long as that.
        unsafe { BorrowedFd::borrow_raw(self.raw_async_fd()) }
    }

    pub(super) fn make_nonblocking(&self, fd: RawFd) -> Result<(), SystemError> {
        // SAFETY: the descriptor is open, and these two commands take and give integers.
        let code = unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFL);
            libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        checked("making its descriptor non-blocking", code)
    }

    pub(super) fn limits(&self) -> Result<Limits, SystemError> {
        // SAFETY: plain integers, for which zeros are valid; the function fills them.
        let attr = unsafe {
            let mut attr: sys::ibv_device_attr = std::mem::zeroed();
            let code = (self.lib.query_device)(self.raw.as_ptr(), &raw mut attr);
            checked("asking it for its limits", code)?;
            attr
        };
        let depth = |value: c_int| value.clamp(0, 128) as u8;
        let positive = |value: c_int| value.max(0) as u32;
        Ok(Limits {
            initiator_depth: depth(attr.max_qp_init_rd_atom),
            responder_resources: depth(attr.max_qp_rd_atom),
            completions: positive(attr.max_cqe),
            receives: positive(attr.max_srq_wr),
            work: positive(attr.max_qp_wr),
            ports: attr.phys_port_cnt,
            most_retries: MOST_RETRIES - u8::from(attr.vendor_id == SOFT_ROCE),
            // Soft-RoCE says so in some versions only.
            tells_failures: attr.vendor_id != SOFT_ROCE,
            atomics: match attr.atomic_cap {
                sys::ibv_atomic_cap::IBV_ATOMIC_NONE => AtomicCapability::None,
                sys::ibv_atomic_cap::IBV_ATOMIC_GLOB => AtomicCapability::Global,
                _ => AtomicCapability::Nic,
            },
        })
    }

    pub(super) fn port(&self, number: u8) -> Result<PortState, SystemError> {
        const INFINIBAND: u8 = 1;
        // SAFETY: plain integers, for which zeros are valid; the function fills all or the first of them.
        let attr = unsafe {
            let mut attr: sys::ibv_port_attr = std::mem::zeroed();
            let code = (self.lib.query_port)(self.raw.as_ptr(), number, &raw mut attr);
            checked("asking it for its port", code)?;
            attr
        };
        Ok(PortState {
            state: attr.state,
            mtu: attr.active_mtu,
            lid: attr.lid,
            // Old drivers leave it 0, and are InfiniBand if they have a LID.
            is_infiniband: attr.link_layer == INFINIBAND || (attr.link_layer == 0 && attr.lid != 0),
        })
    }

    /// An entry of a port's table of addresses.
    pub(super) fn gid(&self, port: u8, index: u8) -> Result<[u8; 16], SystemError> {
        let mut gid = sys::ibv_gid { raw: [0; 16] };
        // SAFETY: the function fills the 16 bytes, which are valid whatever they are.
        unsafe {
            let code = (self.lib.query_gid)(self.raw.as_ptr(), port, index.into(), &raw mut gid);
            checked("asking it for an address", code)?;
            Ok(gid.raw)
        }
    }

    /// The next event that is no completion: its kind, and what it is about.
    ///
    /// # Errors
    /// There will be none any more: the device is gone.
    pub(super) fn async_event(&self) -> std::io::Result<Option<(c_int, Subject)>> {
        /// `struct ibv_async_event`, with a kind that may be any number.
        #[repr(C)]
        struct Event {
            element: *mut c_void,
            kind: c_int,
        }
        /// Of a completion queue, and of a shared receive queue: it has failed.
        const COMPLETIONS: c_int = 0;
        const RECEIVES: c_int = 14;
        let mut event = Event {
            element: null_mut(),
            kind: 0,
        };
        // SAFETY: the event is laid out as the library's; a queue pair it names is not destroyed before the event is
        // acknowledged (the library waits for that).
        unsafe {
            let at: *mut c_void = (&raw mut event).cast();
            if (self.lib.get_async_event)(self.raw.as_ptr(), at) != 0 {
                let error = std::io::Error::last_os_error();
                return match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
                    _ => Err(error),
                };
            }
            let subject = match event.kind {
                COMPLETIONS => Subject::Completions(event.element as usize),
                RECEIVES => Subject::Receives(event.element as usize),
                // Fatal, request error, access error, and the last receive used.
                1 | 2 | 3 | 16 => Subject::QueuePair((*event.element.cast::<sys::ibv_qp>()).qp_num),
                _ => Subject::Device,
            };
            (self.lib.ack_async_event)(at);
            Ok(Some((event.kind, subject)))
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: everything made of it has kept it, so is gone.
        unsafe { (self.lib.close_device)(self.raw.as_ptr()) };
    }
}

/// A protection domain: keys work within one.
#[derive(Debug)]
pub(super) struct ProtectionDomain {
    pub(super) device: Arc<Device>,
    pub(super) raw: NonNull<sys::ibv_pd>,
}

// SAFETY: used for creation only, which libibverbs locks.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as above.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    pub(super) fn new(device: &Arc<Device>) -> Result<Arc<Self>, SystemError> {
        // SAFETY: the device is open.
        let raw = unsafe { (device.lib.alloc_pd)(device.raw.as_ptr()) };
        Ok(Arc::new(Self {
            device: device.clone(),
            raw: object("making a protection domain", raw)?,
        }))
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: everything made of it is gone.
        unsafe { (self.device.lib.dealloc_pd)(self.raw.as_ptr()) };
    }
}

/// Memory that the device may touch; deregistered when this is dropped, which returns when no access is in progress.
pub(super) struct MemoryRegion {
    domain: Arc<ProtectionDomain>,
    raw: NonNull<sys::ibv_mr>,
    base: u64,
    _memory: Arc<dyn Pinned>,
}

impl std::fmt::Debug for MemoryRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRegion")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

// SAFETY: its keys are plain numbers; deregistration is locked by the kernel.
unsafe impl Send for MemoryRegion {}
// SAFETY: as above.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers a range, which must lie in the memory. Its first byte has the address [`MemoryRegion::base`] for both
    /// keys: its place in its page, so that no pointer leaves the machine.
    pub(super) fn new(
        domain: &Arc<ProtectionDomain>,
        memory: Arc<dyn Pinned>,
        (offset, len): (usize, usize),
        rights: Rights,
    ) -> Result<Self, SystemError> {
        const WHAT: &str = "registering memory";
        let (first, size) = memory.pinned();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(SystemError {
                what: WHAT,
                errno: libc::EINVAL,
            });
        }
        let address = first.as_ptr().wrapping_add(offset);
        let base = (address as usize % PAGE) as u64;
        let access = access_flags(rights);
        // SAFETY: the range lies in the memory, which is kept until the region is deregistered, and which a device may
        // write (`Pinned`).
        let raw = unsafe {
            (domain.device.lib.reg_mr_iova)(domain.raw.as_ptr(), address.cast(), len, base, access)
        };
        Ok(Self {
            domain: domain.clone(),
            raw: object(WHAT, raw)?,
            base,
            _memory: memory,
        })
    }

    /// The address of its first byte, for both keys.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: registered, and its keys never change.
        unsafe { self.raw.as_ref().lkey }
    }

    pub(super) fn remote_key(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.raw.as_ref().rkey }
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        // SAFETY: registered by this value.
        unsafe { (self.domain.device.lib.dereg_mr)(self.raw.as_ptr()) };
    }
}

/// Without relaxed ordering: whoever sees a later write sees the earlier ones.
pub(super) fn access_flags(rights: Rights) -> c_int {
    use sys::ibv_access_flags as f;
    let mut flags = 0;
    let remote_change = Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
    let pairs = [
        (
            Rights::LOCAL_WRITE | remote_change,
            f::IBV_ACCESS_LOCAL_WRITE,
        ),
        (Rights::REMOTE_READ, f::IBV_ACCESS_REMOTE_READ),
        (Rights::REMOTE_WRITE, f::IBV_ACCESS_REMOTE_WRITE),
        (Rights::REMOTE_ATOMIC, f::IBV_ACCESS_REMOTE_ATOMIC),
    ];
    for (right, flag) in pairs {
        if rights.intersects(right) {
            flags |= flag.0 as c_int;
        }
    }
    flags
}

/// Whole pages of our own.
#[derive(Debug)]
pub(super) struct Pages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: its bytes are touched through volatile accesses of single words only.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    pub(super) fn new(bytes: usize) -> Result<Arc<Self>, SystemError> {
        let len = bytes.max(1).next_multiple_of(PAGE);
        let no_memory = SystemError {
            what: "allocating memory",
            errno: libc::ENOMEM,
        };
        let layout = Layout::from_size_align(len, PAGE).map_err(|_| no_memory)?;
        // SAFETY: the size is not 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(no_memory)?;
        Ok(Arc::new(Self { base, len }))
    }

    /// The word at a multiple of eight, as it is now.
    pub(super) fn word(&self, offset: usize) -> u64 {
        assert!(
            offset.is_multiple_of(8) && offset + 8 <= self.len,
            "a word of the pages"
        );
        // SAFETY: eight aligned bytes of the allocation, as was just checked.
        unsafe { self.base.as_ptr().add(offset).cast::<u64>().read_volatile() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Ok(layout) = Layout::from_size_align(self.len, PAGE) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        }
    }
}

// SAFETY: the allocation lives as long as the value, and no reference to its bytes is ever made.
unsafe impl Pinned for Pages {
    fn pinned(&self) -> (NonNull<u8>, usize) {
        (self.base, self.len)
    }
}
