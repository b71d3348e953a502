//! Laws of linked ranks that divide the records of an evaluation or a prediction: rank 0 has the results and the outputs of
//! one process, bit for bit and byte for byte, and the other ranks have none. No number of ranks makes them wait for ever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use framewise_pipeline::engine::{Outcome, Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_stages::ranks::{Ranks, Split, Threads};
use framewise_stages::registry;
use framewise_stages::tfrecord::{ReaderOptions, RecordReader};

use crate::support::cli::{Desk, graph_text};
use crate::support::divided::{Bits, bits, predicting, split_vowels};
use crate::support::records::{Damage, Records, pack};
use crate::support::run::{load_path, set};
use crate::support::trained::trained;

/// What each of several linked ranks ends with. Every rank has a directory of its own.
pub(super) fn together(graph: &ResolvedGraph, size: usize, split: Split, folder: &Path) -> Vec<Outcome> {
    let hosts: Vec<String> = (0..size).map(|rank| format!("host-{rank}")).collect();
    let run = |end: Threads, rank: usize| {
        let run_dir = folder.join(format!("{size}-{rank}"));
        std::fs::create_dir_all(&run_dir).unwrap();
        let options = RunOptions {
            rank,
            ranks: size,
            run_dir: Some(run_dir),
            resolved_text: Arc::from(graph::render(graph)),
            ..RunOptions::default()
        };
        options.resources.insert(Ranks::linked(Arc::new(end), hosts.clone(), split));
        match Pipeline::build(graph, &registry(), &options) {
            Ok(pipeline) => {
                // Nothing but the stages may keep this end of the link.
                drop(options);
                pipeline.run()
            }
            Err(error) => panic!("rank {rank}: {error}"),
        }
    };
    let run = &run;
    thread::scope(|scope| {
        let ends = Threads::link(size).into_iter().enumerate();
        let threads: Vec<_> = ends.map(|(rank, end)| scope.spawn(move || run(end, rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

pub(super) fn done(outcome: &Outcome) -> &Outcome {
    if let Status::Failed(error) = &outcome.status {
        panic!("{error}");
    }
    assert!(matches!(outcome.status, Status::Done));
    outcome
}

fn alone(graph: &ResolvedGraph, folder: &Path) -> BTreeMap<String, Bits> {
    let run_dir = folder.join("alone");
    let outcome = crate::support::run::run(graph, &run_dir);
    bits(&done(&outcome).results)
}

/// Runs the graph alone and by several numbers of ranks, and compares everything.
fn check_equal(graph: &ResolvedGraph, sizes: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let expected = alone(graph, folder.path());
    let read = |directory: &str, name: &str| std::fs::read(folder.path().join(directory).join(name)).ok();
    for &size in sizes {
        let outcomes = together(graph, size, Split::Records, folder.path());
        assert_eq!(bits(&done(&outcomes[0]).results), expected, "{size} ranks");
        for name in ["predictions.csv", "predictions.jsonl", "copy.tfrecord"] {
            let same = read(&format!("{size}-0"), name) == read("alone", name);
            assert!(same, "{name} of {size} ranks differs");
            assert!((1..size).all(|rank| read(&format!("{size}-{rank}"), name).is_none()), "{name}");
        }
        for (rank, outcome) in outcomes.iter().enumerate().skip(1) {
            assert_eq!(done(outcome).results, BTreeMap::new(), "rank {rank} of {size}");
        }
    }
}

#[test]
fn predictions_and_metrics_of_ranks_are_those_of_one_process() {
    let run = trained();
    let desk = Desk::new();
    let cut = split_vowels(&desk.path(""), &[0, 7, 100, 0, 1, 262, 0]);
    let packed: Vec<PathBuf> = cut
        .iter()
        .map(|path| {
            let packed = path.with_extension("gz");
            std::fs::write(&packed, pack(&std::fs::read(path).unwrap())).unwrap();
            packed
        })
        .collect();
    let one = split_vowels(&desk.path(""), &[370]);
    let mixed: Vec<PathBuf> =
        packed.iter().step_by(2).chain(cut.iter().skip(1).step_by(2)).cloned().collect();
    for files in [&one, &cut, &packed, &mixed] {
        let graph = predicting(&run.path("run"), files, &["stages.batch.size=7"]);
        check_equal(&graph, &[2, 3, 5]);
    }
    let few = split_vowels(&desk.path(""), &[3]);
    check_equal(&predicting(&run.path("run"), &few, &[]), &[2, 5, 8]);
    // Side by side, and in the order of a draw.
    let overrides = ["stages.videos.workers=3", "stages.videos.shuffle_files=true", "graph.seed=5"];
    check_equal(&predicting(&run.path("run"), &cut, &overrides), &[3]);
}

#[test]
fn records_that_are_copied_are_the_same_bytes_and_every_bad_one_is_met_once() {
    let desk = Desk::new();
    let whole = Records::frame_level(9).damage(Damage::DataCrc(4)).write(&desk.path("a"));
    let cut = Records::frame_level(6).damage(Damage::LengthCrc(4)).write(&desk.path("b"));
    let truncated = Records::frame_level(3).damage(Damage::Truncated(2)).write(&desk.path("c"));
    let lacking = Records::frame_level(4).damage(Damage::Missing(3, "rgb")).gzip().write(&desk.path("d"));
    let text = format!(
        "[graph]\nseed = 1\n[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = {:?}\non_error = \"skip\"\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nrgb_size = 16\naudio_size = 4\nclasses = 10\n\
         on_error = \"skip\"\n\
         [stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = \"copy.tfrecord\"\n",
        [whole, cut, truncated, lacking]
    );
    let graph = load_path(&desk.write("copy.toml", &text), &[]);
    check_equal(&graph, &[2, 3, 5, 30]);

    let lines = |directory: &Path| {
        let text = std::fs::read_to_string(directory.join("rejected.jsonl")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let folder = tempfile::tempdir().unwrap();
    alone(&graph, folder.path());
    let mut expected = lines(&folder.path().join("alone"));
    assert_eq!(expected.len(), 4, "{expected:?}");
    expected.sort();
    for size in [2, 5] {
        together(&graph, size, Split::Records, folder.path());
        let mut met: Vec<_> =
            (0..size).flat_map(|rank| lines(&folder.path().join(format!("{size}-{rank}")))).collect();
        met.sort();
        assert_eq!(met, expected, "{size} ranks");
    }

    // Each rank's part of a packed file is a member of it.
    let packed = load_path(&desk.write("packed.toml", &(text + "gzip = true\n")), &[]);
    done(&together(&packed, 3, Split::Records, folder.path())[0]);
    let mut reader =
        RecordReader::open(folder.path().join("3-0/copy.tfrecord"), ReaderOptions::default()).unwrap();
    assert_eq!(std::iter::from_fn(|| reader.next()).map(Result::unwrap).count(), 8 + 4 + 2 + 3);
}

#[test]
fn records_of_which_no_rank_has_any_are_an_error() {
    let desk = Desk::new();
    let bad = Records::frame_level(3).damage(Damage::LengthCrc(0)).write(&desk.path("bad"));
    let text = format!(
        "[graph]\nseed = 1\n[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [{bad:?}]\non_error = \"skip\"\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nrgb_size = 16\naudio_size = 4\nclasses = 10\n\
         [stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = \"copy.tfrecord\"\n"
    );
    let graph = load_path(&desk.write("copy.toml", &text), &[]);
    let folder = tempfile::tempdir().unwrap();
    let outcomes = together(&graph, 3, Split::Records, folder.path());
    let Status::Failed(error) = &outcomes[0].status else { panic!("{:?}", outcomes[0].status) };
    assert_eq!(error.failure.kind.exit_code(), 65);
    assert!(error.to_string().contains("there was no video to write"), "{error}");
    assert!(!folder.path().join("3-0/copy.tfrecord").exists());
}

#[test]
fn an_evaluation_inside_training_is_made_together_and_gives_every_rank_the_numbers_of_one() {
    let desk = Desk::new();
    let quickstart = desk.write("quickstart.toml", &graph_text("quickstart.toml"));
    let overrides =
        ["stages.videos.epochs=2", "stages.evaluate.every_epochs=1", "stages.evaluate.every_steps=7"];
    let files = split_vowels(&desk.path(""), &[200, 0, 170]);
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let text = std::fs::read_to_string(&quickstart).unwrap();
    let text = text.replace("[stages.evaluate]\n", &format!("[stages.evaluate]\nfiles = {files:?}\n"));
    let graph = load_path(&desk.write("quickstart.toml", &text), &set(&overrides));
    let folder = tempfile::tempdir().unwrap();
    let expected = alone(&graph, folder.path());
    // A step has one shard, so all ranks but the first have none of it. All take part in the evaluations.
    let split = Split::Shards { shards: 1, own_records: false };
    for size in [2, 3, 5] {
        for outcome in together(&graph, size, split, folder.path()) {
            assert_eq!(bits(&done(&outcome).results), expected, "{size} ranks");
        }
        let evaluations = |directory: &str| {
            let text = std::fs::read_to_string(folder.path().join(directory).join("metrics.jsonl")).unwrap();
            let lines = text.lines().filter(|line| line.contains("evaluation"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(evaluations("alone").len() > 3);
        for rank in 0..size {
            assert_eq!(evaluations(&format!("{size}-{rank}")), evaluations("alone"), "rank {rank} of {size}");
        }
    }
}

#[test]
fn a_rank_that_fails_ends_the_others_with_its_name() {
    let run = trained();
    let desk = Desk::new();
    let files = split_vowels(&desk.path(""), &[370]);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    let graph = predicting(&run.path("run"), &files, &[]);
    let folder = tempfile::tempdir().unwrap();
    let outcomes = together(&graph, 3, Split::Records, folder.path());
    let failures: Vec<String> = outcomes
        .iter()
        .map(|outcome| match &outcome.status {
            Status::Failed(error) => error.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert!(failures[2].contains("CRC"), "{failures:?}");
    assert!(failures[0].contains("rank 2 (thread 2) has ended"), "{failures:?}");
    assert!(!folder.path().join("3-0/predictions.csv").exists());
}
