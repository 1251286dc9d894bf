//! The findings as a table.

use std::fmt;

use crate::analysis::Findings;

/// Rows for single byte values, at most.
const ROWS: usize = 8;

/// Shows what was found in a file.
#[derive(Debug)]
pub struct Table<'a> {
    /// The file's name.
    pub name: &'a str,
    /// What was found.
    pub findings: &'a Findings,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.findings;
        let values = found.counts.iter().filter(|&&count| count > 0).count();
        writeln!(f, "{}", self.name)?;
        writeln!(f, "  bytes            {:>12}", found.bytes)?;
        writeln!(f, "  CRC-32               {:08x}", found.crc)?;
        writeln!(f, "  different values {values:>12}")?;
        writeln!(f, "  median value     {:>12}", value_name(median(found)))?;
        writeln!(f, "  value       count    share  up to it")?;
        for value in most_frequent(found) {
            let (count, sum) = (found.counts[value], found.sums[value]);
            let (share, up_to) = (percent(count, found.bytes), percent(sum, found.bytes));
            let name = value_name(value);
            writeln!(f, "  {name:<5} {count:>11} {share:>7.2}% {up_to:>8.2}%")?;
        }
        Ok(())
    }
}

fn percent(part: u64, of: u64) -> f64 {
    part as f64 * 100.0 / of.max(1) as f64
}

/// The least value that at least half of the bytes do not exceed.
fn median(found: &Findings) -> usize {
    let half = found.bytes.div_ceil(2);
    found.sums.partition_point(|&sum| sum < half)
}

/// The values that occur most often, the most frequent first.
fn most_frequent(found: &Findings) -> Vec<usize> {
    let mut values: Vec<usize> = (0..found.counts.len())
        .filter(|&value| found.counts[value] > 0)
        .collect();
    values.sort_by_key(|&value| std::cmp::Reverse(found.counts[value]));
    values.truncate(ROWS);
    values
}

/// A byte value as a person reads it.
fn value_name(value: usize) -> String {
    match u8::try_from(value) {
        Ok(b' ') => "space".into(),
        Ok(b'\n') => "\\n".into(),
        Ok(byte) if byte.is_ascii_graphic() => format!("'{}'", char::from(byte)),
        _ => format!("0x{value:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn the_table_says_what_was_found() {
        let mut reference = Reference::default();
        reference.add(b"abba b\n");
        let findings = reference.findings();
        let table = Table {
            name: "some",
            findings: &findings,
        }
        .to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "some");
        assert_eq!(lines[4], "  median value              'a'");
        assert_eq!(lines[6], "  'b'             3   42.86%   100.00%");
        assert_eq!(lines.len(), 10);
    }
}
