//! What the device computes, computed by the host alone.

use crate::analysis::Findings;

/// Takes in a file portion by portion.
#[derive(Debug)]
pub struct Reference {
    counts: [u64; 256],
    crc: crc32fast::Hasher,
}

impl Default for Reference {
    fn default() -> Self {
        Self {
            counts: [0; 256],
            crc: crc32fast::Hasher::new(),
        }
    }
}

impl Reference {
    /// Takes in the next portion.
    pub fn add(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.counts[usize::from(b)] += 1);
        self.crc.update(bytes);
    }

    /// What is to be found in all of it.
    pub fn findings(self) -> Findings {
        let sums = self.counts.iter().scan(0, |sum, &count| {
            *sum += count;
            Some(*sum)
        });
        Findings {
            bytes: self.counts.iter().sum(),
            crc: self.crc.finalize(),
            counts: self.counts.to_vec(),
            sums: sums.collect(),
        }
    }
}
