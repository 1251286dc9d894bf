//! What the server tells a client first.

use thiserror::Error;

/// What the server tells a client that it lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// What the client's requests must name; not 0.
    pub session: u32,
    /// Entries that the server's store may have.
    pub entries: u32,
}

/// The server did not let this client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WelcomeError {
    /// It has as many clients as it can have.
    #[error("the server has {clients} clients, as many as it can have")]
    Crowded {
        /// How many that is.
        clients: u32,
    },
    /// These are not the bytes of a welcome.
    #[error("the server sent {len} bytes that are no welcome")]
    Malformed {
        /// How many.
        len: usize,
    },
}

const WELCOME: u32 = 1;
const CROWDED: u32 = 2;

/// A welcome, or why not, as it travels: three numbers of 32 bits, little-endian.
pub(super) fn encode(welcome: Result<Welcome, u32>) -> [u8; 12] {
    let words = match welcome {
        Ok(Welcome { session, entries }) => [WELCOME, session, entries],
        Err(clients) => [CROWDED, clients, 0],
    };
    let mut bytes = [0; 12];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

impl TryFrom<&[u8]> for Welcome {
    type Error = WelcomeError;

    fn try_from(bytes: &[u8]) -> Result<Self, WelcomeError> {
        let malformed = WelcomeError::Malformed { len: bytes.len() };
        let words: [u8; 12] = bytes.try_into().map_err(|_| malformed)?;
        let word = |at: usize| {
            let bytes = [words[at], words[at + 1], words[at + 2], words[at + 3]];
            u32::from_le_bytes(bytes)
        };
        match (word(0), word(4), word(8)) {
            (WELCOME, session, entries) if session != 0 => Ok(Self { session, entries }),
            (CROWDED, clients, _) => Err(WelcomeError::Crowded { clients }),
            _ => Err(malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let welcome = Welcome {
            session: 7,
            entries: 1 << 20,
        };
        let bytes = encode(Ok(welcome));
        assert_eq!(Welcome::try_from(&bytes[..]), Ok(welcome));
        let crowded = Err(WelcomeError::Crowded { clients: 4 });
        assert_eq!(Welcome::try_from(&encode(Err(4))[..]), crowded);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&[][..], &[0; 12], &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
            let len = bytes.len();
            assert_eq!(
                Welcome::try_from(bytes),
                Err(WelcomeError::Malformed { len })
            );
        }
    }
}
