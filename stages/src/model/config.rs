//! The shape of a NeXtVLAD and the choices on which the reference systems differ. The one law: every key that changes
//! a number stands here, so that two equal configurations compute the same function.

use serde::{Deserialize, Serialize};

/// The largest size of a model, as the keys of graphs bound it.
pub(crate) const MAX_SIZE: usize = 1 << 24;

/// When the dropped values are scaled so that training and evaluation agree in the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropoutMode {
    /// Training `v·mask`, evaluation `v·(1 − drop_rate)` (PaddlePaddle fluid's default).
    DownscaleInEval,
    /// Training `v·mask / (1 − drop_rate)`, evaluation `v` (TensorFlow).
    UpscaleInTrain,
}

/// How each cluster's descriptor is brought to length one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum L2Norm {
    /// `V / sqrt(Σ V² + 1e-12)`.
    SqrtSumPlusEpsilon,
    /// `V / sqrt(max(Σ V², 1e-12))`.
    SqrtMaxEpsilon,
}

/// What the cross-entropy is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossForm {
    /// From logits, in the stable form `max(l, 0) − l·t + ln(1 + e^−|l|)`.
    Logits,
    /// From probabilities, with 1e-8 inside both logarithms.
    Probabilities,
}

/// Which variance the gate's batch norm folds into its running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVariance {
    /// The batch variance over n.
    Biased,
    /// The batch variance over n − 1 (TensorFlow's fused batch norm); n = 1 counts as 2.
    Unbiased,
}

/// What the variance 2 / fan_in of the initial cluster centers counts as fan_in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CentersFanIn {
    /// K, the number of clusters.
    Clusters,
    /// D, the width of a center.
    Width,
}

/// Which shards' batch moments reach the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunningStatistics {
    /// Those of shard 0 alone.
    FirstShard,
    /// Those of every shard, one after another in shard order.
    EveryShard,
}

/// Everything that defines a NeXtVLAD but its weights. Every key has a default: that of preset `paddle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NextVladConfig {
    /// Bytes of a visual row, F of the visual branch. Default 1024.
    pub rgb_size: usize,
    /// Bytes of an audio row, F of the audio branch. Default 128.
    pub audio_size: usize,
    /// Classes. Default 3862.
    pub classes: usize,
    /// Frames kept of a longer video. Default 300.
    pub max_frames: usize,
    /// Clusters K of the visual branch. Default 128.
    pub clusters: usize,
    /// Clusters K of the audio branch. Default 128.
    pub audio_clusters: usize,
    /// Groups G of the visual branch. Default 8.
    pub groups: usize,
    /// Groups G of the audio branch. Default 8.
    pub audio_groups: usize,
    /// Width H of the hidden layer. Default 2048.
    pub hidden: usize,
    /// Expansion λ of the input before grouping. Default 2.
    pub expansion: usize,
    /// Reduction r of the gate's bottleneck. Default 8.
    pub gating_reduction: usize,
    /// Probability of dropping an element of the joined descriptors. Default 0.5.
    pub drop_rate: f64,
    /// Default `downscale_in_eval`.
    pub dropout: DropoutMode,
    /// Added to every variance under a square root. Default 1e-5.
    pub norm_epsilon: f64,
    /// m of `running ← m·running + (1 − m)·batch`. Default 0.9.
    pub norm_momentum: f64,
    /// Default `sqrt_sum_plus_epsilon`.
    pub l2_norm: L2Norm,
    /// Rows to which the training statistics of the assignment's batch norm pad every video; 0 (default) counts real
    /// frames only. A padded row is one whose dequantised features are zero, as the authors' reader makes them.
    pub pad_to: usize,
    /// Default `logits`.
    pub loss: LossForm,
    /// Default `biased`.
    pub gate_variance: GateVariance,
    /// Default `clusters`.
    pub centers_fan_in: CentersFanIn,
    /// Default `first_shard`.
    pub running_statistics: RunningStatistics,
}

impl Default for NextVladConfig {
    fn default() -> Self {
        Self::paddle()
    }
}

impl NextVladConfig {
    /// Preset `paddle`: PaddlePaddle's model library, `PaddleCV/video`.
    pub fn paddle() -> Self {
        Self {
            rgb_size: 1024,
            audio_size: 128,
            classes: 3862,
            max_frames: 300,
            clusters: 128,
            audio_clusters: 128,
            groups: 8,
            audio_groups: 8,
            hidden: 2048,
            expansion: 2,
            gating_reduction: 8,
            drop_rate: 0.5,
            dropout: DropoutMode::DownscaleInEval,
            norm_epsilon: 1e-5,
            norm_momentum: 0.9,
            l2_norm: L2Norm::SqrtSumPlusEpsilon,
            pad_to: 0,
            loss: LossForm::Logits,
            gate_variance: GateVariance::Biased,
            centers_fan_in: CentersFanIn::Clusters,
            running_statistics: RunningStatistics::FirstShard,
        }
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
        // So that no product of two sizes overflows.
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
                errors.push(format!("{groups_key} = {groups} must divide expansion · {size_key} = {width}"));
            }
        }
        if self.gating_reduction > 0 && !self.hidden.is_multiple_of(self.gating_reduction) {
            errors.push(format!(
                "gating_reduction = {} must divide hidden = {}",
                self.gating_reduction, self.hidden
            ));
        }
        // Written so that NaN fails too.
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
