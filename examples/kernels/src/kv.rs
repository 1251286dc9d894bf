//! A key-value store that DPA threads serve.
//!
//! A request is a message of one packet into a receive of the server. A [`serve`] thread is started by its completion, looks the
//! key up in a [`Store`], and writes the response with immediate into the client's ring: one packet, which tells the client at
//! once where it lies. [`drive`] is the client: it keeps so many requests under way, and compares each response with what it
//! knows to be stored.

mod client;
mod protocol;
mod server;
mod store;

pub use client::{
    ALL, Drill, DriveArgs, FILL, LaneArg, MIXED, RECEIVES, Report, SWEEP, Trouble, drive,
};
pub use protocol::{
    DEPTH, HEADER_WORDS, MAX_VALUE, MESSAGE, MESSAGE_WORDS, Op, Request, Response, Status, words_of,
};
pub use server::{Client, DeskArg, SERVER_RECEIVES, ServeArgs, Tally, serve};
pub use store::{SPARE, Store, StoreArg, StoreFull, free_words, value_words};
