//! The k best classes of one video.
//!
//! Law: the best class comes first, among equal scores the lower class comes first, and NaN comes last.

use crate::kernels::wide::widest;

/// The number of columns in which a row is looked at. The largest scores of the columns tell a score that k of the row
/// reach.
const COLUMNS: usize = 128;

/// The largest k for which the columns are asked. A larger one leaves too few of them out.
const MOST: usize = 64;

/// The number of scores that are compared together: a power of two, which the compiler turns into a few vector
/// comparisons.
const LANES: usize = 32;

/// The `k` best classes of `row` with their scores, best first. The index in `row` is the class. Among equal scores,
/// the lower class comes first.
///
/// A row shorter than `k` gives fewer classes. -0 equals 0. NaN ranks below every number, so it appears only when
/// numbers run out. [`Accumulator::add`](super::Accumulator::add) and [`output`](super::output) refuse it.
pub fn top_k(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut keys = Vec::new();
    select(row, k, &mut keys);
    keys.iter()
        .map(|&key| {
            let class = class_of(key);
            (class, row[class as usize])
        })
        .collect()
}

/// Fills `best` with the keys of the `k` best classes, best first. See [`key`].
pub(super) fn select(row: &[f32], k: usize, best: &mut Vec<u64>) {
    best.clear();
    let k = k.min(row.len());
    if k == 0 {
        return;
    }
    match floor(row, k) {
        Some(floor) => keys_from(row, floor, best),
        None => best.extend(row.iter().zip(0u32..).map(|(&score, class)| key(score, class))),
    }
    if best.len() > k {
        best.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
        best.truncate(k);
    }
    best.sort_unstable_by(|a, b| b.cmp(a));
}

/// A score that at least `k` scores of the row reach, and not many more. `None` where the row is too short for that, `k` too
/// large, or a score NaN.
fn floor(row: &[f32], k: usize) -> Option<f32> {
    if k > MOST || row.len() < 2 * COLUMNS {
        return None;
    }
    // Each column has a score as large as its largest, so k of the row reach the k-th largest of these.
    let mut tops = [f32::NEG_INFINITY; COLUMNS];
    let mut numbers = [true; COLUMNS];
    widest(
        #[inline(always)]
        || {
            let (lines, rest) = row.as_chunks::<COLUMNS>();
            for line in lines.iter().map(|line| &line[..]).chain([rest]) {
                for ((top, all), score) in tops.iter_mut().zip(&mut numbers).zip(line) {
                    *top = if *score > *top { *score } else { *top };
                    *all &= !score.is_nan();
                }
            }
        },
    );
    if numbers.contains(&false) {
        return None;
    }
    let (_, floor, _) = tops.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    Some(*floor)
}

/// Adds the keys of the classes whose scores reach `floor`.
fn keys_from(row: &[f32], floor: f32, best: &mut Vec<u64>) {
    widest(
        #[inline(always)]
        || {
            let mut first = 0;
            for lanes in row.chunks(LANES) {
                if lanes.iter().fold(false, |any, &score| any | (score >= floor)) {
                    let reaching = lanes.iter().zip(first..).filter(|(score, _)| **score >= floor);
                    best.extend(reaching.map(|(&score, class)| key(score, class)));
                }
                first += LANES as u32;
            }
        },
    );
}

/// A number by whose order classes are ranked: a higher score first, then a lower class.
pub(super) fn key(score: f32, class: u32) -> u64 {
    u64::from(ordered(score)) << 32 | u64::from(!class)
}

/// The class of a [`key`].
pub(super) fn class_of(key: u64) -> u32 {
    !(key as u32)
}

/// The score of a [`key`] as [`ordered`] bits.
pub(super) fn ordered_of(key: u64) -> u32 {
    (key >> 32) as u32
}

/// The bits of a score, changed so that they compare as integers in the order of the scores. NaN becomes 0 and so comes
/// lowest, followed by -inf to inf. -0 becomes the same as 0.
pub(super) fn ordered(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain definition: sorts everything.
    fn plain(row: &[f32], k: usize) -> Vec<u32> {
        let mut classes: Vec<u32> = (0..row.len() as u32).collect();
        classes.sort_by(|&a, &b| {
            let (x, y) = (row[a as usize], row[b as usize]);
            x.is_nan()
                .cmp(&y.is_nan())
                .then(y.partial_cmp(&x).unwrap_or(std::cmp::Ordering::Equal))
                .then(a.cmp(&b))
        });
        classes.truncate(k);
        classes
    }

    #[test]
    fn equals_a_full_sort_with_ties_signs_and_nan() {
        let values = [0.5, 0.25, -0.0, 0.0, -3.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45];
        let mut state = 7u32;
        for length in [0usize, 1, 2, 19, 20, 21, 64, 100, 255, 256, 257, 400, 3862] {
            for round in 0..30 {
                let row: Vec<f32> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let draw = (state >> 16) as usize;
                        if round % 3 == 0 { draw as f32 } else { values[draw % values.len()] }
                    })
                    .collect();
                for k in [0usize, 1, 3, 20, 64, 65, 500] {
                    let got: Vec<u32> = top_k(&row, k).iter().map(|pair| pair.0).collect();
                    assert_eq!(got, plain(&row, k), "length {length}, k {k}, row {row:?}");
                }
            }
        }
    }

    #[test]
    fn scores_come_back_unchanged() {
        let row = [0.1f32, -0.0, 7.5, f32::MIN_POSITIVE];
        let got = top_k(&row, 4);
        assert_eq!(got.iter().map(|pair| pair.0).collect::<Vec<_>>(), [2, 0, 3, 1]);
        for (class, score) in got {
            assert_eq!(score.to_bits(), row[class as usize].to_bits());
        }
    }
}
