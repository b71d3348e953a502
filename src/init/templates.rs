//! The files of this repository that projects are made of.
//!
//! Law: a template is the file itself, so `init` writes what this repository builds, checks and runs. Only the places
//! change: where a file names another file of its project, it names the place of that file in the project.

use super::write::File;

/// A file of a project.
pub(super) struct Template {
    /// The file's path in this repository.
    source: &'static str,
    /// The file's path in the project.
    pub(super) target: &'static str,
    /// What the file is, in words for the report.
    pub(super) what: &'static str,
    content: &'static [u8],
}

/// Makes a template: `template!(SOURCE => TARGET, WHAT)`.
macro_rules! template {
    ($source:literal => $target:literal, $what:literal) => {
        Template {
            source: $source,
            target: $target,
            what: $what,
            content: include_bytes!(concat!("../../", $source)),
        }
    };
}

/// The name of the example's crate, which the name of the project replaces.
pub(super) const CRATE: &str = "custom_stage";

/// How the example depends on the crates of Framewise, and where they lie in its source.
pub(super) const DEPENDENCIES: [(&str, &str); 3] = [
    ("{ path = \"../..\" }", ""),
    ("{ path = \"../../pipeline\" }", "pipeline"),
    ("{ path = \"../../stages\" }", "stages"),
];

/// A crate with a stage of its own.
pub(super) const CUSTOM_STAGE: &[Template] = &[
    template!("examples/custom_stage/README.md" => "README.md", "what is where, and how to write a stage"),
    template!("examples/custom_stage/Cargo.toml" => "Cargo.toml", "the crate and what it depends on"),
    template!("examples/custom_stage/Cargo.lock" => "Cargo.lock", "the versions that Framewise is tested with"),
    template!("examples/custom_stage/.gitignore" => ".gitignore", "what is not committed"),
    template!("examples/custom_stage/src/main.rs" => "src/main.rs", "the program"),
    template!("examples/custom_stage/src/frame_subsample.rs" => "src/frame_subsample.rs", "the stage and its test"),
    template!("examples/custom_stage/graphs/train.toml" => "graphs/train.toml", "a graph that trains with the stage"),
    template!("examples/custom_stage/graphs/eval.toml" => "graphs/eval.toml", "a graph that measures the weights"),
    template!("examples/custom_stage/configs/frames.toml" => "configs/frames.toml", "the keys of the stage"),
    DATA_SIZES,
    MODEL,
    OPTIM,
    DEVICES,
    DATA_README,
    DATA_SET,
    TRAIN,
    TEST,
];

/// Graphs without a crate.
pub(super) const GRAPHS_ONLY: &[Template] = &[
    template!("src/init/graphs_only/README.md" => "README.md", "how to use the graphs for data of your own"),
    template!("src/init/graphs_only/gitignore" => ".gitignore", "what is not committed"),
    template!("examples/own_data/make_data.py" => "make_data.py", "a script that writes a data set, to be changed"),
    template!("graphs/quickstart.toml" => "graphs/train.toml", "a graph that trains"),
    template!("graphs/quickstart-eval.toml" => "graphs/eval.toml", "a graph that measures the weights"),
    template!("graphs/quickstart-predict.toml" => "graphs/predict.toml", "a graph that predicts"),
    DATA_SIZES,
    MODEL,
    OPTIM,
    DEVICES,
    DATA_README,
    DATA_SET,
    TRAIN,
    TEST,
];

const DATA_SIZES: Template =
    template!("configs/data/japanese-vowels.toml" => "configs/data.toml", "the sizes of the data");
const MODEL: Template =
    template!("configs/model/nextvlad-small.toml" => "configs/model.toml", "the size of the model");
const OPTIM: Template = template!("configs/optim/japanese-vowels.toml" => "configs/optim.toml", "the learning rate and its schedule");
const DEVICES: Template =
    template!("configs/device/cpu.toml" => "configs/devices.toml", "where the work is done");
const DATA_README: Template = template!("tests/data/japanese_vowels/README.md" => "data/README.md", "the data sample, its source and its licence");
const DATA_SET: Template = template!("tests/data/japanese_vowels/dataset.json" => "data/dataset.json", "how the data sample was quantised");
const TRAIN: Template =
    template!("tests/data/japanese_vowels/train.tfrecord" => "data/train.tfrecord", "270 videos to train on");
const TEST: Template =
    template!("tests/data/japanese_vowels/test.tfrecord" => "data/test.tfrecord", "370 videos to test on");

/// The files of a project. In every text, the places of the files and the texts in `replaced` become those of the
/// project.
pub(super) fn files(templates: &[Template], replaced: &[(String, String)]) -> Vec<File> {
    templates.iter().map(|template| (template.target, template.render(templates, replaced))).collect()
}

impl Template {
    fn render(&self, all: &[Template], replaced: &[(String, String)]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(self.content) else { return self.content.to_vec() };
        let mut pairs = replaced.to_vec();
        for other in all {
            // The places are replaced in two forms: as a file names its neighbours, and as a command names them that is
            // typed in the project's directory.
            pairs.push((relative(self.source, other.source), relative(self.target, other.target)));
            pairs.push((other.source.to_owned(), other.target.to_owned()));
        }
        replace(text, &pairs).into_bytes()
    }
}

/// The path of `to` in the form in which the file `from` names it. Both paths begin at the same directory.
fn relative(from: &str, to: &str) -> String {
    let from: Vec<_> = from.split('/').collect();
    let to: Vec<_> = to.split('/').collect();
    let directories = &from[..from.len() - 1];
    let common = directories.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = directories.len() - common;
    std::iter::repeat_n("..", up).chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

/// Replaces texts in one pass from the left. At each place, the longest text that fits is replaced.
fn replace(text: &str, pairs: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let fitting = pairs.iter().filter(|(from, _)| rest.starts_with(from.as_str()));
        match fitting.max_by_key(|(from, _)| from.len()) {
            Some((from, to)) => {
                out += to;
                rest = &rest[from.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_template_is_the_file_that_it_is_made_of() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for template in CUSTOM_STAGE.iter().chain(GRAPHS_ONLY) {
            assert!(
                std::fs::read(root.join(template.source)).unwrap() == template.content,
                "{}",
                template.source
            );
        }
    }

    #[test]
    fn a_file_names_another_from_where_it_lies() {
        assert_eq!(relative("graphs/a.toml", "configs/model/b.toml"), "../configs/model/b.toml");
        assert_eq!(relative("a/b/graphs/c.toml", "a/b/graphs/d.toml"), "d.toml");
        assert_eq!(relative("README.md", "src/main.rs"), "src/main.rs");
        assert_eq!(relative("a/b/README.md", "data/x"), "../../data/x");
    }

    #[test]
    fn the_longest_text_that_fits_is_replaced_once() {
        let pairs = [("a", "b"), ("ab", "x"), ("b", "a")].map(|(from, to)| (from.to_owned(), to.to_owned()));
        assert_eq!(replace("a ab b é", &pairs), "b x a é");
    }
}
