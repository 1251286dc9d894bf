//! What the programs print.

use std::fmt::Arguments;
use std::io::Write;

/// Prints a line. That nobody reads any more (`| head`) is no reason to fail.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => {
        $crate::output::put(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Prints text.
pub fn put(text: Arguments<'_>) {
    let _ = std::io::stdout().write_fmt(text);
}
