//! What the programs print.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints a line, as [`put`] does.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => {
        $crate::output::put(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Says on standard error what went wrong. That nobody reads it is no reason to fail in another way.
#[macro_export]
macro_rules! complain {
    ($($part:tt)*) => {
        $crate::output::complain(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Writes to standard error, as [`complain!`](crate::complain) does.
pub fn complain(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Prints text. That nobody reads any more (`| head`) is no reason to fail; that there is no room for it (`> file`) ends the
/// program with code 1, and a word why.
pub fn put(text: Arguments<'_>) {
    if let Err(error) = told(io::stdout().write_fmt(text)) {
        // Perhaps that is full, too.
        crate::complain!("standard output: {error}");
        std::process::exit(1);
    }
}

/// Whether it was printed, as far as anybody cares.
fn told(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pipe_that_nobody_reads_is_passed_over() {
        assert!(told(Err(ErrorKind::BrokenPipe.into())).is_ok());
        let full = told(Err(ErrorKind::StorageFull.into()));
        assert_eq!(full.expect_err("full").kind(), ErrorKind::StorageFull);
        assert!(told(Ok(())).is_ok());
    }
}
