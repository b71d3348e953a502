//! The gradients of a step, made from those of its shards.
//!
//! Law: shards are summed in their order, and never in the order of arrival.

use std::sync::Arc;

use candle_core::{Device, Result};

use crate::collective::{CollectiveError, Communicator, Cut, Local, ShardTensors, Sliced, Team};
use crate::model::Gradients;

/// The mean of the shards' gradients, weighted by their numbers of videos, on the device of the first shard.
///
/// The gradients of a shard are those of its own mean loss. If there is only one shard, its gradients are returned
/// without a copy.
///
/// # Errors
/// There are no shards or no videos, or the gradients of two shards do not have the same shapes.
pub fn reduce(shards: &[(&Gradients, usize)]) -> Result<Gradients> {
    let weighted = weighted(shards)?;
    let cut = cut(shards, 1);
    let first = shards.iter().flat_map(|(gradients, _)| gradients.tensors.first()).next();
    let alone = Local::alone(first.map_or(&Device::Cpu, |tensor| tensor.device()));
    Ok(Gradients { tensors: alone.reduce_scatter_in_order(&cut, &weighted)? })
}

/// The cut of these gradients into `slices` slices.
pub fn cut(shards: &[(&Gradients, usize)], slices: usize) -> Cut {
    let tensors = shards.first().map_or(&[][..], |(gradients, _)| &gradients.tensors);
    Cut::new(tensors.iter().map(|tensor| tensor.shape().clone()), slices)
}

/// The shards of a step that other processes compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Among {
    /// The number of shards before those of this process.
    pub first: usize,
    /// The number of videos in all shards.
    pub videos: usize,
}

/// The mean of [`reduce`] in slices, one on each device of `team`. `place` says which of this process's members holds a shard,
/// counted from this process's first shard. `among` tells of the shards of other processes; with `None` there are none.
///
/// # Errors
/// The errors of [`reduce`], or those of a collective operation.
pub fn reduce_scatter(
    team: &Team,
    cut: &Arc<Cut>,
    shards: &[(&Gradients, usize)],
    place: impl Fn(usize) -> usize,
    among: Option<Among>,
) -> std::result::Result<Sliced, CollectiveError> {
    let mut held: Vec<Vec<ShardTensors>> = team.members().iter().map(|_| Vec::new()).collect();
    let weighted = match among {
        None => weighted(shards)?,
        Some(Among { first, videos }) => weighted_in(shards, first, videos)?,
    };
    for (index, shard) in weighted.into_iter().enumerate() {
        held[place(index)].push(shard);
    }
    let slices = team.each(held, |member, held| member.communicator.reduce_scatter_in_order(cut, &held))?;
    Ok(Sliced { cut: cut.clone(), first: team.first(), slices })
}

/// The shards with their weights in the mean.
fn weighted(shards: &[(&Gradients, usize)]) -> Result<Vec<ShardTensors>> {
    if shards.is_empty() {
        candle_core::bail!("no shards to reduce");
    }
    let total: usize = shards.iter().map(|(_, examples)| examples).sum();
    if total == 0 {
        candle_core::bail!("shards without examples cannot be reduced");
    }
    weighted_in(shards, 0, total)
}

/// The shards from number `first` on, with their weights in the mean over `total` videos.
fn weighted_in(shards: &[(&Gradients, usize)], first: usize, total: usize) -> Result<Vec<ShardTensors>> {
    let shards = shards.iter().enumerate().map(|(shard, (gradients, examples))| {
        let tensors = gradients.tensors.iter().map(|tensor| tensor.contiguous()).collect::<Result<_>>()?;
        Ok(ShardTensors { shard: first + shard, weight: *examples as f64 / total as f64, tensors })
    });
    shards.collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

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
