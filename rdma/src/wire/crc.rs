//! The register of the CRC as a vector over GF(2): running it backwards over bytes that do not matter.

/// The reflected polynomial of CRC-32.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// A linear map of a 32-bit register; column `i` is the image of bit `i`.
#[derive(Clone, Debug)]
pub(super) struct LinearMap([u32; 32]);

impl LinearMap {
    /// The map that takes a register back over `bytes` zero bytes.
    pub(super) fn backwards(bytes: usize) -> Self {
        let mut power = Self::from_fn(back_one_byte);
        let mut result = Self::from_fn(|bit| bit);
        let mut rest = bytes;
        while rest > 0 {
            if rest & 1 == 1 {
                result = power.after(&result);
            }
            power = power.after(&power);
            rest >>= 1;
        }
        result
    }

    /// The image of `register`.
    #[inline]
    pub(super) fn apply(&self, register: u32) -> u32 {
        let column = |(bit, column): (usize, &u32)| column & (register >> bit & 1).wrapping_neg();
        self.0
            .iter()
            .enumerate()
            .map(column)
            .fold(0, |sum, c| sum ^ c)
    }

    fn from_fn(image: impl Fn(u32) -> u32) -> Self {
        Self(std::array::from_fn(|bit| image(1 << bit)))
    }

    /// First `first`, then `self`.
    fn after(&self, first: &Self) -> Self {
        Self::from_fn(|bit| self.apply(first.apply(bit)))
    }
}

fn back_one_byte(register: u32) -> u32 {
    (0..8).fold(register, |register, _| back_one_bit(register))
}

/// Undoes one step of the reflected register. The polynomial's highest bit is set, so the register's says
/// whether the step subtracted it.
fn back_one_bit(register: u32) -> u32 {
    match register >> 31 {
        0 => register << 1,
        _ => (register ^ POLYNOMIAL) << 1 | 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backwards_undoes_zero_bytes() {
        for len in [0, 1, 2, 3, 14, 100, 4158] {
            let zeros = vec![0; len];
            // The difference of two registers that ran over the same bytes.
            let run = |start: u32| crc32fast::Hasher::new_with_initial(start);
            let after = |start| {
                let mut hasher = run(start);
                hasher.update(&zeros);
                hasher.finalize()
            };
            let difference = after(0x1234_5678) ^ after(0);
            assert_eq!(LinearMap::backwards(len).apply(difference), 0x1234_5678);
        }
    }
}
