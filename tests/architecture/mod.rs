//! The architecture of the workspace, as `docs/architecture.md` tells it: which file may import which.

mod imports;
mod made_up;
mod rules;
mod source;

use std::collections::BTreeSet;

use imports::{Crate, Import};
use rules::Floors;

use crate::support::run::root;

/// The modules of `pipeline`, the lowest floor first.
const PIPELINE: Floors<'_> = &[&["edge"], &["stage"], &["graph"], &["engine"], &["testing"]];

/// The folders and files of `stages`, the lowest floor first.
const STAGES: Floors<'_> = &[
    &["kernels", "random", "io", "yt8m", "words", "ranks"],
    &["model", "collective"],
    &["optim", "score", "store", "import"],
    &["payload", "device", "failure"],
    &["tfrecord", "synthetic"],
    &["model_kit"],
    &["run_state"],
    &["sources", "transforms", "training", "evaluation", "sinks"],
    &["registry"],
];

/// What makes a file a stage: it implements one of these.
const STAGE_TRAITS: [&str; 3] = ["Component", "StageType", "TransformType"];

/// The crates of tensors and records, of which `pipeline` knows nothing, by the beginning of their names.
const TENSORS: [&str; 4] = ["candle", "tfrecord", "safetensors", "framewise_stages"];

/// Every crate of the repository: name and source directory.
const CRATES: [(&str, &str); 5] = [
    ("framewise_pipeline", "pipeline/src"),
    ("framewise_derive", "pipeline/derive/src"),
    ("framewise_stages", "stages/src"),
    ("framewise", "src"),
    ("framewise_fuzz", "fuzz/src"),
];

fn read(directory: &str) -> Crate {
    let (name, _) = CRATES.iter().find(|(_, of)| *of == directory).expect("the directory is in the table");
    Crate::read(name, &root(), directory).unwrap()
}

/// Fails with everything that breaks a rule, one line for each.
fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule} (docs/architecture.md), but\n{}", broken.join("\n"));
}

/// The imports of a crate. There must be some, because a rule that looks at no import always holds.
fn imports(of: &Crate) -> BTreeSet<Import> {
    let imports = of.imports();
    assert!(!imports.is_empty());
    imports
}

#[test]
fn no_two_files_import_each_other_in_a_circle() {
    let broken: Vec<_> = CRATES.iter().flat_map(|(_, of)| rules::circles(&imports(&read(of)))).collect();
    none(&broken, "no two files import each other, also not through others");
}

#[test]
fn pipeline_has_no_arrow_up() {
    none(
        &rules::arrows_up(PIPELINE, "pipeline/src", &imports(&read("pipeline/src"))),
        "edge stands below stage, stage below graph, graph below engine, engine below testing",
    );
}

#[test]
fn stages_has_no_arrow_up() {
    none(
        &rules::arrows_up(STAGES, "stages/src", &imports(&read("stages/src"))),
        "a file of stages imports from its own floor and from lower ones",
    );
}

#[test]
fn a_stage_imports_no_stage() {
    let stages = read("stages/src");
    let files = stages
        .sources()
        .filter(|(_, source)| STAGE_TRAITS.iter().any(|name| source.implements.contains(*name)));
    let files: BTreeSet<&str> = files.map(|(file, _)| file).collect();
    let registered = framewise_stages::registry().iter().count();
    // One file holds both writers of rankings and one the forward stages of all models.
    assert!(files.len() >= registered - 4, "{} files for {registered} stage types: {files:?}", files.len());
    none(&rules::stages_that_import_stages(&files, &imports(&stages)), "a stage imports no other stage");
}

#[test]
fn pipeline_knows_nothing_of_tensors() {
    let mut broken = Vec::new();
    for directory in ["pipeline", "pipeline/derive"] {
        let manifest = format!("{directory}/Cargo.toml");
        let text = std::fs::read_to_string(root().join(&manifest)).unwrap();
        let crates = rules::dependencies(&text.parse().unwrap());
        assert!(!crates.is_empty(), "{manifest} names no dependency");
        let tensors = crates.into_iter().filter(|name| rules::is_one_of(name, &TENSORS));
        broken.extend(tensors.map(|name| format!("{manifest} depends on {name}")));
        for (file, source) in read(&format!("{directory}/src")).sources() {
            let named =
                rules::crates_named(source).into_iter().filter(|(name, _)| rules::is_one_of(name, &TENSORS));
            broken.extend(named.map(|(name, line)| format!("{file}:{line} names {name}")));
        }
    }
    none(&broken, "pipeline knows nothing of tensors or records");
}
