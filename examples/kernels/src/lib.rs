//! The kernels of the examples.
//!
//! A library of its own, `no_std` and without `unsafe`, that names no type of the host: the same source runs on the
//! device model and is compiled for the device's RISC-V cores.
#![no_std]
#![forbid(unsafe_code)]

pub mod crc;
pub mod handler;
pub mod kv;
pub mod matrix;
pub mod pipeline;
pub mod rally;
pub mod scatter;
pub mod small;
pub mod window;

pub use handler::{CopyBlocksArgs, copy_blocks};
pub use matrix::{MultiplyCellArgs, multiply_cell};
pub use pipeline::{
    CumulateArgs, DigestBlocksArgs, JoinCrcsArgs, Piece, cumulate, digest_blocks, join_crcs,
};
pub use rally::{CourtArg, FloodArgs, Game, PingPongArgs, Score, Stream, flood, ping_pong};
pub use scatter::{AllToAllArgs, PeerWire, all_to_all};
pub use small::{FanOutArgs, fan_out, hello};
pub use window::{ScrambleArgs, scramble};
