//! An accumulator as bytes, so that ranks can send their accumulators to one place.
//!
//! The layout is little-endian. These parts follow one another:
//! 1. classes, top_k, videos and hits, each a u64;
//! 2. the number of (labels, matched) pairs, then the pairs, in u64;
//! 3. the positives of each class, in u64;
//! 4. the bins of the loss, in i128;
//! 5. the number of pairs in the pool, then the pairs, in u64.

use super::accumulator::Accumulator;
use super::error::ScoreError;
use super::exact_sum::ExactSum;
use super::pool::packed_class;

impl Accumulator {
    /// The whole state as bytes. Equal sets of videos may differ in the order of their pools, but not in what
    /// [`finish`](Self::finish) gives.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 * (self.pool.len() + self.classes + 600));
        let mut put = |value: u64| bytes.extend_from_slice(&value.to_le_bytes());
        put(self.classes as u64);
        put(self.top_k as u64);
        put(self.videos);
        put(self.hits);
        put(self.matched.len() as u64);
        for (&count, &matched) in &self.matched {
            put(u64::from(count));
            put(matched);
        }
        self.positives.iter().for_each(|&positives| put(positives));
        for &bin in self.loss.bins() {
            put(bin as u64);
            put((bin >> 64) as u64);
        }
        put(self.pool.len() as u64);
        self.pool.chunks().flatten().for_each(|&pair| put(pair));
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`ScoreError::Wire`] when the bytes are not those of an accumulator.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ScoreError> {
        let mut words = Words { rest: bytes };
        let classes = words.size("classes")?;
        let top_k = words.size("top_k")?;
        // Before anything is allocated for the classes, as many positives must fit into the bytes that are there.
        words.must_hold(classes, "positives")?;
        let mut scores = Self::new(classes, top_k)?;
        scores.videos = words.next("videos")?;
        scores.hits = words.next("hits")?;
        for _ in 0..words.next("label counts")? {
            let count = words.next("label counts")?;
            let count = u32::try_from(count).map_err(|_| wire(format!("a video with {count} labels")))?;
            scores.matched.insert(count, words.next("label counts")?);
        }
        for positives in &mut scores.positives {
            *positives = words.next("positives")?;
        }
        let mut bins = Vec::new();
        for _ in scores.loss.bins() {
            let low = words.next("loss")?;
            bins.push(i128::from(words.next("loss")? as i64) << 64 | i128::from(low));
        }
        scores.loss = ExactSum::from_bins(&bins).expect("as many bins as an exact sum has");
        let pairs = words.size("pairs")?;
        words.must_hold(pairs, "pairs")?;
        for _ in 0..pairs {
            let pair = words.next("pairs")?;
            if packed_class(pair) as usize >= classes {
                return Err(wire(format!("a pair of class {} among {classes} classes", packed_class(pair))));
            }
            scores.pool.extend(&[pair]);
        }
        if words.rest.is_empty() {
            Ok(scores)
        } else {
            Err(wire(format!("{} bytes too many", words.rest.len())))
        }
    }
}

fn wire(why: String) -> ScoreError {
    ScoreError::Wire(why)
}

struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn next(&mut self, what: &str) -> Result<u64, ScoreError> {
        let (word, rest) = self.rest.split_first_chunk().ok_or_else(|| wire(format!("end within {what}")))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*word))
    }

    fn size(&mut self, what: &str) -> Result<usize, ScoreError> {
        let value = self.next(what)?;
        usize::try_from(value).map_err(|_| wire(format!("{what}: {value}")))
    }

    fn must_hold(&self, words: usize, what: &str) -> Result<(), ScoreError> {
        if self.rest.len() / 8 >= words { Ok(()) } else { Err(wire(format!("end within {what}"))) }
    }
}
