//! What to change where the tensors of an edge do not fit: the key that chooses them, a stage type to insert, or a stage
//! type to use in place of another.
//!
//! Law: everything that is advised was tried, so it makes the tensors at hand fit.

use toml::Value;

use super::draft::Draft;
use super::edges::DraftEdge;
use crate::edge::payload::PayloadType;
use crate::graph::report::diagnostic::Diagnostic;
use crate::graph::report::words;
use crate::stage::component::{Component, Registry};
use crate::stage::key::KeyKind;
use crate::stage::ports::{InputPort, OutputPort};
use crate::stage::settings::Settings;

/// Adds to an error about an edge what would make it right. `origin` is the stage and the output from which the sent
/// tensors come.
pub(super) fn give(
    diagnostic: Diagnostic,
    stages: &[Draft<'_>],
    edge: &DraftEdge,
    origin: Option<(usize, usize)>,
    registry: &Registry,
) -> Diagnostic {
    let (producer, consumer) = (&stages[edge.from.0], &stages[edge.to.0]);
    let sent = &producer.ports.outputs[edge.from.1];
    let wanted = &consumer.ports.inputs[edge.to.1];
    let fits_sent = |settings: &Settings| {
        let ports = consumer.component?.ports(settings);
        Some(sent.payload.mismatch(&ports.inputs.get(edge.to.1)?.payload).is_none())
    };
    let fits_wanted = |settings: &Settings| {
        let ports = producer.component?.ports(settings);
        let output = ports.outputs.get(edge.from.1)?;
        Some(output.shaped_like.is_none() && output.payload.mismatch(&wanted.payload).is_none())
    };
    let diagnostic = chosen_by(diagnostic, producer, &fits_wanted);
    let diagnostic = chosen_by(diagnostic, consumer, &fits_sent);
    if names_fit(&sent.payload, &wanted.payload) {
        return diagnostic;
    }
    let Some((origin, output)) = origin.map(|(stage, output)| (&stages[stage], output)) else {
        return diagnostic;
    };
    let made = &origin.ports.outputs[output];
    let mut ways = Vec::new();
    for component in registry.iter() {
        let ports = component.ports(&Settings::default());
        if let ([input], [output]) = (ports.inputs.as_slice(), ports.outputs.as_slice())
            && carries(made, input)
            && names_fit(&made.payload, &input.payload)
            && output.shaped_like.is_none()
            && makes(output, made, &wanted.payload)
        {
            let (name, stage) = (component.type_name(), words::name(&origin.name));
            ways.push(format!("insert a stage of type `{name}` behind stage {stage}"));
        }
    }
    ways.extend(in_place_of_origin(origin, output, &wanted.payload, registry));
    ways.extend(in_place_of_consumer(consumer, edge.to.1, sent, registry));
    match words::alternatives(&ways) {
        Some(ways) => diagnostic.help(ways),
        None => diagnostic,
    }
}

/// Names the key of a stage that chooses between tensors, where another of its words makes the edge fit.
fn chosen_by(
    diagnostic: Diagnostic,
    stage: &Draft<'_>,
    fits: &dyn Fn(&Settings) -> Option<bool>,
) -> Diagnostic {
    for spec in stage.component.iter().flat_map(|component| component.keys()) {
        let KeyKind::OneOf(choices) = &spec.kind else { continue };
        let Some(now) = stage.settings.get(spec.name).and_then(Value::as_str) else { continue };
        let would_fit = |word: &&&str| {
            let mut settings = stage.settings.clone();
            settings.values.insert(spec.name.to_owned(), Value::from(**word));
            fits(&settings) == Some(true)
        };
        let fitting: Vec<&str> =
            choices.iter().filter(|word| **word != now).filter(would_fit).copied().collect();
        let Some(first) = fitting.first() else { continue };
        let (key, name) = (spec.name, words::name(&stage.name));
        let given = stage.origins.get(spec.name);
        let is = if given.is_some() { "is" } else { "has its default" };
        let advice = format!(
            "`{key}` of stage {name} {is} {}: with `{key} = {}` the two fit",
            words::quoted(now),
            words::quoted(first)
        );
        let diagnostic = diagnostic.help(advice);
        return match given {
            Some(&place) => diagnostic.also(place, format!("`{key}` is chosen here")),
            None => diagnostic,
        };
    }
    diagnostic
}

/// The types that make the wanted tensors of the same input as the origin.
fn in_place_of_origin(
    origin: &Draft<'_>,
    output: usize,
    wanted: &PayloadType,
    registry: &Registry,
) -> Option<String> {
    let made = &origin.ports.outputs[output];
    let types = registry.iter().filter(|component| {
        let ports = component.ports(&Settings::default());
        let same_inputs = ports.inputs.len() == origin.ports.inputs.len()
            && ports
                .inputs
                .iter()
                .zip(&origin.ports.inputs)
                .all(|(a, b)| a.payload.name == b.payload.name && a.rust_type == b.rust_type);
        let makes_it = ports.outputs.get(output).is_some_and(|output| makes(output, made, wanted));
        // Another source reads something else.
        !ports.inputs.is_empty()
            && same_inputs
            && makes_it
            && ports.outputs.len() == origin.ports.outputs.len()
    });
    let types = words::list(types.map(Component::type_name).filter(|name| *name != origin.type_name()), "or");
    let stage = words::name(&origin.name);
    (types != words::NONE).then(|| format!("give stage {stage} the type {types}"))
}

/// The types that take what is sent and send what the consumer sends.
fn in_place_of_consumer(
    consumer: &Draft<'_>,
    input: usize,
    sent: &OutputPort,
    registry: &Registry,
) -> Option<String> {
    let types = registry.iter().filter(|component| {
        let ports = component.ports(&Settings::default());
        let takes = ports.inputs.get(input).is_some_and(|port| {
            !port.payload.tensors.is_empty() && carries(sent, port) && names_fit(&sent.payload, &port.payload)
        });
        let gives = &consumer.ports.outputs;
        let same = |(a, b): (&OutputPort, &OutputPort)| a.rust_type == b.rust_type;
        takes && ports.outputs.len() == gives.len() && ports.outputs.iter().zip(gives).all(same)
    });
    let types = words::list(types.map(Component::type_name), "or");
    let stage = words::name(&consumer.name);
    (types != words::NONE).then(|| format!("give stage {stage} a type that takes what is sent: {types}"))
}

/// Whether an output sends the Rust type that an input takes.
fn carries(output: &OutputPort, input: &InputPort) -> bool {
    output.payload.name == input.payload.name && output.rust_type == input.rust_type
}

/// Whether every wanted tensor is among the sent ones, by name.
fn names_fit(sent: &PayloadType, wanted: &PayloadType) -> bool {
    sent.tensors.is_empty()
        || wanted.tensors.iter().all(|want| sent.tensors.iter().any(|t| t.name == want.name))
}

/// Whether `output` sends the same Rust type as `made`, with all wanted tensors that `made` lacks.
fn makes(output: &OutputPort, made: &OutputPort, wanted: &PayloadType) -> bool {
    let has = |payload: &PayloadType, name: &str| payload.tensors.iter().any(|t| t.name == name);
    let lacking = wanted.tensors.iter().filter(|t| !has(&made.payload, &t.name)).collect::<Vec<_>>();
    output.rust_type == made.rust_type
        && output.payload.name == made.payload.name
        && !lacking.is_empty()
        && lacking.iter().all(|t| has(&output.payload, &t.name))
}
