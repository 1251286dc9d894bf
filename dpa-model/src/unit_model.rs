//! What stands for a suspended thread in the models: loom cannot switch stacks, so it is a value with one owner.

/// A suspended thread, by its number.
#[derive(Debug, PartialEq, Eq)]
pub struct Suspended(pub u32);
