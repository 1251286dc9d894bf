//! The first bytes on a connection: who we are, and which session is meant.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ExchangeError;

/// The version of what travels. Programs of different versions refuse each other.
pub const VERSION: u32 = 1;

const STEP: &str = "hello";
const MAGIC: [u8; 8] = *b"dpa-oob\0";
/// Shown instead of a token to who had the wrong one.
const REFUSED: [u8; 16] = [0; 16];
const LEN: usize = 28;

/// Says hello and waits for the listening side to accept it.
pub(super) async fn from_connecting(
    stream: &mut TcpStream,
    token: [u8; 16],
) -> Result<(), ExchangeError> {
    write(stream, token).await?;
    check(&read(stream).await?, token)
}

/// Waits for the connecting side's hello and answers it: with our token if it is right, else with none.
pub(super) async fn from_listening(
    stream: &mut TcpStream,
    token: [u8; 16],
) -> Result<(), ExchangeError> {
    let theirs = check(&read(stream).await?, token);
    let answer = match &theirs {
        Ok(()) => token,
        Err(ExchangeError::NotAPeer) => return theirs,
        Err(_) => REFUSED,
    };
    write(stream, answer).await?;
    theirs
}

async fn write(stream: &mut TcpStream, token: [u8; 16]) -> Result<(), ExchangeError> {
    let hello = [&MAGIC[..], &VERSION.to_le_bytes(), &token].concat();
    let written = stream.write_all(&hello).await;
    written.map_err(|source| ExchangeError::from_io(STEP, source))
}

async fn read(stream: &mut TcpStream) -> Result<[u8; LEN], ExchangeError> {
    let mut hello = [0; LEN];
    let read = stream.read_exact(&mut hello).await;
    read.map_err(|source| ExchangeError::from_io(STEP, source))?;
    Ok(hello)
}

/// Magic and version first: they stand at the same place in every version.
fn check(hello: &[u8; LEN], token: [u8; 16]) -> Result<(), ExchangeError> {
    let (magic, rest) = hello.split_at(MAGIC.len());
    let (version, theirs) = rest.split_at(4);
    if magic != MAGIC {
        return Err(ExchangeError::NotAPeer);
    }
    if version != VERSION.to_le_bytes() {
        let theirs = version
            .iter()
            .rev()
            .fold(0, |v, byte| v << 8 | u32::from(*byte));
        let ours = VERSION;
        return Err(ExchangeError::Version { theirs, ours });
    }
    if theirs != token {
        return Err(ExchangeError::Session);
    }
    Ok(())
}
