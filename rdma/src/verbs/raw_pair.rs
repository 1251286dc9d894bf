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

/// What a work request carries.
#[derive(Clone, Copy)]
pub(super) struct Payload<'a> {
    entry: sys::ibv_sge,
    count: c_int,
    flags: u32,
    _bytes: PhantomData<&'a [u8]>,
}

impl<'a> Payload<'a> {
    pub(super) const NOTHING: Self = Self {
        entry: Place::NOWHERE.entry(),
        count: 0,
        flags: 0,
        _bytes: PhantomData,
    };

    /// Bytes of registered memory.
    #[inline]
    pub(super) const fn at(place: Place) -> Self {
        Self {
            entry: place.entry(),
            count: 1,
            ..Self::NOTHING
        }
    }

    /// These bytes, as they are now.
    #[inline]
    pub(super) fn inline(bytes: &'a [u8]) -> Self {
        if bytes.is_empty() {
            return Self::NOTHING;
        }
        let place = Place {
            address: bytes.as_ptr() as u64,
            len: bytes.len() as u32,
            key: 0,
        };
        Self {
            flags: sys::ibv_send_flags::IBV_SEND_INLINE.0,
            ..Self::at(place)
        }
    }
}

/// What a work request asks for.
pub(super) struct Verb {
    opcode: sys::ibv_wr_opcode::Type,
    /// The immediate, or the key, as it stands in the request.
    immediate: u32,
    wr: sys::wr_t,
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
    pub(super) fn post(
        &mut self,
        id: u64,
        verb: Verb,
        payload: Payload<'_>,
        flags: u32,
    ) -> Result<(), c_int> {
        let Some(post) = self.domain.device.ops().post_send else {
            return Err(libc::ENOSYS);
        };
        let mut entry = payload.entry;
        let mut request = sys::ibv_send_wr {
            wr_id: id,
            next: null_mut(),
            sg_list: &raw mut entry,
            num_sge: payload.count,
            opcode: verb.opcode,
            send_flags: flags | payload.flags,
            imm_data_invalidated_rkey_union: sys::imm_data_invalidated_rkey_union_t {
                imm_data: verb.immediate,
            },
            wr: verb.wr,
            qp_type: sys::qp_type_t {
                xrc: sys::xrc_t { remote_srqn: 0 },
            },
            bind_mw_tso_union: sys::bind_mw_tso_union_t {
                tso: sys::tso_t {
                    hdr: null_mut(),
                    hdr_sz: 0,
                    mss: 0,
                },
            },
        };
        let mut bad = null_mut();
        // SAFETY: it lives; the request, and inline bytes, are read during the call only. Whatever else the request
        // names the device checks against what is registered.
        match unsafe { post(self.raw.as_ptr(), &raw mut request, &raw mut bad) } {
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

impl Verb {
    #[inline]
    fn of(opcode: sys::ibv_wr_opcode::Type, (remote_addr, rkey): (u64, u32)) -> Self {
        let rdma = sys::rdma_t { remote_addr, rkey };
        Self {
            opcode,
            immediate: 0,
            wr: sys::wr_t { rdma },
        }
    }

    #[inline]
    fn exchange(
        opcode: sys::ibv_wr_opcode::Type,
        (remote_addr, rkey): (u64, u32),
        (compare_add, swap): (u64, u64),
    ) -> Self {
        let atomic = sys::atomic_t {
            remote_addr,
            compare_add,
            swap,
            rkey,
        };
        Self {
            opcode,
            immediate: 0,
            wr: sys::wr_t { atomic },
        }
    }

    #[inline]
    pub(super) fn send(immediate: Option<u32>) -> Self {
        use sys::ibv_wr_opcode as op;
        match immediate {
            None => Self::of(op::IBV_WR_SEND, (0, 0)),
            Some(value) => Self {
                immediate: value.to_be(),
                ..Self::of(op::IBV_WR_SEND_WITH_IMM, (0, 0))
            },
        }
    }

    pub(super) fn send_invalidate(key: u32) -> Self {
        Self {
            immediate: key,
            ..Self::of(sys::ibv_wr_opcode::IBV_WR_SEND_WITH_INV, (0, 0))
        }
    }

    /// To an address, by a key.
    #[inline]
    pub(super) fn write(at: (u64, u32), immediate: Option<u32>) -> Self {
        use sys::ibv_wr_opcode as op;
        match immediate {
            None => Self::of(op::IBV_WR_RDMA_WRITE, at),
            Some(value) => Self {
                immediate: value.to_be(),
                ..Self::of(op::IBV_WR_RDMA_WRITE_WITH_IMM, at)
            },
        }
    }

    #[inline]
    pub(super) fn read(at: (u64, u32)) -> Self {
        Self::of(sys::ibv_wr_opcode::IBV_WR_RDMA_READ, at)
    }

    #[inline]
    pub(super) fn atomic(at: (u64, u32), operation: Atomic) -> Self {
        use sys::ibv_wr_opcode as op;
        match operation {
            Atomic::Add(value) => Self::exchange(op::IBV_WR_ATOMIC_FETCH_AND_ADD, at, (value, 0)),
            Atomic::CompareSwap { compare, swap } => {
                Self::exchange(op::IBV_WR_ATOMIC_CMP_AND_SWP, at, (compare, swap))
            }
        }
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
