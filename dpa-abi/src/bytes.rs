//! Numbers as their bytes in memory, for bulk copies.

mod sealed {
    /// Plain numbers.
    ///
    /// # Safety
    /// Every bit pattern is a value, and there is no padding.
    pub unsafe trait Number: Copy {}
}

pub(crate) use sealed::Number;

macro_rules! numbers {
    ($($t:ty),*) => {$(
        // SAFETY: numbers have neither padding nor invalid values.
        unsafe impl Number for $t {}
    )*};
}

numbers!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

/// The bytes of these numbers, in this machine's order.
pub(crate) fn of<T: Number>(items: &[T]) -> &[u8] {
    // SAFETY: the range is that of `items`; every byte of a number is a byte.
    unsafe { core::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) }
}

/// The bytes of these numbers, to be written, in this machine's order.
pub(crate) fn of_mut<T: Number>(items: &mut [T]) -> &mut [u8] {
    // SAFETY: the range is that of `items`, borrowed alone; every bit pattern is a number.
    unsafe { core::slice::from_raw_parts_mut(items.as_mut_ptr().cast(), size_of_val(items)) }
}
