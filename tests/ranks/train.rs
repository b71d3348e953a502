//! Laws of linked ranks that train together: rank 0 has the checkpoints, the reports and the results of one process, byte for
//! byte, for any number of ranks, of devices on each, and any mixture; the others write none.

use std::path::Path;

use framewise_pipeline::graph::ResolvedGraph;
use framewise_stages::ranks::Split;

use super::linked::{done, together};
use crate::support::cli::{Desk, graph_text};
use crate::support::divided::bits;
use crate::support::run::{checkpoint_bytes, load, load_path, run, set};

/// The quickstart for a few epochs in four shards, with evaluations. The last batch of an epoch has 5 videos. In the second
/// epoch there is a checkpoint.
fn training(overrides: &[&str]) -> ResolvedGraph {
    let shorter = [
        "stages.videos.epochs=3",
        "stages.batch.size=53",
        "stages.batch.drop_last=false",
        "stages.shard.shards=4",
        "stages.report.every_steps=2",
        "stages.evaluate.every_epochs=1",
        "stages.checkpoint.every_epochs=2",
    ];
    load("quickstart.toml", &set(&[&shorter, overrides].concat()))
}

fn devices(count: usize) -> Vec<String> {
    let list = vec![r#""cpu""#; count].join(", ");
    ["forward", "all_reduce", "optimizer"].map(|s| format!("stages.{s}.devices=[{list}]")).into()
}

/// The lines of metrics.jsonl without what a clock gave.
fn reports(run_dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys = line.as_object_mut().unwrap();
        keys.retain(|key, _| !["examples_per_second", "time", "seconds", "ts"].contains(&key.as_str()));
        line.to_string()
    });
    lines.collect()
}

fn own(own_records: bool) -> Split {
    Split::Shards { shards: 4, own_records }
}

#[test]
fn any_number_of_ranks_writes_the_checkpoints_and_reports_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let graph = training(&[]);
    let alone = folder.path().join("alone");
    let expected = bits(&done(&run(&graph, &alone)).results);
    for (size, split) in [(2, own(true)), (3, own(false)), (4, own(true))] {
        let outcomes = together(&graph, size, split, folder.path());
        outcomes.iter().for_each(|outcome| _ = done(outcome));
        assert_eq!(bits(&outcomes[0].results), expected, "{size} ranks");
        let first = folder.path().join(format!("{size}-0"));
        assert!(checkpoint_bytes(&first) == checkpoint_bytes(&alone), "{size} ranks: the checkpoint differs");
        assert_eq!(reports(&first), reports(&alone), "{size} ranks");
        for rank in 1..size {
            assert!(!folder.path().join(format!("{size}-{rank}/checkpoints")).exists());
        }
    }
}

#[test]
fn ranks_with_several_devices_each_write_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "stages.forward.hidden=2048",
        "stages.optimizer.hidden=2048",
        "stages.batch.max_batches=3",
        "stages.shard.shards=4",
    ];
    let clip = ["stages.optimizer.clip=global", "stages.optimizer.clip_norm=0.01"];
    let settings = [&more[..], &clip].concat();
    let alone = folder.path().join("alone");
    let desk = Desk::new();
    let text = graph_text("quickstart.toml");
    let (text, _) = text.split_once("[stages.report]").unwrap();
    let path = desk.write(
        "graph.toml",
        &format!("{text}[stages.checkpoint]\ntype = \"checkpoint\"\nfrom = \"optimizer.states\"\n"),
    );
    let training = |overrides: &[&str]| load_path(&path, &set(overrides));
    done(&run(&training(&settings), &alone));
    let two = devices(2);
    let with_devices: Vec<&str> = settings.iter().copied().chain(two.iter().map(String::as_str)).collect();
    let graph = training(&with_devices);
    let outcomes = together(&graph, 2, own(true), folder.path());
    outcomes.iter().for_each(|outcome| _ = done(outcome));
    let first = folder.path().join("2-0");
    // The graph that the checkpoint holds names other devices.
    assert!(checkpoint_bytes(&first) == checkpoint_bytes(&alone), "the checkpoint differs");
}
