//! Which seeds a test of the seeded driver tries.

use std::ops::RangeInclusive;

/// The seed that `DPA_SEED` gives, or as many as `DPA_SEEDS` says, or the default; at least one.
///
/// # Panics
/// One of them gives something else: other seeds than those that were asked for would pass for the wrong reason.
pub fn seeds(default: u64) -> RangeInclusive<u64> {
    match number("DPA_SEED") {
        Some(seed) => seed..=seed,
        None => 0..=number("DPA_SEEDS").unwrap_or(default).saturating_sub(1),
    }
}

fn number(name: &str) -> Option<u64> {
    let given = std::env::var_os(name)?;
    let number = given.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is {given:?}, a whole number is allowed")))
}
