//! The description of a weights file, a checkpoint or a run directory.

use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::Cursor;
use framewise_stages::store::{self, CheckpointInfo, Description, Export};
use serde_json::json;

use super::report::Report;
use crate::text::{Align, bytes, count, epoch, number, plural, table};

/// The endings of the names of running statistics.
const RUNNING: [&str; 2] = [".running_mean", ".running_var"];

/// Reads manifests and headers. With `verify`, every byte is read and checksums are compared.
///
/// # Errors
/// Nothing is there, or what is there is damaged.
pub(crate) fn describe(path: &Path, verify: bool) -> Result<Report, Failure> {
    let found = store::describe(path)?;
    let mut report = Report::new(what(&found));
    if found.path != path {
        report.fact("checkpoint", found.path.display().to_string());
    }
    report.facts.value("size", bytes(found.bytes), found.bytes);
    if let Some(checkpoint) = &found.checkpoint {
        progress(&mut report, checkpoint);
    }
    match &found.export {
        // Its tensors are not the parameters of the model.
        Some(export) if !export.serves_training() => exported(&mut report, export, &found),
        other => {
            other.iter().for_each(|export| exported(&mut report, export, &found));
            let trainable = found.parameter_count();
            report.facts.value("parameters", format!("{} trainable", count(trainable)), trainable);
        }
    }
    let running = found.weights.iter().filter(|tensor| RUNNING.iter().any(|end| tensor.name.ends_with(end)));
    let running: u64 = running.map(|tensor| tensor.elements()).sum();
    report.facts.value("running statistics", count(running), running);
    if !found.moments.is_empty() {
        let elements = found.moments.iter().map(|tensor| tensor.elements()).sum();
        let tensors = plural(found.moments.len() as u64, "tensor");
        report.facts.value("moments", format!("{} in {tensors}", count(elements)), elements);
    }
    for (name, value) in found.checkpoint.iter().flat_map(|checkpoint| &checkpoint.metrics) {
        report.facts.within("metrics", name, number(*value), *value);
    }
    others(&mut report, path, &found);
    if found.checkpoint.is_some() && !verify {
        report.fact("whole", "every file is there at its full length; --verify compares checksums");
    }
    if verify {
        let files = store::verify(&found.path)?;
        let total = files.iter().map(|(_, length)| length).sum();
        let checked =
            if found.checkpoint.is_some() { "every checksum" } else { "the structure; it has no checksum" };
        report.fact(
            "verified",
            format!("{checked} ({}, {})", plural(files.len() as u64, "file"), bytes(total)),
        );
    }
    let rows = found.weights.iter().map(|tensor| {
        let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        vec![
            format!("    {}", tensor.name),
            tensor.dtype.clone(),
            format!("[{shape}]"),
            count(tensor.elements()),
        ]
    });
    report.details += &format!("  {}\n", plural(found.weights.len() as u64, "tensor"));
    report.details +=
        &table(&[Align::Left, Align::Left, Align::Left, Align::Right], &rows.collect::<Vec<_>>());
    Ok(report)
}

fn what(found: &Description) -> String {
    match (&found.checkpoint, &found.export) {
        (Some(checkpoint), _) => format!("checkpoint of step {}", count(checkpoint.step)),
        (None, Some(export)) => format!("weights (safetensors), exported in {}", export.precision),
        (None, None) => "weights (safetensors)".to_owned(),
    }
}

/// What exported weights say about themselves.
fn exported(report: &mut Report, export: &Export, found: &Description) {
    let whole: u64 = found.weights.iter().filter(|t| t.dtype == "I8").map(|tensor| tensor.elements()).sum();
    report.fact("precision", export.precision.clone());
    if whole > 0 {
        report.facts.value("whole numbers", format!("{} of 8 bits", count(whole)), whole);
    }
    if let Some(name) = export.model.get("name").and_then(serde_json::Value::as_str) {
        report.fact("model", name);
    }
    if let Some(source) = &export.source {
        report.facts.value("step", count(source.step), source.step);
        report.facts.value("epoch", epoch(source.epoch), source.epoch);
        report.facts.value("samples", count(source.samples), source.samples);
    }
    report.fact("written by", format!("framewise {} (format {})", export.framewise, export.format));
}

fn progress(report: &mut Report, checkpoint: &CheckpointInfo) {
    report.facts.value("step", count(checkpoint.step), checkpoint.step);
    report.facts.value("epoch", epoch(checkpoint.epoch), checkpoint.epoch);
    report.facts.value("samples", count(checkpoint.samples), checkpoint.samples);
    report.facts.value("updates", count(checkpoint.updates), checkpoint.updates);
    report.facts.value("seed", checkpoint.seed.to_string(), checkpoint.seed);
    cursor(report, checkpoint);
    if let Some(name) = checkpoint.model.get("name").and_then(serde_json::Value::as_str) {
        report.fact("model", name);
    }
    report.fact("written by", format!("framewise {} (format {})", checkpoint.framewise, checkpoint.format));
}

/// The place at which the data continue, in words.
fn cursor(report: &mut Report, info: &CheckpointInfo) {
    const LONGEST: usize = 200;
    let Ok(cursor) = serde_json::from_value::<Cursor>(info.cursor.clone()) else {
        // A cursor of another version is shown as it is, if it is short.
        let text: String = info.cursor.to_string().chars().take(LONGEST).collect();
        return report.fact("cursor", text);
    };
    report.fact(
        "goes on",
        if cursor.epoch_done {
            format!("at the start of epoch {}", epoch(cursor.epoch + 1))
        } else {
            let steps = plural(cursor.epoch_steps, "step");
            let samples = plural(cursor.epoch_samples, "sample");
            format!("in epoch {} after {steps}, {samples} of it", epoch(cursor.epoch))
        },
    );
    for (stage, files) in &cursor.sources {
        let size = files.iter().map(|(_, bytes)| bytes).sum();
        let text = format!("{stage}: {}, {}", plural(files.len() as u64, "file"), bytes(size));
        report.facts.one_of("source", text, json!({"stage": stage, "files": files.len(), "bytes": size}));
    }
    let rejected = cursor.rejected.iter().map(|file| file.records.len() as u64).sum();
    if rejected > 0 {
        report.facts.value("rejected", plural(rejected, "record"), rejected);
    }
}

/// The other checkpoints of a run directory, with what is wrong with them.
fn others(report: &mut Report, path: &Path, found: &Description) {
    if found.checkpoint.is_none() || found.path == path {
        return;
    }
    let Some(directory) = found.path.parent() else { return };
    // The checkpoint that was found could be read, so its directory can be listed. If not, there is nothing to add.
    for entry in store::list(directory).unwrap_or_default() {
        if entry.path != found.path {
            let state =
                entry.problem.as_ref().map_or(String::new(), |problem| format!(" (incomplete: {problem})"));
            let path = entry.path.display().to_string();
            let value = json!({"path": path, "problem": entry.problem.as_ref().map(ToString::to_string)});
            report.facts.one_of("also", format!("{path}{state}"), value);
        }
    }
}
