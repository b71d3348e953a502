//! The sum of the shards' gradients over one slice.

use candle_core::{Device, Result, Tensor};

use super::communicator::ShardTensors;
use super::cut::{Cut, Span};
use crate::kernels::backend::Backend;
use crate::kernels::cpu::mean::weighted_sum;

/// The slice of one shard's gradients that another rank has sent.
#[derive(Clone, Debug)]
pub(super) struct ShardSlice {
    pub(super) shard: usize,
    pub(super) weight: f64,
    /// One tensor for each span of the slice, with the shape of [`Span::view`].
    pub(super) parts: Vec<Tensor>,
}

/// What is added for a shard.
#[derive(Clone, Copy)]
pub(super) enum Addend<'a> {
    /// All of its gradients, of which the slice is seen in place.
    Whole(&'a ShardTensors),
    Slice(&'a ShardSlice),
}

impl Addend<'_> {
    pub(super) fn shard(&self) -> usize {
        match self {
            Self::Whole(shard) => shard.shard,
            Self::Slice(shard) => shard.shard,
        }
    }

    fn weight(&self) -> f64 {
        match self {
            Self::Whole(shard) => shard.weight,
            Self::Slice(shard) => shard.weight,
        }
    }

    /// The part that span number `index` of the slice tells.
    fn part(&self, index: usize, span: &Span, device: &Device) -> Result<Tensor> {
        match self {
            Self::Whole(shard) => fetch(span, &shard.tensors[span.tensor], device),
            Self::Slice(shard) => match shard.parts.get(index) {
                Some(part) => part.to_device(device),
                None => candle_core::bail!("the slice of shard {} lacks its span {index}", shard.shard),
            },
        }
    }
}

/// The weighted sum of `shards` over slice `slice`, on `device`. The shards are added in the order given. One shard with
/// a weight of 1 is its own sum, which is not copied.
pub(super) fn slice_of_sum(
    cut: &Cut,
    slice: usize,
    shards: &[Addend<'_>],
    device: &Device,
) -> Result<Vec<Tensor>> {
    for shard in shards {
        if let Addend::Whole(shard) = shard {
            check(cut, shard)?;
        }
    }
    if shards.windows(2).any(|pair| pair[0].shard() >= pair[1].shard()) {
        candle_core::bail!("the gradients of a shard were given twice");
    }
    cut.spans(slice).iter().enumerate().map(|(index, span)| sum(index, span, shards, device)).collect()
}

fn sum(index: usize, span: &Span, shards: &[Addend<'_>], device: &Device) -> Result<Tensor> {
    let part = |shard: &Addend<'_>| shard.part(index, span, device);
    let Some((first, others)) = shards.split_first() else { candle_core::bail!("no shards to add") };
    if others.is_empty() && first.weight() == 1.0 {
        return part(first);
    }
    if Backend::of(device) == Backend::FusedCpu {
        let parts = shards.iter().map(part).collect::<Result<Vec<_>>>()?;
        let weights: Vec<f64> = shards.iter().map(Addend::weight).collect();
        return weighted_sum(&parts, &weights);
    }
    // One part after the other, so that no more than one lies on the device beside the sum.
    let mut sum = part(first)?.affine(first.weight(), 0.0)?;
    for shard in others {
        sum = (sum + part(shard)?.affine(shard.weight(), 0.0)?)?;
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

pub(super) fn check(cut: &Cut, shard: &ShardTensors) -> Result<()> {
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
