//! The settings of Adam.

use framewise_pipeline::stage::config::Values;
use framewise_pipeline::{KeySpec, KeyWord, Keys};

/// The place of ε in Adam's formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord)]
pub enum EpsilonPlace {
    /// `lr · m̂ / (sqrt(v̂) + ε)` with m̂ = m/(1−β1^t), v̂ = v/(1−β2^t), as in the paper.
    AfterCorrection,
    /// `lr · sqrt(1−β2^t)/(1−β1^t) · m / (sqrt(v) + ε)`, as in TensorFlow 1.
    BeforeCorrection,
}

/// The way in which gradients are clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Gradients are not clipped.
    Off,
    /// All gradients are multiplied by one factor, `norm / max(‖all‖, norm)`, before L2 is added.
    Global {
        /// The largest norm of all gradients together.
        norm: f64,
    },
    /// Every gradient is multiplied by a factor of its own, `norm / max(‖gradient‖, norm)`, after L2 is added.
    PerVariable {
        /// The largest norm of one gradient.
        norm: f64,
    },
}

/// The keys that make a [`Clip`].
#[derive(Keys)]
struct ClipKeys {
    /// Clips gradients to clip_norm: by their norm over all parameters, or each parameter's by its own.
    #[key(default = ClipBy::Off)]
    clip: ClipBy,
    /// The norm to clip to.
    #[key(range = 1e-12..=1e12, default = 1.0)]
    clip_norm: f64,
}

/// The words of the key `clip`.
#[derive(Clone, Copy, KeyWord)]
enum ClipBy {
    Off,
    Global,
    PerVariable,
}

impl Keys for Clip {
    fn keys() -> Vec<KeySpec> {
        ClipKeys::keys()
    }

    fn read(values: &mut Values<'_>) -> Self {
        let ClipKeys { clip, clip_norm: norm } = ClipKeys::read(values);
        match clip {
            ClipBy::Off => Self::Off,
            ClipBy::Global => Self::Global { norm },
            ClipBy::PerVariable => Self::PerVariable { norm },
        }
    }
}

/// The settings of [`super::Adam`], which are keys of the stage that applies it. The defaults are those of the preset
/// `paddle`.
#[derive(Clone, Debug, PartialEq, Keys)]
pub struct AdamConfig {
    /// Adam's decay of the first moment.
    #[key(range = 0.0..=0.999_999, default = 0.9)]
    pub beta1: f64,
    /// Adam's decay of the second moment.
    #[key(range = 0.0..=0.999_999_9, default = 0.999)]
    pub beta2: f64,
    /// Adam's epsilon.
    #[key(range = 0.0..=1.0, default = 1e-8)]
    pub epsilon: f64,
    /// after_correction: m̂ / (sqrt(v̂) + ε); before_correction: TensorFlow's lr·sqrt(1−β2^t)/(1−β1^t) · m/(sqrt(v)+ε).
    #[key(default = EpsilonPlace::AfterCorrection)]
    pub epsilon_place: EpsilonPlace,
    /// Adds l2·w to the gradient of l2_parameters.
    #[key(range = 0.0..=1e3, default = 1e-5)]
    pub l2: f64,
    /// Parameters that l2 applies to.
    #[key(default = ["classifier.weight", "classifier.bias"])]
    pub l2_parameters: Vec<String>,
    /// The way in which gradients are clipped.
    #[key(flatten)]
    pub clip: Clip,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self::defaults()
    }
}

impl AdamConfig {
    /// The preset `paper`: ε stands outside the correction, and every gradient is clipped to norm 1.
    pub fn paper() -> Self {
        Self {
            epsilon_place: EpsilonPlace::BeforeCorrection,
            clip: Clip::PerVariable { norm: 1.0 },
            ..Self::default()
        }
    }

    /// Everything that is wrong with the values, with one sentence each.
    pub fn check(&self) -> Vec<String> {
        let mut errors = Vec::new();
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                errors.push(format!("{name} = {beta} must be at least 0 and below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            errors.push(format!("epsilon = {} must be positive and finite", self.epsilon));
        }
        if !(self.l2 >= 0.0 && self.l2.is_finite()) {
            errors.push(format!("l2 = {} must be finite and not negative", self.l2));
        }
        if let Clip::Global { norm } | Clip::PerVariable { norm } = self.clip
            && !(norm > 0.0 && norm.is_finite())
        {
            errors.push(format!("the norm to clip to, {norm}, must be positive and finite"));
        }
        errors
    }
}
