//! Device memory of one type, owned by the host.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use dpa_abi::{DevAddr, Pod};
use flexio::{ProcessRef, Window};

use crate::dpa::Dpa;
use crate::error::MemoryError;
use crate::step::StepBuilder;
use crate::turn::in_turn;

/// Keeps an allocation alive, or a window open. It is freed when the last hold is gone, and its range is used again only after all
/// launches that started before are over.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Place>);

#[derive(Debug)]
enum Place {
    Heap { process: ProcessRef, addr: u64 },
    Window(Window),
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Self::Heap { process, addr } => {
                process.free(*addr);
            }
            // It closes itself.
            Self::Window(_) => {}
        }
    }
}

impl Hold {
    /// The first device address of what it holds.
    pub(crate) fn addr(&self) -> DevAddr<u8> {
        match &*self.0 {
            Place::Heap { addr, .. } => DevAddr::from_raw(*addr),
            Place::Window(window) => window.addr(),
        }
    }

    pub(crate) fn process(&self) -> &ProcessRef {
        match &*self.0 {
            Place::Heap { process, .. } => process,
            Place::Window(window) => window.process(),
        }
    }
}

/// So many elements of device memory. Freed when it is dropped and no launch that was given a reference to it is
/// unfinished.
#[derive(Debug)]
pub struct DeviceBuffer<T> {
    all: BufferSlice<T>,
}

/// A part of a [`DeviceBuffer`], which it keeps alive. It can be an argument, too.
#[derive(Debug)]
pub struct BufferSlice<T> {
    hold: Hold,
    addr: u64,
    len: usize,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for BufferSlice<T> {
    fn clone(&self) -> Self {
        Self {
            hold: self.hold.clone(),
            of: PhantomData,
            ..*self
        }
    }
}

impl<T: Pod> BufferSlice<T> {
    /// All of a window.
    pub(crate) fn of_window(window: Window) -> Self {
        let (addr, bytes) = (window.addr().raw(), window.memory().len());
        Self {
            hold: Hold(Arc::new(Place::Window(window))),
            addr,
            len: bytes / T::SIZE.max(1),
            of: PhantomData,
        }
    }
}

impl Dpa {
    /// Allocates `len` elements of whatever was there before.
    ///
    /// # Errors
    /// Out of memory; the context is closed.
    #[doc(alias = "doca_dpa_mem_alloc")]
    pub fn alloc<T: Pod>(&self, len: usize) -> Result<DeviceBuffer<T>, MemoryError> {
        self.allocate(len, false)
    }

    /// Allocates `len` elements, all bytes zero.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// Out of memory; the context is closed.
    pub async fn zeroed<T: Pod>(&self, len: usize) -> Result<DeviceBuffer<T>, MemoryError> {
        in_turn(self.process(), || self.zeroed_blocking(len)).await
    }

    /// As [`Dpa::zeroed`], outside of async code.
    ///
    /// # Errors
    /// Out of memory; the context is closed.
    pub fn zeroed_blocking<T: Pod>(&self, len: usize) -> Result<DeviceBuffer<T>, MemoryError> {
        self.allocate(len, true)
    }

    /// Allocates device memory for `items` and copies them in; complete when it returns.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// Out of memory; the context is closed.
    #[doc(alias = "doca_dpa_h2d_memcpy")]
    #[doc(alias = "flexio_copy_from_host")]
    pub async fn copy_in<T: Pod>(&self, items: &[T]) -> Result<DeviceBuffer<T>, MemoryError> {
        in_turn(self.process(), || self.copy_in_blocking(items)).await
    }

    /// As [`Dpa::copy_in`], outside of async code.
    ///
    /// # Errors
    /// Out of memory; the context is closed.
    pub fn copy_in_blocking<T: Pod>(&self, items: &[T]) -> Result<DeviceBuffer<T>, MemoryError> {
        let buffer = self.allocate(items.len(), false)?;
        buffer.write_blocking(0, items)?;
        Ok(buffer)
    }

    fn allocate<T: Pod>(&self, len: usize, zeroed: bool) -> Result<DeviceBuffer<T>, MemoryError> {
        let process = self.process();
        open(process)?;
        let bytes = (len as u64).saturating_mul(T::SIZE as u64);
        let addr = process.alloc(bytes, zeroed)?;
        let hold = Hold(Arc::new(Place::Heap {
            process: process.clone(),
            addr,
        }));
        Ok(DeviceBuffer {
            all: BufferSlice {
                hold,
                addr,
                len,
                of: PhantomData,
            },
        })
    }
}

/// A closed context refuses; a faulted one lets its memory be looked at.
pub(crate) fn open(process: &ProcessRef) -> Result<(), MemoryError> {
    if process.is_stopped() && process.fault().is_none() {
        Err(MemoryError::ContextClosed)
    } else {
        Ok(())
    }
}

impl<T: Pod> DeviceBuffer<T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.all.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.all.len == 0
    }

    /// The device address of the first element. It keeps nothing alive: whoever passes it by hand sees to it that the
    /// buffer outlives its use.
    pub fn addr(&self) -> DevAddr<T> {
        self.all.addr()
    }

    pub(crate) fn all(&self) -> BufferSlice<T> {
        self.all.clone()
    }

    /// A part of it.
    ///
    /// # Errors
    /// Not within the buffer.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<BufferSlice<T>, MemoryError> {
        self.all.slice(range)
    }

    /// Copies all elements out; complete when it returns, and after everything that the caller has waited for.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// The context is closed.
    #[doc(alias = "doca_dpa_d2h_memcpy")]
    #[doc(alias = "doca_dpa_d2h_buf_memcpy")]
    pub async fn copy_out(&self) -> Result<Vec<T>, MemoryError> {
        in_turn(self.all.hold.process(), || self.copy_out_blocking()).await
    }

    /// As [`DeviceBuffer::copy_out`], outside of async code.
    ///
    /// # Errors
    /// The context is closed.
    pub fn copy_out_blocking(&self) -> Result<Vec<T>, MemoryError> {
        self.all.read()
    }

    /// Copies elements in, from `first` on; complete when it returns.
    ///
    /// Cancel safety: dropped before it is ready, it has written all or nothing.
    ///
    /// # Errors
    /// Not within the buffer; the context is closed.
    #[doc(alias = "doca_dpa_h2d_buf_memcpy")]
    pub async fn write(&self, first: usize, items: &[T]) -> Result<(), MemoryError> {
        let act = || self.write_blocking(first, items);
        in_turn(self.all.hold.process(), act).await
    }

    /// As [`DeviceBuffer::write`], outside of async code.
    ///
    /// # Errors
    /// Not within the buffer; the context is closed.
    pub fn write_blocking(&self, first: usize, items: &[T]) -> Result<(), MemoryError> {
        self.slice(first..first.saturating_add(items.len()))?
            .write(items)
    }

    /// Sets every element; complete when it returns.
    ///
    /// Cancel safety: dropped before it is ready, it has written all or nothing.
    ///
    /// # Errors
    /// The context is closed.
    #[doc(alias = "doca_dpa_memset")]
    pub async fn fill(&self, value: T) -> Result<(), MemoryError> {
        in_turn(self.all.hold.process(), || self.fill_blocking(value)).await
    }

    /// As [`DeviceBuffer::fill`], outside of async code.
    ///
    /// # Errors
    /// The context is closed.
    pub fn fill_blocking(&self, value: T) -> Result<(), MemoryError> {
        self.all.fill(value)
    }

    /// A copy into the buffer as a step of its own, which can wait for an event and update one.
    pub fn write_step(&self, first: usize, items: Vec<T>) -> StepBuilder<()> {
        let slice = self.slice(first..first.saturating_add(items.len()));
        StepBuilder::new(self.all.hold.process(), "copy-in", slice, move |slice| {
            slice.write(&items)
        })
    }

    /// A copy out of the buffer as a step of its own; its result are the elements.
    pub fn read_step(&self, range: impl RangeBounds<usize>) -> StepBuilder<Vec<T>> {
        StepBuilder::new(
            self.all.hold.process(),
            "copy-out",
            self.slice(range),
            BufferSlice::read,
        )
    }

    /// A fill as a step of its own.
    pub fn fill_step(&self, value: T) -> StepBuilder<()> {
        StepBuilder::new(
            self.all.hold.process(),
            "fill",
            Ok(self.all()),
            move |slice| slice.fill(value),
        )
    }
}

impl<T: Pod> BufferSlice<T> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device address of the first element; keeps nothing alive.
    pub fn addr(&self) -> DevAddr<T> {
        DevAddr::from_raw(self.addr)
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    pub(crate) fn into_hold(self) -> Hold {
        self.hold
    }

    /// A part of it.
    ///
    /// # Errors
    /// Not within it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self, MemoryError> {
        let first = match range.start_bound() {
            Bound::Included(&first) => first,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        if first > end || end > self.len {
            return Err(MemoryError::Range {
                first,
                end,
                len: self.len,
            });
        }
        let addr = self.addr + (first * T::SIZE) as u64;
        Ok(Self {
            hold: self.hold.clone(),
            addr,
            len: end - first,
            of: PhantomData,
        })
    }

    /// Copies the elements out.
    ///
    /// # Errors
    /// The context is closed.
    pub fn read(&self) -> Result<Vec<T>, MemoryError> {
        let process = self.hold.process();
        open(process)?;
        let mut bytes = vec![0; self.len * T::SIZE];
        process.read(self.addr, &mut bytes)?;
        let mut items = vec![T::zeroed(); self.len];
        T::decode_slice(&bytes, &mut items);
        Ok(items)
    }

    /// Copies as many elements in as the slice has.
    ///
    /// # Errors
    /// Another number of elements; the context is closed.
    pub fn write(&self, items: &[T]) -> Result<(), MemoryError> {
        if items.len() != self.len {
            return Err(MemoryError::Range {
                first: 0,
                end: items.len(),
                len: self.len,
            });
        }
        let process = self.hold.process();
        open(process)?;
        let mut bytes = vec![0; items.len() * T::SIZE];
        T::encode_slice(items, &mut bytes);
        Ok(process.write(self.addr, &bytes)?)
    }

    /// Sets every element.
    ///
    /// # Errors
    /// The context is closed.
    pub fn fill(&self, value: T) -> Result<(), MemoryError> {
        self.write(&vec![value; self.len])
    }
}
