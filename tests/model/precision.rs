//! Laws: the quickstart learns in bf16 what it learns in f32. What cannot be computed in bf16 is refused before the run.

use crate::support::cli::{Desk, graph};
use crate::support::run::{root, run_named};

/// The mean test accuracy over three seeds. The bar is that of the quickstart in f32.
#[test]
fn the_quickstart_in_bf16_reaches_the_bar_of_f32_over_three_seeds() {
    let golden = std::fs::read_to_string(root().join("tests/data/golden/japanese_vowels.json")).unwrap();
    assert!(golden.contains("over three seeds >= 0.985"), "the bar has moved");
    let dir = tempfile::tempdir().unwrap();
    let accuracies = [0, 1, 2].map(|seed| {
        let run_dir = dir.path().join(seed.to_string());
        let overrides = [
            format!("graph.seed={seed}"),
            "stages.forward.precision=bf16".to_owned(),
            "stages.evaluate.every_epochs=60".to_owned(),
        ];
        run_named("quickstart.toml", &overrides, &run_dir).results["hit_at_1"]
    });
    let mean = accuracies.iter().sum::<f64>() / 3.0;
    assert!(mean >= 0.985, "{accuracies:?}");
}

#[test]
fn bf16_is_refused_where_it_cannot_be_computed() {
    let refused = |name: &str, set: &str, words: &str| {
        let args = ["render", &graph(name), "--set", "stages.forward.precision=bf16", "--set", set];
        let shown = Desk::new().framewise(&args).expect(78).err;
        assert!(shown.contains(words), "{shown}");
    };
    refused("quickstart.toml", "stages.forward.devices=[\"cuda:0\"]", "computed on the CPU only");
    refused("quickstart-video.toml", "graph.seed=1", "has no products in bf16");
}
