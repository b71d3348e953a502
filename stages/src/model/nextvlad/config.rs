//! The shape of a NeXtVLAD, and the choices on which the reference systems differ.
//!
//! Law: every key that changes a number stands here, so that two equal configurations compute the same function.

use candle_core::Result;
use framewise_pipeline::{KeyWord, Keys};
use serde::{Deserialize, Serialize};

use crate::kernels::forms::{L2Norm, LossForm};
use crate::model::batch::DeviceBatch;

/// The largest size of a model, as the keys of graphs bound it.
pub(crate) const MAX_SIZE: usize = 1 << 24;

/// The pass in which values are scaled because of dropout, so that training and evaluation agree in the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropoutMode {
    /// `v·mask` in training and `v·(1 − drop_rate)` in evaluation (PaddlePaddle fluid's default).
    DownscaleInEval,
    /// `v·mask / (1 − drop_rate)` in training and `v` in evaluation (TensorFlow).
    UpscaleInTrain,
}

/// The variance that the gate's batch norm folds into its running variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVariance {
    /// The batch variance over n.
    Biased,
    /// The batch variance over n − 1 (TensorFlow's fused batch norm), where n = 1 counts as 2.
    Unbiased,
}

/// The number that counts as fan_in in the variance 2 / fan_in of the initial cluster centers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CentersFanIn {
    /// K, the number of clusters.
    Clusters,
    /// D, the width of a center.
    Width,
}

/// Which shards' batch moments reach the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunningStatistics {
    /// The moments of shard 0 alone.
    FirstShard,
    /// The moments of every shard, one after another in shard order.
    EveryShard,
}

/// Everything that defines a NeXtVLAD but its weights. Every key has a default, which is that of preset `paddle`.
#[derive(Clone, Debug, PartialEq, Keys, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NextVladConfig {
    /// Bytes of a visual row.
    #[key(range = 1..=1 << 24, default = 1024, unit = "bytes")]
    pub rgb_size: usize,
    /// Bytes of an audio row.
    #[key(range = 1..=1 << 24, default = 128, unit = "bytes")]
    pub audio_size: usize,
    /// Classes that the model scores.
    #[key(range = 1..=1 << 24, default = 3862)]
    pub classes: usize,
    /// The number of frames that are kept of a longer video.
    #[key(range = 1..=1 << 24, default = 300, unit = "frames")]
    pub max_frames: usize,
    /// Clusters K of the visual branch.
    #[key(range = 1..=1 << 24, default = 128)]
    pub clusters: usize,
    /// Clusters K of the audio branch.
    #[key(range = 1..=1 << 24, default = 128)]
    pub audio_clusters: usize,
    /// Groups G of the visual branch; they divide expansion · rgb_size.
    #[key(range = 1..=1 << 24, default = 8)]
    pub groups: usize,
    /// Groups G of the audio branch; they divide expansion · audio_size.
    #[key(range = 1..=1 << 24, default = 8)]
    pub audio_groups: usize,
    /// Width H of the hidden layer.
    #[key(range = 1..=1 << 24, default = 2048)]
    pub hidden: usize,
    /// Expansion of the input before grouping.
    #[key(range = 1..=1 << 24, default = 2)]
    pub expansion: usize,
    /// Reduction of the gate's bottleneck; it divides hidden.
    #[key(range = 1..=1 << 24, default = 8)]
    pub gating_reduction: usize,
    /// Share of the joined descriptors dropped in training.
    #[key(range = 0.0..=0.99, default = 0.5)]
    pub drop_rate: f64,
    /// Which side is scaled so that training and evaluation agree in the mean.
    #[key(default = DropoutMode::DownscaleInEval)]
    pub dropout: DropoutMode,
    /// Added to a variance under a square root.
    #[key(range = 1e-12..=1.0, default = 1e-5)]
    pub norm_epsilon: f64,
    // m of `running ← m·running + (1 − m)·batch`.
    /// Share of a running statistic kept at each step.
    #[key(range = 0.0..=1.0, default = 0.9)]
    pub norm_momentum: f64,
    /// How each cluster's descriptor is brought to length one.
    #[key(default = L2Norm::SqrtSumPlusEpsilon)]
    pub l2_norm: L2Norm,
    // A padded row is one whose dequantised features are zero, as the authors' reader makes them.
    /// Rows to which the assignment's batch statistics pad every video; 0 counts real frames only.
    #[key(range = 0..=1 << 24, default = 0, unit = "frames")]
    pub pad_to: usize,
    /// What the cross-entropy is computed from.
    #[key(default = LossForm::Logits)]
    pub loss: LossForm,
    /// Which variance the gate's batch norm keeps as its running one.
    #[key(default = GateVariance::Biased)]
    pub gate_variance: GateVariance,
    /// Which dimension of the cluster centers counts as fan-in when they are drawn.
    #[key(default = CentersFanIn::Clusters)]
    pub centers_fan_in: CentersFanIn,
    /// Which shards' batch moments reach the running statistics.
    #[key(default = RunningStatistics::FirstShard)]
    pub running_statistics: RunningStatistics,
}

impl Default for NextVladConfig {
    fn default() -> Self {
        Self::paddle()
    }
}

impl NextVladConfig {
    /// Preset `paddle`: PaddlePaddle's model library, `PaddleCV/video`. These are the defaults of the keys.
    pub fn paddle() -> Self {
        Self::defaults()
    }

    /// Preset `paper`: the authors' TensorFlow code, `linrongc/youtube-8m`.
    pub fn paper() -> Self {
        Self {
            audio_clusters: 64,
            audio_groups: 4,
            dropout: DropoutMode::UpscaleInTrain,
            norm_epsilon: 1e-3,
            norm_momentum: 0.999,
            l2_norm: L2Norm::SqrtMaxEpsilon,
            pad_to: 300,
            loss: LossForm::Probabilities,
            gate_variance: GateVariance::Unbiased,
            centers_fan_in: CentersFanIn::Width,
            running_statistics: RunningStatistics::EveryShard,
            ..Self::paddle()
        }
    }

    /// Refuses a batch that a model of this configuration cannot compute.
    pub(super) fn check_batch(&self, batch: &DeviceBatch) -> Result<()> {
        batch.check(self.rgb_size, self.audio_size)?;
        let longest = batch.lengths.iter().copied().max().unwrap_or(0);
        if longest > self.max_frames {
            candle_core::bail!("a video of {longest} frames; the model takes {}", self.max_frames);
        }
        Ok(())
    }

    /// Every value that no model can have, one sentence each; empty if the configuration is sound.
    pub fn check(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let sizes = [
            ("rgb_size", self.rgb_size),
            ("audio_size", self.audio_size),
            ("classes", self.classes),
            ("max_frames", self.max_frames),
            ("clusters", self.clusters),
            ("audio_clusters", self.audio_clusters),
            ("groups", self.groups),
            ("audio_groups", self.audio_groups),
            ("hidden", self.hidden),
            ("expansion", self.expansion),
            ("gating_reduction", self.gating_reduction),
        ];
        errors.extend(
            sizes.iter().filter(|(_, size)| *size == 0).map(|(key, _)| format!("{key} must be at least 1")),
        );
        // This bound keeps every product of two sizes from overflowing.
        let widths = [("rgb_size", self.rgb_size), ("audio_size", self.audio_size)]
            .map(|(key, size)| (key, self.expansion.saturating_mul(size)))
            .into_iter()
            .filter(|_| self.expansion <= MAX_SIZE);
        errors.extend(
            sizes
                .into_iter()
                .chain(widths)
                .filter(|(_, size)| *size > MAX_SIZE)
                .map(|(key, size)| format!("{key} makes a size of {size}, more than {MAX_SIZE}")),
        );
        let groupings = [
            ("rgb_size", self.rgb_size, "groups", self.groups),
            ("audio_size", self.audio_size, "audio_groups", self.audio_groups),
        ];
        for (size_key, size, groups_key, groups) in groupings {
            let width = self.expansion.saturating_mul(size);
            if groups > 0 && !width.is_multiple_of(groups) {
                let advice = divisors_near(groups, width);
                errors.push(format!(
                    "{groups_key} = {groups} must divide expansion · {size_key} = {} · {size} = {width}; {advice}",
                    self.expansion
                ));
            }
        }
        if self.gating_reduction > 0 && !self.hidden.is_multiple_of(self.gating_reduction) {
            errors.push(format!(
                "gating_reduction = {} must divide hidden = {}; {}",
                self.gating_reduction,
                self.hidden,
                divisors_near(self.gating_reduction, self.hidden)
            ));
        }
        // The comparison is written so that NaN fails too.
        if !(0.0..1.0).contains(&self.drop_rate) {
            errors.push(format!("drop_rate = {} must be at least 0 and below 1", self.drop_rate));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon.is_finite()) {
            errors.push(format!("norm_epsilon = {} must be positive and finite", self.norm_epsilon));
        }
        if !(0.0..=1.0).contains(&self.norm_momentum) {
            errors.push(format!("norm_momentum = {} must lie between 0 and 1", self.norm_momentum));
        }
        if self.pad_to != 0 && self.pad_to < self.max_frames {
            errors.push(format!(
                "pad_to = {} must be 0 (no padding) or at least max_frames = {}",
                self.pad_to, self.max_frames
            ));
        }
        errors
    }
}

/// Words that name the divisors of `number` that are nearest to `wanted`, which is none.
fn divisors_near(wanted: usize, number: usize) -> String {
    // Other sizes are refused, and a search among them would take long.
    if number > MAX_SIZE {
        return "make both smaller".to_owned();
    }
    let divides = |candidate: &usize| number.is_multiple_of(*candidate);
    let below = (1..=wanted.min(number)).rev().find(divides);
    let above = (wanted..=number).find(divides);
    match (below, above) {
        (Some(below), Some(above)) => format!("the nearest numbers that do are {below} and {above}"),
        (one, other) => format!("the nearest number that does is {}", one.or(other).unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_presets_are_sound_and_survive_toml() {
        for preset in [NextVladConfig::paddle(), NextVladConfig::paper()] {
            assert_eq!(preset.check(), Vec::<String>::new());
            let text = toml::to_string(&preset).unwrap();
            assert_eq!(toml::from_str::<NextVladConfig>(&text).unwrap(), preset);
        }
        assert_eq!(toml::from_str::<NextVladConfig>("").unwrap(), NextVladConfig::paddle());
        assert!(toml::from_str::<NextVladConfig>("cluster = 3").is_err());
        let text = "dropout = \"upscale_in_train\"\nl2_norm = \"sqrt_max_epsilon\"\nloss = \"probabilities\"\n\
                    gate_variance = \"unbiased\"\ncenters_fan_in = \"width\"\nrunning_statistics = \"every_shard\"";
        let read: NextVladConfig = toml::from_str(text).unwrap();
        assert_eq!(read.dropout, DropoutMode::UpscaleInTrain);
        assert_eq!(read.running_statistics, RunningStatistics::EveryShard);
    }

    #[test]
    fn the_nearest_divisors_are_named() {
        let advice = |config: NextVladConfig| config.check().join("\n");
        let groups = advice(NextVladConfig { groups: 7, ..NextVladConfig::paddle() });
        assert_eq!(
            groups,
            "groups = 7 must divide expansion · rgb_size = 2 · 1024 = 2048; the nearest numbers that do are 4 and 8"
        );
        let groups = advice(NextVladConfig { audio_groups: 1000, ..NextVladConfig::paddle() });
        assert!(groups.ends_with("= 2 · 128 = 256; the nearest number that does is 256"), "{groups}");
        let reduction =
            advice(NextVladConfig { hidden: 97, gating_reduction: 96, ..NextVladConfig::paddle() });
        assert!(reduction.ends_with("hidden = 97; the nearest numbers that do are 1 and 97"), "{reduction}");
    }

    #[test]
    fn every_impossible_value_is_reported_at_once() {
        let broken = NextVladConfig {
            classes: 0,
            groups: 7,
            gating_reduction: 3,
            drop_rate: 1.0,
            norm_epsilon: f64::NAN,
            norm_momentum: -0.1,
            pad_to: 299,
            ..NextVladConfig::paddle()
        };
        let errors = broken.check();
        assert_eq!(errors.len(), 7, "{errors:#?}");
    }
}
