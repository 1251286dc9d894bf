//! Frames: length, step, blob.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ExchangeError;

/// The longest frame in bytes, without its length field.
pub const MAX_FRAME: usize = 64 * 1024;
/// A blob of this many bytes fits in a frame whatever its step is called.
pub const MAX_BLOB: usize = MAX_FRAME - 256;

/// Where the name starts: behind the byte that has its length.
const NAME: usize = 1;

/// The frame of a step with this blob.
///
/// # Errors
/// `TooLong`, also for a step's name of more than 255 bytes.
pub(super) fn encode(step: &'static str, blob: &[u8]) -> Result<Vec<u8>, ExchangeError> {
    let body = NAME + step.len() + blob.len();
    let name = u8::try_from(step.len()).map_err(|_| too_long(step, step.len(), 255))?;
    let len = checked(step, body)?;
    Ok([&len.to_le_bytes()[..], &[name], step.as_bytes(), blob].concat())
}

/// Sends an encoded frame.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    step: &'static str,
    frame: &[u8],
) -> Result<(), ExchangeError> {
    let written = stream.write_all(frame).await;
    written.map_err(|source| ExchangeError::from_io(step, source))
}

/// Takes the next frame, which must be of this step, and returns its blob. Reads not a byte more, and nothing of a
/// frame that is too long.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    step: &'static str,
) -> Result<Vec<u8>, ExchangeError> {
    let failed = |source| ExchangeError::from_io(step, source);
    let len = stream.read_u32_le().await.map_err(failed)?;
    let len = checked(step, usize::try_from(len).unwrap_or(usize::MAX))?;
    let mut body = vec![0; len as usize];
    stream.read_exact(&mut body).await.map_err(failed)?;
    blob_of(step, body)
}

/// The blob in a frame's body, if the step is ours.
fn blob_of(ours: &'static str, body: Vec<u8>) -> Result<Vec<u8>, ExchangeError> {
    let malformed = |fault| ExchangeError::Malformed { step: ours, fault };
    let name_len = *body.first().ok_or(malformed("an empty frame"))?;
    let rest = &body[NAME..];
    let (name, blob) = rest
        .split_at_checked(name_len.into())
        .ok_or(malformed("a frame shorter than its step's name"))?;
    if name == ours.as_bytes() {
        return Ok(blob.to_vec());
    }
    let theirs = std::str::from_utf8(name).map_err(|_| malformed("a step that has no name"))?;
    Err(ExchangeError::OutOfStep {
        theirs: theirs.escape_debug().to_string(),
        ours,
    })
}

/// The length as it travels.
fn checked(step: &'static str, len: usize) -> Result<u32, ExchangeError> {
    match u32::try_from(len) {
        Ok(short) if len <= MAX_FRAME => Ok(short),
        _ => Err(too_long(step, len, MAX_FRAME)),
    }
}

fn too_long(step: &'static str, len: usize, max: usize) -> ExchangeError {
    ExchangeError::TooLong { step, len, max }
}
