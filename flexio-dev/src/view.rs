//! Bound views of device memory: checked once when they are bound, afterwards only the index is checked.
//!
//! A view cannot outlive its thread. Threads of a launch share device memory, so no view gives out a reference: they
//! read and write values. An index that is out of bounds is a fault of the process, with the kernel's source line.

use core::marker::PhantomData;
use core::panic::Location;

use dpa_abi::access::{AtomicNumber, Cell, Volatile};
use dpa_abi::pod::{Load, Store};
use dpa_abi::{DevAddr, FaultKind, KernelArg, Pod, Rights};

use crate::context::{BindArg, ThreadContext};
use crate::errno::Errno;

/// Bytes that a copy between views holds at a time, on the kernel's stack.
const COPY_PIECE: usize = 512;

/// How a slice travels: its address and its length in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceWire {
    /// Address of the first element.
    pub addr: u64,
    /// Elements.
    pub len: u64,
}

#[diagnostic::do_not_recommend]
impl Pod for SliceWire {
    const SIZE: usize = 16;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self {
            addr: from.u64(at),
            len: from.u64(at + 8),
        }
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.addr);
        to.put_u64(at + 8, self.len);
    }
}

/// What all views have: the range, the thread, the element.
#[derive(Debug)]
struct Bound<'t, T> {
    cell: Cell,
    len: usize,
    addr: u64,
    thread: &'t ThreadContext<'t>,
    of: PhantomData<T>,
}

impl<T> Clone for Bound<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Bound<'_, T> {}

impl<'t, T: Pod> Bound<'t, T> {
    fn new(
        thread: &'t ThreadContext<'t>,
        addr: u64,
        len: usize,
        rights: Rights,
    ) -> Result<Self, FaultKind> {
        let out_of_range = FaultKind::OutOfRange {
            addr,
            len: (len as u64).saturating_mul(T::SIZE as u64),
        };
        let bytes = len.checked_mul(T::SIZE).ok_or(out_of_range);
        let cell = bytes.and_then(|bytes| {
            let unit = thread.unit();
            unit.bind_cell(addr, bytes, T::ALIGN as u32, rights)
        });
        let cell = cell.inspect_err(|_| thread.refused(Errno::BadMemory))?;
        Ok(Self {
            cell,
            len,
            addr,
            thread,
            of: PhantomData,
        })
    }

    #[inline(always)]
    fn at(&self, index: usize, caller: &'static Location<'static>) -> usize {
        if index >= self.len {
            self.out_of_bounds(index, self.len, caller);
        }
        index * T::SIZE
    }

    #[cold]
    #[inline(never)]
    fn out_of_bounds(&self, index: usize, len: usize, caller: &'static Location<'static>) -> ! {
        self.thread.fault_at(
            FaultKind::OutOfBounds {
                index: index as u64,
                len: len as u64,
            },
            caller,
        )
    }

    #[inline(always)]
    fn read(&self, index: usize, caller: &'static Location<'static>) -> T {
        T::load(&self.cell, self.at(index, caller))
    }

    #[inline(always)]
    fn read_volatile(&self, index: usize, caller: &'static Location<'static>) -> T {
        let value = T::load(&Volatile(self.cell), self.at(index, caller));
        self.thread.polled();
        value
    }

    fn bytes(&self, first: usize, count: usize, caller: &'static Location<'static>) -> Cell {
        if first > self.len || count > self.len - first {
            self.out_of_bounds(first.saturating_add(count.max(1)) - 1, self.len, caller);
        }
        self.cell.part(first * T::SIZE, count * T::SIZE)
    }

    fn part(&self, first: usize, count: usize, caller: &'static Location<'static>) -> Self {
        let cell = self.bytes(first, count, caller);
        Self {
            cell,
            len: count,
            addr: self.addr + (first * T::SIZE) as u64,
            ..*self
        }
    }

    /// Decodes elements in pieces through a small buffer on the stack.
    fn read_into(&self, first: usize, out: &mut [T], caller: &'static Location<'static>) {
        const PIECE: usize = 256;
        let from = self.bytes(first, out.len(), caller);
        if let Some(bytes) = T::as_bytes_mut(out) {
            return from.copy_out(0, bytes);
        }
        let per_piece = (PIECE / T::SIZE.max(1)).max(1);
        if T::SIZE > PIECE || T::SIZE == 0 {
            out.iter_mut()
                .enumerate()
                .for_each(|(i, item)| *item = T::load(&from, i * T::SIZE));
            return;
        }
        let mut buffer = [0u8; PIECE];
        for (piece, items) in out.chunks_mut(per_piece).enumerate() {
            let bytes = &mut buffer[..items.len() * T::SIZE];
            from.copy_out(piece * per_piece * T::SIZE, bytes);
            T::decode_slice(bytes, items);
        }
    }

    fn write_from(&self, first: usize, items: &[T], caller: &'static Location<'static>) {
        let mut to = self.bytes(first, items.len(), caller);
        if let Some(bytes) = T::as_bytes(items) {
            return to.copy_in(0, bytes);
        }
        for (i, item) in items.iter().enumerate() {
            item.store(&mut to, i * T::SIZE);
        }
    }
}

macro_rules! view {
    ($name:ident, $bound:path, $rights:expr) => {
        impl<T> Clone for $name<'_, T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<'_, T> {}

        impl<'t, T: $bound> $name<'t, T> {
            pub(crate) fn bind(
                thread: &'t ThreadContext<'t>,
                addr: DevAddr<T>,
                len: usize,
            ) -> Result<Self, FaultKind> {
                Bound::new(thread, addr.raw(), len, $rights).map(Self)
            }

            /// Elements.
            #[inline]
            pub fn len(&self) -> usize {
                self.0.len
            }

            /// Whether there are no elements.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.0.len == 0
            }

            /// The device address of the first element.
            pub fn addr(&self) -> DevAddr<T> {
                DevAddr::from_raw(self.0.addr)
            }

            /// `count` elements from `first` on; a fault if they are not all there.
            #[track_caller]
            pub fn part(&self, first: usize, count: usize) -> Self {
                Self(self.0.part(first, count, Location::caller()))
            }
        }

        #[diagnostic::do_not_recommend]
        impl<T: $bound> KernelArg for $name<'_, T> {
            type Wire = SliceWire;
        }

        impl<'t, T: $bound> BindArg<'t> for $name<'t, T> {
            fn bind_arg(wire: SliceWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
                Self::bind(thread, DevAddr::from_raw(wire.addr), wire.len as usize)
            }
        }
    };
}

/// Loads, of views that have them.
macro_rules! loads {
    ($name:ident) => {
        impl<T: Pod> $name<'_, T> {
            /// The element at `index`. A plain load: it may be merged with others and orders nothing.
            #[inline(always)]
            #[track_caller]
            pub fn read(&self, index: usize) -> T {
                self.0.read(index, Location::caller())
            }

            /// The element at `index`, really read now. For polling; every 1,024th is a safe point.
            #[inline(always)]
            #[track_caller]
            pub fn read_volatile(&self, index: usize) -> T {
                self.0.read_volatile(index, Location::caller())
            }

            /// Copies elements out, from `first` on.
            #[track_caller]
            pub fn read_into(&self, first: usize, out: &mut [T]) {
                self.0.read_into(first, out, Location::caller());
            }
        }
    };
}

/// A view of device memory for loads.
#[derive(Debug)]
pub struct DevSlice<'t, T>(Bound<'t, T>);

view!(DevSlice, Pod, Rights::Read);
loads!(DevSlice);

/// A view of device memory for loads and stores. Threads may share it; order between them is only what fences,
/// events and barriers give.
#[derive(Debug)]
pub struct DevSliceMut<'t, T>(Bound<'t, T>);

view!(DevSliceMut, Pod, Rights::ReadWrite);
loads!(DevSliceMut);

impl<T: Pod> DevSliceMut<'_, T> {
    /// Stores an element. Plain: it orders nothing. Elements of more than eight bytes may tear.
    #[inline(always)]
    #[track_caller]
    pub fn write(&self, index: usize, value: T) {
        let at = self.0.at(index, Location::caller());
        value.store(&mut { self.0.cell }, at);
    }

    /// Stores an element, really now. Stores are never left out or merged, so this is [`DevSliceMut::write`] with
    /// the name that says so.
    #[inline(always)]
    #[track_caller]
    pub fn write_volatile(&self, index: usize, value: T) {
        self.write(index, value);
    }

    /// Copies elements in, from `first` on.
    #[track_caller]
    pub fn write_from(&self, first: usize, items: &[T]) {
        self.0.write_from(first, items, Location::caller());
    }

    /// Copies all elements of another view, of device or of host memory, to `first` and behind. If the two overlap, what
    /// is copied of the overlap is unspecified.
    #[doc(alias = "flexio_dev_window_copy_to_host")]
    #[doc(alias = "flexio_dev_window_copy_from_host")]
    #[doc(alias = "flexio_dev_memcpy16")]
    #[doc(alias = "flexio_dev_memcpy32")]
    #[doc(alias = "flexio_dev_memcpy64")]
    #[track_caller]
    pub fn copy_from(&self, first: usize, from: &DevSlice<'_, T>) {
        let to = self.0.bytes(first, from.len(), Location::caller());
        let from = from.0.bytes(0, from.len(), Location::caller());
        let mut piece = [0; COPY_PIECE];
        let mut done = 0;
        while done < from.len() {
            let bytes = COPY_PIECE.min(from.len() - done);
            from.copy_out(done, &mut piece[..bytes]);
            to.copy_in(done, &piece[..bytes]);
            done += bytes;
        }
    }

    /// The same elements, for loads only.
    pub fn as_slice(&self) -> DevSlice<'_, T> {
        DevSlice(self.0)
    }
}

/// A view of device memory for atomic access: `u32` or `u64`.
#[derive(Debug)]
pub struct AtomicSlice<'t, T>(Bound<'t, T>);

view!(AtomicSlice, AtomicNumber, Rights::Atomic);

impl<'t, T: AtomicNumber> AtomicSlice<'t, T> {
    /// The number at `index`; a fault if there is none.
    #[inline(always)]
    #[track_caller]
    pub fn at(&self, index: usize) -> AtomicCell<'t, T> {
        let at = self.0.at(index, Location::caller());
        AtomicCell {
            cell: self.0.cell,
            at,
            thread: self.0.thread,
            of: PhantomData,
        }
    }

    /// The number at `index`, or nothing.
    pub fn get(&self, index: usize) -> Option<AtomicCell<'t, T>> {
        (index < self.len()).then(|| self.at(index))
    }
}

/// One number of an [`AtomicSlice`].
#[derive(Clone, Copy, Debug)]
pub struct AtomicCell<'t, T> {
    cell: Cell,
    at: usize,
    thread: &'t ThreadContext<'t>,
    of: PhantomData<T>,
}

impl<T: AtomicNumber> AtomicCell<'_, T> {
    /// An acquiring load. For polling; every 1,024th is a safe point.
    #[doc(alias = "__dpa_remote_atomic_load")]
    #[inline]
    pub fn load(&self) -> T {
        let value = T::load_acquire(&self.cell, self.at);
        self.thread.polled();
        value
    }

    /// A releasing store.
    #[inline]
    pub fn store(&self, value: T) {
        T::store_release(&self.cell, self.at, value);
        self.thread.polled();
    }

    /// Adds, wrapping; the previous value. Acquire-release, like all read-modify-writes here.
    #[doc(alias = "__dpa_remote_atomic_fetch_add")]
    #[inline]
    pub fn add(&self, n: T) -> T {
        let previous = T::fetch_add(&self.cell, self.at, n);
        self.thread.polled();
        previous
    }

    /// Subtracts, wrapping; the previous value.
    #[doc(alias = "__dpa_remote_atomic_fetch_sub")]
    #[inline]
    pub fn sub(&self, n: T) -> T {
        self.add(T::negated(n))
    }

    /// Adds, wrapping; the value after it.
    #[doc(alias = "__dpa_remote_atomic_add_fetch")]
    #[inline]
    pub fn add_fetch(&self, n: T) -> T {
        T::plus(self.add(n), n)
    }

    /// Subtracts, wrapping; the value after it.
    #[doc(alias = "__dpa_remote_atomic_sub_fetch")]
    #[inline]
    pub fn sub_fetch(&self, n: T) -> T {
        self.add_fetch(T::negated(n))
    }

    /// Stores; the previous value.
    #[doc(alias = "__dpa_remote_atomic_exchange")]
    #[inline]
    pub fn swap(&self, value: T) -> T {
        let previous = T::swap(&self.cell, self.at, value);
        self.thread.polled();
        previous
    }

    /// Stores `new` if the value is `expected`.
    ///
    /// # Errors
    /// The value that was there instead.
    #[doc(alias = "__dpa_remote_atomic_compare_exchange")]
    #[inline]
    pub fn compare_exchange(&self, expected: T, new: T) -> Result<T, T> {
        let previous = T::compare_exchange(&self.cell, self.at, expected, new);
        self.thread.polled();
        if previous == expected {
            Ok(previous)
        } else {
            Err(previous)
        }
    }

    /// Bitwise and; the previous value.
    pub fn and(&self, bits: T) -> T {
        self.update(|v| T::and(v, bits))
    }

    /// Bitwise or; the previous value.
    pub fn or(&self, bits: T) -> T {
        self.update(|v| T::or(v, bits))
    }

    /// Bitwise exclusive or; the previous value.
    pub fn xor(&self, bits: T) -> T {
        self.update(|v| T::xor(v, bits))
    }

    /// The lesser of the value and `n`; the previous value.
    pub fn min(&self, n: T) -> T {
        self.update(|v| T::min(v, n))
    }

    /// The greater of the value and `n`; the previous value.
    pub fn max(&self, n: T) -> T {
        self.update(|v| T::max(v, n))
    }

    fn update(&self, f: impl Fn(T) -> T) -> T {
        let mut seen = self.load();
        loop {
            match self.compare_exchange(seen, f(seen)) {
                Ok(previous) => return previous,
                Err(now) => seen = now,
            }
        }
    }
}
