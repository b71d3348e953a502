//! Sums and maxima of short rows in eight parts, so that the processor need not wait for one addition before the next.
//!
//! Law: the order is fixed. Part `i` takes the elements at `i`, `i + 8`, `i + 16` and so on, and the parts are joined in
//! their order.

use crate::kernels::float::Real;

/// The number of parts.
const LANES: usize = 8;

/// The largest of `values`, which are not NaN, or negative infinity without any.
#[inline(always)]
pub(crate) fn max<T: Real>(values: &[T]) -> T {
    let lowest = T::from_f64(f64::NEG_INFINITY);
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [lowest; LANES];
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part = if *value > *part { *value } else { *part };
        }
    }
    parts.iter().chain(rest).fold(lowest, |top, value| if *value > top { *value } else { top })
}

/// The sum of `values`.
#[inline(always)]
pub(crate) fn sum<T: Real>(values: &[T]) -> T {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [T::zero(); LANES];
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part += *value;
        }
    }
    parts.iter().chain(rest).fold(T::zero(), |sum, value| sum + *value)
}

/// Replaces logits by their softmax with this exponential.
#[inline(always)]
pub(crate) fn softmax<T: Real>(logits: &mut [T], exp: impl Fn(T) -> T) {
    let top = max(logits);
    for value in logits.iter_mut() {
        *value = exp(*value - top);
    }
    let inverse = T::one() / sum(logits);
    for value in logits.iter_mut() {
        *value *= inverse;
    }
}

/// The sum of the products of `a` and `b`, which are equally long.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut parts = [T::zero(); LANES];
    for (a, b) in a.iter().zip(b) {
        for ((part, a), b) in parts.iter_mut().zip(a).zip(b) {
            *part += *a * *b;
        }
    }
    let sum = parts.iter().fold(T::zero(), |sum, part| sum + *part);
    a_rest.iter().zip(b_rest).fold(sum, |sum, (a, b)| sum + *a * *b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gives_the_sums_of_its_definition() {
        for length in 0..40 {
            // Whole numbers are summed exactly in any order.
            let a: Vec<f32> = (0..length).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
            let b: Vec<f32> = (0..length).map(|i| ((i * 11) % 23) as f32 - 11.0).collect();
            assert_eq!(sum(&a), a.iter().sum::<f32>());
            assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>());
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
