//! Random streams that are derived from a seed and a name.
//!
//! Law: a drawn number is a pure function of (seed, purpose, indices), and of its place in that stream. It never
//! depends on the clock, on a thread, or on what was drawn before for another purpose.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

/// The number of normal values that one stream of [`normals`] yields. The number is fixed, since it is part of the
/// result.
const NORMALS_PER_STREAM: usize = 1 << 16;

/// The stream that `seed`, `purpose` and `indices` name. Indices are, for example, an epoch, or a step and a shard.
///
/// The 256-bit ChaCha8 key consists of four lanes of SplitMix64, each of which starts at a constant of its own. Each
/// lane absorbs the seed, then the purpose (its length and its bytes), then the indices (their count and each of them).
pub fn stream(seed: u64, purpose: &str, indices: &[u64]) -> ChaCha8Rng {
    let mut words = Vec::with_capacity(3 + purpose.len() / 8 + 1 + indices.len());
    words.push(seed);
    words.push(purpose.len() as u64);
    words.extend(purpose.as_bytes().chunks(8).map(|chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(bytes)
    }));
    words.push(indices.len() as u64);
    words.extend_from_slice(indices);

    // The starting constants are fractional digits of pi, as in Blowfish: numbers with nothing up their sleeve.
    let lanes = [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];
    let mut key = [0; 32];
    for (lane, bytes) in lanes.into_iter().zip(key.chunks_mut(8)) {
        let state = words.iter().fold(lane, |state, word| mix(state ^ word));
        bytes.copy_from_slice(&state.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): adds the golden ratio, then applies the finaliser.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Draws a uniform number in [0, 1) with 53 random bits.
pub fn uniform(rng: &mut impl RngCore) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Draws `count` values of the standard normal distribution by Marsaglia's polar method, in parallel, and passes each
/// through `convert`. Chunk `c` of 65,536 values comes from the stream (`seed`, `purpose`, `indices` + `c`), so the
/// number of threads changes nothing.
pub fn normals<T: Copy + Default + Send>(
    seed: u64,
    purpose: &str,
    indices: &[u64],
    count: usize,
    convert: impl Fn(f64) -> T + Sync,
) -> Vec<T> {
    let mut values = vec![T::default(); count];
    values.par_chunks_mut(NORMALS_PER_STREAM).enumerate().for_each(|(chunk, values)| {
        let mut path = indices.to_vec();
        path.push(chunk as u64);
        let mut rng = stream(seed, purpose, &path);
        for pair in values.chunks_mut(2) {
            let (first, second) = normal_pair(&mut rng);
            pair[0] = convert(first);
            if let Some(value) = pair.get_mut(1) {
                *value = convert(second);
            }
        }
    });
    values
}

/// Draws two independent standard normal values: a point is drawn in the unit disc and stretched (Marsaglia and Bray
/// 1964).
fn normal_pair(rng: &mut impl RngCore) -> (f64, f64) {
    loop {
        let (x, y) = (2.0 * uniform(rng) - 1.0, 2.0 * uniform(rng) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            let stretch = (-2.0 * square.ln() / square).sqrt();
            return (x * stretch, y * stretch);
        }
    }
}

/// Draws a whole number in [0, `bound`), each equally likely. A `bound` of 0 yields 0.
///
/// The method is Lemire's (2019): multiply, and refuse the few low products that would bias the result.
pub fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    let refuse_under = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= refuse_under {
            return (product >> 64) as u64;
        }
    }
}

/// Draws a permutation of 0..`count`, each equally likely (Fisher–Yates), from the stream (`seed`, `purpose`,
/// `indices`).
pub fn permutation(seed: u64, purpose: &str, indices: &[u64], count: usize) -> Vec<usize> {
    let mut rng = stream(seed, purpose, indices);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(&mut rng, last as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_their_name() {
        let draw = |seed, purpose, indices: &[u64]| stream(seed, purpose, indices).next_u64();
        let names = [
            draw(1, "a", &[0]),
            draw(2, "a", &[0]),
            draw(1, "b", &[0]),
            draw(1, "a", &[1]),
            draw(1, "a", &[]),
            draw(1, "a", &[0, 0]),
            draw(0, "a", &[1]),
        ];
        let mut unique = names.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert_eq!(draw(1, "a", &[0]), names[0]);
    }

    #[test]
    fn normals_have_the_moments_of_the_normal_distribution() {
        let n = 400_000;
        let values = normals(7, "test", &[], n, |v| v);
        let moment = |power| values.iter().map(|v: &f64| v.powi(power)).sum::<f64>() / n as f64;
        // The bounds are six standard errors of each moment: 1, sqrt 2, sqrt 15 and sqrt 96 over sqrt n.
        let error = 6.0 / (n as f64).sqrt();
        assert!(moment(1).abs() < error);
        assert!((moment(2) - 1.0).abs() < 2f64.sqrt() * error);
        assert!(moment(3).abs() < 15f64.sqrt() * error);
        assert!((moment(4) - 3.0).abs() < 96f64.sqrt() * error);
    }

    #[test]
    fn normals_do_not_depend_on_the_number_of_threads() {
        let draw = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| normals(3, "test", &[5], 3 * NORMALS_PER_STREAM + 7, |v| v as f32))
        };
        assert_eq!(draw(1), draw(3));
    }

    #[test]
    fn a_permutation_holds_every_index_once_and_all_orders_occur_alike() {
        let mut order = permutation(1, "test", &[], 1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        assert_eq!(permutation(1, "test", &[], 0), Vec::<usize>::new());

        let mut counts = std::collections::BTreeMap::new();
        for i in 0..60_000 {
            *counts.entry(permutation(1, "orders", &[i], 3)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (9_400..10_600).contains(count)), "{counts:?}");
    }
}
