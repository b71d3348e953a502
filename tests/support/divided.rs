//! Evaluations and predictions of the bundled videos that ranks divide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use framewise_pipeline::graph::ResolvedGraph;
use framewise_stages::payload::Example;
use framewise_stages::tfrecord::{Compression, RecordWriter, encode_frames};

use crate::support::run::{load, set, vowels};

/// The bits of a number, so that equality is that of bits.
pub(crate) type Bits = u64;

/// Results by their bits.
pub(crate) fn bits(results: &BTreeMap<String, f64>) -> BTreeMap<String, Bits> {
    results.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect()
}

/// Writes the 370 test utterances, or the first of them, into files of so many each, in a new folder below `folder`.
pub(crate) fn split_vowels(folder: &Path, counts: &[usize]) -> Vec<PathBuf> {
    let counts_text: Vec<String> = counts.iter().map(usize::to_string).collect();
    let folder = folder.join(format!("cut-{}", counts_text.join("-")));
    std::fs::create_dir_all(&folder).unwrap();
    let mut videos = vowels("test").into_iter();
    let write = |(number, count): (usize, &usize)| {
        let path = folder.join(format!("{number:02}.tfrecord"));
        let mut writer = RecordWriter::create(&path, Compression::None).unwrap();
        let videos: Vec<Example> = videos.by_ref().take(*count).collect();
        videos.iter().for_each(|video| writer.write(&encode_frames(video)).unwrap());
        writer.finish().unwrap();
        path
    };
    counts.iter().enumerate().map(write).collect()
}

/// The arguments that let the quickstart's prediction read these files and weights.
pub(crate) fn predicts(weights: &Path, files: &[PathBuf]) -> Vec<String> {
    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    vec![format!("stages.weights.path={}", weights.display()), format!("stages.videos.files={files:?}")]
}

/// The quickstart's prediction of these files, which also measures.
pub(crate) fn predicting(weights: &Path, files: &[PathBuf], overrides: &[&str]) -> ResolvedGraph {
    load("quickstart-predict.toml", &[predicts(weights, files), set(overrides)].concat())
}
