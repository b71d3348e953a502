//! The learning rate as a function of progress.
//!
//! Law: the learning rate depends only on (samples seen, epoch), so that a resumed run continues on the same curve.

use framewise_pipeline::Keys;

/// The way in which the rate falls.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleKind {
    /// `base · decay^floor(samples_seen / every_samples)`.
    Samples {
        /// The factor for each period.
        decay: f64,
        /// The number of samples of a period, at least 1.
        every_samples: u64,
    },
    /// The rate is `base · factor` of the last milestone whose epoch has been reached, and `base` before the first.
    Epochs {
        /// The milestones as (epoch, factor). Epochs are counted from 0 and rise, and factors are relative to `base`.
        milestones: Vec<(u64, f64)>,
    },
}

/// A schedule of the learning rate: a base rate, and the way in which it falls.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The rate at the beginning.
    pub base: f64,
    /// The way in which the rate falls.
    pub kind: ScheduleKind,
}

/// The keys that make a [`Schedule`].
#[derive(Keys)]
pub struct ScheduleKeys {
    /// The learning rate at the start.
    #[key(range = 0.0..=10.0, default = 2e-4)]
    pub learning_rate: f64,
    /// The factor by which the learning rate is multiplied every decay_samples videos.
    #[key(range = 0.0..=1.0, default = 0.8)]
    pub decay: f64,
    /// Videos seen between two decays: lr = learning_rate · decay^floor(seen / decay_samples). 0 never decays.
    #[key(range = 0.., default = 2_000_000, unit = "videos")]
    pub decay_samples: u64,
    /// The epochs from which the factors of milestone_factors hold, ascending. They take the place of decay.
    #[key(range = 1..=1 << 32, default = [], unit = "epochs")]
    pub milestone_epochs: Vec<u64>,
    /// For each milestone epoch, the factor by which learning_rate is multiplied (not the rate before it).
    #[key(range = 0.0..=1e6, default = [])]
    pub milestone_factors: Vec<f64>,
}

impl From<ScheduleKeys> for Schedule {
    fn from(keys: ScheduleKeys) -> Self {
        let kind = if keys.milestone_epochs.is_empty() {
            ScheduleKind::Samples { decay: keys.decay, every_samples: keys.decay_samples }
        } else {
            let milestones = keys.milestone_epochs.into_iter().zip(keys.milestone_factors);
            ScheduleKind::Epochs { milestones: milestones.collect() }
        };
        Self { base: keys.learning_rate, kind }
    }
}

impl Default for Schedule {
    /// The schedule of a stage that gives no key.
    fn default() -> Self {
        ScheduleKeys::defaults().into()
    }
}

impl Schedule {
    /// The rate of an update in `epoch` (counted from 0), before which `samples_seen` samples were trained on.
    pub fn rate(&self, samples_seen: u64, epoch: u64) -> f64 {
        let factor = match &self.kind {
            ScheduleKind::Samples { decay, every_samples } => {
                // `check` refuses a period of 0. Here it means that there is no decay.
                let periods = samples_seen.checked_div(*every_samples).unwrap_or(0);
                decay.powi(i32::try_from(periods).unwrap_or(i32::MAX))
            }
            ScheduleKind::Epochs { milestones } => {
                milestones.iter().rev().find(|(start, _)| *start <= epoch).map_or(1.0, |(_, factor)| *factor)
            }
        };
        self.base * factor
    }

    /// Everything that is wrong with the values, with one sentence each.
    pub fn check(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let mut rate = |name: String, value: f64| {
            if !(value >= 0.0 && value.is_finite()) {
                errors.push(format!("{name} = {value} must be finite and not negative"));
            }
        };
        rate("the base learning rate".into(), self.base);
        match &self.kind {
            ScheduleKind::Samples { decay, every_samples } => {
                rate("decay".into(), *decay);
                if *every_samples == 0 {
                    errors.push("every_samples must be at least 1".into());
                }
            }
            ScheduleKind::Epochs { milestones } => {
                for (epoch, factor) in milestones {
                    rate(format!("the factor of epoch {epoch}"), *factor);
                }
                if !milestones.is_sorted_by(|a, b| a.0 < b.0) {
                    errors.push("the epochs of milestones must rise".into());
                }
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_by_a_factor_every_two_million_samples() {
        let schedule = Schedule::default();
        let cases = [(0, 2e-4), (1_999_999, 2e-4), (2_000_000, 1.6e-4), (4_000_001, 1.28e-4)];
        for (samples, rate) in cases {
            assert!((schedule.rate(samples, 9) - rate).abs() < 1e-18, "{samples}");
        }
        assert!(schedule.check().is_empty());
    }

    #[test]
    fn milestones_give_factors_relative_to_the_base() {
        let kind = ScheduleKind::Epochs { milestones: vec![(3, 0.1), (5, 0.01)] };
        let schedule = Schedule { base: 1.0, kind };
        let rates: Vec<f64> = (0..7).map(|epoch| schedule.rate(123, epoch)).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]);
        assert!(schedule.check().is_empty());
        let kind = ScheduleKind::Epochs { milestones: vec![(3, 0.1), (3, f64::NAN)] };
        assert_eq!(Schedule { base: -1.0, kind }.check().len(), 3);
    }
}
