//! The largest magnitude among the numbers of a tensor.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;

/// The number of elements of one part, which one thread reads.
const PART: usize = 1 << 16;

/// The largest magnitude, infinite if a number is not finite, and 0 if there are no numbers. The tensor is a contiguous one
/// on the CPU.
pub(crate) fn largest(tensor: &Tensor) -> Result<f64> {
    // Without their signs, the bits of floats have the order of their magnitudes, and those of NaN are the largest. The
    // compiler compares many whole numbers at a time, but not floats.
    let largest = if tensor.dtype() == DType::F32 {
        let part =
            |part: &[f32]| part.iter().fold(0, |most, value| most.max(value.to_bits() & (u32::MAX >> 1)));
        let bits = Flat::<f32>::of(tensor)?.par_chunks(PART).map(part).max().unwrap_or(0);
        f64::from(f32::from_bits(bits))
    } else {
        let part =
            |part: &[f64]| part.iter().fold(0, |most, value| most.max(value.to_bits() & (u64::MAX >> 1)));
        let bits = Flat::<f64>::of(tensor)?.par_chunks(PART).map(part).max().unwrap_or(0);
        f64::from_bits(bits)
    };
    Ok(if largest.is_nan() { f64::INFINITY } else { largest })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_largest_magnitude_is_found_wherever_it_stands() {
        let size = 2 * PART + 77;
        for place in [0, 1, PART - 1, PART, size - 1] {
            for (value, expected) in
                [(2.0, 2.0), (-3e38, 3e38), (f64::NAN, f64::INFINITY), (f64::NEG_INFINITY, f64::INFINITY)]
            {
                let mut values: Vec<f64> = (0..size).map(|i| (i as f64).sin()).collect();
                values[place] = value;
                let tensor = Tensor::from_vec(values, size, &Device::Cpu).unwrap();
                assert_eq!(largest(&tensor).unwrap(), expected, "{value} at {place}");
                let single = tensor.to_dtype(DType::F32).unwrap();
                let expected = f64::from(expected as f32);
                assert_eq!(largest(&single).unwrap(), expected, "{value} at {place} in f32");
            }
        }
        assert_eq!(largest(&Tensor::zeros(0, DType::F32, &Device::Cpu).unwrap()).unwrap(), 0.0);
    }
}
