//! A plan as text.

use super::calibrate::Calibration;
use super::memory::{Counted, EdgePart, Memory, Parameters};
use super::report::Plan;
use super::taken::Taken;
use super::work::{Checkpoints, Work};
use crate::table::{Column, fitted};
use crate::text::{bytes, count, percent, plural, rate, seconds, wrap};

/// What stands in the place of a number that is not known.
const NOT_KNOWN: &str = "not known";

/// The plan as text of lines that are at most `width` characters wide where the words allow that.
pub(super) fn text(plan: &Plan, width: usize) -> String {
    let mut out = format!("plan of {}\n", plan.graph);
    if let Some(parameters) = &plan.parameters {
        out += &parameters_text(parameters, width);
    }
    out += &work_text(&plan.work, plan.checkpoints.as_ref(), width);
    out += &memory_text(&plan.memory, width);
    if let Some(taken) = &plan.taken {
        out += &taken_text(taken, width);
    }
    if let Some(calibration) = &plan.calibration {
        out += &calibration_text(calibration, width);
    }
    out
}

fn or_not_known(value: Option<u64>, shown: impl Fn(u64) -> String) -> String {
    value.map_or_else(|| NOT_KNOWN.to_owned(), shown)
}

fn parameters_text(parameters: &Parameters, width: usize) -> String {
    let columns =
        [Column::names("layer", 0), Column::numbers("tensors", 1), Column::numbers("parameters", 0)];
    let rows = parameters.layers.iter();
    let rows = rows.map(|layer| vec![layer.name.clone(), count(layer.tensors), count(layer.parameters)]);
    let table = fitted(&columns, &rows.collect::<Vec<_>>(), width);
    format!("\n{}\n{table}", plural(parameters.total, "parameter"))
}

fn work_text(work: &Work, checkpoints: Option<&Checkpoints>, width: usize) -> String {
    let mut out = "\n".to_owned();
    for source in &work.sources {
        let about = if source.exact || source.items_per_epoch.is_none() { "" } else { "about " };
        let items = or_not_known(source.items_per_epoch, count);
        let size = source.item_bytes.map_or(String::new(), |size| format!(", {} each", bytes(size)));
        let epochs = or_not_known(source.epochs, |epochs| plural(epochs, "epoch"));
        out += &wrap(
            &format!("{} an epoch from `{}`: {about}{items}{size}; {epochs}", source.payload, source.stage),
            width,
            0,
        );
    }
    if let Some(steps) = work.steps {
        let an_epoch = or_not_known(work.steps_per_epoch, count);
        out += &format!("steps: {an_epoch} an epoch, {} in all\n", count(steps));
    }
    if let Some(evaluations) = work.evaluations {
        out += &format!("evaluations: {}\n", count(evaluations));
    }
    if let Some(checkpoints) = checkpoints {
        let (written, kept) =
            (or_not_known(checkpoints.written, count), or_not_known(checkpoints.kept, count));
        let (each, all) =
            (or_not_known(checkpoints.bytes_each, bytes), or_not_known(checkpoints.bytes_kept, bytes));
        out += &wrap(
            &format!("checkpoints: {written} written, {kept} kept at most; {each} each, {all} on the disk"),
            width,
            0,
        );
    }
    if out == "\n" { String::new() } else { out }
}

fn memory_text(memory: &Memory, width: usize) -> String {
    let columns = [
        Column::names("memory at the peak", 0),
        Column::names("of", 0),
        Column::names("on", 1),
        Column::numbers("bytes", 0),
    ];
    let table = fitted(&columns, &memory_rows(memory, ""), width);
    let mut out = format!("\n{table}");
    let known = if memory.unknown.is_empty() { "" } else { " and what is not known" };
    out += &format!("together: {}{known}\n", bytes(memory.bytes));
    for (device, on_it) in &memory.devices {
        out += &format!("on {device}: {}\n", bytes(*on_it));
    }
    if !memory.unknown.is_empty() {
        out += &wrap(&format!("not known: {}", memory.unknown.join(", ")), width, 0);
    }
    let note = "These are the bytes in use. The process holds more: some 40 MB for the program itself, and memory that it \
                has freed and keeps, which may be half as much again.";
    out + &wrap(note, width, 0)
}

fn taken_text(taken: &Taken, width: usize) -> String {
    let columns = [
        Column::names("taken from other devices in a step", 0),
        Column::names("of", 0),
        Column::names("by", 0),
        Column::numbers("bytes", 0),
    ];
    let rows = taken.parts.iter();
    let rows =
        rows.map(|part| vec![part.part.clone(), part.stage.clone(), part.device.clone(), bytes(part.bytes)]);
    let mut out = format!("\n{}", fitted(&columns, &rows.collect::<Vec<_>>(), width));
    out += &format!("together: {} a step\n", bytes(taken.bytes_per_step));
    if taken.in_shared_memory {
        out += &wrap("CPU devices share their memory: what they take is read where it lies.", width, 0);
    }
    out
}

/// The rows of the parts that are not empty; those of inner graphs follow, under the name of their graph.
fn memory_rows(memory: &Memory, graph: &str) -> Vec<Vec<String>> {
    let stages = memory.parts.iter().filter(|part| part.bytes != Some(0)).map(|part| {
        let device = part.device.clone().unwrap_or_default();
        vec![part.part.clone(), format!("{graph}{}", part.stage), device, or_not_known(part.bytes, bytes)]
    });
    let is_shown = |edge: &&EdgePart| edge.counted == Counted::Here && edge.bytes != Some(0);
    let edges = memory.edges.iter().filter(is_shown).map(|edge| {
        let what = format!("up to {} waiting", count(edge.capacity as u64));
        let place = format!("{graph}{} → {}", edge.from, edge.to);
        vec![what, place, String::new(), or_not_known(edge.bytes, bytes)]
    });
    let mut rows: Vec<_> = stages.chain(edges).collect();
    rows.push(vec![
        "readings of the stages".into(),
        graph.trim_end().into(),
        String::new(),
        bytes(memory.readings),
    ]);
    for inner in &memory.inner {
        rows.extend(memory_rows(&inner.memory, &format!("{}: ", inner.graph)));
    }
    rows
}

fn calibration_text(measured: &Calibration, width: usize) -> String {
    let mut out = "\n".to_owned();
    if measured.stages.is_empty() {
        let end = if measured.ended_by_itself { "; the graph ended before the time was up" } else { "" };
        let why =
            format!("The trial run does not tell: {}{end}; {}", measured.limit.why, measured.limit.advice);
        return out + &wrap(&why, width, 0);
    }
    let columns = [
        Column::names("stage", 0),
        Column::numbers("workers", 2),
        Column::numbers("items", 1),
        Column::numbers("an item", 0),
        Column::numbers("busy", 0),
    ];
    let rows = measured.stages.iter().map(|stage| {
        let service = stage.seconds_per_item.map_or("–".to_owned(), duration);
        vec![stage.stage.clone(), count(stage.workers), count(stage.items), service, percent(stage.busy)]
    });
    out += &fitted(&columns, &rows.collect::<Vec<_>>(), width);
    out += &format!("measured over {} after the warm-up\n", seconds(measured.seconds));
    if let Some(predicted) = &measured.predicted {
        let named = [("steps/s", predicted.steps_per_second), ("examples/s", predicted.examples_per_second)];
        let rates: Vec<String> =
            named.iter().filter_map(|(name, value)| Some(format!("{} {name}", rate((*value)?)))).collect();
        let rates = if rates.is_empty() {
            format!("{} items/s at `{}`", rate(predicted.items_per_second), predicted.at)
        } else {
            rates.join(", ")
        };
        let whole = predicted
            .seconds
            .map_or(String::new(), |time| format!("; the whole run takes {}", seconds(time)));
        let text = format!(
            "predicted: {rates} ({} of the predicted rate were reached){whole}",
            percent(predicted.measured_items_per_second / predicted.items_per_second)
        );
        out += &wrap(&text, width, 0);
    }
    if measured.ended_by_itself {
        out += "The graph ended before the time was up.\n";
    }
    let limit = &measured.limit;
    let stage = limit.stage.as_deref().map_or(String::new(), |stage| format!("limit: `{stage}`: "));
    out + &wrap(&format!("{stage}{}; {}", limit.why, limit.advice), width, 0)
}

/// A short time, such as `3.21 ms`.
fn duration(value: f64) -> String {
    match value {
        _ if value >= 1.0 => format!("{value:.2} s"),
        _ if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
        _ => format!("{:.1} µs", value * 1e6),
    }
}
