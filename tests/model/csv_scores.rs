//! Law: metrics that are computed from the CSV of a prediction equal those of the run, also where all scores are tiny.
//! The key `decimals` gives this up for a fixed number of digits.

use std::collections::BTreeMap;

use candle_core::{Device, safetensors};

use crate::support::run::{run_named, vowels};
use crate::support::trained::trained;

/// The pairs of a CSV, each with whether the class is a label of its video.
fn pairs(csv: &str) -> Vec<(f64, bool)> {
    let labels: BTreeMap<String, Vec<u32>> =
        vowels("test").into_iter().map(|video| (video.id, video.labels)).collect();
    let mut pairs = Vec::new();
    for row in csv.lines().skip(1) {
        let (id, fields) = row.split_once(',').unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        pairs.extend(fields.chunks(2).map(|pair| {
            let class: u32 = pair[0].parse().unwrap();
            (pair[1].parse().unwrap(), labels[id].contains(&class))
        }));
    }
    pairs
}

/// GAP by its definition, over pairs in the order of their scores. Equal scores stay in the order in which they are
/// given.
fn gap(mut pairs: Vec<(f64, bool)>) -> f64 {
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut sum) = (0.0, 0.0);
    for (place, (_, is_label)) in pairs.iter().enumerate() {
        if *is_label {
            hits += 1.0;
            sum += hits / (place + 1) as f64;
        }
    }
    sum / hits
}

/// The least and the greatest GAP that some order of equal scores gives: all labels last, or all first.
fn gaps(mut pairs: Vec<(f64, bool)>) -> (f64, f64) {
    pairs.sort_by_key(|pair| pair.1);
    let least = gap(pairs.clone());
    pairs.reverse();
    (least, gap(pairs))
}

#[test]
fn gap_from_the_file_is_the_reported_one_where_scores_are_tiny() {
    let desk = trained();
    let weights = desk.path("run/checkpoints/step-00000018/weights.safetensors");
    let mut tensors = safetensors::load(&weights, &Device::Cpu).unwrap();
    let bias = &tensors["classifier.bias"];
    // The logits of the model fall by 25, so its scores are about 1e-11.
    let lower = (bias - 25.0).unwrap();
    tensors.insert("classifier.bias".to_owned(), lower);
    let path = desk.path("tiny.safetensors");
    safetensors::save(&tensors, &path).unwrap();

    let run = |name: &str, decimals: Option<&str>| {
        let dir = desk.path(name);
        let mut overrides = vec![format!("stages.weights.path={}", path.display())];
        overrides.extend(decimals.map(|decimals| format!("stages.csv.decimals={decimals}")));
        let results = run_named("quickstart-predict.toml", &overrides, &dir).results;
        (results["gap"], std::fs::read_to_string(dir.join("predictions.csv")).unwrap())
    };
    let (reported, csv) = run("exact", None);
    let exact = pairs(&csv);
    assert_eq!(exact.len(), 370 * 9);
    assert!(exact.iter().all(|(score, _)| *score > 0.0 && *score < 1e-6));
    // The metrics count a tie as the mean over its orders. A few scores are equal as they are in f32, and so little
    // depends on their order.
    let (least, greatest) = gaps(exact);
    assert!(reported > 0.5 && least <= reported && reported <= greatest, "{least} {reported} {greatest}");
    assert!(greatest - least < 1e-4, "{least} {greatest}");

    // Six decimals make zeros of these scores.
    let (again, csv) = run("fixed", Some("6"));
    assert_eq!(again.to_bits(), reported.to_bits());
    let (_, row) = csv.lines().nth(1).unwrap().split_once(',').unwrap();
    assert!(row.split(' ').skip(1).step_by(2).all(|score| score == "0.000000"), "{row}");
    let (least, greatest) = gaps(pairs(&csv));
    assert!(greatest - least > 0.5, "{least} {greatest}");
}
