//! What a TOML file holds: a graph, a model's configuration, or other settings.

use std::fs;
use std::path::Path;

use framewise_pipeline::{Dim, ErrorKind, Failure, PayloadType};
use framewise_stages::model::{Model, NextVlad, NextVladConfig};

use super::{Report, read_failure};
use crate::graphs;
use crate::text::{count, plural};

/// Keys that say how large the data are; a model's configuration has others besides.
const DATA_KEYS: [&str; 4] = ["rgb_size", "audio_size", "max_frames", "classes"];

/// Describes a TOML file.
///
/// # Errors
/// It cannot be read, or is not TOML.
pub(crate) fn describe(path: &Path) -> Result<Report, Failure> {
    let text = fs::read_to_string(path).map_err(|e| read_failure(path, &e))?;
    let table = text.parse::<toml::Table>().map_err(|error| not_toml(path, &text, &error))?;
    if table.contains_key("stages") || table.contains_key("graph") {
        return Ok(graph(path));
    }
    Ok(configuration(table))
}

/// A text that is not TOML was hardly meant to be, unless its name says so.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let name = path.display();
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Failure::config(format!("{name}:{line}: {}", error.message()));
    }
    Failure::data(format!(
        "{name}: neither a TFRecord file (its first header does not check) nor weights nor TOML (line {line}: {})",
        error.message()
    ))
}

fn graph(path: &Path) -> Report {
    let registry = framewise_stages::registry();
    let graph = match graphs::load(path, &registry, &[]) {
        Ok(graph) => graph,
        Err(errors) => {
            let mut report = Report::new("graph with errors");
            report.bad = errors.kind().exit_code();
            return report;
        }
    };
    let mut report = Report::new(format!("graph `{}`", graph.name));
    report.fact("stages", count(graph.stages.len() as u64));
    report.fact("edges", count(graph.edges.len() as u64));
    for stage in &graph.stages {
        let weights = stage.ports.outputs.iter().find(|port| port.payload.name == "weights");
        if let Some(parameters) = weights.and_then(|port| elements(&port.payload)) {
            report.fact("parameters", format!("{} trainable, from `{}`", count(parameters), stage.name));
        }
    }
    report
}

/// Elements of a payload's tensors, where all sizes are known.
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
    let config = match table.clone().try_into::<NextVladConfig>() {
        Ok(config) if is_model => config,
        _ => {
            let mut report = Report::new(format!("configuration, {keys}"));
            for (key, value) in &table {
                report.fact(key, value.to_string());
            }
            return report;
        }
    };
    let mut report = Report::new("NeXtVLAD configuration");
    let problems = config.check();
    let sizes = format!("rgb {}, audio {}, {} classes", config.rgb_size, config.audio_size, config.classes);
    report.fact("data", if sizes_given { sizes } else { sizes + " (YouTube-8M's where it names no other)" });
    match NextVlad::new(config) {
        Ok(model) if problems.is_empty() => {
            let parameters = model.parameters();
            let trainable = parameters.iter().map(|p| p.shape.iter().product::<usize>() as u64).sum();
            report.fact("parameters", format!("{} trainable", count(trainable)));
            for parameter in parameters {
                let shape = parameter.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
                report.details += &format!("    {} [{shape}]\n", parameter.name);
            }
        }
        _ => {
            report.bad = ErrorKind::Config.exit_code();
            problems.iter().for_each(|problem| report.details += &format!("  error: {problem}\n"));
        }
    }
    report
}
