//! Numbers that the environment gives to tests.

/// The number that a variable gives; an empty one gives none.
///
/// # Panics
/// It gives something else: what was not asked for would pass for the wrong reason.
pub fn number(name: &str) -> Option<u64> {
    let given = std::env::var_os(name).filter(|given| !given.is_empty())?;
    let number = given.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is {given:?}, a whole number is allowed")))
}
