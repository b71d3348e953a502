//! The gradients of a step, made from those of its shards.
//!
//! Law: shards are summed in their order, and never in the order of arrival.

use candle_core::{Result, Tensor};

use crate::kernels::backend::Backend;
use crate::kernels::cpu::mean::weighted_sum;
use crate::model::Gradients;

/// The mean of the shards' gradients, weighted by their numbers of videos, on the device of the first shard.
///
/// The gradients of a shard are those of its own mean loss. If there is only one shard, its gradients are returned
/// without a copy.
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
    if Backend::of(parts[0].device()) == Backend::FusedCpu {
        return weighted_sum(parts, weights);
    }
    let mut sum = parts[0].affine(weights[0], 0.0)?;
    for (part, weight) in parts.iter().zip(weights).skip(1) {
        sum = (sum + part.affine(*weight, 0.0)?)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

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
