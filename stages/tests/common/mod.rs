//! Helpers that several test files share.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests; each file uses some of them")]

use std::path::PathBuf;

use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The folder with `graphs`, `configs` and `tests/data`. It is the checkout in which the test was built, unless
/// `FRAMEWISE_ROOT` names another one: a test that is carried to another machine finds no checkout there.
pub(crate) fn root() -> PathBuf {
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    std::env::var_os("FRAMEWISE_ROOT").map_or_else(|| PathBuf::from(built_in), PathBuf::from)
}

/// A file of the repository's test data.
pub(crate) fn data(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
}

/// The SHA-256 (FIPS 180-4) of bytes, in hexadecimal. The constants are not copied but derived: they are the fractional
/// parts of roots of primes.
pub(crate) fn sha256(message: &[u8]) -> String {
    let primes: Vec<u64> = (2..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
    // The lower 32 bits of floor(root(p) * 2^32), found by bisection in integers.
    let root = |p: u64, power: u32| {
        let (mut low, mut high) = (0u128, 1 << 40);
        while high - low > 1 {
            let middle = (low + high) / 2;
            let fits = if power == 2 {
                middle * middle <= u128::from(p) << 64
            } else {
                middle * middle * middle <= u128::from(p) << 96
            };
            if fits { low = middle } else { high = middle }
        }
        low as u32
    };
    let k: Vec<u32> = primes.iter().map(|&p| root(p, 3)).collect();
    let mut h: Vec<u32> = primes.iter().take(8).map(|&p| root(p, 2)).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((message.len() + 9).next_multiple_of(64), 0);
    let end = padded.len();
    padded[end - 8..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut w: Vec<u32> = block.chunks(4).map(|b| u32::from_be_bytes(b.try_into().unwrap())).collect();
        for t in 16..64 {
            let (a, b) = (w[t - 15], w[t - 2]);
            let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            w.push(w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1));
        }
        let mut v = h.clone();
        for t in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choose = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 = v[7].wrapping_add(s1).wrapping_add(choose).wrapping_add(k[t]).wrapping_add(w[t]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        for (h, v) in h.iter_mut().zip(v) {
            *h = h.wrapping_add(v);
        }
    }
    h.iter().map(|word| format!("{word:08x}")).collect()
}

/// Random numbers from a seed, and ways to damage bytes with them.
pub(crate) struct Damage(rand_chacha::ChaCha8Rng);

impl Damage {
    pub(crate) fn new(seed: u64) -> Self {
        Self(rand_chacha::ChaCha8Rng::seed_from_u64(seed))
    }

    /// Draws a number below `bound`, with a quality that is good enough for tests.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Makes one to three changes, mostly one: it flips bits, sets bytes to telling values, cuts or doubles pieces, or
    /// takes pieces from `other`.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const TELLING: [u8; 12] = [0, 1, 2, 7, 8, 10, 18, 26, 0x7f, 0x80, 0xfe, 0xff];
        let changes = [1, 1, 1, 2, 3][self.below(5)];
        for _ in 0..changes {
            let (at, end) = (self.below(bytes.len()), self.below(bytes.len() + 1));
            let (start, end) = (at.min(end), at.max(end).min(at + 40));
            match self.below(7) {
                _ if bytes.is_empty() => bytes.extend_from_slice(other),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = TELLING[self.below(TELLING.len())],
                2 => drop(bytes.drain(start..end)),
                3 => bytes.splice(start..start, bytes[start..end].to_vec()).for_each(drop),
                4 => {
                    let from = self.below(other.len());
                    let piece = &other[from..other.len().min(from + 40)];
                    bytes.splice(start..end, piece.iter().copied()).for_each(drop);
                }
                5 => bytes.truncate(at),
                // This makes a length or a number far too large.
                _ => {
                    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
                    let huge = &huge[self.below(9)..];
                    bytes.splice(at..at + 1, huge.iter().copied()).for_each(drop);
                }
            }
        }
    }
}
