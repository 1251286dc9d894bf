//! What the host programs of the examples share.
//!
//! * [`portions`]: a file, read in portions while the device works on the one before.
//! * [`analysis`]: the three kernels of `pipeline`, launched for each portion and chained by one event.
//! * [`mod@reference`]: the same by the host alone, to check against.
//! * [`table`]: what is printed.
//! * [`exchange`]: how programs tell each other what they need before they can speak RDMA.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod exchange;
pub mod portions;
pub mod reference;
pub mod table;
