//! The learning rate as a function of progress. The one law: it depends on (samples seen, epoch) alone, so that a resumed run
//! continues on the same curve.

use serde::{Deserialize, Serialize};

/// How the rate falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleKind {
    /// `base · decay^floor(samples_seen / every_samples)`.
    Samples {
        /// Factor per period.
        decay: f64,
        /// Samples of a period; at least 1.
        every_samples: u64,
    },
    /// `base · factor` of the last milestone whose epoch has been reached; `base` before the first.
    Epochs {
        /// (epoch, counted from 0; factor relative to `base`), epochs rising.
        milestones: Vec<(u64, f64)>,
    },
}

/// A base rate and how it falls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Rate of the beginning.
    pub base: f64,
    /// How it falls.
    pub kind: ScheduleKind,
}

impl Default for Schedule {
    /// 2e-4, times 0.8 every two million samples.
    fn default() -> Self {
        Self { base: 2e-4, kind: ScheduleKind::Samples { decay: 0.8, every_samples: 2_000_000 } }
    }
}

impl Schedule {
    /// The rate of an update before which `samples_seen` samples were trained on, in `epoch` (counted from 0).
    pub fn rate(&self, samples_seen: u64, epoch: u64) -> f64 {
        let factor = match &self.kind {
            ScheduleKind::Samples { decay, every_samples } => {
                // A period of 0 is refused by `check`; here it means no decay.
                let periods = samples_seen.checked_div(*every_samples).unwrap_or(0);
                decay.powi(i32::try_from(periods).unwrap_or(i32::MAX))
            }
            ScheduleKind::Epochs { milestones } => {
                milestones.iter().rev().find(|(start, _)| *start <= epoch).map_or(1.0, |(_, factor)| *factor)
            }
        };
        self.base * factor
    }

    /// Every value that makes no schedule, one sentence each.
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
