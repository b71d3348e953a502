//! What a TOML file holds: a graph, a model's configuration, or other settings.

use std::fs;
use std::path::Path;

use framewise_pipeline::{Dim, ErrorKind, Failure, PayloadType};
use framewise_stages::model::{
    Logistic, LogisticConfig, MixtureConfig, MixtureOfExperts, Model, NextVlad, NextVladConfig,
};

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

/// A model's configuration: what it is called, its data's sizes, what is wrong with it, and the model unless it cannot be.
struct Configured {
    title: &'static str,
    sizes: [usize; 3],
    problems: Vec<String>,
    model: Option<Box<dyn Model>>,
}

/// The model whose configuration a table is, told by its key `model` as a stage would be.
fn model_of(mut table: toml::Table) -> Option<Configured> {
    fn model<M: Model + 'static>(model: framewise_stages::model::Result<M>) -> Option<Box<dyn Model>> {
        model.ok().map(|model| Box::new(model) as Box<dyn Model>)
    }
    let name = table.remove("model");
    match name.as_ref().map_or(Some("nextvlad"), toml::Value::as_str)? {
        "nextvlad" => {
            let config: NextVladConfig = table.try_into().ok()?;
            Some(Configured {
                title: "NeXtVLAD configuration",
                sizes: [config.rgb_size, config.audio_size, config.classes],
                problems: config.check(),
                model: model(NextVlad::new(config)),
            })
        }
        "logistic" => {
            let config: LogisticConfig = table.try_into().ok()?;
            Some(Configured {
                title: "configuration of a logistic model",
                sizes: [config.rgb_size, config.audio_size, config.classes],
                problems: config.check(),
                model: model(Logistic::new(config)),
            })
        }
        "mixture_of_experts" => {
            let config: MixtureConfig = table.try_into().ok()?;
            Some(Configured {
                title: "configuration of a mixture of experts",
                sizes: [config.rgb_size, config.audio_size, config.classes],
                problems: config.check(),
                model: model(MixtureOfExperts::new(config)),
            })
        }
        _ => None,
    }
}

fn configuration(table: toml::Table) -> Report {
    let keys = plural(table.len() as u64, "key");
    let is_model = table.keys().any(|key| !DATA_KEYS.contains(&key.as_str()));
    let given = |key: &str| table.contains_key(key);
    let sizes_given = DATA_KEYS.iter().all(|key| *key == "max_frames" || given(key));
    let Some(configured) = model_of(table.clone()).filter(|_| is_model) else {
        let mut report = Report::new(format!("configuration, {keys}"));
        for (key, value) in &table {
            report.fact(key, value.to_string());
        }
        return report;
    };
    let mut report = Report::new(configured.title);
    let [rgb, audio, classes] = configured.sizes;
    let sizes = format!("rgb {rgb}, audio {audio}, {classes} classes");
    report.fact("data", if sizes_given { sizes } else { sizes + " (YouTube-8M's where it names no other)" });
    let problems = configured.problems;
    match configured.model {
        Some(model) if problems.is_empty() => {
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
