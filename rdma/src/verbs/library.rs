//! libibverbs, loaded when it is first wanted: a program with this feature also runs where it is not installed.
#![expect(unsafe_code, reason = "functions of a shared library")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use rdma_sys as sys;

/// The name that a loader knows it by.
const NAME: &CStr = c"libibverbs.so.1";

macro_rules! library {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// Its functions. What each promises stands in its manual page.
        #[derive(Debug)]
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl Library {
            fn resolve(handle: *mut c_void) -> Result<Self, String> {
                Ok(Self {
                    // SAFETY: each symbol is the function of this name in libibverbs, whose signature is the one
                    // declared below (from infiniband/verbs.h); a function pointer is as large as a pointer.
                    $($name: unsafe {
                        std::mem::transmute::<
                            *mut c_void,
                            unsafe extern "C" fn($($arg),*) $(-> $ret)?,
                        >(symbol(handle, concat!("ibv_", stringify!($name)))?)
                    },)*
                })
            }
        }
    };
}

library! {
    get_device_list: fn(*mut c_int) -> *mut *mut sys::ibv_device;
    free_device_list: fn(*mut *mut sys::ibv_device);
    get_device_name: fn(*mut sys::ibv_device) -> *const c_char;
    open_device: fn(*mut sys::ibv_device) -> *mut sys::ibv_context;
    close_device: fn(*mut sys::ibv_context) -> c_int;
    query_device: fn(*mut sys::ibv_context, *mut sys::ibv_device_attr) -> c_int;
    query_port: fn(*mut sys::ibv_context, u8, *mut sys::ibv_port_attr) -> c_int;
    query_gid: fn(*mut sys::ibv_context, u8, c_int, *mut sys::ibv_gid) -> c_int;
    get_async_event: fn(*mut sys::ibv_context, *mut c_void) -> c_int;
    ack_async_event: fn(*mut c_void);
    alloc_pd: fn(*mut sys::ibv_context) -> *mut sys::ibv_pd;
    dealloc_pd: fn(*mut sys::ibv_pd) -> c_int;
    reg_mr_iova: fn(*mut sys::ibv_pd, *mut c_void, usize, u64, c_int) -> *mut sys::ibv_mr;
    dereg_mr: fn(*mut sys::ibv_mr) -> c_int;
    create_comp_channel: fn(*mut sys::ibv_context) -> *mut sys::ibv_comp_channel;
    destroy_comp_channel: fn(*mut sys::ibv_comp_channel) -> c_int;
    create_cq: fn(
        *mut sys::ibv_context, c_int, *mut c_void, *mut sys::ibv_comp_channel, c_int
    ) -> *mut sys::ibv_cq;
    destroy_cq: fn(*mut sys::ibv_cq) -> c_int;
    get_cq_event: fn(
        *mut sys::ibv_comp_channel, *mut *mut sys::ibv_cq, *mut *mut c_void
    ) -> c_int;
    ack_cq_events: fn(*mut sys::ibv_cq, c_uint);
    create_srq: fn(*mut sys::ibv_pd, *mut sys::ibv_srq_init_attr) -> *mut sys::ibv_srq;
    destroy_srq: fn(*mut sys::ibv_srq) -> c_int;
    create_qp: fn(*mut sys::ibv_pd, *mut sys::ibv_qp_init_attr) -> *mut sys::ibv_qp;
    modify_qp: fn(*mut sys::ibv_qp, *mut sys::ibv_qp_attr, c_int) -> c_int;
    query_qp: fn(
        *mut sys::ibv_qp, *mut sys::ibv_qp_attr, c_int, *mut sys::ibv_qp_init_attr
    ) -> c_int;
    destroy_qp: fn(*mut sys::ibv_qp) -> c_int;
}

impl Library {
    /// The library, loaded once for the program; else what the loader says.
    pub(super) fn load() -> Result<&'static Self, String> {
        static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
        let loaded = LIBRARY.get_or_init(|| {
            // SAFETY: the name is a C string; loading runs only the library's own initialisers.
            let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            if handle.is_null() {
                return Err(loader_error());
            }
            Self::resolve(handle)
        });
        loaded.as_ref().map_err(Clone::clone)
    }
}

fn symbol(handle: *mut c_void, name: &str) -> Result<*mut c_void, String> {
    let c_name = CString::new(name).map_err(|error| error.to_string())?;
    // SAFETY: the handle is of an open library, the name is a C string.
    let found = unsafe { libc::dlsym(handle, c_name.as_ptr()) };
    if found.is_null() {
        return Err(format!("it has no {name}: it is too old"));
    }
    Ok(found)
}

fn loader_error() -> String {
    // SAFETY: it returns null or a C string that is valid until the next call of this thread.
    let said = unsafe { libc::dlerror() };
    if said.is_null() {
        return "unknown reason".into();
    }
    // SAFETY: not null, so a C string.
    unsafe { CStr::from_ptr(said) }
        .to_string_lossy()
        .into_owned()
}
