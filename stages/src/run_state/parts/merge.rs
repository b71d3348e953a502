//! The results of a run, made of what its ranks left in their directories.
//!
//! Laws: nothing is written before every part is known to be whole and to fit the others. An output appears whole. A second
//! merge of the same parts writes the same.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use toml::Value;

use super::{Measurement, Note, OutputNote, PARTS, file_name};
use crate::failure::{read_failure, write_failure};
use crate::io::{self, Output};
use crate::model_kit::scoring::{named, summary};
use crate::run_state::metrics_log::{Kind, METRICS, line};
use crate::run_state::rejects::REJECTED;
use crate::words::{count, plural};

/// The bytes of a part that are copied at once.
const PIECE: usize = 1 << 20;

/// What a merge came to.
#[derive(Debug, Default)]
pub struct Merged {
    /// The results of the run, by name, as one process gives them.
    pub results: BTreeMap<String, f64>,
    /// What the stages say about their results, each with the stage's name.
    pub messages: Vec<(String, String)>,
}

/// What one rank left.
struct Left<'a> {
    directory: &'a Path,
    notes: BTreeMap<String, Note>,
}

/// A file that is complete but for its name.
struct Ready {
    file: Output,
    stage: String,
    message: String,
}

/// Merges what the ranks left in their run directories, which are given in the order of the ranks, and writes the results
/// to `run_dir`. `resolved` is the text of the graph.
///
/// # Errors
/// `Data` for a part that is not whole or does not fit the others, and for results without a video. `CannotWrite` for an output.
pub fn merge(ranks: &[PathBuf], run_dir: &Path, resolved: &str) -> Result<Merged, Failure> {
    let left = ranks.iter().map(|directory| Left::read(directory)).collect::<Result<Vec<_>, _>>()?;
    check_same_stages(&left)?;
    let rejected = rejected(&left, resolved)?;
    let (mut merged, mut lines, mut ready) = (Merged::default(), String::new(), Vec::new());
    let Some(first) = left.first() else { return Err(Failure::data("there is no part to merge")) };
    for (stage, note) in &first.notes {
        match note {
            Note::Files { files } => check_files(&left, stage, files)?,
            Note::Weights { .. } => check_weights(&left, stage)?,
            Note::Measurement { step, epoch } => {
                let measurement = measurement(&left, stage)?;
                let metrics = measurement.metrics()?;
                let values = named(&metrics);
                merged.results.extend(values.map(|(name, value)| (name.to_owned(), value)));
                lines += &line(Kind::Evaluation, *step, *epoch, &values);
                merged.messages.push((stage.clone(), summary(&metrics)));
                if measurement.unlabelled > 0 {
                    merged.results.insert("videos_without_labels".to_owned(), measurement.unlabelled as f64);
                    let (unlabelled, all) = (count(measurement.unlabelled), plural(metrics.videos, "video"));
                    merged.messages.push((stage.clone(), format!("{unlabelled} of {all} have no labels")));
                }
            }
            Note::Output(output) => {
                let videos = videos(&left, stage, output)?;
                if let Some((step, epoch)) = output.predicted {
                    let values = [("videos", videos as f64)];
                    merged.results.entry("videos".to_owned()).or_insert(videos as f64);
                    lines += &line(Kind::Prediction, step, epoch, &values);
                }
                ready.push((stage, output.path.clone(), videos));
            }
        }
    }
    // All outputs are written out before the first one appears under its name.
    let joined = ready.into_iter().map(|(stage, path, videos)| join(&left, stage, &path, videos, run_dir));
    for Ready { file, stage, message } in joined.collect::<Result<Vec<_>, _>>()? {
        file.commit()?;
        merged.messages.push((stage, message));
    }
    for (name, text) in [(METRICS, lines), (REJECTED, rejected)] {
        if !text.is_empty() {
            io::write_file(&run_dir.join(name), text.as_bytes())?;
        }
    }
    Ok(merged)
}

impl<'a> Left<'a> {
    fn read(directory: &'a Path) -> Result<Self, Failure> {
        let folder = directory.join(PARTS);
        let mut notes = BTreeMap::new();
        for path in io::list(&folder).map_err(|e| read_failure(&folder, &e))? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = io::read_to_string(&path).map_err(|e| read_failure(&path, &e))?;
            let note = serde_json::from_str(&text);
            let note = note.map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
            let stage = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            notes.insert(stage, note);
        }
        Ok(Self { directory, notes })
    }

    fn part(&self, stage: &str) -> PathBuf {
        self.directory.join(PARTS).join(file_name(stage))
    }

    fn differs(&self, stage: &str, why: &str) -> Failure {
        Failure::data(format!("{}: stage `{stage}`: {why}", self.directory.display()))
    }
}

fn check_same_stages(left: &[Left<'_>]) -> Result<(), Failure> {
    let Some((first, rest)) = left.split_first() else { return Ok(()) };
    for rank in rest {
        let lacks = |one: &Left<'_>, other: &Left<'_>| {
            let stage = other.notes.keys().find(|stage| !one.notes.contains_key(*stage))?;
            Some(one.differs(stage, "it left no part"))
        };
        if let Some(failure) = lacks(rank, first).or_else(|| lacks(first, rank)) {
            return Err(failure);
        }
    }
    Ok(())
}

fn check_files(left: &[Left<'_>], stage: &str, files: &[(PathBuf, u64)]) -> Result<(), Failure> {
    for rank in left {
        let Some(Note::Files { files: theirs }) = rank.notes.get(stage) else {
            return Err(rank.differs(stage, "it left no part"));
        };
        if theirs.len() != files.len() {
            let (ours, theirs) = (plural(files.len() as u64, "file"), plural(theirs.len() as u64, "file"));
            return Err(rank.differs(stage, &format!("it read {theirs}, and rank 0 read {ours}")));
        }
        let other = files.iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
        if let Some(((ours, our_bytes), (theirs, their_bytes))) = other {
            let (ours, theirs) = (ours.display(), theirs.display());
            return Err(rank.differs(
                stage,
                &format!(
                    "it read {theirs} of {their_bytes} bytes where rank 0 read {ours} of {our_bytes} bytes"
                ),
            ));
        }
    }
    Ok(())
}

fn check_weights(left: &[Left<'_>], stage: &str) -> Result<(), Failure> {
    let weights = |rank: &Left<'_>| match rank.notes.get(stage) {
        Some(Note::Weights { file, bytes, crc32c }) => Some((file.clone(), *bytes, *crc32c)),
        _ => None,
    };
    let ours = left.first().and_then(&weights);
    for rank in left {
        let (Some((file, bytes, crc)), Some((_, our_bytes, our_crc))) = (weights(rank), &ours) else {
            return Err(rank.differs(stage, "it left no part"));
        };
        if (bytes, crc) != (*our_bytes, *our_crc) {
            let why = format!("its weights {} are not those of rank 0", file.display());
            return Err(rank.differs(stage, &why));
        }
    }
    Ok(())
}

fn measurement(left: &[Left<'_>], stage: &str) -> Result<Measurement, Failure> {
    let mut all = Measurement::default();
    for rank in left {
        let path = rank.part(stage);
        let bytes = io::read(&path).map_err(|e| read_failure(&path, &e))?;
        all.merge(&bytes).map_err(|e| Failure::new(e.kind, format!("{}: {e}", path.display())))?;
    }
    Ok(all)
}

/// The videos of all parts of an output, which must be there as they were written.
fn videos(left: &[Left<'_>], stage: &str, output: &OutputNote) -> Result<u64, Failure> {
    let mut videos = 0;
    for rank in left {
        let Some(Note::Output(note)) = rank.notes.get(stage) else {
            return Err(rank.differs(stage, "it left no part"));
        };
        let path = rank.part(stage);
        let (_, bytes) = io::kind_and_length(&path).map_err(|e| read_failure(&path, &e))?;
        if bytes != note.bytes {
            let (path, written) = (path.display(), note.bytes);
            return Err(Failure::data(format!("{path} has {bytes} bytes, and {written} were written")));
        }
        videos += note.videos;
    }
    if videos == 0 {
        return Err(Failure::data(format!("there was no video to write to {}", output.path.display())));
    }
    Ok(videos)
}

/// Puts the parts of an output together.
fn join(left: &[Left<'_>], stage: &str, path: &Path, videos: u64, run_dir: &Path) -> Result<Ready, Failure> {
    let path = if io::is_standard_output(path) { path.to_owned() } else { run_dir.join(path) };
    let mut file = io::create(&path)?;
    let mut piece = vec![0; PIECE];
    for rank in left {
        let part = rank.part(stage);
        let mut from = io::open(&part).map_err(|e| read_failure(&part, &e))?.reader;
        loop {
            let read = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_failure(&part, &error)),
            };
            file.write_all(&piece[..read]).map_err(|e| write_failure(&path, &e))?;
        }
    }
    let message = format!("{} written to {}", plural(videos, "video"), path.display());
    Ok(Ready { file, stage: stage.to_owned(), message })
}

/// The lines of all ranks about rejected records. A stage that rejects more than its `max_rejected` in all is refused.
fn rejected(left: &[Left<'_>], resolved: &str) -> Result<String, Failure> {
    let mut all = String::new();
    for rank in left {
        let path = rank.directory.join(REJECTED);
        match io::read_to_string(&path) {
            Ok(text) => all += &text,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(read_failure(&path, &error)),
        }
    }
    let mut by_stage: BTreeMap<String, u64> = BTreeMap::new();
    for line in all.lines() {
        let line = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
        *by_stage.entry(line["stage"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let graph: toml::Table =
        resolved.parse().map_err(|e| Failure::data(format!("the graph of the parts: {e}")))?;
    for (stage, rejected) in by_stage {
        let allowed = || graph.get("stages")?.get(&stage)?.get("max_rejected").and_then(Value::as_integer);
        if let Some(most) =
            allowed().and_then(|most| u64::try_from(most).ok()).filter(|most| rejected > *most)
        {
            return Err(Failure::data(format!(
                "stage `{stage}` rejected {} on all ranks together, max_rejected = {most}",
                plural(rejected, "record")
            )));
        }
    }
    Ok(all)
}
