//! CRC-32 (the one of Ethernet, gzip and PNG), by blocks that can be combined.
//!
//! A CRC is the remainder of the message, read as a polynomial over GF(2), divided by a polynomial of degree 32. So the
//! CRC of two parts follows from theirs: that of the first is multiplied by `x^(8 * length of the second)`, and that of
//! the second is added. Bits are reflected: the highest bit of a `u32` is the coefficient of `x^0`.

/// The polynomial, reflected, without its `x^32`.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// The polynomial `1`.
const ONE: u32 = 1 << 31;
/// The polynomial `x^8`: one byte further on.
const BYTE: u32 = 1 << 23;

/// What a byte adds to the remainder.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = times_x(remainder);
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

const fn times_x(a: u32) -> u32 {
    if a & 1 == 0 {
        a >> 1
    } else {
        a >> 1 ^ POLYNOMIAL
    }
}

/// The CRC of `bytes` behind a message whose CRC is `crc`. The CRC of nothing is 0.
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    !bytes.iter().fold(!crc, step)
}

/// The product of two remainders.
fn times(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = times_x(b);
    }
    product
}

/// The step over so many bytes, for [`join`]: `x^(8 * bytes)`, by squaring.
pub fn step_over(bytes: u64) -> u32 {
    let (mut result, mut square, mut left) = (ONE, BYTE, bytes);
    while left > 0 {
        if left & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        left >>= 1;
    }
    result
}

/// The CRC of two parts, one behind the other; `step` is that over the length of the second.
pub fn join(first: u32, second: u32, step: u32) -> u32 {
    times(first, step) ^ second
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"123456789";

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(update(0, TEXT), 0xcbf4_3926);
        assert_eq!(update(0, b""), 0);
    }

    #[test]
    fn parts_combine_at_every_cut() {
        for cut in 0..=TEXT.len() {
            let (first, second) = TEXT.split_at(cut);
            let step = step_over(second.len() as u64);
            let joined = join(update(0, first), update(0, second), step);
            assert_eq!(joined, update(0, TEXT));
            assert_eq!(update(update(0, first), second), joined);
        }
    }

    #[test]
    fn a_long_step_is_many_short_ones() {
        assert_eq!(step_over(0), ONE);
        assert_eq!(
            times(step_over(1 << 40), step_over(3)),
            step_over((1 << 40) + 3)
        );
    }
}
