//! What the ranks that make a step together tell each other about their shards, besides the gradients.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::collective::{Cut, LIMIT, Team, describe, described, from_bytes, to_bytes};
use crate::failure::{collective_failure, compute_failure, link_failure};
use crate::kernels::moments::NormMoments;
use crate::model::{BatchMoments, Gradients};
use crate::ranks::Channel;
use framewise_pipeline::Failure;

/// The team of these devices, over all ranks of `channel` if there is one.
///
/// # Errors
/// A rank is missed.
pub(super) fn team(
    devices: &[(String, Device)],
    channel: Option<&Channel>,
) -> std::result::Result<Team, Failure> {
    let Some(channel) = channel else { return Ok(Team::local(devices, LIMIT)) };
    Team::spread(devices, LIMIT, channel).map_err(|e| collective_failure("forming the team of all ranks", &e))
}

/// The cut into `slices` slices of the gradients that the first rank with a shard has.
///
/// # Errors
/// No rank has a shard, or a rank is missed.
pub(super) fn cut(
    channel: &Channel,
    own: Option<&Gradients>,
    slices: usize,
) -> std::result::Result<Cut, Failure> {
    let own = own.map_or_else(Vec::new, |gradients| describe(&gradients.tensors));
    let all = channel.all_gather(&own).map_err(|e| link_failure("comparing the gradients", &e))?;
    let first = all.iter().find(|bytes| !bytes.is_empty());
    let first = first.ok_or_else(|| Failure::internal("no rank has a shard of the step"))?;
    let shapes = described(first).map_err(|e| compute_failure("comparing the gradients", &e))?;
    Ok(Cut::new(shapes.into_iter().map(|(_, shape)| shape), slices))
}

/// The batch moments of the shards of all ranks, in shard order, on `device`. `own` are those of this rank's shards.
///
/// # Errors
/// A rank is missed, or a device fails.
pub(super) fn moments(
    channel: &Channel,
    own: &[Arc<BatchMoments>],
    device: &Device,
) -> std::result::Result<Vec<Arc<BatchMoments>>, Failure> {
    let compute = |error: candle_core::Error| compute_failure("exchanging the batch moments", &error);
    let mut bytes = Vec::new();
    for shard in own {
        let part = write(shard).map_err(compute)?;
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    let all = channel.all_gather(&bytes).map_err(|e| link_failure("exchanging the batch moments", &e))?;
    let mut shards = Vec::new();
    for (rank, bytes) in all.iter().enumerate() {
        if rank == channel.rank() {
            shards.extend_from_slice(own);
            continue;
        }
        let mut rest = bytes.as_slice();
        while let Some((length, more)) = rest.split_first_chunk() {
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let Some((part, more)) = more.split_at_checked(length) else {
                return Err(Failure::internal(format!("rank {rank} sent batch moments that end too early")));
            };
            shards.push(Arc::new(read(part, device).map_err(compute)?));
            rest = more;
        }
    }
    Ok(shards)
}

/// The moments of a shard: the rows of each layer, then the mean and the variance of each.
fn write(moments: &BatchMoments) -> Result<Vec<u8>> {
    let rows = moments.layers.iter().map(|layer| layer.rows as f64);
    let rows = Tensor::from_iter(rows, &Device::Cpu)?;
    let layers = moments.layers.iter().flat_map(|layer| [layer.mean.clone(), layer.variance.clone()]);
    to_bytes(&std::iter::once(rows).chain(layers).collect::<Vec<_>>())
}

fn read(bytes: &[u8], device: &Device) -> Result<BatchMoments> {
    let tensors = from_bytes(bytes)?;
    let Some((rows, tensors)) = tensors.split_first() else {
        candle_core::bail!("batch moments without rows")
    };
    let layers = rows.to_vec1::<f64>()?.into_iter().zip(tensors.chunks_exact(2)).map(|(rows, pair)| {
        let [mean, variance] = [pair[0].to_device(device)?, pair[1].to_device(device)?];
        Ok(NormMoments { mean, variance, rows: rows as usize })
    });
    Ok(BatchMoments { layers: layers.collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_every_bit_on_their_way() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let layer =
            |rows| NormMoments { mean: tensor(&[0.1, -0.0]), variance: tensor(&[1e-39, f32::NAN]), rows };
        let moments = BatchMoments { layers: vec![layer(3), layer(1 << 40)] };
        let back = read(&write(&moments).unwrap(), &Device::Cpu).unwrap();
        let bits = |moments: &BatchMoments| -> Vec<(usize, Vec<u32>)> {
            let layer = |layer: &NormMoments| {
                let values = [&layer.mean, &layer.variance].map(|tensor| tensor.to_vec1::<f32>().unwrap());
                (layer.rows, values.concat().into_iter().map(f32::to_bits).collect())
            };
            moments.layers.iter().map(layer).collect()
        };
        assert_eq!(bits(&back), bits(&moments));
    }
}
