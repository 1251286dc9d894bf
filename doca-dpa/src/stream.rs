//! Streams: work that runs one after the other.

use std::ops::RangeBounds;
use std::sync::Arc;

use dpa_abi::{Kernel, Pod};
use flexio::ProcessRef;

use crate::buffer::DeviceBuffer;
use crate::launch::LaunchBuilder;
use crate::step::StepBuilder;

/// A stream of launches, copies and fills: each starts when the one before it has completed, and happens after it. No
/// events need to be numbered by hand.
///
/// If one is cancelled or faults, what is behind it is cancelled too, and the stream takes nothing more. Clones are the
/// same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    process: ProcessRef,
    inner: Arc<flexio::Stream>,
}

impl Stream {
    pub(crate) fn new(process: ProcessRef) -> Self {
        let inner = process.stream();
        Self { process, inner }
    }

    /// Begins a launch in this stream.
    pub fn launch<K: Kernel>(&self, kernel: K) -> LaunchBuilder<K, K::Given> {
        LaunchBuilder::new(self.process.clone(), kernel).in_stream(self.inner.clone())
    }

    /// Begins a copy into a buffer.
    pub fn write<T: Pod>(
        &self,
        buffer: &DeviceBuffer<T>,
        first: usize,
        items: Vec<T>,
    ) -> StepBuilder<()> {
        buffer
            .write_step(first, items)
            .in_stream(self.inner.clone())
    }

    /// Begins a copy out of a buffer.
    pub fn read<T: Pod>(
        &self,
        buffer: &DeviceBuffer<T>,
        range: impl RangeBounds<usize>,
    ) -> StepBuilder<Vec<T>> {
        buffer.read_step(range).in_stream(self.inner.clone())
    }

    /// Begins a fill of a buffer.
    pub fn fill<T: Pod>(&self, buffer: &DeviceBuffer<T>, value: T) -> StepBuilder<()> {
        buffer.fill_step(value).in_stream(self.inner.clone())
    }

    /// Whether a launch or step of it was cancelled or faulted.
    pub fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }
}
