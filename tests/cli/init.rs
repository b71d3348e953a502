//! `framewise init`: what it writes runs as it is, and it writes all of it or nothing.
//!
//! The crate that it writes is built, tested and run by the gate, `.ci/run`: cargo takes too long for a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cli::{Desk, Said, names};
use crate::support::run::root;

/// The files below a directory, sorted, relative to it.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for name in names(&next) {
            let path = next.join(name);
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The commands that `init` prints, in their order.
fn commands(said: &Said) -> Vec<String> {
    let after = said.out.lines().skip_while(|line| !line.starts_with("These commands"));
    after.filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

/// Every text of a project, and the paths in it that are relative to the file.
fn paths_in(project: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for name in files(project).into_iter().filter(|name| name.ends_with(".toml") && name.contains('/')) {
        let text = fs::read_to_string(project.join(&name)).unwrap();
        for path in text.split('"').filter(|part| part.starts_with("../") && !part.contains("runs/")) {
            found.push((name.clone(), project.join(&name).parent().unwrap().join(path)));
        }
    }
    found
}

/// Expects that a project names no place of this repository and only files that it has.
fn expect_self_contained(project: &Path) {
    for name in files(project).iter().filter(|name| !name.ends_with(".tfrecord")) {
        let text = fs::read_to_string(project.join(name)).unwrap();
        for foreign in
            ["quickstart", "tests/data", "../../", "examples/", "japanese-vowels.toml", "custom_stage"]
        {
            assert!(!text.contains(foreign), "{name} names {foreign}");
        }
    }
    let paths = paths_in(project);
    assert!(paths.len() >= 10, "{paths:?}");
    for (name, path) in paths {
        assert!(path.is_file(), "{name} names {}, which is not there", path.display());
    }
}

#[test]
fn the_graphs_of_a_project_train_evaluate_and_predict_as_they_are() {
    let desk = Desk::new();
    let said = desk.framewise(&["init", "my data", "--graph-only"]).expect(0);
    let project = desk.path("my data");
    expect_self_contained(&project);
    for file in files(&project) {
        assert!(said.out.contains(&format!("  {file} ")), "{file} is not in the report:\n{}", said.out);
    }

    // The commands are run as they are printed, by a shell; the training is made shorter.
    let commands = commands(&said);
    assert_eq!(commands.len(), 4, "{commands:?}");
    assert_eq!(commands[0], "cd 'my data'");
    let script = commands.join(" --format json --quiet && ").replacen(" --format json --quiet", "", 1);
    let script = script.replacen("train.toml", "train.toml --set stages.videos.epochs=10", 1);
    let mut shell = std::process::Command::new("sh");
    let output =
        shell.args(["-ec", &(script + " --format json --quiet")]).current_dir(desk.path(".")).output();
    let said = Said::of(output.unwrap()).expect(0);
    let results: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(&said.out).into_iter().map(|value| value.unwrap()).collect();
    let hit_at_1 = |index: usize| results[index]["results"]["hit_at_1"].as_f64().unwrap();
    assert_eq!(results.len(), 3);
    // Nine speakers: a model that learned nothing is right once in nine times.
    assert!(hit_at_1(0) > 0.5, "{results:?}");
    assert_eq!((hit_at_1(1), hit_at_1(2)), (hit_at_1(0), hit_at_1(0)));
    let predictions = fs::read_to_string(project.join("runs/predict-1/predictions.csv")).unwrap();
    assert_eq!(predictions.lines().count(), 1 + 370);
}

#[test]
fn a_crate_has_its_name_its_dependencies_and_all_files_that_it_names() {
    let desk = Desk::new();
    let said = desk.framewise(&["init", "crates/my_stage"]).expect(0);
    let project = desk.path("crates/my_stage");
    expect_self_contained(&project);
    assert_eq!(commands(&said)[..2], ["cd crates/my_stage", "cargo test --release"]);
    let manifest: toml::Table = fs::read_to_string(project.join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("my_stage"));
    assert!(manifest["profile"]["release"]["package"].get("my_stage").is_some());
    for name in ["framewise", "framewise-pipeline", "framewise-stages"] {
        assert_eq!(manifest["dependencies"][name].as_str(), Some(env!("CARGO_PKG_VERSION")), "{name}");
    }

    let source = root().display().to_string();
    let args = ["init", ".", "--name", "other", "--framewise-path", &source];
    fs::create_dir(desk.path("empty")).unwrap();
    let output = desk.command(&args).current_dir(desk.path("empty")).output().unwrap();
    let said = Said::of(output).expect(0);
    assert!(commands(&said)[0].starts_with("cargo test"), "{}", said.out);
    let manifest: toml::Table = desk.read("empty/Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("other"));
    let stages = root().canonicalize().unwrap().join("stages");
    assert_eq!(manifest["dependencies"]["framewise-stages"]["path"].as_str(), stages.to_str());
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_nothing() {
    let desk = Desk::new();
    fs::create_dir(desk.path("full")).unwrap();
    desk.write("full/notes.txt", "mine");
    desk.write("file", "mine");
    let said = desk.framewise(&["init", "full"]).expect(73);
    assert!(said.err.contains("full holds files already"), "{}", said.err);
    let said = desk.framewise(&["init", "file/project", "--graph-only"]).expect(73);
    assert!(said.err.contains("file/project"), "{}", said.err);
    let said = desk.framewise(&["init", "my stage"]).expect(64);
    assert!(said.err.contains("`my stage` cannot be the name of a crate"), "{}", said.err);
    let said = desk.framewise(&["init", "x", "--framewise-path", "full"]).expect(66);
    assert!(said.err.contains("--framewise-path full: no Cargo.toml"), "{}", said.err);
    let said =
        desk.framewise(&["init", "x", "--framewise-path", &root().join("stages").display().to_string()]);
    assert!(said.expect(66).err.contains("not that of the package `framewise`"));
    desk.framewise(&["init", "x", "--graph-only", "--name", "x"]).expect(64);
    assert_eq!(files(&desk.path(".")), ["file", "full/notes.txt"]);
    assert_eq!(names(&desk.path(".")), ["file", "full"]);
}

fn table(path: &str) -> toml::Table {
    fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
}

#[test]
fn the_example_builds_with_the_profile_and_the_versions_of_this_repository() {
    let (ours, example) = (table("Cargo.toml"), table("examples/custom_stage/Cargo.toml"));
    for key in ["debug", "overflow-checks"] {
        assert_eq!(ours["profile"]["release"].get(key), example["profile"]["release"].get(key), "{key}");
    }
    assert_eq!(ours["workspace"]["package"]["edition"], example["package"]["edition"]);

    let versions = |lock: toml::Table| {
        let packages = lock["package"].as_array().unwrap().clone();
        let version = |package: toml::Value| {
            format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap())
        };
        packages.into_iter().map(version).collect::<BTreeSet<_>>()
    };
    let example = versions(table("examples/custom_stage/Cargo.lock"));
    let other: Vec<_> = example.difference(&versions(table("Cargo.lock"))).cloned().collect();
    assert_eq!(other, ["custom_stage 0.1.0"], "update the example's Cargo.lock with this repository's");
}

#[test]
fn the_graphs_of_the_example_are_those_of_the_quickstart_and_one_stage() {
    for (example, original, after) in
        [("train.toml", "quickstart.toml", "shuffle"), ("eval.toml", "quickstart-eval.toml", "batch")]
    {
        let mut stages = table(&format!("examples/custom_stage/graphs/{example}"))["stages"].clone();
        let stages = stages.as_table_mut().unwrap();
        let added = stages.remove("subsample").unwrap();
        assert_eq!(added["type"].as_str(), Some("frame_subsample"));
        stages[after]["from"] = added["from"].clone();
        let text = toml::to_string(stages).unwrap();
        let text = text.replace("../../../", "../").replace("\"eval.toml\"", "\"quickstart-eval.toml\"");
        let text = text.replace("runs/subsampled-1", "runs/quickstart-1");
        let original = table(&format!("graphs/{original}"))["stages"].clone();
        assert_eq!(text, toml::to_string(&original).unwrap(), "{example}");
    }
}
