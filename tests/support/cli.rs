//! Running the binary as a user does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::run::root;

/// A working directory of its own for the program.
pub(crate) struct Desk {
    dir: TempDir,
}

/// How the program ended, and what it printed.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command of the program with these arguments, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framewise"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("RUST_BACKTRACE");
        command
    }

    pub(crate) fn framewise(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Runs `run` with `--format json`. Returns the parsed result too.
    pub(crate) fn run_json(&self, args: &[&str]) -> (Said, serde_json::Value) {
        let said = self.framewise(&[&["run", "--format", "json"], args].concat());
        let value =
            serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", said.out, said.err));
        (said, value)
    }
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Expects this exit code. Shows what the program printed if it has another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// The path `tests/data/NAME`.
pub(crate) fn data(name: &str) -> String {
    root().join("tests/data").join(name).display().to_string()
}

/// The sizes of the golden model `small`.
pub(crate) const SMALL: &str = "rgb_size = 32\naudio_size = 8\nclasses = 15\nclusters = 8\naudio_clusters = 8\ngroups = 4\n\
                     audio_groups = 4\nhidden = 24\nexpansion = 2\ngating_reduction = 4\ndrop_rate = 0.0\n";

/// The parameters of the golden model as PaddlePaddle writes them with this pickle protocol.
pub(crate) fn paddle(protocol: u32) -> String {
    data(&format!("golden/paddle/nextvlad_small_protocol{protocol}.pdparams"))
}

/// The path `graphs/NAME`.
pub(crate) fn graph(name: &str) -> String {
    root().join("graphs").join(name).display().to_string()
}

/// The text of `graphs/NAME` with absolute paths in place of relative ones, so that it may lie anywhere.
pub(crate) fn graph_text(name: &str) -> String {
    let text = std::fs::read_to_string(graph(name)).unwrap();
    let root = root().display().to_string();
    text.replace("\"../", &format!("\"{root}/")).replace("graph = \"", &format!("graph = \"{root}/graphs/"))
}

/// A graph that copies videos. It is quick and has no model.
pub(crate) fn copy_graph(files: &str, rgb_size: usize, audio_size: usize, classes: usize) -> String {
    format!(
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = {files:?}\n\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\n\
         rgb_size = {rgb_size}\naudio_size = {audio_size}\nclasses = {classes}\n\n\
         [stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = \"copy.tfrecord\"\n"
    )
}

/// The copying graph over the 270 bundled training utterances.
pub(crate) fn vowels_graph() -> String {
    copy_graph(&data("japanese_vowels/train.tfrecord"), 12, 12, 9)
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
