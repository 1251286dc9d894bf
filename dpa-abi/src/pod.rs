//! Plain values: what may stand in device memory, in arguments and in messages.
//!
//! A plain value has one layout everywhere: little-endian, every field at a multiple of its own alignment, as C lays
//! out a struct. It is read and written field by field through [`Load`] and [`Store`], so no byte of padding ever
//! travels, no bit pattern is invalid and nobody has to promise a memory layout with `unsafe`.

use crate::addr::DevAddr;
use crate::bytes;
use crate::handle::{EventHandle, Handle, HandlerHandle};

/// Where plain values are loaded from: aligned little-endian numbers at byte offsets.
///
/// An implementation checks the offset itself; an offset outside is a panic or a fault, never undefined behaviour.
pub trait Load {
    /// The byte at `at`.
    fn u8(&self, at: usize) -> u8;
    /// The two bytes at `at`.
    fn u16(&self, at: usize) -> u16;
    /// The four bytes at `at`.
    fn u32(&self, at: usize) -> u32;
    /// The eight bytes at `at`.
    fn u64(&self, at: usize) -> u64;
}

/// Where plain values are stored to.
pub trait Store {
    /// Stores a byte at `at`.
    fn put_u8(&mut self, at: usize, v: u8);
    /// Stores two bytes at `at`.
    fn put_u16(&mut self, at: usize, v: u16);
    /// Stores four bytes at `at`.
    fn put_u32(&mut self, at: usize, v: u32);
    /// Stores eight bytes at `at`.
    fn put_u64(&mut self, at: usize, v: u64);
}

/// A plain value of fixed size. Implemented for numbers, `bool`, addresses, handles and arrays of them; for structs
/// by `#[derive(Pod)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plain value, so it cannot stand in device memory or in arguments",
    note = "plain are integers of 8 to 64 bits, floats, bool, DevAddr, handles, arrays of them, and structs with #[derive(Pod)]"
)]
pub trait Pod: Copy + Send + Sync + 'static {
    /// Bytes it takes, a multiple of [`Pod::ALIGN`].
    const SIZE: usize;
    /// What its address must be a multiple of: 1, 2, 4 or 8.
    const ALIGN: usize;

    /// Loads the value at byte `at`.
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self;
    /// Stores the value at byte `at`.
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize);

    /// Writes `items` one behind the other. `out` must have `items.len() * SIZE` bytes.
    ///
    /// # Panics
    /// If `out` has another length.
    fn encode_slice(items: &[Self], out: &mut [u8]) {
        assert_eq!(out.len(), items.len() * Self::SIZE, "bytes for the items");
        for (item, chunk) in items.iter().zip(out.chunks_exact_mut(Self::SIZE.max(1))) {
            item.store(&mut Bytes(chunk), 0);
        }
    }

    /// Reads as many items as `out` has. `bytes` must have `out.len() * SIZE` bytes.
    ///
    /// # Panics
    /// If `bytes` has another length.
    fn decode_slice(bytes: &[u8], out: &mut [Self]) {
        assert_eq!(bytes.len(), out.len() * Self::SIZE, "bytes of the items");
        for (item, chunk) in out.iter_mut().zip(bytes.chunks_exact(Self::SIZE.max(1))) {
            *item = Self::load(&Bytes(chunk), 0);
        }
    }

    /// The items as bytes, if they lie here as they lie in device memory: numbers do, on little-endian machines.
    #[inline]
    fn as_bytes(_: &[Self]) -> Option<&[u8]> {
        None
    }

    /// As [`Pod::as_bytes`], to be written.
    #[inline]
    fn as_bytes_mut(_: &mut [Self]) -> Option<&mut [u8]> {
        None
    }

    /// The value with all bytes zero.
    fn zeroed() -> Self {
        Self::load(&Zeros, 0)
    }
}

/// Rounds `at` up to a multiple of `align`; for layouts computed by derives.
pub const fn align_up(at: usize, align: usize) -> usize {
    (at + align - 1) & !(align - 1)
}

/// The larger of two; for layouts computed by derives.
pub const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Plain values in ordinary bytes.
#[derive(Debug)]
pub struct Bytes<B>(pub B);

impl<B: AsRef<[u8]>> Bytes<B> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0.as_ref()[at..at + N]);
        out
    }
}

impl<B: AsRef<[u8]>> Load for Bytes<B> {
    #[inline]
    fn u8(&self, at: usize) -> u8 {
        self.0.as_ref()[at]
    }
    #[inline]
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }
    #[inline]
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }
    #[inline]
    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

impl<B: AsMut<[u8]>> Store for Bytes<B> {
    #[inline]
    fn put_u8(&mut self, at: usize, v: u8) {
        self.0.as_mut()[at] = v;
    }
    #[inline]
    fn put_u16(&mut self, at: usize, v: u16) {
        self.0.as_mut()[at..at + 2].copy_from_slice(&v.to_le_bytes());
    }
    #[inline]
    fn put_u32(&mut self, at: usize, v: u32) {
        self.0.as_mut()[at..at + 4].copy_from_slice(&v.to_le_bytes());
    }
    #[inline]
    fn put_u64(&mut self, at: usize, v: u64) {
        self.0.as_mut()[at..at + 8].copy_from_slice(&v.to_le_bytes());
    }
}

struct Zeros;

impl Load for Zeros {
    fn u8(&self, _: usize) -> u8 {
        0
    }
    fn u16(&self, _: usize) -> u16 {
        0
    }
    fn u32(&self, _: usize) -> u32 {
        0
    }
    fn u64(&self, _: usize) -> u64 {
        0
    }
}

macro_rules! number {
    ($($t:ty: $size:literal, $get:ident, $put:ident;)*) => {$(
        impl Pod for $t {
            const SIZE: usize = $size;
            const ALIGN: usize = $size;
            #[inline]
            fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
                Self::from_le_bytes(from.$get(at).to_le_bytes())
            }
            #[inline]
            fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
                to.$put(at, $get::from_le_bytes(self.to_le_bytes()));
            }
            #[inline]
            fn as_bytes(items: &[Self]) -> Option<&[u8]> {
                cfg!(target_endian = "little").then(|| bytes::of(items))
            }
            #[inline]
            fn as_bytes_mut(items: &mut [Self]) -> Option<&mut [u8]> {
                cfg!(target_endian = "little").then(|| bytes::of_mut(items))
            }
        }
    )*};
}

number! {
    i8: 1, u8, put_u8;
    u16: 2, u16, put_u16;
    i16: 2, u16, put_u16;
    u32: 4, u32, put_u32;
    i32: 4, u32, put_u32;
    f32: 4, u32, put_u32;
    u64: 8, u64, put_u64;
    i64: 8, u64, put_u64;
    f64: 8, u64, put_u64;
}

impl Pod for u8 {
    const SIZE: usize = 1;
    const ALIGN: usize = 1;
    #[inline]
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        from.u8(at)
    }
    #[inline]
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u8(at, self);
    }
    fn as_bytes(items: &[Self]) -> Option<&[u8]> {
        Some(items)
    }
    fn as_bytes_mut(items: &mut [Self]) -> Option<&mut [u8]> {
        Some(items)
    }
    fn encode_slice(items: &[Self], out: &mut [u8]) {
        out.copy_from_slice(items);
    }
    fn decode_slice(bytes: &[u8], out: &mut [Self]) {
        out.copy_from_slice(bytes);
    }
}

/// One byte; every byte but 0 reads as `true`.
impl Pod for bool {
    const SIZE: usize = 1;
    const ALIGN: usize = 1;
    #[inline]
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        from.u8(at) != 0
    }
    #[inline]
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u8(at, u8::from(self));
    }
}

impl Pod for () {
    const SIZE: usize = 0;
    const ALIGN: usize = 1;
    fn load<L: Load + ?Sized>(_: &L, _: usize) -> Self {}
    fn store<S: Store + ?Sized>(self, _: &mut S, _: usize) {}
    fn encode_slice(_: &[Self], _: &mut [u8]) {}
    fn decode_slice(_: &[u8], _: &mut [Self]) {}
}

impl<T: Pod, const N: usize> Pod for [T; N] {
    const SIZE: usize = T::SIZE * N;
    const ALIGN: usize = T::ALIGN;
    #[inline]
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        core::array::from_fn(|i| T::load(from, at + i * T::SIZE))
    }
    #[inline]
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        for (i, item) in self.into_iter().enumerate() {
            item.store(to, at + i * T::SIZE);
        }
    }
    // An array may be larger than the stack has room for copies of it.
    fn encode_slice(items: &[Self], out: &mut [u8]) {
        T::encode_slice(items.as_flattened(), out);
    }
    fn decode_slice(bytes: &[u8], out: &mut [Self]) {
        T::decode_slice(bytes, out.as_flattened_mut());
    }
}

impl<T: 'static> Pod for DevAddr<T> {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    #[inline]
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self::from_raw(from.u64(at))
    }
    #[inline]
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.raw());
    }
}

impl Pod for Handle {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    #[inline]
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self::from_bits(from.u64(at))
    }
    #[inline]
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.to_bits());
    }
}

macro_rules! handle_pod {
    ($($name:ident),*) => {$(
        #[diagnostic::do_not_recommend]
        impl Pod for $name {
            const SIZE: usize = 8;
            const ALIGN: usize = 8;
            #[inline]
            fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
                Self(Handle::load(from, at))
            }
            #[inline]
            fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
                self.0.store(to, at);
            }
        }
    )*};
}

handle_pod!(EventHandle, HandlerHandle);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_travel_little_endian() {
        let mut bytes = [0u8; 8];
        u32::encode_slice(&[1, 0x0203_0405], &mut bytes);
        assert_eq!(bytes, [1, 0, 0, 0, 5, 4, 3, 2]);
        let mut back = [0u32; 2];
        u32::decode_slice(&bytes, &mut back);
        assert_eq!(back, [1, 0x0203_0405]);
    }

    #[test]
    fn arrays_and_bools_keep_their_value() {
        let mut bytes = [0u8; 3];
        <[bool; 3]>::encode_slice(&[[true, false, true]], &mut bytes);
        assert_eq!(bytes, [1, 0, 1]);
        let mut back = [[false; 3]];
        <[bool; 3]>::decode_slice(&bytes, &mut back);
        assert_eq!(back, [[true, false, true]]);
        assert_eq!(
            <[bool; 3]>::load(&Bytes(&[2u8, 0, 255]), 0),
            [true, false, true]
        );
        assert_eq!(<[i16; 2]>::zeroed(), [0, 0]);
        assert_eq!(f64::load(&Bytes((-1.5f64).to_le_bytes()), 0), -1.5);
    }
}
