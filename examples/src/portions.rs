//! A file, read portion by portion.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Bytes in a portion.
pub const PORTION: usize = 4 << 20;

/// Why a file cannot be analysed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened.
    #[error("{} cannot be opened: {source}", .path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory.
    #[error("{} is a directory, not a file", .path.display())]
    Directory {
        /// Its path.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{} is empty: there is nothing to analyse", .path.display())]
    Empty {
        /// Its path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open file. Having one proves that it is no directory.
#[derive(Debug)]
pub struct Portions {
    file: File,
    path: PathBuf,
    expected: u64,
    read: u64,
}

impl Portions {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, or is a directory.
    pub async fn open(path: &Path) -> Result<Self, FileError> {
        let (path, at) = (path.to_path_buf(), path);
        let opened = async {
            let file = File::open(at).await?;
            let about = file.metadata().await?;
            Ok((file, about))
        };
        match opened.await {
            Err(source) => Err(FileError::Open { path, source }),
            Ok((_, about)) if about.is_dir() => Err(FileError::Directory { path }),
            Ok((file, about)) => Ok(Self {
                file,
                path,
                expected: about.len(),
                read: 0,
            }),
        }
    }

    /// Its length when it was opened, in bytes; 0 for a pipe.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// The next portion: [`PORTION`] bytes, or fewer at the end. `None` behind the end.
    ///
    /// # Errors
    /// It cannot be read, or there is nothing in it at all.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.file).take(PORTION as u64);
        if let Err(source) = limited.read_to_end(&mut bytes).await {
            let path = self.path.clone();
            return Err(FileError::Read { path, source });
        }
        self.read += bytes.len() as u64;
        match (bytes.is_empty(), self.read) {
            (false, _) => Ok(Some(bytes)),
            (true, 0) => Err(FileError::Empty {
                path: self.path.clone(),
            }),
            (true, _) => Ok(None),
        }
    }
}
