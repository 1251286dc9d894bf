//! What callgrind says.

/// The sum that it prints: instructions.
pub fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found() {
        let said = "==1== Events    : Ir\n==1== Collected : 803044\n";
        assert_eq!(collected(said), Some(803_044));
        assert_eq!(collected("==1== nothing"), None);
    }
}
