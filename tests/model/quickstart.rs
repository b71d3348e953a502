//! Law: the quickstart reaches the accuracy of the independent reference program on the same data and schedule. The
//! mean test Hit@1 over three seeds is at least 0.985 (the reference: 0.9937; see
//! tests/data/golden/japanese_vowels.json).

use crate::support::run::{root, run_named};

#[test]
fn the_quickstart_reaches_the_bar_over_three_seeds() {
    let golden = std::fs::read_to_string(root().join("tests/data/golden/japanese_vowels.json")).unwrap();
    assert!(golden.contains("over three seeds >= 0.985"), "the bar has moved");
    let dir = tempfile::tempdir().unwrap();
    let accuracies = [0, 1, 2].map(|seed| {
        let run_dir = dir.path().join(seed.to_string());
        let overrides = [format!("graph.seed={seed}"), "stages.evaluate.every_epochs=60".to_owned()];
        run_named("quickstart.toml", &overrides, &run_dir).results["hit_at_1"]
    });
    let mean = accuracies.iter().sum::<f64>() / 3.0;
    assert!(mean >= 0.985, "{accuracies:?}");
}
