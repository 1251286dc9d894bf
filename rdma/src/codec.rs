//! The codec of exported blobs: the only module that names bincode.
//!
//! A blob is plain bytes that travel out of band (a socket, a file, an environment variable) from one program
//! to another. Its layout is fixed: four bytes of magic, what it is, the version of its layout, then the fields
//! in order, integers little-endian and of fixed size. Reading it back is bounded and checks everything
//! once; what comes out is a value that may still lie about the peer, but not about itself.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The most bytes of a blob, both ways.
pub const MAX_BLOB: usize = 4096;

const MAGIC: [u8; 4] = *b"dpaR";

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum BlobKind {
    /// A [`crate::connection::ConnectionInfo`].
    Connection = 1,
    /// A [`crate::connection::RemoteRegion`].
    Region = 2,
    /// A [`crate::connection::RemoteEvent`].
    Event = 3,
}

/// Why bytes are not the blob they should be.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than any blob.
    #[error("{len} bytes are more than the {MAX_BLOB} of a blob")]
    TooLong {
        /// How many there are.
        len: usize,
    },
    /// Not a blob of this library.
    #[error("this is no exported blob")]
    Magic,
    /// Another kind of blob.
    #[error("expected a blob of kind {expected:?}, found kind {found}")]
    Kind {
        /// What was asked for.
        expected: BlobKind,
        /// The number found.
        found: u16,
    },
    /// A layout this version of the library does not know.
    #[error("layout version {found} is not the known version {known}")]
    Version {
        /// The version found.
        found: u16,
        /// The version known.
        known: u16,
    },
    /// Too few bytes, too many, or a field that cannot be.
    #[error("the blob is damaged: {reason}")]
    Damaged {
        /// What the decoder said.
        reason: String,
    },
    /// A field has a value that is not allowed.
    #[error("field {field} has the invalid value {value}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What stood there.
        value: u64,
    },
}

/// A field with a value that is not allowed.
pub(crate) fn invalid(field: &'static str, value: impl Into<u64>) -> DecodeError {
    DecodeError::Field {
        field,
        value: value.into(),
    }
}

fn options() -> impl Options {
    bincode::options()
        .with_fixint_encoding()
        .with_limit(MAX_BLOB as u64)
}

/// The bytes of `raw`.
///
/// # Panics
///
/// If they are more than [`MAX_BLOB`], which no type of this crate can be.
pub(crate) fn encode<T: Serialize>(kind: BlobKind, version: u16, raw: &T) -> Vec<u8> {
    let blob = (MAGIC, kind as u16, version, raw);
    options()
        .serialize(&blob)
        .expect("plain fields of bounded size")
}

/// The fields of a blob, still unchecked.
pub(crate) fn decode<T: DeserializeOwned>(
    kind: BlobKind,
    version: u16,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    if bytes.len() > MAX_BLOB {
        return Err(DecodeError::TooLong { len: bytes.len() });
    }
    let damaged = |error: bincode::Error| DecodeError::Damaged {
        reason: error.to_string(),
    };
    let header = options()
        .allow_trailing_bytes()
        .deserialize(bytes)
        .map_err(damaged)?;
    check_header(header, kind, version)?;
    let blob: ([u8; 4], u16, u16, T) = options().deserialize(bytes).map_err(damaged)?;
    Ok(blob.3)
}

fn check_header(
    header: ([u8; 4], u16, u16),
    kind: BlobKind,
    known: u16,
) -> Result<(), DecodeError> {
    match header {
        (magic, ..) if magic != MAGIC => Err(DecodeError::Magic),
        (_, found, _) if found != kind as u16 => Err(DecodeError::Kind {
            expected: kind,
            found,
        }),
        (_, _, found) if found != known => Err(DecodeError::Version { found, known }),
        _ => Ok(()),
    }
}
