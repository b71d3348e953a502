//! Dropout masks.
//!
//! Law: a mask is a pure function of (seed, step, shard) and the place in the mask. It is drawn in host memory, so that
//! devices of every kind drop the same elements.

use candle_core::{DType, Device, Result, Tensor};
use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;

use super::nextvlad::DropoutMode;
use crate::kernels::cuda::upload;
use crate::random;

/// The dropout of a forward pass in training.
#[derive(Clone, Debug)]
pub enum Dropout {
    /// Nothing is dropped or scaled.
    Off,
    /// A keep mask that is given from outside, float [B, width of the joined descriptors], 1 where a value is kept and
    /// 0 elsewhere.
    Mask(Tensor),
    /// A mask that is drawn from the stream with these three names.
    Seeded {
        /// The seed of the run.
        seed: u64,
        /// The training step.
        step: u64,
        /// The shard of the step's batch.
        shard: u64,
    },
}

impl Dropout {
    /// The factors by which the values [rows, width] are multiplied, the scale included. `None` where they stay as they
    /// are.
    pub(super) fn factors(
        &self,
        mode: DropoutMode,
        drop_rate: f64,
        (rows, width): (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        let mask = match self {
            Self::Off => return Ok(None),
            Self::Mask(mask) if mask.dims() != [rows, width] => {
                candle_core::bail!("the dropout mask is {:?}, expected [{rows}, {width}]", mask.dims())
            }
            Self::Mask(mask) => mask.to_device(device)?.to_dtype(dtype)?,
            Self::Seeded { .. } if drop_rate == 0.0 => return Ok(None),
            Self::Seeded { seed, step, shard } => {
                let mask = keep_mask(*seed, [*step, *shard], drop_rate, rows, width);
                if device.is_cpu() {
                    Tensor::from_vec(mask, (rows, width), device)?.to_dtype(dtype)?
                } else {
                    // A byte for each factor moves to the device, and the numbers are made there.
                    let mask: Vec<u8> = mask.into_iter().map(|keep| keep as u8).collect();
                    upload::bytes(&mask, (rows, width), device)?.to_dtype(dtype)?
                }
            }
        };
        Ok(Some(match mode {
            DropoutMode::DownscaleInEval => mask,
            DropoutMode::UpscaleInTrain => mask.affine(1.0 / (1.0 - drop_rate), 0.0)?,
        }))
    }
}

/// Draws a keep mask [rows · width]. Each element is 1 with probability 1 − `drop_rate` (to 2⁻³²), and 0 otherwise.
/// Each row has a stream of its own, so rows may be drawn in any order.
fn keep_mask(seed: u64, [step, shard]: [u64; 2], drop_rate: f64, rows: usize, width: usize) -> Vec<f32> {
    // A word below the threshold drops its element. Rates near 1 saturate at 2³² − 1.
    let threshold = (drop_rate * (1u64 << 32) as f64).round() as u32;
    let mut mask = vec![0.0; rows * width];
    mask.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, mask)| {
        let mut rng = random::stream(seed, "dropout", &[step, shard, row as u64]);
        let mut bytes = [0; 1024];
        for block in mask.chunks_mut(bytes.len() / 4) {
            rng.fill_bytes(&mut bytes);
            for (keep, word) in block.iter_mut().zip(bytes.chunks_exact(4)) {
                let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                *keep = if word >= threshold { 1.0 } else { 0.0 };
            }
        }
    });
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_mask_repeats_and_depends_on_every_part_of_its_name() {
        let draw = |seed, step, shard| keep_mask(seed, [step, shard], 0.5, 3, 1000);
        let mask = draw(1, 2, 3);
        assert_eq!(mask, draw(1, 2, 3));
        for other in [draw(0, 2, 3), draw(1, 0, 3), draw(1, 2, 0), draw(1, 3, 2)] {
            assert_ne!(mask, other);
        }
        assert_ne!(mask[..1000], mask[1000..2000]);
    }

    #[test]
    fn a_mask_keeps_the_share_it_should() {
        for rate in [0.1, 0.5, 0.75] {
            let kept: f64 = keep_mask(5, [0, 0], rate, 40, 10_000).iter().map(|k| f64::from(*k)).sum();
            let n = 400_000.0;
            assert!((kept / n - (1.0 - rate)).abs() < 6.0 * (rate * (1.0 - rate) / n).sqrt(), "{rate}");
        }
    }

    #[test]
    fn a_mask_does_not_depend_on_the_number_of_threads() {
        let draw = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| keep_mask(1, [1, 1], 0.5, 9, 777))
        };
        assert_eq!(draw(1), draw(3));
    }
}
