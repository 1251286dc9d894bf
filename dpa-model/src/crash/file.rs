//! The names of crash files, and how they are made: new ones, for their owner only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::CrashProblem;
use crate::process::Process;

/// Reports that one program leaves under one name at most: a program that faults again and again fills no disk.
pub(crate) const MOST_REPORTS: u32 = 1000;

/// What they are called in a directory.
const IN_A_DIRECTORY: &str = "doca_dpa_fatal";

/// What the names begin with, independent of where the program goes later.
pub(crate) fn prefix(path: PathBuf) -> PathBuf {
    let named = if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        path.join(IN_A_DIRECTORY)
    } else {
        path
    };
    std::path::absolute(&named).unwrap_or(named)
}

/// What the names of this process's reports begin with: those of the device's first function, or of another by its name. Each has as many
/// reports as may be, whatever goes wrong on others.
pub(crate) fn prefix_of(prefix: &Path, process: &Process) -> PathBuf {
    let tenancy = &process.tenancy;
    match tenancy.partition.index {
        0 => prefix.into(),
        _ => {
            let mut named = prefix.as_os_str().to_owned();
            named.push(format!(".{}", tenancy.function));
            named.into()
        }
    }
}

/// The files of one report.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) text: Named,
    /// `None`: it was not asked for. A core that could not be made takes no text with it.
    pub(crate) core: Option<Result<Named, CrashProblem>>,
}

/// An open file and its name.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl Files {
    /// Makes the files of the first number of which neither exists.
    pub(crate) fn make(prefix: &Path, with_core: bool) -> Result<Self, CrashProblem> {
        for number in 0..MOST_REPORTS {
            if let Some(files) = Self::numbered(prefix, number, with_core)? {
                return Ok(files);
            }
        }
        Err(CrashProblem::TooMany {
            prefix: prefix.into(),
            limit: MOST_REPORTS,
        })
    }

    fn numbered(prefix: &Path, number: u32, with_core: bool) -> Result<Option<Self>, CrashProblem> {
        let core_path = path(prefix, number, "core");
        // Taken or not, a text of this number would look as if it belonged to that core.
        if core_path.symlink_metadata().is_ok() {
            return Ok(None);
        }
        let Some(text) = Named::make(path(prefix, number, "crash"))? else {
            return Ok(None);
        };
        if !with_core {
            return Ok(Some(Self { text, core: None }));
        }
        // Somebody else's, since: another number.
        let Some(core) = Named::make(core_path).transpose() else {
            let _ = std::fs::remove_file(&text.path);
            return Ok(None);
        };
        let core = Some(core);
        Ok(Some(Self { text, core }))
    }
}

fn path(prefix: &Path, number: u32, extension: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.push(format!(".{extension}"));
    name.into()
}

impl Named {
    /// A new file; `None` if there is something of that name, a link that leads nowhere included.
    fn make(path: PathBuf) -> Result<Option<Self>, CrashProblem> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        match options.open(&path) {
            Ok(file) => Ok(Some(Self { path, file })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(CrashProblem::Create {
                path,
                source: Arc::new(error),
            }),
        }
    }

    pub(crate) fn problem(&self, error: io::Error) -> CrashProblem {
        CrashProblem::Write {
            path: self.path.clone(),
            source: Arc::new(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory of its own, gone at the end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("dpa-crash-{}-{name}", std::process::id()));
            std::fs::create_dir(&dir).expect("a directory");
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn rule_5_2_what_exists_is_never_overwritten_nor_followed() {
        let dir = Dir::new("names");
        let prefix = prefix(dir.0.clone());
        assert_eq!(prefix, dir.0.join("doca_dpa_fatal"));
        let pid = std::process::id();
        let named = |rest: &str| dir.0.join(format!("doca_dpa_fatal.{pid}{rest}"));
        std::fs::write(named(".crash"), "mine").expect("a file");
        std::fs::write(named(".1.core"), "mine too").expect("a file");
        let target = dir.0.join("elsewhere");
        std::os::unix::fs::symlink(&target, named(".2.crash")).expect("a link");
        std::os::unix::fs::symlink(&target, named(".3.core")).expect("a link");
        let files = Files::make(&prefix, true).expect("files");
        assert_eq!(files.text.path, named(".4.crash"));
        let core = files.core.expect("asked for").expect("a core");
        assert_eq!(core.path, named(".4.core"));
        assert_eq!(std::fs::read(named(".crash")).expect("mine"), b"mine");
        assert!(!target.exists(), "no link is followed");
        assert!(!named(".3.crash").exists(), "no text without its core");
        let mode = files.text.file.metadata().expect("it").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn rule_5_2_the_number_of_reports_is_bounded() {
        let dir = Dir::new("most");
        let prefix = dir.0.join("p");
        for _ in 0..MOST_REPORTS {
            Files::make(&prefix, false).expect("files");
        }
        let error = Files::make(&prefix, false).expect_err("enough");
        assert!(matches!(
            error,
            CrashProblem::TooMany {
                limit: MOST_REPORTS,
                ..
            }
        ));
    }
}
