//! The memory of a step of NeXtVLAD on the CPU, from its sizes.

use super::config::NextVladConfig;
use super::layout::{Side, Sizes};
use crate::kernels::precision::Precision;
use crate::model::definition::{ShardSize, StepBytes};

/// The bytes of an f32 number.
const FLOAT: u64 = 4;

/// The widths of one modality, in numbers for each frame.
struct Widths {
    /// F.
    input: u64,
    /// E.
    expanded: u64,
    /// G·K, the assignments.
    assigned: u64,
    /// G·K + G, the logits of assignment and attention.
    logits: u64,
    /// D·K, for each video.
    descriptor: u64,
}

impl Widths {
    fn of(config: &NextVladConfig, side: Side) -> Self {
        let sizes = Sizes::of(config, side);
        let assigned = (sizes.groups * sizes.clusters) as u64;
        Self {
            input: sizes.input as u64,
            expanded: sizes.expanded as u64,
            assigned,
            logits: assigned + sizes.groups as u64,
            descriptor: sizes.descriptor() as u64,
        }
    }

    /// What clustering keeps of each frame: the features, h, the logits and the assignments. In narrow precisions the
    /// features stay bytes.
    fn kept(&self, precision: Precision) -> u64 {
        let input = if precision == Precision::F32 { self.input * FLOAT } else { self.input };
        input + (self.expanded + self.logits + self.assigned) * FLOAT
    }

    /// What the gradient of clustering holds of each frame: the gradients of the assignments, of h and of the logits.
    fn gradients(&self) -> u64 {
        (self.assigned + self.expanded + self.logits) * FLOAT
    }
}

/// The bytes of a step on one shard.
pub(super) fn step_bytes(config: &NextVladConfig, precision: Precision, size: ShardSize) -> StepBytes {
    let ShardSize { videos, rows } = size;
    let sides = Side::BOTH.map(|side| Widths::of(config, side));
    let descriptors: u64 = sides.iter().map(|side| side.descriptor).sum();
    let (hidden, classes) = (config.hidden as u64, config.classes as u64);
    let gate = hidden / config.gating_reduction as u64;
    // Of each video: the residuals, the descriptors before and behind their norm, and, joined, before and behind dropout
    // with its factors. Then the hidden layer, its norm, the gates and their product, the gate's bottleneck, and logits
    // without and with the bias.
    let of_video = (6 * descriptors + 5 * hidden + 3 * gate + 2 * classes) * FLOAT;
    let kept: u64 = sides.iter().map(|side| side.kept(precision)).sum();
    let gradients = sides.iter().map(Widths::gradients).max().unwrap_or(0);
    // In evaluation, one modality after the other holds its frames.
    let evaluated = sides.iter().map(|side| side.kept(precision)).max().unwrap_or(0);
    StepBytes {
        tape: rows * kept + videos * of_video,
        backward: rows * gradients + videos * 2 * descriptors * FLOAT,
        evaluation: rows * evaluated + videos * (3 * descriptors + 3 * hidden + 2 * classes) * FLOAT,
    }
}
