//! A sum of f32 values that does not depend on their order: it keeps one integer for each power of two.

/// The number of exponents of finite f32 values: 0 (zero and subnormal) to 254.
const EXPONENTS: usize = 255;

/// An exact sum of finite f32 values.
///
/// A finite f32 is an integer of at most 24 bits times 2^(e-150). One integer for each exponent `e` adds such values
/// without rounding, so adding and merging commute. An i128 has room for the sum of 2^103 values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExactSum {
    bins: [i128; EXPONENTS],
}

impl ExactSum {
    pub(super) fn new() -> Self {
        Self { bins: [0; EXPONENTS] }
    }

    /// Adds a finite value. An infinite or NaN value must have been refused before.
    pub(super) fn add(&mut self, value: f32) {
        debug_assert!(value.is_finite());
        let bits = value.to_bits();
        let exponent = (bits >> 23 & 0xff) as usize;
        let fraction = i128::from(bits & 0x7f_ffff);
        // Subnormals share the scale of exponent 1 and lack its implicit bit.
        let magnitude = if exponent == 0 { fraction } else { fraction | 1 << 23 };
        self.bins[exponent.max(1)] += if bits >> 31 == 1 { -magnitude } else { magnitude };
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine += theirs;
        }
    }

    /// The sum, rounded once for each exponent in use, from small to large. One set of numbers has one fixed value.
    pub(super) fn value(&self) -> f64 {
        let mut total = 0.0;
        for (exponent, &bin) in self.bins.iter().enumerate() {
            if bin != 0 {
                // This is 2^(exponent - 150) as a double. It is always a normal number, so its bits can be written
                // down.
                let scale = f64::from_bits((exponent as u64 + 1023 - 150) << 52);
                total += bin as f64 * scale;
            }
        }
        total
    }

    /// The integers, for [`wire`](super::wire).
    pub(super) fn bins(&self) -> &[i128] {
        &self.bins
    }

    /// The inverse of [`bins`](Self::bins). `None` when there are not as many bins as exponents.
    pub(super) fn from_bins(bins: &[i128]) -> Option<Self> {
        Some(Self { bins: bins.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_are_exact() {
        for value in [0.0, 1.0, -1.0, 0.1, 1e-45, -1e-38, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 123.456] {
            let mut sum = ExactSum::new();
            sum.add(value);
            assert_eq!(sum.value(), f64::from(value), "{value}");
        }
    }

    #[test]
    fn any_order_and_any_split_give_one_value() {
        let values: Vec<f32> = (0..5000u32)
            .map(|i| {
                let mixed = i.wrapping_mul(2_654_435_761);
                (mixed as f32 / 1e6)
                    * 10f32.powi((mixed % 21) as i32 - 10)
                    * if i % 3 == 0 { -1.0 } else { 1.0 }
            })
            .collect();
        let mut forward = ExactSum::new();
        values.iter().for_each(|&value| forward.add(value));
        let mut halves = [ExactSum::new(), ExactSum::new()];
        values.iter().rev().enumerate().for_each(|(i, &value)| halves[i % 2].add(value));
        let [mut merged, second] = halves;
        merged.merge(&second);
        assert_eq!(forward, merged);
        // Against compensated summation, which is good to about the last bit.
        let (mut total, mut lost) = (0f64, 0f64);
        for &value in &values {
            let next = total + f64::from(value);
            lost += if total.abs() >= f64::from(value).abs() {
                (total - next) + f64::from(value)
            } else {
                (f64::from(value) - next) + total
            };
            total = next;
        }
        let plain = total + lost;
        assert!((forward.value() - plain).abs() <= plain.abs() * 1e-15, "{} {plain}", forward.value());
    }
}
