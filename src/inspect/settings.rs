//! The description of a TOML file, which is a graph, a model's configuration, or other settings.

use std::path::Path;

use framewise_pipeline::{Dim, ErrorKind, Failure, PayloadType, Registry};
use framewise_stages::Configured;
use framewise_stages::io;
use framewise_stages::io::content::{Content, HEAD_BYTES};
use framewise_stages::model::DataSizes;
use framewise_stages::read_failure;
use serde_json::json;

use super::report::Report;
use crate::graphs;
use crate::text::{count, plural};

/// The keys that say how large the data are. A model's configuration has other keys too.
const DATA_KEYS: [&str; 4] = ["rgb_size", "audio_size", "max_frames", "classes"];

/// Describes a TOML file.
///
/// # Errors
/// The file cannot be read, or is not TOML.
pub(crate) fn describe(path: &Path, registry: &Registry) -> Result<Report, Failure> {
    let text = io::read_to_string(path).map_err(|e| read_failure(path, &e))?;
    let table = text.parse::<toml::Table>().map_err(|error| not_toml(path, &text, &error))?;
    if table.contains_key("stages") || table.contains_key("graph") {
        return Ok(graph(path, registry));
    }
    Ok(configuration(table))
}

/// Whether a text that is not TOML was meant to be TOML, which only its name can say.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let name = path.display();
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Failure::config(format!("{name}:{line}: {}", error.message()));
    }
    if let Some(content) = Content::of(&text.as_bytes()[..text.len().min(HEAD_BYTES)])
        && content != Content::Text
    {
        return Failure::data(match content.advice_for_records() {
            Some(advice) => format!("{name}: {}; {advice}", content.what()),
            None => format!("{name}: {}", content.what()),
        });
    }
    Failure::data(format!(
        "{name}: neither a TFRecord file (its first header does not check) nor weights nor TOML (line {line}: {})",
        error.message()
    ))
}

fn graph(path: &Path, registry: &Registry) -> Report {
    let graph = match graphs::load(path, registry, &[]) {
        Ok(loaded) => loaded.graph,
        Err(errors) => {
            let mut report = Report::new("graph with errors");
            report.bad = errors.kind().exit_code();
            return report;
        }
    };
    let mut report = Report::new(format!("graph `{}`", graph.name));
    report.facts.value("stages", count(graph.stages.len() as u64), graph.stages.len());
    report.facts.value("edges", count(graph.edges.len() as u64), graph.edges.len());
    for stage in &graph.stages {
        let weights = stage.ports.outputs.iter().find(|port| port.payload.name == "weights");
        if let Some(parameters) = weights.and_then(|port| elements(&port.payload)) {
            let text = format!("{} trainable, from `{}`", count(parameters), stage.name);
            report.facts.one_of("parameters", text, json!({"stage": stage.name, "trainable": parameters}));
        }
    }
    report
}

/// The number of elements of a payload's tensors, if all sizes are known.
fn elements(payload: &PayloadType) -> Option<u64> {
    let fixed = |dim: &Dim| if let Dim::Fixed(n) = dim { Some(*n) } else { None };
    let product = |dims: &[Dim]| dims.iter().map(fixed).product::<Option<u64>>();
    let sum = payload.tensors.iter().map(|tensor| product(&tensor.dims)).sum::<Option<u64>>()?;
    (sum > 0).then_some(sum)
}

fn configuration(table: toml::Table) -> Report {
    let keys = plural(table.len() as u64, "key");
    let is_model = table.keys().any(|key| !DATA_KEYS.contains(&key.as_str()));
    let given = |key: &str| table.contains_key(key);
    let sizes_given = DATA_KEYS.iter().all(|key| *key == "max_frames" || given(key));
    let configured = framewise_stages::configuration(table.clone()).filter(|_| is_model);
    let Some((title, Configured { sizes, model })) = configured else {
        let mut report = Report::new(format!("configuration, {keys}"));
        for (key, value) in &table {
            // JSON has no form for a date, so the date is the text that TOML writes.
            let typed = serde_json::to_value(value).unwrap_or_else(|_| value.to_string().into());
            report.facts.within("keys", key, value.to_string(), typed);
        }
        return report;
    };
    let mut report = Report::new(title);
    let DataSizes { rgb_size, audio_size, classes } = sizes;
    let sizes = format!("rgb {rgb_size}, audio {audio_size}, {classes} classes");
    report.fact("data", if sizes_given { sizes } else { sizes + " (YouTube-8M's where it names no other)" });
    match model {
        Ok(model) => {
            let parameters = model.parameters();
            let trainable = parameters.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum();
            report.facts.value("parameters", format!("{} trainable", count(trainable)), trainable);
            for parameter in parameters {
                let shape = parameter.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                report.details += &format!("    {} [{shape}]\n", parameter.name);
            }
        }
        Err(problems) => {
            report.bad = ErrorKind::Config.exit_code();
            problems.iter().for_each(|problem| report.details += &format!("  error: {problem}\n"));
        }
    }
    report
}
