//! Fixed-point arithmetic in Q16.16, with the names of `dpaintrin.h`: 16 bits before the point, 16 behind it.
//!
//! The device has instructions for these; here they are integer arithmetic. Each result is within two units of the
//! last place (2^-15) of the exact one, saturated to what Q16.16 holds.

/// A number in Q16.16.
pub type Q16 = u32;

/// One in Q16.16.
pub const ONE: Q16 = 1 << 16;

/// `1 / x`. `x == 0` gives the largest number.
#[doc(alias = "__dpa_fxp_rcp")]
pub const fn reciprocal(x: Q16) -> Q16 {
    if x == 0 {
        return Q16::MAX;
    }
    let exact = ((1u64 << 33) / x as u64).div_ceil(2);
    if exact > Q16::MAX as u64 {
        Q16::MAX
    } else {
        exact as Q16
    }
}

/// The logarithm of `x` to the base 2, signed. `x == 0` gives the least number.
#[doc(alias = "__dpa_fxp_log2")]
pub const fn log2(x: Q16) -> i32 {
    if x == 0 {
        return i32::MIN;
    }
    let whole = x.ilog2() as i32 - 16;
    // The mantissa in [1, 2) as Q31; squaring it doubles its logarithm, one binary digit at a time.
    let mut mantissa = (x as u64) << (31 - x.ilog2());
    let mut fraction = 0i32;
    let mut digit = 17;
    while digit > 0 {
        mantissa = (mantissa * mantissa) >> 31;
        digit -= 1;
        if mantissa >> 32 != 0 {
            mantissa >>= 1;
            fraction |= 1 << digit;
        }
    }
    whole * ONE as i32 + ((fraction + 1) >> 1)
}

/// 2 to the power of `x`, for a signed `x`.
#[doc(alias = "__dpa_fxp_pow2")]
pub const fn pow2(x: i32) -> Q16 {
    // 2^(2^-k) for k = 1..=16, as Q32 without its leading one.
    const ROOTS: [u64; 16] = roots();
    let whole = x >> 16;
    let fraction = x & 0xffff;
    let mut result = 1u128 << 48;
    let mut k = 0;
    while k < 16 {
        if fraction & (1 << (15 - k)) != 0 {
            result = (result * ROOTS[k] as u128) >> 48;
        }
        k += 1;
    }
    let shift = 32 - whole;
    if shift <= 0 {
        return Q16::MAX;
    }
    if shift > 64 {
        return 0;
    }
    let rounded = ((result >> (shift - 1)) + 1) >> 1;
    if rounded > Q16::MAX as u128 {
        Q16::MAX
    } else {
        rounded as Q16
    }
}

/// Square roots of two, taken again and again: 2^(1/2), 2^(1/4), .., as Q48.
const fn roots() -> [u64; 16] {
    let mut out = [0u64; 16];
    let mut last = 2u128 << 48;
    let mut k = 0;
    while k < 16 {
        last = (last << 48).isqrt();
        out[k] = last as u64;
        k += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn as_f64(x: u32) -> f64 {
        f64::from(x) / f64::from(ONE)
    }

    #[test]
    fn reciprocal_is_within_two_units() {
        for x in (1..200_000)
            .step_by(7)
            .chain([u32::MAX, ONE, 2 * ONE, 1 << 31])
        {
            let exact = (1.0 / as_f64(x)).min(as_f64(u32::MAX));
            assert!(
                (as_f64(reciprocal(x)) - exact).abs() <= 2.0 / 65536.0,
                "1 / {x}"
            );
        }
        assert_eq!(reciprocal(0), u32::MAX);
    }

    #[test]
    fn log2_is_within_two_units() {
        for x in (1..300_000u32)
            .step_by(11)
            .chain([u32::MAX, ONE, 3 * ONE, 1 << 31])
        {
            let got = f64::from(log2(x)) / 65536.0;
            assert!(
                (got - as_f64(x).log2()).abs() <= 2.0 / 65536.0,
                "log2 {x}: {got}"
            );
        }
        assert_eq!(log2(8 * ONE), 3 * ONE as i32);
        assert_eq!(log2(0), i32::MIN);
    }

    #[test]
    fn pow2_is_within_two_units_relative() {
        for x in (-17 * 65536..16 * 65536).step_by(997) {
            let exact = (f64::from(x) / 65536.0).exp2();
            let error = (as_f64(pow2(x)) - exact).abs();
            assert!(error <= 2.0 / 65536.0 * exact.max(1.0), "2 ^ {x}");
        }
        assert_eq!(pow2(0), ONE);
        assert_eq!(pow2(3 * ONE as i32), 8 * ONE);
        assert_eq!(pow2(i32::MAX), u32::MAX);
        assert_eq!(pow2(i32::MIN), 0);
    }
}
