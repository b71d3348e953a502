//! The payload types of edges, tensors included.
//!
//! Law: the types of outputs become known in topological order. A delayed output has the type that it declares, so
//! loops need no fixed point.

use super::advice;
use super::draft::Draft;
use super::edges::DraftEdge;
use crate::edge::payload::{PayloadType, TensorType};
use crate::graph::read::loading::Loading;
use crate::graph::report::diagnostic::Diagnostic;
use crate::graph::report::words;
use crate::stage::key::KeyKind;
use crate::stage::ports::Ports;
use crate::stage::settings::Settings;

/// Completes the payload types of all outputs. `order` is topological, and stages in a bad cycle are missing from it.
pub(crate) fn propagate(stages: &mut [Draft<'_>], edges: &[DraftEdge], order: &[usize]) {
    let mut ordered = vec![false; stages.len()];
    for &index in order {
        ordered[index] = true;
        for output in 0..stages[index].ports.outputs.len() {
            let tensors = tensors(stages, edges, (index, output));
            stages[index].ports.outputs[output].payload.tensors = tensors;
        }
    }
    for stage in stages.iter_mut().zip(&ordered).filter(|(_, done)| !**done).map(|(stage, _)| stage) {
        stage.ports.outputs.iter_mut().for_each(|o| o.payload.tensors.clear());
    }
}

/// The tensors of an output whose inputs are known. If the tensors of an input are unknown, so are those of the output.
fn tensors(stages: &[Draft<'_>], edges: &[DraftEdge], (stage, index): (usize, usize)) -> Vec<TensorType> {
    let output = &stages[stage].ports.outputs[index];
    if stages[stage].open_outputs[index] {
        return Vec::new();
    }
    let mut tensors = output.payload.tensors.clone();
    let Some(like) = output.shaped_like.filter(|_| !output.delayed) else { return tensors };
    let Some(input) = stages[stage].ports.inputs.iter().position(|p| p.name == like) else { return tensors };
    match edge_to(edges, (stage, input)) {
        Some(edge) => {
            let arriving = &stages[edge.from.0].ports.outputs[edge.from.1].payload.tensors;
            if arriving.is_empty() || !edge.fits {
                return Vec::new();
            }
            // A tensor that the stage declares replaces the arriving tensor of the same name.
            let new = arriving.iter().filter(|t| output.payload.tensors.iter().all(|own| own.name != t.name));
            tensors.extend(new.cloned());
            tensors
        }
        None if stages[stage].ports.inputs[input].optional => tensors,
        None => Vec::new(),
    }
}

fn edge_to(edges: &[DraftEdge], to: (usize, usize)) -> Option<&DraftEdge> {
    edges.iter().find(|e| e.to == to)
}

/// Reports every edge whose tensors do not fit.
pub(crate) fn check(stages: &[Draft<'_>], edges: &[DraftEdge], loading: &mut Loading<'_>) {
    for edge in edges.iter().filter(|e| e.fits) {
        let (producer, consumer) = (&stages[edge.from.0], &stages[edge.to.0]);
        let sent = &producer.ports.outputs[edge.from.1].payload;
        let input = &consumer.ports.inputs[edge.to.1];
        let Some((tensor, message)) = first_mismatch(sent, &input.payload) else { continue };
        let mut diagnostic = Diagnostic::error(edge.place, message)
            .label(format!("stage {} wants another shape", words::name(&consumer.name)))
            .also(producer.header, format!("stage {} sends this", words::name(&producer.name)));
        let mut defaults = Vec::new();
        let of_input = |ports: &Ports| {
            let input = ports.inputs.get(edge.to.1)?;
            input.payload.tensors.iter().find(|t| t.name == tensor).cloned()
        };
        // Where a tensor is missing, sizes are not to blame.
        let is_sent = sent.tensors.iter().any(|t| t.name == tensor);
        if is_sent {
            blame(consumer, &of_input, &mut diagnostic, &mut defaults);
        }
        if let Some((origin, output)) = origin(stages, edges, edge.from, Some(&tensor)).filter(|_| is_sent) {
            let of_output = |ports: &Ports| {
                let output = ports.outputs.get(output)?;
                output.payload.tensors.iter().find(|t| t.name == tensor).cloned()
            };
            blame(&stages[origin], &of_output, &mut diagnostic, &mut defaults);
        }
        diagnostic = diagnostic.note(format!("sent:   {sent}")).note(format!("wanted: {}", input.payload));
        for text in defaults {
            diagnostic = diagnostic.help(text);
        }
        let source = origin(stages, edges, edge.from, None);
        diagnostic = advice::give(diagnostic, stages, edge, source, loading.registry);
        loading.report.push(diagnostic);
    }
}

/// The first tensor that does not fit, with the reason.
fn first_mismatch(sent: &PayloadType, wanted: &PayloadType) -> Option<(String, String)> {
    wanted.tensors.iter().find_map(|tensor| {
        let one = PayloadType { name: wanted.name, tensors: vec![tensor.clone()] };
        sent.mismatch(&one).map(|message| (tensor.name.clone(), message))
    })
}

/// The stage that declares a tensor which arrives through stages that only carry it on. Without a tensor, it is the
/// stage that only makes tensors and carries none on.
fn origin(
    stages: &[Draft<'_>],
    edges: &[DraftEdge],
    mut at: (usize, usize),
    tensor: Option<&str>,
) -> Option<(usize, usize)> {
    for _ in 0..stages.len() {
        let stage = &stages[at.0];
        let declared = stage.component?.ports(&stage.settings);
        let output = declared.outputs.get(at.1)?;
        let is_it = match tensor {
            Some(tensor) => output.payload.tensors.iter().any(|t| t.name == tensor),
            None => output.shaped_like.is_none(),
        };
        if is_it {
            return Some(at);
        }
        let input = stage.ports.inputs.iter().position(|p| Some(p.name) == output.shaped_like)?;
        at = edge_to(edges, (at.0, input))?.from;
    }
    None
}

/// Points at the whole-number keys of a stage that make a tensor's shape: those whose change changes it.
fn blame(
    stage: &Draft<'_>,
    shape: &dyn Fn(&Ports) -> Option<TensorType>,
    diagnostic: &mut Diagnostic,
    defaults: &mut Vec<String>,
) {
    let Some(component) = stage.component else { return };
    let now = shape(&component.ports(&stage.settings));
    for spec in component.keys() {
        let KeyKind::Integer(range) = &spec.kind else { continue };
        if stage.unknown.contains(spec.name) {
            continue;
        }
        let Some(value) = stage.settings.get(spec.name).and_then(toml::Value::as_integer) else { continue };
        let other = if value < *range.end() { value + 1 } else { value.saturating_sub(1) };
        let mut settings: Settings = stage.settings.clone();
        settings.values.insert(spec.name.to_owned(), toml::Value::Integer(other));
        if shape(&component.ports(&settings)) == now {
            continue;
        }
        match stage.origins.get(spec.name) {
            Some(&place) => {
                *diagnostic = diagnostic.clone().also(place, format!("`{}` makes the shape", spec.name));
            }
            None => defaults.push(format!(
                "`{}` of stage {}, which makes the shape, has its default {value}",
                spec.name,
                words::name(&stage.name)
            )),
        }
    }
}
