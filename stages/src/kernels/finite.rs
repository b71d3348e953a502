//! The check whether numbers are finite.
//!
//! Law: a single NaN or infinity among any number of values is found.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::cuda;
use super::flat::Flat;
use super::float::{Real, for_float};

/// The number of elements of one part, which one thread reads.
const PART: usize = 1 << 16;

/// Whether `value` is neither NaN nor infinite. The check uses that 0 times any other number is 0.
fn finite<T: Real>(value: T) -> bool {
    value * T::zero() == T::zero()
}

/// Whether every element of every tensor is finite. That is true for no tensors. On devices other than the CPU, the
/// answer comes back in one transfer for each GPU.
pub fn all_finite<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<bool> {
    let mut elsewhere: Option<Tensor> = None;
    let mut on_gpus: Vec<(Device, Vec<Tensor>)> = Vec::new();
    for tensor in tensors {
        if tensor.device().is_cpu() {
            if !for_float!(tensor.dtype(), T => on_cpu::<T>(tensor))? {
                return Ok(false);
            }
            continue;
        }
        if tensor.device().is_cuda() && tensor.dtype() == DType::F32 {
            let (device, tensor) = (tensor.device(), tensor.detach().contiguous()?);
            match on_gpus.iter_mut().find(|(other, _)| other.same_device(device)) {
                Some((_, tensors)) => tensors.push(tensor),
                None => on_gpus.push((device.clone(), vec![tensor])),
            }
            continue;
        }
        // 0 times a finite number is 0, and 0 times anything else is NaN, which no sum loses.
        let probe = tensor.detach().affine(0.0, 0.0)?.sum_all()?.to_dtype(DType::F32)?;
        elsewhere = Some(match elsewhere {
            None => probe,
            Some(sum) => (sum.to_device(probe.device())? + probe)?,
        });
    }
    // Every card has its work before the first answer is waited for.
    let verdicts = on_gpus
        .iter()
        .map(|(device, tensors)| cuda::adam::all_finite(&tensors.iter().collect::<Vec<_>>(), device));
    for verdict in verdicts.collect::<Result<Vec<_>>>()? {
        if !verdict.is_finite()? {
            return Ok(false);
        }
    }
    match elsewhere {
        None => Ok(true),
        Some(sum) => Ok(sum.to_scalar::<f32>()? == 0.0),
    }
}

fn on_cpu<T: Real>(tensor: &Tensor) -> Result<bool> {
    let tensor = tensor.detach().contiguous()?;
    let values = Flat::<T>::of(&tensor)?;
    // There is no branch for each value, so that many values are checked at a time.
    let part = |part: &[T]| part.iter().fold(true, |all, value| all & finite(*value));
    Ok(values.par_chunks(PART).all(part))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn one_bad_number_is_found_wherever_it_stands() {
        let size = 2 * PART + 77;
        let good = Tensor::full(3e38f32, size, &Device::Cpu).unwrap();
        assert!(all_finite([&good]).unwrap());
        assert!(all_finite([]).unwrap());
        for place in [0, 1, PART - 1, PART, 2 * PART + 76] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![-3e38f32; size];
                values[place] = bad;
                let bad = Tensor::from_vec(values, size, &Device::Cpu).unwrap();
                assert!(!all_finite([&bad]).unwrap(), "{place}");
                assert!(!all_finite([&good, &bad]).unwrap());
            }
        }
        let double = Tensor::new(&[1e300f64, f64::MIN_POSITIVE, -0.0], &Device::Cpu).unwrap();
        assert!(all_finite([&double]).unwrap());
        // One tensor is a view that is not contiguous, and one is a scalar.
        let view = Tensor::new(&[[1f32, f32::NAN], [2.0, 3.0]], &Device::Cpu).unwrap();
        assert!(all_finite([&view.t().unwrap().narrow(0, 0, 1).unwrap()]).unwrap());
        assert!(!all_finite([&view.t().unwrap()]).unwrap());
        assert!(!all_finite([&Tensor::new(f64::NAN, &Device::Cpu).unwrap()]).unwrap());
    }
}
