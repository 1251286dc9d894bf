//! Memory that the network may touch: memory maps over device buffers and host buffers, buffer arrays.

use std::ops::Range;
use std::sync::Arc;

use dpa_abi::{IntoArg, Pod};
use flexio::rdma::Rights;
use flexio::{HostMemory, Registration};
use flexio_dev::{BufArray, LocalMemory};

use super::context::Rdma;
use super::error::MapError;
use super::returned::Returned;
use crate::buffer::{BufferSlice, DeviceBuffer, Hold};

/// So many bytes of this program's memory that the network may touch.
///
/// The network writes while the program runs, so no reference to the bytes is given out: they are copied in and out.
#[derive(Debug)]
pub struct HostBuffer {
    memory: Arc<HostMemory>,
}

/// A range is not within a host buffer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {}..{} are not within a host buffer of {size}", range.start, range.end)]
pub struct HostRangeError {
    /// What was asked for.
    pub range: Range<usize>,
    /// Bytes there are.
    pub size: usize,
}

/// The system does not give so much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked} bytes of host memory were asked for: the system does not give as many")]
pub struct HostMemoryRefused {
    /// What was asked for, in bytes.
    pub asked: usize,
}

impl HostBuffer {
    /// So many bytes, all zero.
    ///
    /// # Panics
    /// If the system does not give so many: see [`HostBuffer::try_new`].
    pub fn new(len: usize) -> Self {
        Self::try_new(len).unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// So many bytes, all zero, if the system gives them.
    ///
    /// # Errors
    /// It does not.
    pub fn try_new(len: usize) -> Result<Self, HostMemoryRefused> {
        let memory = HostMemory::new(len).ok_or(HostMemoryRefused { asked: len })?;
        Ok(Self {
            memory: Arc::new(memory),
        })
    }

    /// A copy of these bytes.
    ///
    /// # Panics
    /// As [`HostBuffer::new`].
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let buffer = Self::new(bytes.len());
        buffer.memory.write(0, bytes);
        buffer
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    fn checked(&self, offset: usize, len: usize, done: bool) -> Result<(), HostRangeError> {
        if done {
            return Ok(());
        }
        Err(HostRangeError {
            range: offset..offset.saturating_add(len),
            size: self.len(),
        })
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    /// Not within the buffer; nothing was copied.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), HostRangeError> {
        let done = self.memory.read(offset as u64, out);
        self.checked(offset, out.len(), done)
    }

    /// Copies bytes in, from `offset` on.
    ///
    /// # Errors
    /// Not within the buffer; nothing was copied.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), HostRangeError> {
        let done = self.memory.write(offset as u64, bytes);
        self.checked(offset, bytes.len(), done)
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.memory.read(0, &mut bytes);
        bytes
    }

    pub(crate) fn memory(&self) -> &Arc<HostMemory> {
        &self.memory
    }
}

/// Registered memory of this node: what kernels and peers may name by its keys. When it is dropped (and no unfinished
/// launch keeps it), its keys are invalid and no access is in progress.
#[doc(alias = "doca_mmap")]
#[derive(Clone, Debug)]
pub struct MemoryMap {
    mapped: Arc<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    registration: Registration,
    rdma: Rdma,
    /// Behind the registration, so that it outlives it.
    _hold: Option<Hold>,
}

impl Rdma {
    /// Registers a device buffer: kernels may send from it, and receive into it; peers may do what `rights` say.
    ///
    /// # Errors
    /// The buffer belongs to another context; the context or the NIC has no region left; the device behind verbs refuses; the
    /// context is closed or faulted.
    #[doc(alias = "doca_mmap_set_dpa_memrange")]
    pub fn map<T: Pod>(
        &self,
        buffer: &DeviceBuffer<T>,
        rights: Rights,
    ) -> Result<MemoryMap, MapError> {
        self.map_slice(&buffer.all(), rights)
    }

    /// Registers a part of a device buffer.
    ///
    /// # Errors
    /// As [`Rdma::map`].
    pub fn map_slice<T: Pod>(
        &self,
        slice: &BufferSlice<T>,
        rights: Rights,
    ) -> Result<MemoryMap, MapError> {
        let hold = slice.hold().clone();
        if !hold.process().is(self.nic().process()) {
            return Err(MapError::Foreign);
        }
        let bytes = (slice.len() * T::SIZE) as u64;
        let rights = rights | Rights::LOCAL_WRITE;
        let registration = self
            .nic()
            .register_device(slice.addr().raw(), bytes, rights)?;
        Ok(MemoryMap::new(registration, self, Some(hold)))
    }

    /// Registers a host buffer.
    ///
    /// # Errors
    /// The context or the NIC has no region left; the device behind verbs refuses; the context is closed or faulted. The buffer is
    /// back.
    #[doc(alias = "doca_mmap_create")]
    #[doc(alias = "doca_mmap_add_dev")]
    #[doc(alias = "doca_mmap_set_memrange")]
    #[doc(alias = "doca_mmap_set_permissions")]
    #[doc(alias = "doca_mmap_start")]
    pub fn map_host(
        &self,
        buffer: HostBuffer,
        rights: Rights,
    ) -> Result<HostMap, Returned<MapError>> {
        let range = 0..buffer.len() as u64;
        let rights = rights | Rights::LOCAL_WRITE;
        let tried = self.nic().register_host(buffer.memory(), range, rights);
        let (registration, buffer) = Returned::unless(tried, buffer)?;
        Ok(HostMap {
            map: MemoryMap::new(registration, self, None),
            buffer,
        })
    }
}

impl MemoryMap {
    fn new(registration: Registration, rdma: &Rdma, hold: Option<Hold>) -> Self {
        Self {
            mapped: Arc::new(Mapped {
                registration,
                rdma: rdma.clone(),
                _hold: hold,
            }),
        }
    }

    fn registration(&self) -> &Registration {
        &self.mapped.registration
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.registration().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What may be done with it.
    pub fn rights(&self) -> Rights {
        self.registration().rights()
    }

    /// What a peer must know to name it: at most 4 KiB.
    #[doc(alias = "doca_mmap_export_rdma")]
    pub fn export(&self) -> Vec<u8> {
        self.registration().export().to_blob()
    }

    /// How kernels name it. Plain: it keeps nothing alive.
    #[doc(alias = "doca_mmap_dev_get_dpa_handle")]
    pub fn handle(&self) -> LocalMemory {
        LocalMemory {
            base: self.registration().local_base(),
            len: self.len(),
            key: self.registration().local_key(),
            reserved: 0,
        }
    }

    fn belongs(&self) {
        crate::args::belongs_to(self.mapped.rdma.nic().process());
    }
}

impl IntoArg<LocalMemory> for &MemoryMap {
    type Kept = MemoryMap;
    fn into_arg(self) -> (LocalMemory, MemoryMap) {
        self.belongs();
        (self.handle(), self.clone())
    }
}

/// A registered host buffer.
#[derive(Debug)]
pub struct HostMap {
    map: MemoryMap,
    buffer: HostBuffer,
}

impl HostMap {
    /// Its memory map: for kernels, for peers.
    pub fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// The buffer: bytes are copied in and out.
    pub fn buffer(&self) -> &HostBuffer {
        &self.buffer
    }

    /// Takes the buffer back. The map ends, unless an unfinished launch keeps it.
    pub fn into_buffer(self) -> HostBuffer {
        self.buffer
    }
}

/// So many equal elements cut out of one memory map.
#[doc(alias = "doca_buf_arr")]
#[derive(Clone, Debug)]
pub struct BufferArray {
    map: MemoryMap,
    handle: BufArray,
}

impl BufferArray {
    /// `count` elements of `element` bytes, the first `offset` bytes into the map.
    ///
    /// # Errors
    /// They do not lie in the map.
    #[doc(alias = "doca_buf_arr_create")]
    #[doc(alias = "doca_buf_arr_set_params")]
    #[doc(alias = "doca_buf_arr_set_target_dpa")]
    #[doc(alias = "doca_buf_arr_start")]
    pub fn new(map: &MemoryMap, element: u32, count: u32, offset: u64) -> Result<Self, MapError> {
        let len = u64::from(element) * u64::from(count);
        if offset.checked_add(len).is_none_or(|end| end > map.len()) {
            return Err(MapError::OutOfRange {
                offset,
                len,
                size: map.len(),
            });
        }
        let handle = BufArray {
            base: map.handle().base + offset,
            count,
            element,
            key: map.handle().key,
            reserved: 0,
        };
        Ok(Self {
            map: map.clone(),
            handle,
        })
    }

    /// How many elements it has.
    pub fn len(&self) -> u32 {
        self.handle.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.handle.count == 0
    }

    /// How kernels name it. Plain: it keeps nothing alive.
    #[doc(alias = "doca_buf_arr_get_dpa_handle")]
    pub fn handle(&self) -> BufArray {
        self.handle
    }
}

impl IntoArg<BufArray> for &BufferArray {
    type Kept = MemoryMap;
    fn into_arg(self) -> (BufArray, MemoryMap) {
        self.map.belongs();
        (self.handle, self.map.clone())
    }
}
