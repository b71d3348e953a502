//! The step from batch moments to running statistics.
//!
//! Law: a forward pass returns moments, and only [`fold`] turns them into the buffers of the next version.

use candle_core::{Result, Tensor};

use super::config::{GateVariance, NextVladConfig, RunningStatistics};
use crate::model::definition::BatchMoments;

/// Makes the new buffers: `running ← m·running + (1 − m)·batch` for every batch norm, over the shards that the
/// configuration counts.
///
/// `buffers` lists (mean, variance) of each layer, and then what stays as it is.
pub(super) fn fold(
    config: &NextVladConfig,
    buffers: &[Tensor],
    shards: &[&BatchMoments],
) -> Result<Vec<Tensor>> {
    let counted = match config.running_statistics {
        RunningStatistics::FirstShard => &shards[..shards.len().min(1)],
        RunningStatistics::EveryShard => shards,
    };
    let count = buffers.len();
    let mut buffers = buffers.to_vec();
    for shard in counted {
        let last = shard.layers.len().saturating_sub(1);
        for (layer, moments) in shard.layers.iter().enumerate() {
            // The gate's norm is the last one, and the only one with this choice.
            let correction = match config.gate_variance {
                GateVariance::Unbiased if layer == last => {
                    moments.rows as f64 / moments.rows.saturating_sub(1).max(1) as f64
                }
                _ => 1.0,
            };
            let parts = [(2 * layer, &moments.mean, 1.0), (2 * layer + 1, &moments.variance, correction)];
            for (index, batch, factor) in parts {
                let Some(running) = buffers.get_mut(index) else {
                    candle_core::bail!("moments of {} batch norms for {} buffers", shard.layers.len(), count);
                };
                let batch = batch.to_device(running.device())?;
                let kept = running.affine(config.norm_momentum, 0.0)?;
                *running = (kept + batch.affine((1.0 - config.norm_momentum) * factor, 0.0)?)?;
            }
        }
    }
    Ok(buffers)
}
