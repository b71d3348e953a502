//! `framewise plan`: what it tells before a run against what a run does, and what it leaves alone.

use serde_json::Value;

use crate::support::cli::{Desk, data, graph, graph_text, names};

fn planned(desk: &Desk, args: &[&str]) -> Value {
    let said = desk.framewise(&[&["plan", "--format", "json"], args].concat()).expect(0);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}\n{}", said.out))
}

/// The bytes of the files of tensors in a checkpoint.
fn tensor_bytes(checkpoint: &std::path::Path) -> u64 {
    ["weights.safetensors", "moments.safetensors"]
        .map(|file| checkpoint.join(file).metadata().unwrap().len())
        .iter()
        .sum()
}

#[test]
fn what_is_planned_is_what_the_run_does() {
    let desk = Desk::new();
    let path = graph("quickstart.toml");
    let args = [
        path.as_str(),
        "--set",
        "stages.videos.epochs=4",
        "--set",
        "stages.evaluate.every_epochs=2",
        "--set",
        "stages.checkpoint.every_epochs=1",
        "--set",
        "stages.checkpoint.every_steps=7",
    ];
    let plan = planned(&desk, &args);
    let (said, result) = desk.run_json(&[&args[..], &["--run-dir", "run", "-v"]].concat());
    let said = said.expect(0);

    let source = &plan["work"]["sources"][0];
    assert_eq!((&source["items_per_epoch"], &source["exact"]), (&270.into(), &true.into()), "{plan}");
    let read = result["stages"][0]["items_out"].as_u64().unwrap();
    assert_eq!(plan["work"]["steps"], result["steps"]);
    assert_eq!(270 * 4, read);
    assert!(said.err.contains("11,713 trainable parameters"), "{}", said.err);
    assert_eq!(plan["parameters"]["total"], 11_713);
    let layers = plan["parameters"]["layers"].as_array().unwrap();
    assert_eq!(layers.iter().map(|layer| layer["parameters"].as_u64().unwrap()).sum::<u64>(), 11_713);
    assert_eq!(plan["work"]["evaluations"], said.err.matches("evaluation after step").count());
    assert_eq!(
        plan["checkpoints"]["written"],
        said.err.matches("checkpoint: checkpoint ").count(),
        "{}",
        said.err
    );
    let kept = names(&desk.path("run/checkpoints"));
    let kept: Vec<_> = kept.iter().filter(|name| name.starts_with("step-")).collect();
    // The best checkpoint may be one of the last two.
    assert!([2, 3].contains(&kept.len()) && plan["checkpoints"]["kept"] == 3, "{kept:?}");
    let written = tensor_bytes(&desk.path("run/checkpoints").join(kept[0]));
    let planned = plan["checkpoints"]["bytes_each"].as_u64().unwrap();
    // The rest are the headers of the files and the running statistics of the batch norms.
    assert!(planned < written && written - planned < 20_000, "{planned} planned, {written} written");
    assert_eq!(plan["memory"]["unknown"], Value::Array(Vec::new()), "{plan}");
}

#[test]
fn inputs_that_are_missing_are_not_known_and_the_rest_is_told() {
    let desk = Desk::new();
    let said = desk.framewise(&["plan", &graph("train-cpu.toml"), "--set", "stages.videos.files=none/*"]);
    let said = said.expect(0);
    for part in ["89,088,550 parameters", "records an epoch from `videos`: not known", "1.07 GB each"] {
        assert!(said.out.contains(part), "{part}:\n{}", said.out);
    }
    assert!(
        said.err.contains("this graph cannot run yet") && said.err.contains("check --inputs"),
        "{}",
        said.err
    );
    let refused = desk.framewise(&[
        "plan",
        "--calibrate",
        &graph("train-cpu.toml"),
        "--set",
        "stages.videos.files=none/*",
    ]);
    assert!(refused.expect(66).err.contains("no file matches"));
}

#[test]
fn what_a_gpu_holds_stands_apart_and_its_activations_are_not_known() {
    let desk = Desk::new();
    let plan = planned(&desk, &[&graph("train.toml"), "--set", "stages.videos.files=none/*"]);
    let devices = plan["memory"]["devices"].as_object().unwrap();
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]);
    let unknown = plan["memory"]["unknown"].to_string();
    assert!(unknown.contains("activations of shard 3 of stage `forward`"), "{unknown}");
    assert!(plan["memory"]["parts"].to_string().contains("gradients of shard 3"), "{plan}");
}

#[test]
fn a_calibration_writes_nothing_of_the_users_and_leaves_nothing() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("temporary")).unwrap();
    desk.write("copy.tfrecord", "mine");
    std::fs::create_dir(desk.path("kept")).unwrap();
    let text = graph_text("quickstart.toml").replace(
        "every_epochs = 10\nkeep_last",
        "every_steps = 2\nevery_epochs = 0\npath = \"kept\"\nkeep_last",
    );
    let copy = format!(
        "{text}\n[stages.copy]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = {:?}\n",
        desk.path("copy.tfrecord")
    );
    desk.write("graph.toml", &copy);
    let mut command =
        desk.command(&["plan", "graph.toml", "--calibrate", "--seconds", "2", "--format", "json"]);
    let said = command.env("TMPDIR", desk.path("temporary")).output().unwrap();
    let said = crate::support::cli::Said::of(said).expect(0);
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    let stages = plan["calibration"]["stages"].as_array().unwrap();
    assert!(stages.is_empty() || stages.iter().any(|stage| stage["items"].as_u64() > Some(0)), "{plan}");
    assert_eq!(desk.read("copy.tfrecord"), "mine");
    assert_eq!(names(&desk.path("kept")), [""; 0]);
    assert_eq!(names(&desk.path("temporary")), [""; 0]);
    assert_eq!(names(&desk.path("")), ["copy.tfrecord", "graph.toml", "kept", "temporary"]);
}

#[test]
fn a_graph_that_an_evaluation_runs_must_write_nothing() {
    let desk = Desk::new();
    let inner = graph_text("quickstart-eval.toml");
    let out = "[stages.best]\ntype = \"top_k\"\nfrom = \"predict\"\n\n\
               [stages.out]\ntype = \"csv_writer\"\nfrom = \"best\"\npath = \"/scores.csv\"\n";
    desk.write("quickstart-eval.toml", &format!("{inner}\n{out}"));
    let inner = format!("graph = {:?}", desk.path("quickstart-eval.toml"));
    let evaluated = format!("graph = \"{}\"", graph("quickstart-eval.toml"));
    desk.write("graph.toml", &graph_text("quickstart.toml").replace(&evaluated, &inner));
    let said = desk.framewise(&["plan", "graph.toml", "--calibrate"]).expect(78);
    assert!(said.err.contains("which stage `evaluate` runs, writes /scores.csv"), "{}", said.err);
    assert!(desk.framewise(&["plan", "graph.toml"]).expect(0).out.contains("quickstart-eval: "));
}

#[test]
fn records_of_compressed_files_are_not_known() {
    let desk = Desk::new();
    let plain = std::fs::read(data("japanese_vowels/train.tfrecord")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &plain).unwrap();
    std::fs::write(desk.path("packed"), packed.finish().unwrap()).unwrap();
    let files = format!("stages.videos.files={}", desk.path("packed").display());
    let plan = planned(&desk, &[&graph("quickstart.toml"), "--set", &files]);
    assert_eq!(plan["work"]["sources"][0]["items_per_epoch"], Value::Null);
    assert_eq!(plan["work"]["steps"], Value::Null);
}
