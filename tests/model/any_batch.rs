//! Law: in evaluation, what is computed of a video does not depend on the batch in which it comes. So the parts that ranks
//! predict are, bit for bit, parts of what one process predicts.

use std::path::Path;

use crate::support::run::{run_named, set};

#[test]
fn predictions_are_the_same_bytes_in_batches_of_any_size() {
    let dir = tempfile::tempdir().unwrap();
    for (model, train, predict) in [
        ("nextvlad", "quickstart.toml", "quickstart-predict.toml"),
        ("video", "quickstart-video.toml", "quickstart-video-eval.toml"),
    ] {
        let at = |name: &str| dir.path().join(format!("{model}-{name}"));
        let short = set(&["stages.videos.epochs=2", "stages.evaluate.every_epochs=0"]);
        run_named(train, &short, &at("training"));
        let predicted = |size: usize, precision: Option<&str>| {
            let run_dir = at(&format!("{size}-{}", precision.unwrap_or("f32")));
            let mut overrides = vec![
                format!("stages.weights.path={}", at("training").display()),
                format!("stages.batch.size={size}"),
            ];
            overrides.extend(precision.map(|word| format!("stages.forward.precision={word}")));
            let results = run_named(predict, &overrides, &run_dir).results;
            (results["loss"].to_bits(), results["gap"].to_bits(), csv(&run_dir))
        };
        let precisions: &[Option<&str>] =
            if model == "nextvlad" { &[None, Some("bf16"), Some("int8"), Some("int8x2")] } else { &[None] };
        for precision in precisions {
            let whole = predicted(370, *precision);
            for size in [1, 2, 7, 80] {
                assert!(predicted(size, *precision) == whole, "{model}, {precision:?}, batches of {size}");
            }
        }
    }
}

/// The predictions of a run, if it writes any.
fn csv(run_dir: &Path) -> Option<Vec<u8>> {
    std::fs::read(run_dir.join("predictions.csv")).ok()
}
