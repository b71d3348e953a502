//! Law: capacities 1 to 8 and workers 1 to 4 give the same result, bit for bit.

use crate::support::run::{checkpoint_bytes, run_named, set};

#[test]
fn capacities_and_workers_do_not_change_a_training_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = None;
    for (capacity, workers) in [(1, 1), (2, 3), (8, 4)] {
        let mut overrides = set(&[
            "stages.videos.epochs=3",
            "stages.evaluate.every_epochs=3",
            "stages.shard.shards=2",
            "stages.shuffle.buffer=50",
        ]);
        for stage in
            ["videos", "decode", "shuffle", "batch", "shard", "forward", "loss", "optimizer", "evaluate"]
        {
            overrides.push(format!("stages.{stage}.capacity={capacity}"));
        }
        for stage in ["videos", "decode"] {
            overrides.push(format!("stages.{stage}.workers={workers}"));
        }
        let run_dir = dir.path().join(format!("run-{capacity}"));
        let outcome = run_named("quickstart.toml", &overrides, &run_dir);
        let result = (checkpoint_bytes(&run_dir), format!("{:?}", outcome.results));
        assert_eq!(outcome.results["steps"], 27.0);
        let first = first.get_or_insert_with(|| result.clone());
        assert!(*first == result, "capacity {capacity}, workers {workers}: the result differs");
    }
}
