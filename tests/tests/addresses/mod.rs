//! Addresses of loopback for the NICs of one test program.

use std::net::Ipv4Addr;

/// The address with this last byte among those of this program: others that run at the same time have others.
pub fn of_this_program(last: u8) -> Ipv4Addr {
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, high | 1, low, last)
}
