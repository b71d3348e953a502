//! The exponential of f32 numbers in operations that every processor rounds alike.
//!
//! The function of the C library takes one number at a time, and its last bits depend on the library's version. This one
//! is a fixed sequence of additions, multiplications and comparisons without a branch, so the compiler computes it for
//! several numbers at a time, and the result is the same bits everywhere.
//!
//! Law: the result lies within one unit in the last place of the exact value where that is a normal f32, and within
//! 2⁻¹⁴⁸ of it below that. NaN gives NaN.

/// From here on, e^x rounds to infinity.
const OVERFLOW: f32 = 88.722_84;

/// From here down, e^x rounds to zero.
const UNDERFLOW: f32 = -103.972_08;

/// 1.5 · 2²³: a number of moderate size is rounded to a whole one by adding this and subtracting it again.
const ROUNDER: f32 = 12_582_912.0;

/// The upper part of ln 2. It has ten significant bits, so its product with a whole number below 2¹⁴ is exact.
const LN2_HIGH: f32 = 0.693_359_4;

/// ln 2 less [`LN2_HIGH`].
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x.
///
/// With n = round(x / ln 2) and r = x − n·ln 2, of size at most 0.35, this is 2^n · e^r. The polynomial for e^r is
/// Cephes' `expf` (S. Moshier).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // A NaN fails both comparisons and stays.
    let bounded = if x > OVERFLOW { OVERFLOW } else { x };
    let bounded = if bounded < UNDERFLOW { UNDERFLOW } else { bounded };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        sum = sum * r + coefficient;
    }
    let power = (sum * (r * r) + r) + 1.0;
    // n is the lower bits of `shifted`. 2^n is made in two factors, because 2^128 and powers below 2⁻¹²⁶ are no normal
    // numbers. A NaN has some n, and stays a NaN.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let half = n >> 1;
    let factor = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let value = power * factor(half) * factor(n.wrapping_sub(half));
    if x >= OVERFLOW {
        f32::INFINITY
    } else if x < UNDERFLOW {
        0.0
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance from the f64 function in units in the last place of the f32 result, or of the smallest normal f32.
    fn distance(x: f32) -> f64 {
        let exact = f64::from(x).exp();
        let found = exp(x);
        if exact >= 2f64.powi(128) - 2f64.powi(103) {
            return if found == f32::INFINITY { 0.0 } else { f64::INFINITY };
        }
        let rounded = exact.max(f64::from(f32::MIN_POSITIVE)) as f32;
        let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
        (f64::from(found) - exact).abs() / unit.min(2f64.powi(104))
    }

    /// The largest distance over every `step`-th f32 of either sign whose bits without the sign lie in `bits`.
    fn largest(bits: std::ops::Range<u32>, step: usize) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in bits.step_by(step) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let distance = distance(x);
                if distance > worst.0 || distance.is_nan() {
                    worst = (distance, x);
                }
            }
        }
        worst
    }

    #[test]
    fn the_result_lies_within_a_unit_of_the_exact_one() {
        let (distance, x) = largest(0..0x7f80_0000, if cfg!(miri) { 10_000_019 } else { 997 });
        assert!(distance <= 1.0, "{distance} units at {x}");
    }

    /// Below these sizes every result rounds to 1, and above them to 0 or infinity.
    #[test]
    #[ignore = "reads 570 million numbers: half a minute"]
    fn the_result_lies_within_a_unit_of_the_exact_one_for_every_number_from_2_to_the_minus_26_to_104() {
        let (distance, x) = largest(2f32.powi(-26).to_bits()..104f32.to_bits(), 1);
        assert!(distance <= 1.0, "{distance} units at {x}");
    }

    #[test]
    fn special_numbers_have_their_own_results() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::MAX), f32::INFINITY);
        assert_eq!(exp(f32::MIN), 0.0);
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
        for x in [OVERFLOW, UNDERFLOW] {
            for x in [f32::from_bits(x.to_bits() - 1), x, f32::from_bits(x.to_bits() + 1)] {
                assert!(distance(x) <= 1.0, "{x}: {}", exp(x));
            }
        }
    }
}
