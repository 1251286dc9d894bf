//! A queue pair of a device: its states, and how work requests are put to it.
#![expect(unsafe_code, reason = "calls of libibverbs")]

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use rdma_sys as sys;

use super::objects::{ProtectionDomain, access_flags, checked, object};
use super::queues::{CompletionQueue, Place, ReceiveQueue};
use crate::memory::Atomic;
use crate::provider::SystemError;
use crate::region::Rights;

/// What a queue pair is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueuePairSizes {
    pub(super) work: u32,
    pub(super) inline: u32,
}

/// A queue pair. When this is dropped the device touches nothing for it any more.
#[derive(Debug)]
pub(super) struct RawQueuePair {
    domain: Arc<ProtectionDomain>,
    _completions: Arc<CompletionQueue>,
    _receives: Option<Arc<ReceiveQueue>>,
    raw: NonNull<sys::ibv_qp>,
}

// SAFETY: libibverbs locks each of its operations.
unsafe impl Send for RawQueuePair {}
// SAFETY: as above.
unsafe impl Sync for RawQueuePair {}

/// A work request: what it asks for, and what it carries. It is filled where it lies, and posted from there.
pub(super) struct Asked<'a> {
    request: sys::ibv_send_wr,
    entry: sys::ibv_sge,
    /// It may point to bytes that it carries.
    _bytes: PhantomData<&'a [u8]>,
}

impl RawQueuePair {
    pub(super) fn new(
        domain: &Arc<ProtectionDomain>,
        completions: &Arc<CompletionQueue>,
        receives: Option<&Arc<ReceiveQueue>>,
        sizes: QueuePairSizes,
    ) -> Result<Self, SystemError> {
        let mut attr = sys::ibv_qp_init_attr {
            qp_context: null_mut(),
            send_cq: completions.raw.as_ptr(),
            recv_cq: completions.raw.as_ptr(),
            srq: receives.map_or(null_mut(), |queue| queue.raw.as_ptr()),
            cap: sys::ibv_qp_cap {
                max_send_wr: sizes.work,
                max_recv_wr: u32::from(receives.is_none()),
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: sizes.inline,
            },
            qp_type: sys::ibv_qp_type::IBV_QPT_RC,
            sq_sig_all: 1,
        };
        // SAFETY: all that it is made of lives, and is kept.
        let raw = unsafe { (domain.device.lib.create_qp)(domain.raw.as_ptr(), &raw mut attr) };
        Ok(Self {
            domain: domain.clone(),
            _completions: completions.clone(),
            _receives: receives.cloned(),
            raw: object("making a queue pair", raw)?,
        })
    }

    pub(super) fn number(&self) -> u32 {
        // SAFETY: it lives, and its number never changes.
        unsafe { (*self.raw.as_ptr()).qp_num }
    }

    /// Leads it to another state.
    pub(super) fn modify(&mut self, what: &'static str, step: &Step) -> Result<(), SystemError> {
        let (mut attr, mask) = step.attributes();
        // SAFETY: it lives; the mask names only what the step has set.
        let code = unsafe {
            (self.domain.device.lib.modify_qp)(self.raw.as_ptr(), &raw mut attr, mask as c_int)
        };
        checked(what, code)
    }

    /// Whether the device has put it into ERR.
    pub(super) fn has_failed(&self) -> bool {
        use sys::ibv_qp_attr_mask as m;
        // SAFETY: plain integers, unions of them and pointers, for which zeros are valid; the function fills them.
        unsafe {
            let mut attr: sys::ibv_qp_attr = std::mem::zeroed();
            let mut made: sys::ibv_qp_init_attr = std::mem::zeroed();
            let mask = m::IBV_QP_STATE.0 as c_int;
            let query = self.domain.device.lib.query_qp;
            query(self.raw.as_ptr(), &raw mut attr, mask, &raw mut made) == 0
                && attr.qp_state == sys::ibv_qp_state::IBV_QPS_ERR
        }
    }

    /// Posts one work request; the error is the system's.
    #[inline]
    pub(super) fn post(&mut self, asked: &mut Asked<'_>) -> Result<(), c_int> {
        let Some(post) = self.domain.device.ops().post_send else {
            return Err(libc::ENOSYS);
        };
        asked.request.sg_list = &raw mut asked.entry;
        let mut bad = null_mut();
        // SAFETY: it lives; the request, and inline bytes, are read during the call only. Whatever else the request
        // names the device checks against what is registered.
        match unsafe { post(self.raw.as_ptr(), &raw mut asked.request, &raw mut bad) } {
            0 => Ok(()),
            // Some drivers return it negative.
            errno => Err(errno.abs()),
        }
    }
}

impl Drop for RawQueuePair {
    fn drop(&mut self) {
        // SAFETY: made by this value.
        unsafe { (self.domain.device.lib.destroy_qp)(self.raw.as_ptr()) };
    }
}

impl<'a> Asked<'a> {
    /// Nothing yet, by this id.
    #[inline]
    pub(super) fn new(id: u64, flags: u32) -> Self {
        // SAFETY: plain integers, pointers and unions of them, for which zeros are valid.
        let mut request: sys::ibv_send_wr = unsafe { std::mem::zeroed() };
        (request.wr_id, request.send_flags) = (id, flags);
        Self {
            request,
            entry: Place::NOWHERE.entry(),
            _bytes: PhantomData,
        }
    }

    /// It carries bytes of registered memory.
    #[inline]
    pub(super) fn carry(&mut self, place: Place) {
        self.entry = place.entry();
        self.request.num_sge = 1;
    }

    /// It carries these bytes, as they are now.
    #[inline]
    pub(super) fn carry_inline(&mut self, bytes: &'a [u8]) {
        if bytes.is_empty() {
            return;
        }
        self.request.send_flags |= sys::ibv_send_flags::IBV_SEND_INLINE.0;
        self.carry(Place {
            address: bytes.as_ptr() as u64,
            len: bytes.len() as u32,
            key: 0,
        });
    }

    #[inline]
    fn ask(&mut self, opcode: sys::ibv_wr_opcode::Type, (remote_addr, rkey): (u64, u32)) {
        self.request.opcode = opcode;
        self.request.wr.rdma = sys::rdma_t { remote_addr, rkey };
    }

    #[inline]
    fn beside(&mut self, immediate: u32) {
        self.request.imm_data_invalidated_rkey_union.imm_data = immediate.to_be();
    }

    #[inline]
    pub(super) fn send(&mut self, immediate: Option<u32>) {
        use sys::ibv_wr_opcode as op;
        match immediate {
            None => self.request.opcode = op::IBV_WR_SEND,
            Some(value) => {
                self.request.opcode = op::IBV_WR_SEND_WITH_IMM;
                self.beside(value);
            }
        }
    }

    pub(super) fn send_invalidate(&mut self, key: u32) {
        self.request.opcode = sys::ibv_wr_opcode::IBV_WR_SEND_WITH_INV;
        self.request
            .imm_data_invalidated_rkey_union
            .invalidated_rkey = key;
    }

    /// To an address, by a key.
    #[inline]
    pub(super) fn write(&mut self, at: (u64, u32), immediate: Option<u32>) {
        use sys::ibv_wr_opcode as op;
        match immediate {
            None => self.ask(op::IBV_WR_RDMA_WRITE, at),
            Some(value) => {
                self.ask(op::IBV_WR_RDMA_WRITE_WITH_IMM, at);
                self.beside(value);
            }
        }
    }

    #[inline]
    pub(super) fn read(&mut self, at: (u64, u32)) {
        self.ask(sys::ibv_wr_opcode::IBV_WR_RDMA_READ, at);
    }

    #[inline]
    pub(super) fn atomic(&mut self, (remote_addr, rkey): (u64, u32), operation: Atomic) {
        use sys::ibv_wr_opcode as op;
        let (opcode, compare_add, swap) = match operation {
            Atomic::Add(value) => (op::IBV_WR_ATOMIC_FETCH_AND_ADD, value, 0),
            Atomic::CompareSwap { compare, swap } => (op::IBV_WR_ATOMIC_CMP_AND_SWP, compare, swap),
        };
        self.request.opcode = opcode;
        self.request.wr.atomic = sys::atomic_t {
            remote_addr,
            compare_add,
            swap,
            rkey,
        };
    }
}

/// A step of a queue pair to another state, with all that belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Init {
        port: u8,
    },
    ReadyToReceive {
        port: u8,
        gid_index: u8,
        gid: [u8; 16],
        /// The peer's, on InfiniBand.
        lid: u16,
        number: u32,
        psn: u32,
        /// 1 to 5.
        mtu: u32,
        responder_resources: u8,
        rnr_timer: u8,
        service_level: u8,
    },
    ReadyToSend {
        psn: u32,
        timeout: u8,
        retries: u8,
        rnr_retries: u8,
        initiator_depth: u8,
    },
    Error,
}

/// How many routers a packet may pass.
const HOPS: u8 = 64;

impl Step {
    fn attributes(&self) -> (sys::ibv_qp_attr, u32) {
        use sys::ibv_qp_attr_mask as m;
        use sys::ibv_qp_state as s;
        // SAFETY: plain integers and unions of them, for which zeros are valid.
        let mut attr: sys::ibv_qp_attr = unsafe { std::mem::zeroed() };
        let mask = match *self {
            Self::Init { port } => {
                let all = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
                attr.qp_state = s::IBV_QPS_INIT;
                attr.port_num = port;
                attr.qp_access_flags = access_flags(all) as u32;
                [m::IBV_QP_PKEY_INDEX, m::IBV_QP_PORT, m::IBV_QP_ACCESS_FLAGS].as_slice()
            }
            Self::ReadyToReceive {
                port,
                gid_index,
                gid,
                lid,
                number,
                psn,
                mtu,
                responder_resources,
                rnr_timer,
                service_level,
            } => {
                attr.qp_state = s::IBV_QPS_RTR;
                attr.path_mtu = mtu;
                attr.dest_qp_num = number;
                attr.rq_psn = psn;
                attr.max_dest_rd_atomic = responder_resources;
                attr.min_rnr_timer = rnr_timer;
                attr.ah_attr.is_global = 1;
                attr.ah_attr.port_num = port;
                attr.ah_attr.dlid = lid;
                attr.ah_attr.sl = service_level;
                attr.ah_attr.grh.dgid = sys::ibv_gid { raw: gid };
                attr.ah_attr.grh.sgid_index = gid_index;
                attr.ah_attr.grh.hop_limit = HOPS;
                [
                    m::IBV_QP_AV,
                    m::IBV_QP_PATH_MTU,
                    m::IBV_QP_DEST_QPN,
                    m::IBV_QP_RQ_PSN,
                    m::IBV_QP_MAX_DEST_RD_ATOMIC,
                    m::IBV_QP_MIN_RNR_TIMER,
                ]
                .as_slice()
            }
            Self::ReadyToSend {
                psn,
                timeout,
                retries,
                rnr_retries,
                initiator_depth,
            } => {
                attr.qp_state = s::IBV_QPS_RTS;
                attr.sq_psn = psn;
                attr.timeout = timeout;
                attr.retry_cnt = retries;
                attr.rnr_retry = rnr_retries;
                attr.max_rd_atomic = initiator_depth;
                [
                    m::IBV_QP_SQ_PSN,
                    m::IBV_QP_TIMEOUT,
                    m::IBV_QP_RETRY_CNT,
                    m::IBV_QP_RNR_RETRY,
                    m::IBV_QP_MAX_QP_RD_ATOMIC,
                ]
                .as_slice()
            }
            Self::Error => {
                attr.qp_state = s::IBV_QPS_ERR;
                &[]
            }
        };
        let named = mask.iter().fold(m::IBV_QP_STATE.0, |all, one| all | one.0);
        (attr, named)
    }
}
