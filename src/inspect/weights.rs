//! What a weights file, a checkpoint or a run directory holds.

use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::Cursor;
use framewise_stages::store::{self, CheckpointInfo, Description};

use super::Report;
use crate::exit::store_failure;
use crate::text::{Align, bytes, count, number, plural, table};

/// Endings of running statistics.
const RUNNING: [&str; 2] = [".running_mean", ".running_var"];

/// Reads manifests and headers; `verify` reads every byte and compares checksums.
///
/// # Errors
/// Nothing is there, or it is damaged.
pub(crate) fn describe(path: &Path, verify: bool) -> Result<Report, Failure> {
    let found = store::describe(path).map_err(store_failure)?;
    let mut report = Report::new(what(&found));
    if found.path != path {
        report.fact("checkpoint", found.path.display().to_string());
    }
    report.fact("size", bytes(found.bytes));
    if let Some(checkpoint) = &found.checkpoint {
        progress(&mut report, checkpoint);
    }
    report.fact("parameters", format!("{} trainable", count(found.parameter_count())));
    let running = found.weights.iter().filter(|tensor| RUNNING.iter().any(|end| tensor.name.ends_with(end)));
    report.fact("running statistics", count(running.map(|tensor| tensor.elements()).sum()));
    if !found.moments.is_empty() {
        let elements = found.moments.iter().map(|tensor| tensor.elements()).sum();
        let tensors = plural(found.moments.len() as u64, "tensor");
        report.fact("moments", format!("{} in {tensors}", count(elements)));
    }
    for (name, value) in found.checkpoint.iter().flat_map(|checkpoint| &checkpoint.metrics) {
        report.fact(name, number(*value));
    }
    others(&mut report, path, &found);
    if found.checkpoint.is_some() && !verify {
        report.fact("whole", "every file is there at its full length; --verify compares checksums");
    }
    if verify {
        let files = store::verify(&found.path).map_err(store_failure)?;
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
    match &found.checkpoint {
        Some(checkpoint) => format!("checkpoint of step {}", count(checkpoint.step)),
        None => "weights (safetensors)".to_owned(),
    }
}

fn progress(report: &mut Report, checkpoint: &CheckpointInfo) {
    report.fact("step", count(checkpoint.step));
    report.fact("epoch", count(checkpoint.epoch));
    report.fact("samples", count(checkpoint.samples));
    report.fact("updates", count(checkpoint.updates));
    report.fact("seed", checkpoint.seed.to_string());
    cursor(report, checkpoint);
    if let Some(name) = checkpoint.model.get("name").and_then(serde_json::Value::as_str) {
        report.fact("model", name);
    }
    report.fact("written by", format!("framewise {} (format {})", checkpoint.framewise, checkpoint.format));
}

/// Where the data goes on.
fn cursor(report: &mut Report, info: &CheckpointInfo) {
    const LONGEST: usize = 200;
    let Ok(cursor) = serde_json::from_value::<Cursor>(info.cursor.clone()) else {
        // Of another version: as it is, as far as it is short.
        let text: String = info.cursor.to_string().chars().take(LONGEST).collect();
        return report.fact("cursor", text);
    };
    report.fact(
        "goes on",
        if cursor.epoch_done {
            format!("at the start of epoch {}", count(cursor.epoch + 1))
        } else {
            let steps = plural(cursor.epoch_steps, "step");
            let samples = plural(cursor.epoch_samples, "sample");
            format!("in epoch {} after {steps}, {samples} of it", count(cursor.epoch))
        },
    );
    for (stage, files) in &cursor.sources {
        let size = files.iter().map(|(_, bytes)| bytes).sum();
        report.fact("source", format!("{stage}: {}, {}", plural(files.len() as u64, "file"), bytes(size)));
    }
    let rejected = cursor.rejected.iter().map(|file| file.records.len() as u64).sum();
    if rejected > 0 {
        report.fact("rejected", plural(rejected, "record"));
    }
}

/// The other checkpoints of a run directory, with what is wrong with them.
fn others(report: &mut Report, path: &Path, found: &Description) {
    if found.checkpoint.is_none() || found.path == path {
        return;
    }
    let Some(directory) = found.path.parent() else { return };
    // The one that was found could be read, so its directory can be listed; if not, there is nothing to add.
    for entry in store::list(directory).unwrap_or_default() {
        if entry.path != found.path {
            let state =
                entry.problem.as_ref().map_or(String::new(), |problem| format!(" (incomplete: {problem})"));
            report.fact("also", format!("{}{state}", entry.path.display()));
        }
    }
}
