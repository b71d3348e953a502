//! The pool of (score, class, is-label) pairs behind GAP and mAP: 8 bytes a pair.
//!
//! Law: a pool is a multiset. The same pairs sort to the same list, in whatever order they were pushed and merged.

use rayon::slice::ParallelSliceMut as _;

use super::average_precision::RankedSum;
use super::select::{class_of, ordered_of};

/// The number of pairs in a full chunk, which takes half a MiB. A list that grows by chunks is never held twice, as a
/// growing `Vec` is.
const CHUNK: usize = 1 << 16;

/// Pairs that are packed into integers: 32 bits of the score in sortable form, 31 bits of the class, and 1 bit that
/// says whether the class is a label.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    chunks: Vec<Vec<u64>>,
}

/// The average precisions over a pool.
pub(super) struct Precisions {
    /// The sum over all pairs together.
    pub(super) global: RankedSum,
    /// For each class, the sum over the pairs of that class.
    pub(super) per_class: Vec<RankedSum>,
}

/// Packs a ranking key of [`select`](super::select) for the pool.
pub(super) fn pack(key: u64, is_label: bool) -> u64 {
    u64::from(ordered_of(key)) << 32 | u64::from(class_of(key)) << 1 | u64::from(is_label)
}

fn packed_score(pair: u64) -> u32 {
    (pair >> 32) as u32
}

/// The class of a packed pair.
pub(super) fn packed_class(pair: u64) -> u32 {
    pair as u32 >> 1
}

impl Pool {
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    pub(super) fn extend(&mut self, mut pairs: &[u64]) {
        while !pairs.is_empty() {
            let chunk = match self.chunks.last_mut() {
                Some(chunk) if chunk.len() < CHUNK => chunk,
                _ => {
                    self.chunks.push(Vec::with_capacity(CHUNK));
                    self.chunks.last_mut().expect("a chunk was pushed above")
                }
            };
            let (now, later) = pairs.split_at(pairs.len().min(CHUNK - chunk.len()));
            chunk.extend_from_slice(now);
            pairs = later;
        }
    }

    /// Takes over the pairs of another pool. Full chunks of the other pool move without a copy.
    pub(super) fn merge(&mut self, other: Self) {
        for chunk in other.chunks {
            if chunk.len() == CHUNK {
                // The chunk goes in front of the last chunk, which may still have room.
                let at = self.chunks.len().saturating_sub(1);
                self.chunks.insert(at, chunk);
            } else {
                self.extend(&chunk);
            }
        }
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u64]> {
        self.chunks.iter().map(Vec::as_slice)
    }

    /// Sorts a copy once and walks it twice, best first: once over all pairs and once by class. Where there is a second
    /// thread, the two walks run at the same time. Both only read, so the threads change no bit of the result.
    pub(super) fn precisions(&self, classes: usize) -> Precisions {
        let mut pairs = Vec::with_capacity(self.len());
        self.chunks.iter().for_each(|chunk| pairs.extend_from_slice(chunk));
        // Equal integers are equal pairs, so an unstable sort has one outcome.
        pairs.par_sort_unstable();
        let (global, per_class) = rayon::join(|| over_all(&pairs), || over_classes(&pairs, classes));
        Precisions { global, per_class }
    }
}

/// The number of pairs of `group` that are labels.
fn labelled(group: &[u64]) -> u64 {
    group.iter().map(|pair| pair & 1).sum()
}

/// The sum over all sorted pairs. Pairs of equal score form one group. The sort is ascending, so groups come off the
/// end.
fn over_all(sorted: &[u64]) -> RankedSum {
    let mut sum = RankedSum::default();
    for group in sorted.chunk_by(|&a, &b| packed_score(a) == packed_score(b)).rev() {
        sum.tie(group.len() as u64, labelled(group));
    }
    sum
}

/// The sums over the sorted pairs of each class. Within one score, the pairs of one class are neighbours and form a
/// group.
fn over_classes(sorted: &[u64], classes: usize) -> Vec<RankedSum> {
    let mut sums = vec![RankedSum::default(); classes];
    // All bits count except the lowest, which says whether the pair is a label.
    for group in sorted.chunk_by(|&a, &b| a >> 1 == b >> 1).rev() {
        sums[packed_class(group[0]) as usize].tie(group.len() as u64, labelled(group));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::select::key;
    use super::*;

    #[test]
    fn packing_keeps_score_order_and_fields() {
        let low = pack(key(-0.5, 3), true);
        let high = pack(key(0.25, 0x7fff_fffe), false);
        assert!(low < high);
        assert_eq!((packed_class(low), low & 1), (3, 1));
        assert_eq!((packed_class(high), high & 1), (0x7fff_fffe, 0));
        assert_eq!(packed_score(pack(key(0.0, 1), false)), packed_score(pack(key(-0.0, 2), true)));
    }

    #[test]
    fn merging_keeps_every_pair() {
        let pair = |i: usize| pack(key(i as f32, (i % 7) as u32), i.is_multiple_of(3));
        let (mut left, mut right) = (Pool::default(), Pool::default());
        let lists: Vec<Vec<u64>> =
            (0..40).map(|i| (0..i * 300).map(|j| pair(i * 100_000 + j)).collect()).collect();
        for (i, list) in lists.iter().enumerate() {
            if i % 2 == 0 { left.extend(list) } else { right.extend(list) }
        }
        assert!(right.chunks.len() > 1);
        left.merge(right);
        left.merge(Pool::default());
        let mut got: Vec<u64> = left.chunks().flatten().copied().collect();
        let mut expected = lists.concat();
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(left.len(), expected.len());
        assert_eq!(got, expected);
    }
}
