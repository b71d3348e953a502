//! What those who watch a run see of its past: the newest messages, and the curves of the numbers that stages report.
//!
//! Law: this needs a bounded amount of memory, however long the run is. A run that nobody can watch has none of it.

use std::collections::{BTreeMap, VecDeque};

/// The number of messages that are kept.
const LINES: usize = 500;
/// The most bytes of such a message. A longer one, such as the report of a stall in a large graph, is in the log only.
const LONGEST: usize = 4096;
/// The most points of a curve that are kept. A page draws a curve from as many points as it has columns.
const POINTS: usize = 512;
/// The most kinds of numbers. A run has three: those of steps, of evaluations and of predictions.
const KINDS: usize = 16;

/// The newest messages, and the curves.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    lines: VecDeque<String>,
    curves: BTreeMap<String, Curve>,
}

/// The numbers of one kind over time, about equally far apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve {
    points: Vec<Point>,
    /// The last point, which is also shown where it is not kept.
    last: Option<Point>,
    /// Every how many points that come one is kept.
    every: u64,
    come: u64,
}

/// The numbers that a stage reported at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Seconds since the run began.
    pub(crate) seconds: f64,
    /// The step after which the numbers were measured, counted from 1.
    pub(crate) step: u64,
    pub(crate) values: Vec<(String, f64)>,
}

impl Recent {
    /// Keeps a line of the log.
    pub(crate) fn line(&mut self, line: &str) {
        if line.len() > LONGEST {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// Keeps the numbers of a report.
    pub(crate) fn point(&mut self, kind: &str, point: Point) {
        if let Some(curve) = self.curves.get_mut(kind) {
            curve.push(point);
        } else if self.curves.len() < KINDS {
            let mut curve = Curve { every: 1, ..Curve::default() };
            curve.push(point);
            self.curves.insert(kind.to_owned(), curve);
        }
    }

    /// The newest lines, the oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    /// The curves by the kind of their numbers.
    pub(crate) fn curves(&self) -> BTreeMap<String, Curve> {
        self.curves.clone()
    }
}

impl Curve {
    /// When there are too many points, every second one goes, and from then on only every second of those that come is
    /// kept.
    fn push(&mut self, point: Point) {
        if self.come.is_multiple_of(self.every) {
            self.points.push(point.clone());
        }
        self.come += 1;
        self.last = Some(point);
        if self.points.len() == POINTS {
            let mut index = 0_usize;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }

    /// The points in the order of time, the newest of all at the end.
    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        let newest = self.last.as_ref().filter(|last| self.points.last() != Some(last));
        self.points.iter().chain(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64) -> Point {
        Point { seconds: step as f64 / 4.0, step, values: vec![("loss".to_owned(), 1.0 / step as f64)] }
    }

    #[test]
    fn a_long_run_has_few_points_that_are_equally_far_apart_and_its_last() {
        let mut recent = Recent::default();
        for step in 1..=100_000 {
            recent.point("train", point(step));
            if step == 10 {
                recent.point("evaluation", point(10));
            }
            let curves = &recent.curves;
            assert!(curves["train"].points().count() <= POINTS);
            assert_eq!(curves["train"].points().last(), Some(&point(step)));
        }
        let curves = recent.curves();
        assert_eq!(curves["evaluation"].points().collect::<Vec<_>>(), [&point(10)]);
        let steps: Vec<u64> = curves["train"].points().map(|point| point.step).collect();
        let apart = steps[1] - steps[0];
        // Of 512 points half were left at most 1, 2, 4, … steps apart: 100,000 steps fit with 256.
        assert_eq!((steps[0], apart), (1, 256));
        assert!(steps[..steps.len() - 1].windows(2).all(|pair| pair[1] - pair[0] == apart), "{steps:?}");
    }

    #[test]
    fn the_newest_lines_are_kept_and_no_kind_of_numbers_without_end() {
        let mut recent = Recent::default();
        for line in 0..2000 {
            recent.line(&line.to_string());
            recent.point(&line.to_string(), point(1));
        }
        recent.line(&"x".repeat(5000));
        let lines = recent.lines();
        assert_eq!((lines.len(), &*lines[0], &*lines[499]), (500, "1500", "1999"));
        assert_eq!(recent.curves().len(), 16);
    }
}
