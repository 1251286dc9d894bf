//! What the host programs of the examples share.
//!
//! * [`portions`]: a file, read in portions while the device works on the one before.
//! * [`analysis`]: the three kernels of `pipeline`, launched for each portion and chained by one event.
//! * [`mod@reference`]: the same by the host alone, to check against.
//! * [`table`]: what is printed.
//! * [`node`]: a device with a NIC at an address of its own.
//! * [`rally`]: one side of `ping-pong`.
//! * [`scatter`]: one node of `all-to-all`.
//! * [`kv`]: server and client of `kv-server`.
//! * [`program`]: a program from its beginning to its end.
//! * [`output`]: lines on standard output.
//! * [`patience`]: what they say while they wait for others.
//! * [`child`]: how a program starts itself once more.
//! * [`signals`]: how they end when they are asked to.
//! * [`exchange`]: how programs tell each other what they need before they can speak RDMA.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod child;
pub mod exchange;
pub mod kv;
pub mod node;
pub mod output;
pub mod patience;
pub mod portions;
pub mod program;
pub mod rally;
pub mod reference;
pub mod scatter;
pub mod signals;
pub mod table;
