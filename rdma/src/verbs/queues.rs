//! Queues of a device: completions, and receives that several queue pairs share.
#![expect(unsafe_code, reason = "calls of libibverbs")]

use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rdma_sys as sys;

use super::objects::{Device, ProtectionDomain, object};
use crate::provider::SystemError;

/// Where completion queues say that something came.
#[derive(Debug)]
pub(super) struct Channel {
    device: Arc<Device>,
    raw: NonNull<sys::ibv_comp_channel>,
}

// SAFETY: reading its descriptor is locked by the kernel.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Channel {
    pub(super) fn new(device: &Arc<Device>) -> Result<Arc<Self>, SystemError> {
        // SAFETY: the device is open.
        let raw = unsafe { (device.lib.create_comp_channel)(device.raw.as_ptr()) };
        let channel = Self {
            device: device.clone(),
            raw: object("making a completion channel", raw)?,
        };
        device.make_nonblocking(channel.raw_fd())?;
        Ok(Arc::new(channel))
    }

    fn raw_fd(&self) -> RawFd {
        // SAFETY: the channel lives.
        unsafe { self.raw.as_ref().fd }
    }

    /// Takes all that it says.
    pub(super) fn drain(&self) {
        let (mut queue, mut context) = (null_mut(), null_mut());
        // SAFETY: the descriptor does not block; a queue that is named is alive, because it acknowledges its events
        // before it is destroyed.
        unsafe {
            while (self.device.lib.get_cq_event)(
                self.raw.as_ptr(),
                &raw mut queue,
                &raw mut context,
            ) == 0
            {
                (self.device.lib.ack_cq_events)(queue, 1);
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the channel's, and open as long as that.
        unsafe { BorrowedFd::borrow_raw(self.raw_fd()) }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: its queues are gone.
        unsafe { (self.device.lib.destroy_comp_channel)(self.raw.as_ptr()) };
    }
}

/// A completion queue.
#[derive(Debug)]
pub(super) struct CompletionQueue {
    channel: Arc<Channel>,
    pub(super) raw: NonNull<sys::ibv_cq>,
}

// SAFETY: libibverbs locks each of its operations.
unsafe impl Send for CompletionQueue {}
// SAFETY: as above.
unsafe impl Sync for CompletionQueue {}

/// Completions that are fetched at a time.
pub(super) const BATCH: usize = 16;

/// Room for them.
pub(super) struct Batch {
    entries: [std::mem::MaybeUninit<sys::ibv_wc>; BATCH],
    filled: usize,
}

impl Batch {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            entries: [const { std::mem::MaybeUninit::uninit() }; BATCH],
            filled: 0,
        }
    }

    /// One of those that were polled last.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Polled<'_> {
        assert!(index < self.filled, "a completion that was polled");
        Polled {
            entry: self.entries[index].as_ptr(),
            _batch: PhantomData,
        }
    }
}

/// A completion as the device reports it. If it failed, only the first three are valid.
#[derive(Clone, Copy)]
pub(super) struct Polled<'a> {
    /// Filled by the device; fields that it leaves out keep the bits of the stack, which are valid integers, and mean
    /// nothing by then.
    entry: *const sys::ibv_wc,
    _batch: PhantomData<&'a Batch>,
}

macro_rules! field {
    ($($(#[$doc:meta])* $name:ident = $field:ident: $kind:ty;)*) => {
        impl Polled<'_> {$(
            #[inline]
            pub(super) fn $name(self) -> $kind {
                // SAFETY: the batch lives, and its field was filled, or is any integer.
                unsafe { (&raw const (*self.entry).$field).read() }
            }
        )*}
    };
}

field! {
    id = wr_id: u64;
    status = status: u32;
    queue_pair = qp_num: u32;
    opcode = opcode: u32;
    len = byte_len: u32;
    flags = wc_flags: u32;
}

impl Polled<'_> {
    /// The immediate data that came with it.
    pub(super) fn immediate(self) -> Option<u32> {
        let has = self.flags() & sys::ibv_wc_flags::IBV_WC_WITH_IMM.0 != 0;
        // SAFETY: the batch lives; a union of integers.
        has.then(|| u32::from_be(unsafe { (*self.entry).imm_data_invalidated_rkey_union.imm_data }))
    }

    /// The key that it took back.
    pub(super) fn invalidated(self) -> Option<u32> {
        let has = self.flags() & sys::ibv_wc_flags::IBV_WC_WITH_INV.0 != 0;
        // SAFETY: as above.
        has.then(|| unsafe {
            (*self.entry)
                .imm_data_invalidated_rkey_union
                .invalidated_rkey
        })
    }
}

impl CompletionQueue {
    pub(super) fn new(channel: &Arc<Channel>, entries: u32) -> Result<Arc<Self>, SystemError> {
        let device = &channel.device;
        let entries = entries.min(i32::MAX as u32) as c_int;
        // SAFETY: device and channel live.
        let raw = unsafe {
            (device.lib.create_cq)(
                device.raw.as_ptr(),
                entries,
                null_mut(),
                channel.raw.as_ptr(),
                0,
            )
        };
        Ok(Arc::new(Self {
            channel: channel.clone(),
            raw: object("making a completion queue", raw)?,
        }))
    }

    /// Where its object is.
    pub(super) fn place(&self) -> usize {
        self.raw.as_ptr() as usize
    }

    /// Takes at most a batch of what it has; how many there were. `None`: the queue has failed, and says nothing any more.
    #[inline]
    pub(super) fn poll(&self, batch: &mut Batch) -> Option<usize> {
        batch.filled = 0;
        let poll = self.channel.device.ops().poll_cq?;
        let room = batch.entries.as_mut_ptr().cast();
        // SAFETY: the queue lives; there is room for as many entries as are asked for.
        let count = unsafe { poll(self.raw.as_ptr(), BATCH as c_int, room) };
        batch.filled = usize::try_from(count).ok()?.min(BATCH);
        Some(batch.filled)
    }

    /// The next completion will be said in its channel.
    pub(super) fn request_notification(&self) {
        if let Some(request) = self.channel.device.ops().req_notify_cq {
            // SAFETY: the queue lives.
            unsafe { request(self.raw.as_ptr(), 0) };
        }
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        self.channel.drain();
        // SAFETY: its queue pairs are gone, its events are acknowledged.
        unsafe { (self.channel.device.lib.destroy_cq)(self.raw.as_ptr()) };
    }
}

/// Where bytes are, as work requests say it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) len: u32,
    pub(super) key: u32,
}

impl Place {
    pub(super) const NOWHERE: Self = Self {
        address: 0,
        len: 0,
        key: 0,
    };

    #[inline]
    pub(super) const fn entry(self) -> sys::ibv_sge {
        sys::ibv_sge {
            addr: self.address,
            length: self.len,
            lkey: self.key,
        }
    }
}

/// A shared receive queue.
#[derive(Debug)]
pub(super) struct ReceiveQueue {
    domain: Arc<ProtectionDomain>,
    pub(super) raw: NonNull<sys::ibv_srq>,
}

// SAFETY: libibverbs locks each of its operations.
unsafe impl Send for ReceiveQueue {}
// SAFETY: as above.
unsafe impl Sync for ReceiveQueue {}

impl ReceiveQueue {
    pub(super) fn new(
        domain: &Arc<ProtectionDomain>,
        entries: u32,
    ) -> Result<Arc<Self>, SystemError> {
        let mut attr = sys::ibv_srq_init_attr {
            srq_context: null_mut(),
            attr: sys::ibv_srq_attr {
                max_wr: entries,
                max_sge: 1,
                srq_limit: 0,
            },
        };
        // SAFETY: the domain lives.
        let raw = unsafe { (domain.device.lib.create_srq)(domain.raw.as_ptr(), &raw mut attr) };
        Ok(Arc::new(Self {
            domain: domain.clone(),
            raw: object("making a receive queue", raw)?,
        }))
    }

    /// Where its object is.
    pub(super) fn place(&self) -> usize {
        self.raw.as_ptr() as usize
    }

    /// One like this, of so many entries.
    pub(super) fn another(&self, entries: u32) -> Result<Arc<Self>, SystemError> {
        Self::new(&self.domain, entries)
    }

    pub(super) fn post(&self, id: u64, place: Place) -> bool {
        let Some(post) = self.domain.device.ops().post_srq_recv else {
            return false;
        };
        let mut entry = place.entry();
        let mut request = sys::ibv_recv_wr {
            wr_id: id,
            next: null_mut(),
            sg_list: &raw mut entry,
            // Without bytes none: a length of 0 may stand for 2^31.
            num_sge: (place.len > 0).into(),
        };
        let mut bad = null_mut();
        // SAFETY: the queue lives; the request is read during the call only. The device checks where it writes to.
        unsafe { post(self.raw.as_ptr(), &raw mut request, &raw mut bad) == 0 }
    }
}

impl Drop for ReceiveQueue {
    fn drop(&mut self) {
        // SAFETY: its queue pairs are gone.
        unsafe { (self.domain.device.lib.destroy_srq)(self.raw.as_ptr()) };
    }
}
