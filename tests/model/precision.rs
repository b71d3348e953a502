//! Laws: the quickstart learns in bf16 what it learns in f32. Its weights give almost the same metrics in every narrower
//! precision. What cannot be computed in a precision is refused before the run.

use std::collections::BTreeMap;
use std::path::Path;

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

/// The test metrics of a run's last checkpoint in one precision.
fn measured(run_dir: &Path, precision: &str, evaluation: &Path) -> BTreeMap<String, f64> {
    let overrides = [
        format!("stages.weights.path={}", run_dir.display()),
        format!("stages.forward.precision={precision}"),
    ];
    run_named("quickstart-eval.toml", &overrides, evaluation).results
}

/// The bounds are those that docs/numerics.md states. After 6 epochs a model is right in 9 of 10 cases, so its metrics
/// move where a trained one's do not.
#[test]
fn narrower_precisions_hardly_move_the_metrics_of_trained_and_half_trained_weights() {
    let dir = tempfile::tempdir().unwrap();
    for epochs in [6, 60] {
        for seed in [0, 1, 2] {
            let run_dir = dir.path().join(format!("{epochs}-{seed}"));
            let overrides = [
                format!("graph.seed={seed}"),
                format!("stages.videos.epochs={epochs}"),
                "stages.evaluate.every_epochs=0".to_owned(),
                format!("stages.checkpoint.every_epochs={epochs}"),
                "stages.checkpoint.best=loss".to_owned(),
            ];
            run_named("quickstart.toml", &overrides, &run_dir);
            let evaluated = |precision: &str| {
                measured(&run_dir, precision, &dir.path().join(format!("{epochs}-{seed}-{precision}")))
            };
            let exact = evaluated("f32");
            for (precision, gap, utterances) in
                [("bf16", 1e-3, 2.0), ("int8", 1e-3, 3.0), ("int8x2", 1e-5, 0.0)]
            {
                let found = evaluated(precision);
                let away = |metric: &str| (found[metric] - exact[metric]).abs();
                let what = format!("{precision}, {epochs} epochs, seed {seed}: {found:?}, {exact:?}");
                assert!(away("gap") <= gap, "{what}");
                let share = utterances / 370.0 + 1e-9;
                assert!(away("hit_at_1") <= share && away("perr") <= share, "{what}");
                // The evaluation is another one.
                assert!(away("loss") > 0.0, "{what}");
            }
        }
    }
}

#[test]
fn bf16_is_a_precision_of_gpus() {
    for name in ["quickstart.toml", "quickstart-eval.toml"] {
        let args = ["stages.forward.precision=bf16", "stages.forward.devices=[\"cuda:0\"]"];
        Desk::new().framewise(&["render", &graph(name), "--set", args[0], "--set", args[1]]).expect(0);
    }
}

#[test]
fn a_precision_is_refused_where_it_cannot_be_computed() {
    let refused = |name: &str, precision: &str, set: &str, words: &str| {
        let precision = format!("stages.forward.precision={precision}");
        let args = ["render", &graph(name), "--set", &precision, "--set", set];
        let shown = Desk::new().framewise(&args).expect(78).err;
        assert!(shown.contains(words), "{shown}");
        assert!(shown.contains("--set:1:26"), "the place is told: {shown}");
    };
    for precision in ["int8", "int8x2"] {
        let words = format!(
            "products in {precision} are computed on the CPU only: write precision = \"bf16\" or \"f32\""
        );
        refused("quickstart-eval.toml", precision, "stages.forward.devices=[\"cuda:0\"]", &words);
    }
    for precision in ["bf16", "int8", "int8x2"] {
        let words = format!("the model `logistic` has no products in {precision}: write precision = \"f32\"");
        refused("quickstart-video-eval.toml", precision, "graph.seed=1", &words);
    }
    for precision in ["int8", "int8x2"] {
        let words = format!("{precision} is for evaluation and prediction, and this stage trains");
        refused("quickstart.toml", precision, "graph.seed=1", &words);
    }
}

/// Exact sums are bounded, and a model that is too wide for them is told with its size.
#[test]
fn a_model_that_is_too_wide_for_exact_sums_is_refused() {
    let desk = Desk::new();
    let wide =
        ["stages.weights.hidden=70000", "stages.forward.hidden=70000", "stages.forward.precision=int8"];
    let mut args = vec!["check".to_owned(), graph("quickstart-eval.toml")];
    wide.iter().for_each(|set| args.extend(["--set".to_owned(), (*set).to_owned()]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let shown = desk.framewise(&args).expect(78).err;
    assert!(shown.contains("hidden is 70000, and int8 adds up at most 65793 products exactly"), "{shown}");
}
