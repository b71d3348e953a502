//! The running state of the metrics.
//!
//! Law: [`Accumulator::finish`] is a function of the set of videos that were added. It does not depend on how they were
//! split, merged or ordered.
//!
//! The definitions are those of `eval_util.py` of google/youtube-8m. Each metric stays exact in its own way:
//! - Hit@1 is a count.
//! - PERR counts the matched labels for each number of labels n, and sums (count / n) in the order of n.
//! - The loss is an exact sum ([`ExactSum`]).
//! - GAP and mAP come from a multiset of packed pairs, which is sorted once at the end.
//!
//! Ties are the only place where the definitions leave a choice. Among classes with equal scores, the lower class
//! number counts as the better one; for Hit@1 the starter code does the same. Equal scores in the pool count as the
//! mean over all their orders (see [`RankedSum`](super::average_precision::RankedSum)). Neither rule needs to know
//! which video a pair came from.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::error::ScoreError;
use super::exact_sum::ExactSum;
use super::pool::{Pool, pack};
use super::select::{class_of, key, select};
use crate::kernels::wide::widest;

/// The number of videos that one task ranks: enough to hide the cost of handing out the task.
const VIDEOS_PER_TASK: usize = 32;

/// The metrics of a set of videos. All of them are NaN when there is no video. Where no video has a label, only the
/// loss is defined, and the others are NaN.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Metrics {
    /// The number of videos.
    pub videos: u64,
    /// Hit@1: the share of videos whose best class is a label.
    pub hit_at_1: f64,
    /// PERR: the precision at equal recall rate, as the mean over videos.
    pub perr: f64,
    /// GAP: the global average precision over each video's k best classes.
    pub gap: f64,
    /// mAP: the mean of the average precisions of the classes that are a label of some video. NaN (null in JSON) when
    /// there is no such class.
    pub map: f64,
    /// The mean of the losses that were given with the videos.
    pub loss: f64,
}

/// Adds up videos, merges with other accumulators, and gives the [`Metrics`] of all their videos.
///
/// An accumulator holds 8 bytes for each of the `top_k` pairs of a video. 1.1 million videos with 20 pairs take 176 MB,
/// and [`finish`](Self::finish) sorts a copy.
#[derive(Debug, Clone)]
pub struct Accumulator {
    pub(super) classes: usize,
    pub(super) top_k: usize,
    pub(super) videos: u64,
    pub(super) hits: u64,
    /// For each number of labels n: the number of labels found among the n best classes, over all videos with n labels.
    pub(super) matched: BTreeMap<u32, u64>,
    /// For each class, the number of videos that have it as a label.
    pub(super) positives: Vec<u64>,
    pub(super) loss: ExactSum,
    pub(super) pool: Pool,
}

/// What one task found for its videos.
#[derive(Default)]
struct Part {
    hits: u64,
    matched: BTreeMap<u32, u64>,
    pairs: Vec<u64>,
}

impl Accumulator {
    /// Makes an empty accumulator for predictions over `classes` classes. The `top_k` best classes of each video count
    /// in GAP and mAP (20 in the challenge).
    ///
    /// # Errors
    /// [`ScoreError::Config`] when there can be no such accumulator.
    pub fn new(classes: usize, top_k: usize) -> Result<Self, ScoreError> {
        if classes == 0 || top_k == 0 || classes > 1 << 31 {
            return Err(ScoreError::Config { classes, top_k });
        }
        Ok(Self {
            classes,
            top_k,
            videos: 0,
            hits: 0,
            matched: BTreeMap::new(),
            positives: vec![0; classes],
            loss: ExactSum::new(),
            pool: Pool::default(),
        })
    }

    /// Adds a batch. `predictions` [videos, classes], row-major, are probabilities or any other finite scores. `labels`
    /// holds the labels of each video as a set, in which repeats count once. `losses` holds the loss of each video.
    ///
    /// # Errors
    /// A score or a loss is not finite, a label is outside the classes, or lengths do not fit. Then nothing was added.
    pub fn add(
        &mut self,
        predictions: &[f32],
        labels: &[Vec<u32>],
        losses: &[f32],
    ) -> Result<(), ScoreError> {
        let videos = labels.len();
        let length = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(ScoreError::Length { what, expected, found }) }
        };
        length("predictions", videos * self.classes, predictions.len())?;
        length("losses", videos, losses.len())?;
        if let Some((video, &loss)) = losses.iter().enumerate().find(|(_, loss)| !loss.is_finite()) {
            return Err(ScoreError::NonFiniteLoss { video, loss });
        }
        let labels = labels
            .iter()
            .enumerate()
            .map(|(video, labels)| label_set(video, labels, self.classes))
            .collect::<Result<Vec<_>, _>>()?;
        let (classes, top_k) = (self.classes, self.top_k);
        let parts: Vec<Result<Part, ScoreError>> = predictions
            .par_chunks(VIDEOS_PER_TASK * classes)
            .zip(labels.par_chunks(VIDEOS_PER_TASK))
            .enumerate()
            .map(|(task, (rows, labels))| rank(task * VIDEOS_PER_TASK, rows, labels, classes, top_k))
            .collect();
        // The parts are looked at in order, so that of several errors the one of the first video is reported.
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
        for part in parts {
            self.hits += part.hits;
            for (count, matched) in part.matched {
                *self.matched.entry(count).or_default() += matched;
            }
            self.pool.extend(&part.pairs);
        }
        for &class in labels.iter().flatten() {
            self.positives[class as usize] += 1;
        }
        losses.iter().for_each(|&loss| self.loss.add(loss));
        self.videos += videos as u64;
        Ok(())
    }

    /// Adds everything that another accumulator holds, as if its videos had been added here.
    ///
    /// # Errors
    /// [`ScoreError::Mismatch`] when the two count different things.
    pub fn merge(&mut self, other: Self) -> Result<(), ScoreError> {
        if (self.classes, self.top_k) != (other.classes, other.top_k) {
            return Err(ScoreError::Mismatch {
                classes: self.classes,
                top_k: self.top_k,
                other_classes: other.classes,
                other_top_k: other.top_k,
            });
        }
        self.videos += other.videos;
        self.hits += other.hits;
        for (count, matched) in other.matched {
            *self.matched.entry(count).or_default() += matched;
        }
        for (mine, theirs) in self.positives.iter_mut().zip(&other.positives) {
            *mine += theirs;
        }
        self.loss.merge(&other.loss);
        self.pool.merge(other.pool);
        Ok(())
    }

    /// The number of videos added so far.
    pub fn videos(&self) -> u64 {
        self.videos
    }

    /// The metrics of all videos added so far. More videos may be added afterwards.
    pub fn finish(&self) -> Metrics {
        self.finish_with_classes().0
    }

    /// The metrics, and the average precision of each class (`None` for a class that is no video's label).
    pub fn finish_with_classes(&self) -> (Metrics, Vec<Option<f64>>) {
        let precisions = self.pool.precisions(self.classes);
        let classes: Vec<Option<f64>> = precisions
            .per_class
            .iter()
            .zip(&self.positives)
            .map(|(ranked, &positives)| (positives > 0).then(|| ranked.over(positives)))
            .collect();
        // 0 / 0 is NaN: without videos there are no metrics, and without labelled classes there is no mean.
        let known = classes.iter().flatten().count() as f64;
        let videos = self.videos as f64;
        let perr: f64 = self.matched.iter().map(|(&count, &matched)| matched as f64 / f64::from(count)).sum();
        let labels = self.positives.iter().sum();
        // If nothing can be hit, a share of hits says nothing about the predictions.
        let defined = |metric: f64| if labels == 0 { f64::NAN } else { metric };
        let metrics = Metrics {
            videos: self.videos,
            hit_at_1: defined(self.hits as f64 / videos),
            perr: defined(perr / videos),
            gap: defined(precisions.global.over(labels)),
            map: classes.iter().flatten().sum::<f64>() / known,
            loss: self.loss.value() / videos,
        };
        (metrics, classes)
    }
}

/// The labels of one video as a sorted set.
fn label_set(video: usize, labels: &[u32], classes: usize) -> Result<Vec<u32>, ScoreError> {
    if let Some(&label) = labels.iter().find(|&&label| label as usize >= classes) {
        return Err(ScoreError::LabelOutOfRange { video, label, classes });
    }
    let mut set = labels.to_vec();
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

/// Ranks the videos of one task. `first` is the row of the task's first video in the batch.
fn rank(
    first: usize,
    rows: &[f32],
    labels: &[Vec<u32>],
    classes: usize,
    top_k: usize,
) -> Result<Part, ScoreError> {
    let mut part = Part { pairs: Vec::with_capacity(labels.len() * top_k.min(classes)), ..Part::default() };
    let mut best = Vec::new();
    // The `ordered` bits of 0, which a score must exceed to count in PERR.
    let zero = key(0.0, 0) >> 32;
    for (video, (row, labels)) in rows.chunks(classes).zip(labels).enumerate() {
        // One pass without an early exit compiles to a vector loop. Only a bad row is searched.
        let all_finite = widest(
            #[inline(always)]
            || row.iter().fold(true, |all, score| all & score.is_finite()),
        );
        if !all_finite {
            let bad = row.iter().enumerate().find(|(_, score)| !score.is_finite());
            let (class, &score) = bad.expect("the fold above found a non-finite score");
            return Err(ScoreError::NonFiniteScore { video: first + video, class, score });
        }
        let is_label = |key: u64| labels.binary_search(&class_of(key)).is_ok();
        select(row, top_k.max(labels.len()), &mut best);
        part.hits += u64::from(is_label(best[0]));
        if !labels.is_empty() {
            let found = best[..labels.len()].iter().filter(|&&key| key >> 32 > zero && is_label(key)).count();
            *part.matched.entry(labels.len() as u32).or_default() += found as u64;
        }
        best.truncate(top_k);
        part.pairs.extend(best.iter().map(|&key| pack(key, is_label(key))));
    }
    Ok(part)
}
