//! The part of a view that belongs to one rank.

use core::ops::Range;

use dpa_abi::Pod;
use flexio_dev::DevSliceMut;

/// The elements of a [`DevSliceMut`] that belong to one thread of the launch; made by
/// [`Thread::rank_slice`](crate::Thread::rank_slice). Indices count from the first of them. It is not `Copy`.
///
/// Threads that reach a buffer only through their rank slices never touch the same element.
#[derive(Debug)]
pub struct RankSlice<'t, T> {
    view: DevSliceMut<'t, T>,
    first: usize,
}

impl<'t, T: Pod> RankSlice<'t, T> {
    #[track_caller]
    pub(crate) fn new(whole: DevSliceMut<'t, T>, mine: Range<usize>) -> Self {
        Self {
            view: whole.part(mine.start, mine.len()),
            first: mine.start,
        }
    }

    /// Index of its first element in the whole view.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Elements of this thread.
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Whether this thread has none.
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    /// The element at `index`; a fault if it is not this thread's.
    #[inline]
    #[track_caller]
    pub fn read(&self, index: usize) -> T {
        self.view.read(index)
    }

    /// Stores an element; a fault if it is not this thread's.
    #[inline]
    #[track_caller]
    pub fn write(&mut self, index: usize, value: T) {
        self.view.write(index, value);
    }

    /// Replaces every element by what `f` makes of its index in the whole view and of its value.
    pub fn update(&mut self, mut f: impl FnMut(usize, T) -> T) {
        for i in 0..self.len() {
            self.view.write(i, f(self.first + i, self.view.read(i)));
        }
    }

    /// Copies elements out, from `first` on.
    #[track_caller]
    pub fn read_into(&self, first: usize, out: &mut [T]) {
        self.view.read_into(first, out);
    }

    /// Copies elements in, from `first` on.
    #[track_caller]
    pub fn write_from(&mut self, first: usize, items: &[T]) {
        self.view.write_from(first, items);
    }
}
