//! Law: 1, 2 and 4 devices of one kind give the same result, because devices only place the shards.

use crate::support::run::{checkpoint_bytes, load, run_named, set};
use framewise_pipeline::engine::{Pipeline, RunOptions};

#[test]
fn devices_only_place_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = None;
    for devices in [r#"["cpu"]"#, r#"["cpu", "cpu"]"#, r#"["cpu", "cpu", "cpu", "cpu"]"#] {
        let mut overrides =
            set(&["stages.videos.epochs=2", "stages.evaluate.every_epochs=2", "stages.shard.shards=4"]);
        overrides.extend(
            ["forward", "all_reduce", "optimizer"].map(|stage| format!("stages.{stage}.devices={devices}")),
        );
        let run_dir = dir.path().join(devices.len().to_string());
        let outcome = run_named("quickstart.toml", &overrides, &run_dir);
        let result = (checkpoint_bytes(&run_dir), format!("{:?}", outcome.results));
        let first = first.get_or_insert_with(|| result.clone());
        assert!(*first == result, "{devices}: the result differs");
    }
}

#[test]
fn shards_are_part_of_the_mathematics() {
    // This is the counterpart of the test above: if the number of shards changed nothing, that test would compare
    // nothing.
    let dir = tempfile::tempdir().unwrap();
    let results = [1, 4].map(|shards| {
        let run_dir = dir.path().join(shards.to_string());
        let overrides = [format!("stages.shard.shards={shards}"), "stages.batch.max_batches=3".to_owned()];
        run_named("quickstart.toml", &overrides, &run_dir);
        checkpoint_bytes(&run_dir)
    });
    assert!(results[0] != results[1]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_graph_that_names_cuda_says_what_to_build_and_exits_with_69() {
    let graph = load("quickstart.toml", &set(&[r#"stages.forward.devices=["cuda:0"]"#]));
    let error = Pipeline::build(&graph, &framewise_stages::registry(), &RunOptions::default()).unwrap_err();
    assert_eq!(error.stage, "forward");
    assert_eq!(error.failure.kind.exit_code(), 69);
    assert!(error.to_string().contains("--features cuda"), "{error}");
}
