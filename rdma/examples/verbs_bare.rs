//! The two work requests of a write and a signal, by `rdma-sys` and nothing else: what the provider is measured beside.
//!
//! ```sh
//! verbs_bare 10.77.0.1 1000
//! ```
//!
//! Two queue pairs of one device are connected to each other. A round writes eight bytes of registered memory and eight bytes
//! of the request itself, as a kernel that writes and signals does, and polls until both are over. `cargo xtask verbs cost` runs
//! it under callgrind; what counts is [`rounds`].
#![expect(unsafe_code, reason = "calls of libibverbs")]

use std::ffi::{CStr, c_int, c_void};
use std::net::{IpAddr, Ipv6Addr};
use std::ptr::null_mut;
use std::time::Instant;

use rdma_sys as sys;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const PAGE: usize = 4096;

/// A function of libibverbs.
fn function(name: &CStr) -> Outcome<*mut c_void> {
    // SAFETY: C strings; the library's own initialisers run.
    let found = unsafe {
        let library = libc::dlopen(c"libibverbs.so.1".as_ptr(), libc::RTLD_NOW);
        if library.is_null() {
            return Err("libibverbs cannot be loaded".into());
        }
        libc::dlsym(library, name.as_ptr())
    };
    match found.is_null() {
        true => Err(format!("libibverbs has no {name:?}").into()),
        false => Ok(found),
    }
}

/// Calls a function of libibverbs with this signature.
macro_rules! call {
    ($name:literal: fn($($kind:ty),*) -> $ret:ty, $($arg:expr),*) => {{
        let found = function($name)?;
        // SAFETY: the signature is the one of infiniband/verbs.h.
        let f = unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($kind),*) -> $ret>(found)
        };
        // SAFETY: all objects are alive, and never destroyed.
        unsafe { f($($arg),*) }
    }};
}

fn made<T>(what: &str, object: *mut T) -> Outcome<*mut T> {
    match object.is_null() {
        true => Err(format!("{what}: {}", std::io::Error::last_os_error()).into()),
        false => Ok(object),
    }
}

/// The device and the place in its table of RoCE v2 addresses.
struct At {
    context: *mut sys::ibv_context,
    gid: [u8; 16],
    index: u8,
}

fn open(address: IpAddr) -> Outcome<At> {
    let gid = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut count = 0;
    let list =
        call!(c"ibv_get_device_list": fn(*mut c_int) -> *mut *mut sys::ibv_device, &raw mut count);
    for at in 0..usize::try_from(count)? {
        // SAFETY: the list has so many devices.
        let device = unsafe { *made("listing devices", list)?.add(at) };
        // SAFETY: a C string of the device.
        let sysfs = unsafe { CStr::from_ptr((*device).ibdev_path.as_ptr()) }.to_str()?;
        let Some(index) = index_of(sysfs, gid) else {
            continue;
        };
        let context =
            call!(c"ibv_open_device": fn(*mut sys::ibv_device) -> *mut sys::ibv_context, device);
        return Ok(At {
            context: made("opening", context)?,
            gid: gid.octets(),
            index,
        });
    }
    Err(format!("no device has the RoCE v2 address {address}").into())
}

fn index_of(sysfs: &str, gid: Ipv6Addr) -> Option<u8> {
    (0..=255u8).find(|index| {
        let read = |what: &str| std::fs::read_to_string(format!("{sysfs}/ports/1/{what}/{index}"));
        let is_v2 = read("gid_attrs/types").is_ok_and(|kind| kind.trim() == "RoCE v2");
        is_v2 && read("gids").is_ok_and(|there| there.trim().parse() == Ok(gid))
    })
}

/// One queue pair, and a page that it may write.
#[derive(Clone, Copy)]
struct End {
    pair: *mut sys::ibv_qp,
    memory: *mut sys::ibv_mr,
    page: *mut u64,
}

fn end(at: &At, domain: *mut sys::ibv_pd, completions: *mut sys::ibv_cq) -> Outcome<End> {
    let layout = std::alloc::Layout::from_size_align(PAGE, PAGE)?;
    // SAFETY: not of size 0; it stays for good.
    let page = unsafe { std::alloc::alloc_zeroed(layout) };
    let access = sys::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0
        | sys::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0;
    let memory = call!(
        c"ibv_reg_mr_iova": fn(*mut sys::ibv_pd, *mut c_void, usize, u64, c_int) -> *mut sys::ibv_mr,
        domain, page.cast(), PAGE, page as u64, access as c_int
    );
    // SAFETY: plain integers and pointers, for which zeros are valid.
    let mut attr: sys::ibv_qp_init_attr = unsafe { std::mem::zeroed() };
    (attr.send_cq, attr.recv_cq) = (completions, completions);
    attr.cap = sys::ibv_qp_cap {
        max_send_wr: 64,
        max_recv_wr: 1,
        max_send_sge: 1,
        max_recv_sge: 1,
        max_inline_data: 28,
    };
    attr.qp_type = sys::ibv_qp_type::IBV_QPT_RC;
    attr.sq_sig_all = 1;
    let pair = call!(
        c"ibv_create_qp": fn(*mut sys::ibv_pd, *mut sys::ibv_qp_init_attr) -> *mut sys::ibv_qp,
        domain, &raw mut attr
    );
    let _ = at;
    Ok(End {
        pair: made("a queue pair", pair)?,
        memory: made("registering", memory)?,
        page: page.cast(),
    })
}

/// From RESET to RTS, towards the queue pair of this number.
fn connect(at: &At, pair: *mut sys::ibv_qp, number: u32) -> Outcome {
    use sys::ibv_qp_attr_mask as m;
    use sys::ibv_qp_state as s;
    // SAFETY: plain integers and unions of them, for which zeros are valid.
    let mut attr: sys::ibv_qp_attr = unsafe { std::mem::zeroed() };
    attr.port_num = 1;
    attr.qp_access_flags = 7;
    attr.path_mtu = 3;
    attr.dest_qp_num = number;
    attr.max_dest_rd_atomic = 1;
    attr.min_rnr_timer = 12;
    attr.ah_attr.is_global = 1;
    attr.ah_attr.port_num = 1;
    attr.ah_attr.grh.dgid = sys::ibv_gid { raw: at.gid };
    attr.ah_attr.grh.sgid_index = at.index;
    attr.ah_attr.grh.hop_limit = 64;
    (attr.timeout, attr.retry_cnt, attr.rnr_retry) = (14, 6, 6);
    attr.max_rd_atomic = 1;
    let init = [m::IBV_QP_PKEY_INDEX, m::IBV_QP_PORT, m::IBV_QP_ACCESS_FLAGS];
    let receive = [
        m::IBV_QP_AV,
        m::IBV_QP_PATH_MTU,
        m::IBV_QP_DEST_QPN,
        m::IBV_QP_RQ_PSN,
        m::IBV_QP_MAX_DEST_RD_ATOMIC,
        m::IBV_QP_MIN_RNR_TIMER,
    ];
    let send = [
        m::IBV_QP_SQ_PSN,
        m::IBV_QP_TIMEOUT,
        m::IBV_QP_RETRY_CNT,
        m::IBV_QP_RNR_RETRY,
        m::IBV_QP_MAX_QP_RD_ATOMIC,
    ];
    let steps = [
        (s::IBV_QPS_INIT, init.as_slice()),
        (s::IBV_QPS_RTR, &receive),
        (s::IBV_QPS_RTS, &send),
    ];
    for (state, named) in steps {
        attr.qp_state = state;
        let mask = named.iter().fold(m::IBV_QP_STATE.0, |all, one| all | one.0);
        let code = call!(
            c"ibv_modify_qp": fn(*mut sys::ibv_qp, *mut sys::ibv_qp_attr, c_int) -> c_int,
            pair, &raw mut attr, mask as c_int
        );
        if code != 0 {
            return Err(format!("leading a queue pair to state {state}: {code}").into());
        }
    }
    Ok(())
}

/// A write of eight bytes; `inside`: of the request itself.
fn write(
    from: (u64, u32),
    to: (u64, u32),
    inside: bool,
    entry: &mut sys::ibv_sge,
) -> sys::ibv_send_wr {
    *entry = sys::ibv_sge {
        addr: from.0,
        length: 8,
        lkey: from.1,
    };
    // SAFETY: plain integers, pointers and unions of them, for which zeros are valid.
    let mut request: sys::ibv_send_wr = unsafe { std::mem::zeroed() };
    request.sg_list = entry;
    request.num_sge = 1;
    request.opcode = sys::ibv_wr_opcode::IBV_WR_RDMA_WRITE;
    if inside {
        request.send_flags = sys::ibv_send_flags::IBV_SEND_INLINE.0;
    }
    request.wr.rdma = sys::rdma_t {
        remote_addr: to.0,
        rkey: to.1,
    };
    request
}

/// So many rounds: both are posted, and polled until both are over. False if one failed.
#[inline(never)]
fn rounds(
    pair: *mut sys::ibv_qp,
    completions: *mut sys::ibv_cq,
    ends: [End; 2],
    times: u64,
) -> bool {
    let [from, to] = ends;
    // SAFETY: all of it lives; keys never change.
    let (local, remote) = unsafe { ((*from.memory).lkey, (*to.memory).rkey) };
    let (here, there) = (from.page as u64, to.page as u64);
    for round in 1..=times {
        // SAFETY: as above; requests, and bytes inside them, are read during the calls only; there is room for as many
        // completions as are asked for, and so many are read as have been filled.
        unsafe {
            let mut entry = std::mem::zeroed();
            let mut bad = null_mut();
            let mut request = write((here, local), (there, remote), false, &mut entry);
            request.wr_id = 2 * round;
            if sys::ibv_post_send(pair, &raw mut request, &raw mut bad) != 0 {
                return false;
            }
            let value = round;
            let mut request = write(
                (&raw const value as u64, 0),
                (there + 8, remote),
                true,
                &mut entry,
            );
            request.wr_id = 2 * round + 1;
            if sys::ibv_post_send(pair, &raw mut request, &raw mut bad) != 0 {
                return false;
            }
            let mut over = 0;
            while over < 2 {
                let mut batch = [const { std::mem::MaybeUninit::<sys::ibv_wc>::uninit() }; 2];
                let count = sys::ibv_poll_cq(completions, 2, batch.as_mut_ptr().cast());
                for done in &batch[..count.max(0) as usize] {
                    if done.assume_init_ref().status != 0 {
                        return false;
                    }
                    over += 1;
                }
            }
        }
    }
    // SAFETY: the second word of a page that the device has just written.
    unsafe { to.page.add(1).read_volatile() == times }
}

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("verbs_bare ADDRESS ROUNDS");
    let (address, times): (IpAddr, u64) = (next()?.parse()?, next()?.parse()?);
    let at = open(address)?;
    let domain = call!(c"ibv_alloc_pd": fn(*mut sys::ibv_context) -> *mut sys::ibv_pd, at.context);
    let domain = made("a protection domain", domain)?;
    let completions = call!(
        c"ibv_create_cq": fn(*mut sys::ibv_context, c_int, *mut c_void, *mut sys::ibv_comp_channel, c_int) -> *mut sys::ibv_cq,
        at.context, 256, null_mut(), null_mut(), 0
    );
    let completions = made("a completion queue", completions)?;
    let ends = [
        end(&at, domain, completions)?,
        end(&at, domain, completions)?,
    ];
    // SAFETY: both live.
    let numbers = ends.map(|end| unsafe { (*end.pair).qp_num });
    connect(&at, ends[0].pair, numbers[1])?;
    connect(&at, ends[1].pair, numbers[0])?;
    let begun = Instant::now();
    if !rounds(ends[0].pair, completions, ends, times) {
        return Err("a request failed, or the last signal is not there".into());
    }
    let each = begun.elapsed().as_nanos() as u64 / (2 * times.max(1));
    println!("bare: {} work requests, {each} ns each", 2 * times);
    Ok(())
}
