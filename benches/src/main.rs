//! Speed and memory beside our peers.
fn main() {}
