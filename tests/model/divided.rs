//! Laws: the collective work of a step is divided among the devices, also within tensors, and changes no byte. What the
//! devices take from each other is what `framewise plan` tells.

use std::path::Path;

use serde_json::Value;

use crate::support::cli::{Desk, graph_text};
use crate::support::run::checkpoint_bytes;

/// The parameters of the quickstart's model with a hidden layer of 2,048 in place of 64, so that slices end within its
/// tensors. With 64 it has 11,713. Each unit of the hidden layer has 96 weights from the clusters, 2 of its norm, 9 to
/// the classes, and half a number of the gate's norm, and the two matrices of the gate have a quarter of the square each.
const PARAMETERS: u64 = 11_713 + (2048 - 64) * (96 + 2 + 9) + (2048 - 64) / 2 + (2048 * 2048 - 64 * 64) / 2;

/// Training on the bundled data without an evaluation.
fn write_graph(desk: &Desk) {
    let text = graph_text("quickstart.toml");
    let (text, _) = text.split_once("[stages.report]").unwrap();
    let checkpoint = "[stages.checkpoint]\ntype = \"checkpoint\"\nfrom = \"optimizer.states\"\n";
    desk.write("graph.toml", &format!("{text}{checkpoint}"));
}

/// The settings of a run of so many steps in so many shards on so many devices.
fn settings(steps: u64, shards: usize, devices: usize, more: &[&str]) -> Vec<String> {
    let list = vec![r#""cpu""#; devices].join(", ");
    let mut set = vec![format!("stages.batch.max_batches={steps}"), format!("stages.shard.shards={shards}")];
    set.extend(["forward", "optimizer"].map(|stage| format!("stages.{stage}.hidden=2048")));
    set.extend(["forward", "all_reduce", "optimizer"].map(|s| format!("stages.{s}.devices=[{list}]")));
    set.extend(more.iter().map(|setting| (*setting).to_owned()));
    set.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect()
}

/// Runs the binary, and returns what it says.
fn framewise(desk: &Desk, args: &[&str], settings: &[String]) -> crate::support::cli::Said {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    desk.framewise(&[args, &settings].concat()).expect(0)
}

fn run(desk: &Desk, name: &str, settings: &[String]) -> Vec<(String, Vec<u8>)> {
    framewise(desk, &["run", "graph.toml", "--no-progress", "--run-dir", name], settings);
    checkpoint_bytes(&desk.path(name))
}

#[test]
fn slices_within_tensors_and_norms_over_all_of_them_change_no_byte() {
    let desk = Desk::new();
    write_graph(&desk);
    let mut unclipped = None;
    for clip in ["off", "global", "per_variable"] {
        let clip = [format!("stages.optimizer.clip={clip}"), "stages.optimizer.clip_norm=0.01".to_owned()];
        let clip = clip.each_ref().map(String::as_str);
        let one = run(&desk, &format!("one-{}", clip[0]), &settings(3, 4, 1, &clip));
        for devices in [2, 3, 4] {
            let several = run(&desk, &format!("{devices}-{}", clip[0]), &settings(3, 4, devices, &clip));
            assert!(several == one, "{devices} devices, {clip:?}: the checkpoint differs");
        }
        let unclipped = unclipped.get_or_insert_with(|| one.clone());
        assert_eq!(*unclipped == one, clip[0].ends_with("off"), "{clip:?}: clipping must show");
    }
}

#[test]
fn a_run_resumes_on_another_number_of_devices() {
    let desk = Desk::new();
    write_graph(&desk);
    let whole = run(&desk, "whole", &settings(4, 4, 1, &[]));
    let half = run(&desk, "resumed", &settings(2, 4, 4, &[]));
    assert!(half != whole);
    for (steps, devices) in [(3, 2), (4, 3)] {
        let args = ["run", "graph.toml", "--no-progress", "--resume", "resumed"];
        framewise(&desk, &args, &settings(steps, 4, devices, &[]));
    }
    assert!(checkpoint_bytes(&desk.path("resumed")) == whole, "the checkpoint differs");
}

/// The bytes and steps that each stage tells in the end, as (stage, bytes, steps).
fn told(text: &str) -> Vec<(String, u64, u64)> {
    let lines = text.lines().filter_map(|line| {
        let (before, rest) = line.split_once(": the devices took ")?;
        let (bytes, rest) = rest.split_once(" bytes from each other in ")?;
        let stage = before.rsplit(' ').next()?.to_owned();
        let steps = rest.split(' ').next()?.parse().ok()?;
        Some((stage, bytes.replace(',', "").parse().ok()?, steps))
    });
    lines.collect()
}

/// The bytes of the tensors of a checkpoint's weights, running statistics among them.
fn weight_bytes(run: &Path) -> u64 {
    let weights = framewise_stages::store::load(run).unwrap().weights;
    weights.iter().map(|(_, tensor)| 4 * tensor.elem_count() as u64).sum()
}

#[test]
fn the_devices_take_from_each_other_what_was_planned() {
    let desk = Desk::new();
    write_graph(&desk);
    for (shards, devices) in [(4, 2), (4, 4), (1, 2), (2, 4), (3, 2)] {
        let settings = settings(3, shards, devices, &[]);
        let plan = framewise(&desk, &["plan", "graph.toml", "--format", "json"], &settings);
        let plan: Value = serde_json::from_str(&plan.out).unwrap();
        assert_eq!(plan["parameters"]["total"], PARAMETERS);
        let parts = plan["taken"]["parts"].as_array().unwrap();
        let of = |stage: &str| {
            let parts = parts.iter().filter(|part| part["stage"] == stage);
            parts.map(|part| part["bytes"].as_u64().unwrap()).sum::<u64>()
        };
        let name = format!("{shards}-{devices}");
        let args = ["run", "graph.toml", "--no-progress", "-v", "--run-dir", &name];
        let said = framewise(&desk, &args, &settings);
        let mut told = told(&said.err);
        told.sort();
        let expected = ["all_reduce", "optimizer"].map(|stage| (stage.to_owned(), 3 * of(stage), 3));
        assert_eq!(told, expected, "{}", said.err);
        // Every device takes the new weights of the others, and the statistics, which the first one folds.
        let others = devices as u64 - 1;
        let statistics = weight_bytes(&desk.path(&name)) - 4 * PARAMETERS;
        assert_eq!(of("optimizer"), others * (4 * PARAMETERS + statistics));
        // Where the shards are spread evenly, each device takes its slice of all shards but its own.
        if shards % devices == 0 {
            assert_eq!(of("all_reduce"), (shards - shards / devices) as u64 * 4 * PARAMETERS);
        }
        assert_eq!(plan["taken"]["bytes_per_step"], of("all_reduce") + of("optimizer"));
    }
}

#[test]
fn a_plan_shows_what_each_device_holds_and_takes() {
    let desk = Desk::new();
    write_graph(&desk);
    let said = framewise(&desk, &["plan", "graph.toml"], &settings(3, 4, 2, &[]));
    for part in [
        "Adam's moments, device 0",
        "Adam's moments, device 1",
        "the mean gradient, device 1",
        "moments put together of slices",
        "taken from other devices in a step",
        "device 1 (cpu)",
        "CPU devices share their memory",
    ] {
        assert!(said.out.contains(part), "{part}:\n{}", said.out);
    }
    let alone = framewise(&desk, &["plan", "graph.toml", "--format", "json"], &settings(3, 4, 1, &[]));
    let alone: Value = serde_json::from_str(&alone.out).unwrap();
    assert_eq!(alone["taken"], Value::Null);
    let moments = |plan: &Value| {
        let parts = plan["memory"]["parts"].as_array().unwrap().clone();
        let parts =
            parts.into_iter().filter(|part| part["part"].as_str().unwrap().starts_with("Adam's moments"));
        parts.map(|part| part["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    // One device writes the next moments over the last ones. Several keep both.
    assert_eq!(moments(&alone), 2 * 4 * PARAMETERS);
    let four = framewise(&desk, &["plan", "graph.toml", "--format", "json"], &settings(3, 4, 4, &[]));
    assert_eq!(moments(&serde_json::from_str(&four.out).unwrap()), 2 * moments(&alone));
}

#[test]
fn devices_that_sum_other_slices_than_the_optimizer_updates_are_refused() {
    let desk = Desk::new();
    write_graph(&desk);
    let one = r#"stages.all_reduce.devices=["cpu"]"#;
    let two = r#"stages.optimizer.devices=["cpu", "cpu"]"#;
    let said = desk.framewise(&["check", "graph.toml", "--set", one, "--set", two]).expect(78);
    let (err, part) = (&said.err, "give both stages the same `devices`");
    assert!(err.contains(part) && err.contains("optimizer") && err.contains("all_reduce"), "{err}");
}
