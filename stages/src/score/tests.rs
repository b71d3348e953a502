//! Tests of the metrics: they agree with the starter code's golden values and with a plain slow program, and a set of
//! videos has one value, bit for bit.

use candle_core::{DType, Device, Tensor};
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden/metrics");
const TOLERANCE: f64 = 1e-6;
const CASES: [&str; 9] = [
    "plain_c400",
    "few_classes_c5",
    "zero_label_rows",
    "ties",
    "zero_preds",
    "missing_classes",
    "all_zero_labels",
    "perfect",
    "yt8m_c3862",
];

/// Predictions, labels and losses of a set of videos.
#[derive(Clone)]
struct Videos {
    classes: usize,
    rows: Vec<(Vec<f32>, Vec<u32>, f32)>,
}

impl Videos {
    fn golden(name: &str) -> Self {
        let tensors = candle_core::safetensors::load(format!("{GOLDEN}.safetensors"), &Device::Cpu).unwrap();
        let get = |part: &str| -> &Tensor { &tensors[&format!("{name}.{part}")] };
        let predictions = get("pred").to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
        let indices = |part| get(part).to_dtype(DType::I64).unwrap().to_vec1::<i64>().unwrap();
        let mut labels = vec![Vec::new(); predictions.len()];
        for (row, class) in indices("label_rows").into_iter().zip(indices("label_cols")) {
            labels[row as usize].push(class as u32);
        }
        let losses = (0..predictions.len()).map(|video| (video as f32 * 0.7).sin() * 10.0 + 11.0);
        let classes = predictions[0].len();
        Self {
            classes,
            rows: predictions.into_iter().zip(labels).zip(losses).map(|((p, t), l)| (p, t, l)).collect(),
        }
    }

    /// Draws random videos with `levels` distinct scores. Few levels make many ties.
    fn random(seed: u64, videos: usize, classes: usize, levels: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rows = (0..videos)
            .map(|_| {
                let scores =
                    (0..classes).map(|_| random.random_range(0..levels) as f32 / levels as f32).collect();
                let labels = (0..random.random_range(0..4)).map(|_| random.random_range(0..classes as u32));
                (scores, labels.collect(), random.random_range(-1.0..20.0f32))
            })
            .collect();
        Self { classes, rows }
    }

    fn shuffled(&self, seed: u64) -> Self {
        let mut videos = self.clone();
        videos.rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        videos
    }

    /// Scores every `shards`-th video in each of `shards` accumulators, in batches, then merges.
    fn accumulate(&self, batch: usize, shards: usize) -> Accumulator {
        let mut parts = Vec::new();
        for shard in 0..shards {
            let mut part = Accumulator::new(self.classes, 20).unwrap();
            let mine: Vec<_> = self.rows.iter().skip(shard).step_by(shards).collect();
            for videos in mine.chunks(batch) {
                let predictions: Vec<f32> = videos.iter().flat_map(|video| video.0.iter().copied()).collect();
                let labels: Vec<Vec<u32>> = videos.iter().map(|video| video.1.clone()).collect();
                let losses: Vec<f32> = videos.iter().map(|video| video.2).collect();
                part.add(&predictions, &labels, &losses).unwrap();
            }
            parts.push(part);
        }
        // The last shard comes first, because the order of merging must not matter either.
        let mut whole = parts.pop().unwrap();
        parts.into_iter().for_each(|part| whole.merge(part).unwrap());
        whole
    }
}

fn bits(metrics: &Metrics) -> [u64; 6] {
    let Metrics { videos, hit_at_1, perr, gap, map, loss } = *metrics;
    [videos, hit_at_1.to_bits(), perr.to_bits(), gap.to_bits(), map.to_bits(), loss.to_bits()]
}

/// Asserts that every way to split, merge and order the videos gives the bits of `expected`.
fn assert_one_value(videos: &Videos, expected: &Metrics, what: &str) {
    for batch in [1, 7, usize::MAX] {
        for shards in [1, 2, 4] {
            for seed in [None, Some(1), Some(2)] {
                let arrival = seed.map_or_else(|| videos.clone(), |seed| videos.shuffled(seed));
                let got = arrival.accumulate(batch, shards).finish();
                assert_eq!(
                    bits(&got),
                    bits(expected),
                    "{what}: batch {batch}, {shards} shards, shuffle {seed:?}"
                );
            }
        }
    }
}

fn manifest() -> serde_json::Value {
    // Python wrote NaN, which JSON does not have.
    let text = std::fs::read_to_string(format!("{GOLDEN}.json")).unwrap().replace(": NaN", ": null");
    serde_json::from_str(&text).unwrap()
}

fn close(got: f64, expected: &serde_json::Value, what: &str) {
    match expected.as_f64() {
        Some(expected) => assert!((got - expected).abs() <= TOLERANCE, "{what}: {got}, expected {expected}"),
        None => assert!(got.is_nan(), "{what}: {got}, expected NaN"),
    }
}

#[test]
fn golden_cases() {
    let manifest = manifest();
    assert_eq!(manifest["cases"].as_object().unwrap().len(), CASES.len());
    for name in CASES {
        let case = &manifest["cases"][name];
        let videos = Videos::golden(name);
        let metrics = videos.accumulate(usize::MAX, 1).finish();
        if videos.rows.iter().all(|row| row.1.is_empty()) {
            // The reference gives 0 here. That would mean that every prediction is wrong.
            assert!(
                [metrics.hit_at_1, metrics.perr, metrics.gap, metrics.map].iter().all(|m| m.is_nan()),
                "{name}"
            );
            continue;
        }
        let reference = &case["one_batch"];
        // Among equal scores, both this code and the starter code take the lowest class as the best one.
        close(metrics.hit_at_1, &reference["hit_at_one"], &format!("{name} hit_at_1"));
        let bounds = &case["bounds_over_tie_breaking"];
        for (key, got) in [("perr", metrics.perr), ("gap", metrics.gap), ("map", metrics.map)] {
            let (worst, best) = (&bounds["worst"][key], &bounds["best"][key]);
            if worst == best {
                close(got, &reference[key], &format!("{name} {key}"));
                close(got, best, &format!("{name} {key}"));
            } else {
                let (worst, best) = (worst.as_f64().unwrap(), best.as_f64().unwrap());
                assert!((worst..=best).contains(&got), "{name} {key}: {got} outside {worst}..={best}");
            }
        }
        let losses: f64 = videos.rows.iter().map(|row| f64::from(row.2)).sum();
        assert!((metrics.loss - losses / videos.rows.len() as f64).abs() < 1e-12, "{name} loss");
    }
}

#[test]
fn golden_class_precisions() {
    let tensors = candle_core::safetensors::load(format!("{GOLDEN}.safetensors"), &Device::Cpu).unwrap();
    for name in CASES {
        let expected = tensors[&format!("{name}.aps")].to_vec1::<f64>().unwrap();
        let (_, classes) = Videos::golden(name).accumulate(16, 1).finish_with_classes();
        let got: Vec<f64> = classes.into_iter().flatten().collect();
        assert_eq!(got.len(), expected.len(), "{name}");
        if name != "ties" && name != "zero_preds" {
            for (got, expected) in got.iter().zip(&expected) {
                assert!((got - expected).abs() <= TOLERANCE, "{name}: {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn golden_cases_have_one_value() {
    for name in CASES.into_iter().filter(|&name| name != "yt8m_c3862") {
        let videos = Videos::golden(name);
        assert_one_value(&videos, &videos.accumulate(13, 3).finish(), name);
    }
    let large = Videos::golden("yt8m_c3862");
    let expected = bits(&large.accumulate(usize::MAX, 1).finish());
    for (batch, shards, seed) in [(1, 4, 1), (7, 2, 2), (64, 1, 3)] {
        assert_eq!(bits(&large.shuffled(seed).accumulate(batch, shards).finish()), expected);
    }
}

#[test]
fn random_videos_with_ties_have_one_value() {
    for (seed, levels) in [(1, 2), (2, 5), (3, 1 << 20)] {
        let videos = Videos::random(seed, 150, 40, levels);
        assert_one_value(&videos, &videos.accumulate(150, 1).finish(), "random");
    }
}

#[test]
fn thread_count_does_not_matter() {
    let videos = Videos::random(9, 300, 50, 30);
    let expected = bits(&videos.accumulate(300, 1).finish());
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(bits(&pool.install(|| videos.accumulate(300, 1).finish())), expected, "{threads} threads");
    }
}

/// The starter code's algorithm, written plainly. `label_first` says whether labels go first among equal scores of the
/// pool.
fn plain(videos: &Videos, label_first: bool) -> [f64; 4] {
    let count = videos.rows.len() as f64;
    let mut pool: Vec<(f32, bool, u32)> = Vec::new();
    let (mut hits, mut perr) = (0.0, 0.0);
    for (scores, labels, _) in &videos.rows {
        let mut ranking: Vec<u32> = (0..videos.classes as u32).collect();
        ranking.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        let labelled = (0..videos.classes as u32).filter(|class| labels.contains(class)).count();
        hits += f64::from(u8::from(labels.contains(&ranking[0])));
        if labelled > 0 {
            let right =
                ranking[..labelled].iter().filter(|c| scores[**c as usize] > 0.0 && labels.contains(c));
            perr += right.count() as f64 / labelled as f64;
        }
        pool.extend(ranking.iter().take(20).map(|&c| (scores[c as usize], labels.contains(&c), c)));
    }
    pool.sort_by(|a, b| {
        let labels = if label_first { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) };
        b.0.total_cmp(&a.0).then(labels)
    });
    let precision = |pairs: Vec<bool>, positives: usize| -> f64 {
        let mut sum = 0.0;
        for rank in 0..pairs.len() {
            if pairs[rank] {
                let above = pairs[..=rank].iter().filter(|&&label| label).count();
                sum += above as f64 / (rank + 1) as f64;
            }
        }
        if positives == 0 { 0.0 } else { sum / positives as f64 }
    };
    let positives = |class: u32| videos.rows.iter().filter(|row| row.1.contains(&class)).count();
    let all: usize = (0..videos.classes as u32).map(positives).sum();
    let gap = precision(pool.iter().map(|pair| pair.1).collect(), all);
    let classes: Vec<f64> = (0..videos.classes as u32)
        .filter(|&class| positives(class) > 0)
        .map(|class| {
            precision(
                pool.iter().filter(|pair| pair.2 == class).map(|pair| pair.1).collect(),
                positives(class),
            )
        })
        .collect();
    [hits / count, perr / count, gap, classes.iter().sum::<f64>() / classes.len() as f64]
}

#[test]
fn equals_a_plain_program_or_lies_between_its_tie_orders() {
    for seed in 0..12 {
        let levels = [3, 10, 1 << 22][seed as usize % 3];
        let videos = Videos::random(seed, 60, 5 + 11 * seed as usize, levels);
        let metrics = videos.accumulate(8, 2).finish();
        let (best, worst) = (plain(&videos, true), plain(&videos, false));
        let got = [metrics.hit_at_1, metrics.perr, metrics.gap, metrics.map];
        for i in 0..4 {
            assert!(
                got[i] <= best[i] + 1e-12 && got[i] >= worst[i] - 1e-12,
                "{i}: {got:?} {worst:?} {best:?}"
            );
            if i < 2 {
                assert!((best[i] - worst[i]).abs() < 1e-15, "hits and PERR do not depend on the pool");
            }
        }
        if levels < 100 {
            assert!(got[2] < best[2] && got[2] > worst[2], "ties leave a range and the value lies inside");
        }
    }
}

#[test]
fn bytes_hold_the_whole_state() {
    let videos = Videos::random(5, 100, 30, 9);
    let scores = videos.accumulate(9, 1);
    let bytes = scores.to_bytes();
    let mut read = Accumulator::from_bytes(&bytes).unwrap();
    assert_eq!(bits(&read.finish()), bits(&scores.finish()));
    read.merge(Accumulator::from_bytes(&Accumulator::new(30, 20).unwrap().to_bytes()).unwrap()).unwrap();
    assert_eq!(read.to_bytes(), bytes);
    for end in [0, 7, 8, 40, 200, bytes.len() - 1] {
        assert!(matches!(Accumulator::from_bytes(&bytes[..end]), Err(ScoreError::Wire(_))), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Accumulator::from_bytes(&longer).is_err());
    let mut absurd = bytes;
    absurd[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(Accumulator::from_bytes(&absurd).is_err());
}

#[test]
fn errors_name_the_video_and_change_nothing() {
    let mut scores = Accumulator::new(3, 20).unwrap();
    scores.add(&[0.1, 0.9, 0.5], &[vec![1, 1, 1]], &[2.0]).unwrap();
    let before = scores.to_bytes();
    let labels = vec![vec![0], vec![1]];
    let mut bad = vec![0.5; 6];
    bad[4] = f32::NAN;
    let error = scores.add(&bad, &labels, &[1.0, 1.0]).unwrap_err();
    assert!(
        matches!(error, ScoreError::NonFiniteScore { video: 1, class: 1, score } if score.is_nan()),
        "{error}"
    );
    bad[4] = f32::INFINITY;
    assert!(scores.add(&bad, &labels, &[1.0, 1.0]).unwrap_err().to_string().contains("video 1"));
    let good = [0.5; 6];
    let error = scores.add(&good, &labels, &[1.0, f32::NAN]).unwrap_err();
    assert!(matches!(error, ScoreError::NonFiniteLoss { video: 1, .. }), "{error}");
    let error = scores.add(&good, &[vec![0], vec![3]], &[1.0, 1.0]).unwrap_err();
    assert_eq!(error, ScoreError::LabelOutOfRange { video: 1, label: 3, classes: 3 });
    assert!(matches!(scores.add(&good[..5], &labels, &[1.0, 1.0]), Err(ScoreError::Length { .. })));
    assert!(matches!(scores.add(&good, &labels, &[1.0]), Err(ScoreError::Length { .. })));
    assert!(matches!(scores.merge(Accumulator::new(4, 20).unwrap()), Err(ScoreError::Mismatch { .. })));
    assert!(Accumulator::new(0, 20).is_err() && Accumulator::new(5, 0).is_err());
    assert_eq!(scores.to_bytes(), before);
    // Repeated labels count once: there is one label, and it is found.
    let metrics = scores.finish();
    assert_eq!((metrics.hit_at_1, metrics.perr, metrics.gap, metrics.map), (1.0, 1.0, 1.0, 1.0));
}

#[test]
fn nothing_scored_is_nan_and_null_in_json() {
    let metrics = Accumulator::new(5, 20).unwrap().finish();
    assert!(
        [metrics.hit_at_1, metrics.perr, metrics.gap, metrics.map, metrics.loss].iter().all(|m| m.is_nan())
    );
    let value = serde_json::to_value(metrics).unwrap();
    assert!(value["map"].is_null() && value["videos"] == 0);
}
