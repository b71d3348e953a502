//! Gradients of a step from those of its shards. The one law: shards are summed in their order, never in order of arrival.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::model::{Flat, Gradients, Real, for_float};

/// Mean of the shards' gradients weighted by their examples, on the device of the first shard.
///
/// Each shard's gradients are those of its own mean loss. One shard comes back as it is, uncopied.
pub fn reduce(shards: &[(&Gradients, usize)]) -> Result<Gradients> {
    let Some((first, _)) = shards.first() else {
        candle_core::bail!("no shards to reduce");
    };
    let total: usize = shards.iter().map(|(_, examples)| examples).sum();
    if total == 0 {
        candle_core::bail!("shards without examples cannot be reduced");
    }
    if shards.iter().any(|(gradients, _)| gradients.tensors.len() != first.tensors.len()) {
        candle_core::bail!("shards with different numbers of gradients cannot be reduced");
    }
    if shards.len() == 1 {
        return Ok((*first).clone());
    }
    let weights: Vec<f64> = shards.iter().map(|(_, examples)| *examples as f64 / total as f64).collect();
    let tensors = (0..first.tensors.len())
        .map(|index| {
            let device = first.tensors[index].device();
            let parts = shards
                .iter()
                .map(|(gradients, _)| gradients.tensors[index].to_device(device)?.contiguous())
                .collect::<Result<Vec<Tensor>>>()?;
            mean(&parts, &weights)
        })
        .collect::<Result<_>>()?;
    Ok(Gradients { tensors })
}

fn mean(parts: &[Tensor], weights: &[f64]) -> Result<Tensor> {
    if parts.iter().any(|part| part.shape() != parts[0].shape()) {
        candle_core::bail!("gradients of one parameter in different shapes");
    }
    if parts[0].device().is_cpu() {
        return for_float!(parts[0].dtype(), T => mean_on_cpu::<T>(parts, weights));
    }
    let mut sum = parts[0].affine(weights[0], 0.0)?;
    for (part, weight) in parts.iter().zip(weights).skip(1) {
        sum = (sum + part.affine(*weight, 0.0)?)?;
    }
    Ok(sum)
}

fn mean_on_cpu<T: Real>(parts: &[Tensor], weights: &[f64]) -> Result<Tensor> {
    const PART: usize = 1 << 14;
    let values = parts.iter().map(Flat::<T>::of).collect::<Result<Vec<_>>>()?;
    let values: Vec<&[T]> = values.iter().map(|values| &**values).collect();
    let weights: Vec<T> = weights.iter().map(|weight| T::from_f64(*weight)).collect();
    let mut sums = vec![T::zero(); parts[0].elem_count()];
    sums.par_chunks_mut(PART).enumerate().for_each(|(part, sums)| {
        for (values, weight) in values.iter().zip(&weights) {
            for (sum, value) in sums.iter_mut().zip(&values[part * PART..]) {
                *sum += *value * *weight;
            }
        }
    });
    Tensor::from_vec(sums, parts[0].shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradients(values: &[f32]) -> Gradients {
        Gradients { tensors: vec![Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()] }
    }

    #[test]
    fn shards_count_by_their_examples() {
        let (a, b, c) = (gradients(&[1.0, -2.0]), gradients(&[5.0, 0.0]), gradients(&[100.0, 8.0]));
        let mean = reduce(&[(&a, 1), (&b, 2), (&c, 1)]).unwrap();
        assert_eq!(mean.tensors[0].to_vec1::<f32>().unwrap(), [27.75, 1.5]);
        let one = reduce(&[(&a, 7)]).unwrap();
        assert_eq!(one.tensors[0].to_vec1::<f32>().unwrap(), [1.0, -2.0]);
    }

    #[test]
    fn what_cannot_be_reduced_is_an_error() {
        let (a, b) = (gradients(&[1.0]), gradients(&[1.0, 2.0]));
        assert!(reduce(&[]).is_err());
        assert!(reduce(&[(&a, 0)]).is_err());
        assert!(reduce(&[(&a, 1), (&b, 1)]).is_err());
        assert!(reduce(&[(&a, 1), (&Gradients { tensors: vec![] }, 1)]).is_err());
    }
}
