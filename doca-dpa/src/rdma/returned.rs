//! Failures that give a host buffer back.

use std::fmt;

use super::error::WorkUnfinished;
use super::memory::HostBuffer;
use crate::Error;

/// What was asked for a host buffer was not done: why, and the buffer, as it was.
///
/// It displays as its error. With `?` it becomes an [`Error`](enum@crate::Error) of this crate, without the buffer.
#[derive(Debug)]
pub struct Returned<E> {
    /// Why not.
    pub error: E,
    /// What was given.
    pub buffer: HostBuffer,
}

impl<E> Returned<E> {
    /// What came of trying something with a buffer, and the buffer; or the failure, with it.
    pub(crate) fn unless<T>(
        tried: Result<T, impl Into<E>>,
        buffer: HostBuffer,
    ) -> Result<(T, HostBuffer), Self> {
        match tried {
            Ok(came) => Ok((came, buffer)),
            Err(error) => {
                let error = error.into();
                Err(Self { error, buffer })
            }
        }
    }

    /// Why not; the buffer is dropped.
    pub fn into_error(self) -> E {
        self.error
    }

    /// The buffer.
    pub fn into_buffer(self) -> HostBuffer {
        self.buffer
    }
}

impl<E: fmt::Display> fmt::Display for Returned<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: std::error::Error> std::error::Error for Returned<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<E: Into<Self>> From<Returned<E>> for Error {
    fn from(returned: Returned<E>) -> Self {
        returned.error.into()
    }
}

impl<E: Into<Self>> From<Returned<E>> for WorkUnfinished {
    fn from(returned: Returned<E>) -> Self {
        returned.error.into()
    }
}
