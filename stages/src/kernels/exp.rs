//! The exponential of f32 numbers in operations that every processor rounds alike.
//!
//! The function of the C library takes one number at a time, and its last bits depend on the library's version. These two
//! are fixed sequences of additions, multiplications and comparisons without a branch, so the compiler computes them for
//! several numbers at a time, and the results are the same bits everywhere.
//!
//! Laws: [`exp`] lies within 0.55 units in the last place of the exact value, and [`quick_exp`] within one unit where that
//! is a normal f32, and within 2⁻¹⁴⁸ of it below that. NaN gives NaN.

/// From here on, [`quick_exp`] is infinity.
const OVERFLOW: f32 = 88.722_84;

/// From here down, [`quick_exp`] is zero.
const UNDERFLOW: f32 = -103.972_08;

/// 1.5 · 2²³: a number of moderate size is rounded to a whole one by adding this and subtracting it again.
const ROUNDER: f32 = 12_582_912.0;

/// The upper part of ln 2. It has ten significant bits, so its product with a whole number below 2¹⁴ is exact.
const LN2_HIGH: f32 = 0.693_359_4;

/// ln 2 less [`LN2_HIGH`].
const LN2_LOW: f32 = -2.121_944_4e-4;

/// 1.5 · 2⁵², which does for an f64 what [`ROUNDER`] does for an f32.
const ROUNDER_64: f64 = 6_755_399_441_055_744.0;

/// The polynomial for e^r with |r| ≤ (ln 2) / 2, from the highest power down. It agrees with e^r at the seven Chebyshev
/// nodes of that interval, and lies within 2.6·10⁻⁹ of it, relatively: 0.043 units in the last place of an f32.
const POLYNOMIAL: [f64; 7] = [
    0.001_394_111_889_583_7,
    0.008_375_134_774_624_326,
    0.041_666_352_771_112_21,
    0.166_664_154_140_411_77,
    0.500_000_004_714_605_7,
    1.000_000_037_738_871_4,
    1.0,
];

/// e^x, computed in f64 and rounded to f32 once.
///
/// With n = round(x / ln 2) and r = x − n·ln 2, this is 2^n · e^r.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these, e^x rounds to infinity and to zero. A NaN fails both comparisons and stays.
    let bounded = if x > 89.0 { 89.0 } else { x };
    let bounded = if bounded < -104.0 { -104.0 } else { bounded };
    let bounded = f64::from(bounded);
    let shifted = bounded * std::f64::consts::LOG2_E + ROUNDER_64;
    let r = bounded - (shifted - ROUNDER_64) * std::f64::consts::LN_2;
    let [mut sum, rest @ ..] = POLYNOMIAL;
    for coefficient in rest {
        sum = sum * r + coefficient;
    }
    // n is the lower bits of `shifted`, and n + 1023 the exponent of 2^n. A NaN has some n, and stays a NaN.
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    (sum * power) as f32
}

/// e^x, in half of the time of [`exp`].
///
/// With n = round(x / ln 2) and r = x − n·ln 2, of size at most 0.35, this is 2^n · e^r. The polynomial for e^r is
/// Cephes' `expf` (S. Moshier).
#[inline(always)]
pub(crate) fn quick_exp(x: f32) -> f32 {
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

    /// The distance of `found` from the f64 function of `x`, in units in the last place of the f32 result, or of the smallest
    /// normal f32.
    fn distance(x: f32, found: f32) -> f64 {
        let exact = f64::from(x).exp();
        if exact >= 2f64.powi(128) - 2f64.powi(103) {
            return if found == f32::INFINITY { 0.0 } else { f64::INFINITY };
        }
        let rounded = exact.max(f64::from(f32::MIN_POSITIVE)) as f32;
        let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
        (f64::from(found) - exact).abs() / unit.min(2f64.powi(104))
    }

    type Exponential = fn(f32) -> f32;

    /// Both functions, with the most units by which they may differ from the exact value.
    const BOTH: [(Exponential, f64); 2] = [(exp, 0.55), (quick_exp, 1.0)];

    /// Checks every `step`-th f32 of either sign whose bits without the sign lie in `bits`.
    fn check(bits: std::ops::Range<u32>, step: usize) {
        for (function, most) in BOTH {
            let mut worst = (0.0, 0.0);
            for bits in bits.clone().step_by(step) {
                for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                    let distance = distance(x, function(x));
                    if distance > worst.0 || distance.is_nan() {
                        worst = (distance, x);
                    }
                }
            }
            assert!(worst.0 <= most, "{} units at {}; at most {most}", worst.0, worst.1);
        }
    }

    #[test]
    fn the_results_lie_as_near_to_the_exact_ones_as_they_should() {
        check(0..0x7f80_0000, if cfg!(miri) { 10_000_019 } else { 997 });
    }

    /// Below these sizes every result rounds to 1, and above them to 0 or infinity.
    #[test]
    #[ignore = "reads 570 million numbers: a minute"]
    fn the_results_lie_as_near_for_every_number_from_2_to_the_minus_26_to_104() {
        check(2f32.powi(-26).to_bits()..104f32.to_bits(), 1);
    }

    #[test]
    fn special_numbers_have_their_own_results() {
        for (exp, most) in BOTH {
            assert_eq!(exp(0.0), 1.0);
            assert_eq!(exp(-0.0), 1.0);
            assert_eq!(exp(f32::INFINITY), f32::INFINITY);
            assert_eq!(exp(f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(f32::MAX), f32::INFINITY);
            assert_eq!(exp(f32::MIN), 0.0);
            assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
            for x in [OVERFLOW, UNDERFLOW, 89.0, -104.0] {
                for x in [f32::from_bits(x.to_bits() - 1), x, f32::from_bits(x.to_bits() + 1)] {
                    assert!(distance(x, exp(x)) <= most, "{x}: {}", exp(x));
                }
            }
        }
    }
}
