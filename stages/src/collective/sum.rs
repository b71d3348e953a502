//! The sum of the shards' gradients over one slice.

use candle_core::{Device, Result, Tensor};

use super::communicator::ShardTensors;
use super::cut::{Cut, Span};
use crate::kernels::backend::Backend;
use crate::kernels::cpu::mean::weighted_sum;

/// The weighted sum of `shards` over slice `slice`, on `device`. The shards are added in the order given. One shard with
/// a weight of 1 is its own sum, which is not copied.
pub(super) fn slice_of_sum(
    cut: &Cut,
    slice: usize,
    shards: &[&ShardTensors],
    device: &Device,
) -> Result<Vec<Tensor>> {
    for shard in shards {
        check(cut, shard)?;
    }
    if shards.windows(2).any(|pair| pair[0].shard >= pair[1].shard) {
        candle_core::bail!("the gradients of a shard were given twice");
    }
    cut.spans(slice).iter().map(|span| sum(span, shards, device)).collect()
}

fn sum(span: &Span, shards: &[&ShardTensors], device: &Device) -> Result<Tensor> {
    let part = |shard: &&ShardTensors| fetch(span, &shard.tensors[span.tensor], device);
    let Some((first, others)) = shards.split_first() else { candle_core::bail!("no shards to add") };
    if others.is_empty() && first.weight == 1.0 {
        return part(first);
    }
    if Backend::of(device) == Backend::FusedCpu {
        let parts = shards.iter().map(part).collect::<Result<Vec<_>>>()?;
        let weights: Vec<f64> = shards.iter().map(|shard| shard.weight).collect();
        return weighted_sum(&parts, &weights);
    }
    // One part after the other, so that no more than one lies on the device beside the sum.
    let mut sum = part(first)?.affine(first.weight, 0.0)?;
    for shard in others {
        sum = (sum + part(shard)?.affine(shard.weight, 0.0)?)?;
    }
    Ok(sum)
}

/// The part of `tensor` that `span` tells, on `device`. It is not copied where it lies there.
pub(super) fn fetch(span: &Span, tensor: &Tensor, device: &Device) -> Result<Tensor> {
    let part = span.view(tensor)?;
    if part.device().same_device(device) {
        return Ok(part);
    }
    // candle copies all that a view is a part of from one device to another, so the part is taken out first.
    let part = if span.is_whole { part } else { part.force_contiguous()? };
    part.to_device(device)
}

fn check(cut: &Cut, shard: &ShardTensors) -> Result<()> {
    let (found, expected) = (shard.tensors.len(), cut.shapes().len());
    if found != expected {
        candle_core::bail!("shard {} gives {found} gradients where there are {expected}", shard.shard);
    }
    for (index, (tensor, shape)) in shard.tensors.iter().zip(cut.shapes()).enumerate() {
        if tensor.shape() != shape {
            let (shard, found) = (shard.shard, tensor.shape());
            candle_core::bail!("shard {shard} gives gradient {index} as {found:?}, expected {shape:?}");
        }
    }
    Ok(())
}
