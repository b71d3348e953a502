//! Laws: default < named config < key in the stage < `--set`. A key of a config that has no effect is an error.

use std::fs;
use std::process::Command;

use framewise_pipeline::ErrorKind;
use framewise_pipeline::graph::{Diagnostics, Override, ResolvedGraph, load};
use toml::Value;

use crate::fixture::{graph, registry};

/// A directory with `graphs/g.toml` and files beside it.
struct Project(tempfile::TempDir);

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        Self(dir)
    }

    fn load(&self, sets: &[&str]) -> Result<ResolvedGraph, Diagnostics> {
        let sets: Vec<Override> = sets.iter().map(|s| s.parse().expect("KEY=VALUE")).collect();
        load(&self.0.path().join("graphs/g.toml"), &registry(), &sets).map(|l| l.graph)
    }

    fn errors(&self, sets: &[&str]) -> (usize, String) {
        let found = self.load(sets).expect_err("mistakes");
        (found.len(), found.render(false))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }
}

const GRAPH: &str = r#"[use]
data = "../configs/data.toml"
model = ["../configs/model.toml", "../configs/wide.toml"]
[stages.videos]
type = "reader"
config = "data"
[stages.decode]
type = "decode"
from = "videos"
[stages.batch]
type = "batch"
from = "decode"
config = ["data"]
[stages.model]
type = "model"
from = "batch"
config = ["model", "data"]
dropout = 0.25
[stages.out]
type = "writer"
from = "model"
path = "../out/x.csv"
"#;
const DATA: &str = "files = [\"a*.tfrecord\", \"@list\"]\nsize = 64\ngroups = 4\n";
const MODEL: &str = "hidden = 512\ngroups = 2\ndropout = 0.75\n";

fn project() -> Project {
    let (data, model, wide) = ("configs/data.toml", "configs/model.toml", "configs/wide.toml");
    Project::new(&[("graphs/g.toml", GRAPH), (data, DATA), (model, MODEL), (wide, "hidden = 1024\n")])
}

fn stage<'g>(graph: &'g ResolvedGraph, name: &str) -> &'g framewise_pipeline::graph::ResolvedStage {
    graph.stages.iter().find(|s| s.name == name).expect("the stage is there")
}

#[test]
fn later_beats_earlier() {
    let project = project();
    let graph = project.load(&[]).expect("no mistakes");
    let model = &stage(&graph, "model").settings;
    assert_eq!(model.integer("feature_size"), 1024, "the default");
    assert_eq!(model.integer("hidden"), 1024, "the second file of `model`");
    assert_eq!(model.integer("groups"), 4, "`data` is named after `model`");
    assert_eq!(model.get("dropout"), Some(&Value::Float(0.25)), "inline");
    assert_eq!(stage(&graph, "batch").settings.integer("size"), 64, "the config");
    let graph = project.load(&["stages.model.dropout=1", "stages.batch.size=3", "stages.batch.size=5"]);
    let graph = graph.expect("no mistakes");
    assert_eq!(stage(&graph, "model").settings.get("dropout"), Some(&Value::Float(1.0)));
    assert_eq!(stage(&graph, "batch").settings.integer("size"), 5, "the last of two");
}

#[test]
fn overrides_add_and_replace() {
    let project = project();
    let sets = [
        "graph.seed=9",
        "graph.name=2024",
        "stages.out.note=17",
        "stages.batch.capacity=7",
        "stages.out.from=model.logits",
    ];
    let graph = project.load(&sets).expect("no mistakes");
    assert_eq!((graph.seed, graph.seed_given, graph.name.as_str()), (9, true, "2024"));
    assert_eq!(stage(&graph, "out").settings.text("note"), "17", "a bare number for a text");
    let edge = graph.edges.iter().find(|e| graph.stages[e.from.0].name == "batch").expect("an edge");
    assert_eq!(edge.limits.items, 7);
    fs::write(project.0.path().join("other.toml"), "hidden = 8\n").expect("a file");
    let set = format!("use.model={}", project.path("other.toml"));
    let graph = project.load(&[&set, "stages.model.config=[\"model\", \"data\"]"]).expect("no mistakes");
    assert_eq!(stage(&graph, "model").settings.integer("hidden"), 8);
}

#[test]
fn an_override_repairs_what_it_replaces() {
    let text = GRAPH.replace("dropout = 0.25", "dropout = \"${FRAMEWISE_NOT_SET}\"");
    let project = Project::new(&[
        ("graphs/g.toml", &text),
        ("configs/data.toml", DATA),
        ("configs/model.toml", MODEL),
        ("configs/wide.toml", ""),
    ]);
    assert!(project.load(&[]).is_err());
    assert!(project.load(&["stages.model.dropout=0.5"]).is_ok());
}

#[test]
fn paths_are_relative_to_where_they_are_written() {
    let project = project();
    let graph = project.load(&["stages.videos.index=./x/../index"]).expect("no mistakes");
    let videos = &stage(&graph, "videos").settings;
    let files = [project.path("configs/a*.tfrecord"), format!("@{}", project.path("configs/list"))];
    assert_eq!(videos.get("files"), Some(&Value::Array(files.map(Value::String).to_vec())));
    assert_eq!(stage(&graph, "out").settings.text("path"), project.path("out/x.csv"));
    let cwd = std::env::current_dir().expect("a working directory");
    assert_eq!(videos.text("index"), cwd.join("index").to_str().expect("UTF-8"));
    assert_eq!(videos.text("cache"), "", "empty by default stays empty");
    assert_eq!(stage(&graph, "out").settings.text("log"), "log.txt", "lies in the run directory");
    let graph = project.load(&["stages.out.log=a/../log"]).expect("no mistakes");
    assert_eq!(stage(&graph, "out").settings.text("log"), cwd.join("log").to_str().expect("UTF-8"));
}

#[test]
fn every_key_has_its_kind() {
    let graph = project().load(&[]).expect("no mistakes");
    let model = &stage(&graph, "model").settings;
    assert_eq!(model.get("betas"), Some(&Value::Array(vec![Value::Float(0.9), Value::Float(1.0)])));
    assert_eq!(model.get("devices"), Some(&Value::Array(vec![Value::String("cpu".into())])));
    assert_eq!(model.get("layers"), None, "no value and no default");
}

/// The process's variables cannot be changed safely from within, so the test runs itself again in a process that has them.
#[test]
fn variables_are_expanded_in_texts() {
    const FOLDER: (&str, &str) = ("FRAMEWISE_TEST_FOLDER", "/somewhere/else");
    const NOTE: (&str, &str) = ("FRAMEWISE_TEST_NOTE", "two words");
    if std::env::var_os(FOLDER.0).is_none() {
        let mut again = Command::new(std::env::current_exe().expect("the test's own binary"));
        again.args(["--exact", "precedence::variables_are_expanded_in_texts"]);
        let output = again.envs([FOLDER, NOTE]).output().expect("the test's own binary can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let data = "files = \"${FRAMEWISE_NOT_SET:-data}/$${x}*\"\nsize = 64\n";
    let text = GRAPH.replace("../out/x.csv", &format!("${{{}}}/x.csv", FOLDER.0));
    let project = Project::new(&[
        ("graphs/g.toml", &text),
        ("configs/data.toml", data),
        ("configs/model.toml", MODEL),
        ("configs/wide.toml", ""),
    ]);
    let graph = project.load(&[&format!("stages.out.note=${{{}}}", NOTE.0)]).expect("no mistakes");
    let files = stage(&graph, "videos").settings.get("files").and_then(|f| f.get(0)).and_then(Value::as_str);
    assert_eq!(files, Some(project.path("configs/data/${x}*").as_str()));
    assert_eq!(stage(&graph, "out").settings.text("path"), "/somewhere/else/x.csv");
    assert_eq!(stage(&graph, "out").settings.text("note"), NOTE.1);
}

#[test]
fn seed_and_name() {
    let (first, second) = (project().load(&[]).expect("fine"), project().load(&[]).expect("fine"));
    assert!(!first.seed_given && first.seed != second.seed, "drawn fresh");
    assert_eq!(first.name, "g", "the file's stem");
    let given = graph("[graph]\nname = \"n\"\nseed = 0\n[stages.r]\ntype = \"reader\"\nfiles = \"x\"\n");
    assert_eq!((given.seed, given.seed_given, given.name.as_str()), (0, true, "n"));
}

#[test]
fn configs_without_effect() {
    let project = Project::new(&[
        ("graphs/g.toml", &GRAPH.replace("config = [\"model\", \"data\"]\n", "")),
        ("configs/data.toml", "files = \"x\"\nsise = 3\ncapacity = 4\n"),
        ("configs/model.toml", MODEL),
        ("configs/wide.toml", ""),
    ]);
    let (count, shown) = project.errors(&[]);
    assert_eq!(count, 3, "{shown}");
    for part in [
        "graphs/g.toml:3:1",
        "the config `model` has no effect: no stage names it",
        "configs/data.toml:2:1",
        "the key `sise` has no effect: no stage that applies this config knows it",
        "did you mean `size`?",
        "it is applied by `batch` (batch), `videos` (reader)",
        "configs/data.toml:3:1",
        "the key `capacity` has no effect in a config",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn configs_that_cannot_be_used() {
    let project = Project::new(&[
        ("graphs/g.toml", &GRAPH.replace("config = [\"data\"]", "config = \"dta\"")),
        ("configs/data.toml", "files = \"x\"\nsize = \n[nested]\na = 1\n"),
        ("configs/model.toml", MODEL),
    ]);
    let (count, shown) = project.errors(&[]);
    assert_eq!(count, 4, "{shown}");
    for part in [
        "graphs/g.toml:3:35",
        "cannot be read: No such file or directory",
        "graphs/g.toml:13:10",
        "there is no config `dta` in `[use]`",
        "did you mean `data`?",
        "configs/data.toml:2:8",
        "this is not TOML",
        "configs/data.toml:3:2",
        "a config is a flat list of stage keys, `nested` is a table",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_wrong_value_is_shown_in_its_config() {
    let project = project();
    fs::write(project.0.path().join("configs/wide.toml"), "hidden = \"x\"\n").expect("a file");
    let (count, shown) = project.errors(&[]);
    assert_eq!(count, 1, "{shown}");
    assert!(shown.contains("configs/wide.toml:1:10"), "{shown}");
    fs::write(project.0.path().join("configs/wide.toml"), b"hidden = \"\xff\"\n").expect("a file");
    let (count, shown) = project.errors(&[]);
    assert_eq!(count, 1, "{shown}");
    assert!(shown.contains("configs/wide.toml:1:11") && shown.contains("not UTF-8"), "{shown}");
}

#[test]
fn files_that_are_no_graphs() {
    let project = Project::new(&[("text", "x")]);
    let load =
        |name: &str| load(&project.0.path().join(name), &registry(), &[]).map(|_| ()).expect_err("no graph");
    let found = load("none.toml");
    assert_eq!(found.kind(), ErrorKind::NotFound);
    assert!(
        found.render(false).contains("none.toml` cannot be opened: No such file or directory"),
        "{found}"
    );
    let found = load("");
    assert_eq!(found.kind(), ErrorKind::NotFound);
    assert_eq!(load("text").kind(), ErrorKind::Config);
    fs::write(project.0.path().join("latin"), b"# caf\xe9\n").expect("a file");
    let found = load("latin");
    assert_eq!(found.kind(), ErrorKind::Config);
    assert!(found.render(false).contains("latin:1:6"), "{found}");
    fs::write(project.0.path().join("large"), vec![b'#'; 2 << 20]).expect("a file");
    assert!(load("large").render(false).contains("larger than 1024 KiB"));
    fs::write(project.0.path().join("bom"), "\u{feff}x = 1\n").expect("a file");
    assert!(load("bom").render(false).contains("bom:1:1"));
}

#[test]
fn the_form_of_a_set() {
    let parsed: Override = "stages.a.x = b = c".parse().expect("fine");
    assert_eq!((parsed.key.as_str(), parsed.value.as_str()), ("stages.a.x", "b = c"));
    for text in ["", "x", "=3", " =3"] {
        assert!(text.parse::<Override>().is_err_and(|e| e.to_string().contains("KEY=VALUE")), "{text}");
    }
}
