//! Law: what ranks cannot do together is refused with its reason before anything is written.

use crate::support::cli::{Desk, copy_graph, data, graph};
use crate::support::files::make_pipe;
use crate::support::records::Records;

/// Runs a graph as one of two ranks, and expects a refusal with these words that leaves nothing behind.
#[track_caller]
fn refused(desk: &Desk, graph: &str, more: &[&str], code: i32, words: &[&str]) {
    let args = [&["run", graph, "--rank", "1/2"], more].concat();
    let said = desk.framewise(&args).expect(code);
    assert!(words.iter().all(|word| said.err.contains(word)), "{words:?}\n{}", said.err);
    for left in ["all", "runs"] {
        assert!(!desk.path(left).exists(), "{left}");
    }
}

const ALL: [&str; 2] = ["--run-dir", "all"];

/// The graph that copies videos, with a seed.
fn copy(files: &str) -> String {
    format!("[graph]\nseed = 1\n{}", copy_graph(files, 16, 4, 10))
}

#[test]
fn a_training_needs_ranks_that_are_linked() {
    let desk = Desk::new();
    let quickstart = graph("quickstart.toml");
    refused(&desk, &quickstart, &ALL, 69, &["rank 1 of 2", "stage `optimizer`", "`mpi`"]);
    // Several trainings side by side are not meant together.
    let args = ["run", "-q", &quickstart, "--rank", "0/1", "--set", "stages.batch.max_batches=1"];
    let output = desk
        .command(&args)
        .envs([("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")])
        .output()
        .unwrap();
    crate::support::cli::Said::of(output).expect(0);
}

#[test]
fn a_command_line_without_a_place_for_the_parts_is_refused() {
    let desk = Desk::new();
    let file = Records::frame_level(6).write(&desk.path("a"));
    desk.write("copy.toml", &copy(&file));
    refused(&desk, "copy.toml", &[], 64, &["rank 1 of 2", "--run-dir"]);
    refused(&desk, "copy.toml", &[&ALL[..], &["--trace", "t.json"]].concat(), 64, &["--trace"]);
    refused(&desk, "copy.toml", &[&ALL[..], &["--resume", "latest"]].concat(), 64, &["--resume"]);
    desk.write("seedless.toml", &copy(&file).replace("seed = 1\n", ""));
    refused(&desk, "seedless.toml", &ALL, 78, &["`seed`"]);
    for rank in ["2/2", "1", "a/b", "1/-2"] {
        let said = desk.framewise(&["run", "copy.toml", "--rank", rank, "--run-dir", "all"]).expect(64);
        assert!(said.err.contains("--rank"), "{}", said.err);
    }
}

#[test]
fn stages_whose_results_cannot_be_put_together_are_named() {
    let desk = Desk::new();
    let file = Records::frame_level(6).write(&desk.path("a"));
    desk.write("copy.toml", &copy(&file));
    let with = |set: &'static str| [&ALL[..], &["--set", set]].concat();
    refused(&desk, "copy.toml", &with("stages.out.shards=2"), 78, &["stage `out`", "`shards`"]);
    refused(
        &desk,
        "copy.toml",
        &with("stages.videos.epochs=2"),
        78,
        &["stage `out`", "epochs = 1 in `videos`"],
    );
    let shuffled = copy(&file).replace("from = \"decode\"", "from = \"mix\"")
        + "[stages.mix]\ntype = \"shuffle\"\nfrom = \"decode\"\n";
    desk.write("shuffled.toml", &shuffled);
    refused(&desk, "shuffled.toml", &ALL, 78, &["stage `out`", "the videos come from `mix`"]);
    refused(
        &desk,
        &graph("synthesize.toml"),
        &with("graph.seed=1"),
        78,
        &["stage `videos`", "every rank would make all"],
    );

    let predict = graph("quickstart-predict.toml");
    refused(&desk, &predict, &with("stages.batch.drop_last=true"), 78, &["stage `batch`", "`drop_last`"]);
    refused(&desk, &predict, &with("stages.batch.max_batches=1"), 78, &["stage `batch`", "`max_batches`"]);
    refused(
        &desk,
        &predict,
        &with("stages.forward.mode=train"),
        78,
        &["stage `forward`", "mode = \"evaluate\""],
    );
}

#[test]
fn a_stream_has_no_parts() {
    let desk = Desk::new();
    make_pipe(&desk.path("pipe"));
    desk.write("copy.toml", &copy(&desk.path("pipe").display().to_string()));
    refused(&desk, "copy.toml", &ALL, 78, &["is a stream", "2 processes cannot each read a part of it"]);
}

#[test]
fn a_refused_rank_leaves_the_parts_of_others() {
    let desk = Desk::new();
    let text =
        format!("[graph]\nseed = 1\n{}", copy_graph(&data("japanese_vowels/test.tfrecord"), 12, 12, 9));
    desk.write("copy.toml", &text);
    desk.framewise(&["run", "-q", "copy.toml", "--run-dir", "all", "--rank", "0/2"]).expect(0);
    let gone = [
        "run",
        "-q",
        "copy.toml",
        "--run-dir",
        "all",
        "--rank",
        "1/2",
        "--set",
        "stages.videos.files=[\"gone\"]",
    ];
    desk.framewise(&gone).expect(66);
    assert!(desk.path("all/ranks/0000/results.json").exists() && !desk.path("all/ranks/0001").exists());
    desk.write("all/notes.txt", "mine");
    let said = desk.framewise(&["run", "-q", "copy.toml", "--run-dir", "all", "--rank", "1/2"]).expect(73);
    assert!(said.err.contains("all/notes.txt"), "{}", said.err);
}
