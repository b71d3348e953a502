//! How much of a run is done, and how long the rest takes.
//!
//! Law: both are functions of readings. The share is what the sources say. A run of which no source says how far it is
//! has neither.

use std::sync::Arc;

use super::reading::Reading;

/// The least time over which the speed of the sources is taken, in seconds.
const LEAST: f64 = 2.0;

impl Reading {
    /// The share of its input that the run has read, from 0 to 1: that of the source that is least far.
    pub fn share_read(&self) -> Option<f64> {
        self.stages.iter().filter_map(|stage| stage.progress).min_by(f64::total_cmp)
    }
}

/// The seconds until the sources have read everything, at the speed of the second half of the run so far. In the first
/// half, the sources also fill the buffers behind them, which is faster than what follows. `None` before the sources have
/// moved for [`LEAST`] seconds, and where no source says how far it is.
pub(crate) fn seconds_left(history: &[Arc<Reading>], now: &Reading) -> Option<f64> {
    let share = now.share_read()?;
    let half = history.iter().rev().find(|reading| reading.seconds <= now.seconds / 2.0)?;
    let (seconds, read) = (now.seconds - half.seconds, share - half.share_read()?);
    let is_long_enough = seconds >= LEAST && read > 0.0;
    is_long_enough.then(|| (1.0 - share) / read * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::meter::StageReading;

    /// A reading of a source that has read this share, and of a stage that says nothing.
    fn reading(seconds: f64, progress: Option<f64>) -> Arc<Reading> {
        let stages = [progress, None].map(|progress| StageReading { progress, ..StageReading::default() });
        let (states, edges, units) = (Vec::new(), Vec::new(), Vec::new());
        Arc::new(Reading { seconds, cpu: None, queued: None, stages: stages.into(), states, edges, units })
    }

    #[test]
    fn the_burst_at_the_beginning_does_not_count() {
        // A tenth is read at once, and from then on a hundredth each second.
        let at = |second: u32| reading(second.into(), Some(0.1 + f64::from(second) / 100.0));
        let history: Vec<_> = (0..20).map(at).collect();
        let left = seconds_left(&history, &at(20)).unwrap();
        assert!((left - 70.0).abs() < 1e-9, "{left}");
    }

    #[test]
    fn nothing_is_said_too_early_or_without_a_source_that_says_how_far_it_is() {
        let history = [reading(0.5, Some(0.1)), reading(1.0, Some(0.2))];
        assert_eq!(seconds_left(&history, &reading(1.5, Some(0.3))), None);
        assert_eq!(seconds_left(&[], &reading(9.0, Some(0.3))), None);
        let silent: Vec<_> = (0..20).map(|second| reading(second.into(), None)).collect();
        assert_eq!(seconds_left(&silent, &reading(20.0, None)), None);
        // A source that stands still gives no time.
        let still: Vec<_> = (0..20).map(|second| reading(second.into(), Some(0.5))).collect();
        assert_eq!(seconds_left(&still, &reading(20.0, Some(0.5))), None);
    }

    #[test]
    fn the_source_that_is_least_far_counts() {
        let mut both = Reading::clone(&reading(1.0, Some(0.75)));
        both.stages[1].progress = Some(0.25);
        assert_eq!(both.share_read(), Some(0.25));
    }
}
