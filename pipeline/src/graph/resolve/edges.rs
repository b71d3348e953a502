//! The edges of a graph: which output feeds which input.
//!
//! Laws: an input has one edge. An edge to something that was already reported is not reported again.

use std::collections::BTreeMap;

use super::draft::Draft;
use crate::graph::read::loading::Loading;
use crate::graph::read::syntax::{Data, Entry, Node};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;
use crate::stage::ports::{InputPort, OutputPort, Ports};

/// An edge that is being resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DraftEdge {
    /// The producer: its index among the stages, and the index of its output port.
    pub(crate) from: (usize, usize),
    /// The consumer: its index among the stages, and the index of its input port.
    pub(crate) to: (usize, usize),
    /// The place at which the consumer names the producer.
    pub(crate) place: Place,
    pub(crate) delayed: bool,
    /// Whether the payload fits, so that shapes can be compared.
    pub(crate) fits: bool,
}

/// Finds every edge, in the order of consumers and their ports.
pub(crate) fn connect(stages: &[Draft<'_>], lost_table: bool, loading: &mut Loading<'_>) -> Vec<DraftEdge> {
    let mut names = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        names.entry(stage.name.as_str()).or_insert(index);
    }
    let consumed = vec![false; stages.len()];
    let mut wires = Wires { stages, names, lost_table, edges: Vec::new(), consumed, incomplete: lost_table };
    for consumer in 0..stages.len() {
        wires.stage(consumer, loading);
    }
    wires.edges.sort_by_key(|e| e.to);
    wires.report_unconsumed(loading);
    wires.edges
}

struct Wires<'s, 'r> {
    stages: &'s [Draft<'r>],
    names: BTreeMap<&'s str, usize>,
    lost_table: bool,
    edges: Vec<DraftEdge>,
    /// The stages that some `from` names.
    consumed: Vec<bool>,
    /// Whether an edge is missing that was reported. Then it is not known which outputs go nowhere.
    incomplete: bool,
}

impl<'s> Wires<'s, '_> {
    fn stage(&mut self, consumer: usize, loading: &mut Loading<'_>) {
        let stages: &'s [Draft<'_>] = self.stages;
        let stage = &stages[consumer];
        let inputs = &stage.ports.inputs;
        let known = stage.component.is_some();
        // The inputs that are connected, or whose error says why they are not.
        let mut done = vec![false; inputs.len()];
        match stage.from.as_ref().map(|e| (e, &e.node.data)) {
            None => {}
            Some((_, Data::Broken)) => {
                self.incomplete = true;
                return;
            }
            Some((entry, Data::Text(_) | Data::Table(_))) if known && inputs.is_empty() => {
                let message = format!(
                    "stage {} takes no input: `{}` is a source",
                    words::name(&stage.name),
                    stage.type_name()
                );
                loading.report.push(Diagnostic::error(entry.place, message).help("remove `from`"));
                self.note_consumed(&entry.node);
                return;
            }
            Some((entry, Data::Text(text))) => {
                // A port that is connected by itself beats the bare name.
                let is_replaced =
                    inputs.first().is_some_and(|port| stage.from_ports.iter().any(|e| e.key == port.name));
                if let Some(first) = done.first_mut() {
                    *first = true;
                }
                if !is_replaced {
                    self.edge(consumer, 0, entry.node.place, text, loading);
                }
                for entry in &stage.from_ports {
                    if let Some(port) = self.named_port(consumer, entry, loading) {
                        done[port] = true;
                    }
                }
            }
            Some((_, Data::Table(ports))) => {
                for entry in ports {
                    if let Some(port) = self.named_port(consumer, entry, loading) {
                        done[port] = true;
                    }
                }
            }
            Some((entry, other)) => {
                let message = format!(
                    "`from` of stage {} must be a text or a table, not {}",
                    words::name(&stage.name),
                    other.in_words()
                );
                let example = inputs.iter().map(|p| format!("{} = \"STAGE\"", p.name)).collect::<Vec<_>>();
                loading.report.push(
                    Diagnostic::error(entry.node.place, message)
                        .help(format!("write `from = \"STAGE\"` or `from = {{ {} }}`", example.join(", "))),
                );
                self.incomplete = true;
                return;
            }
        }
        if known && !stage.damaged {
            self.incomplete |= report_missing_inputs(stage, &done, loading);
        }
        self.incomplete |= stage.damaged || (!known && stage.from.is_none());
    }

    /// The port that an entry of `from = { port = "stage" }` names.
    fn named_port(&mut self, consumer: usize, entry: &Entry, loading: &mut Loading<'_>) -> Option<usize> {
        let stage = &self.stages[consumer];
        let port = stage.ports.inputs.iter().position(|p| p.name == entry.key);
        if port.is_none() && stage.component.is_some() {
            let names = stage.ports.inputs.iter().map(|p| p.name).collect::<Vec<_>>();
            let message = format!("`{}` has no input port {}", stage.type_name(), words::name(&entry.key));
            loading.unknown(entry.place, message, &entry.key, &names, "its input ports are");
        }
        match &entry.node.data {
            Data::Text(text) => {
                self.edge(consumer, port.unwrap_or(usize::MAX), entry.node.place, text, loading)
            }
            Data::Broken => self.incomplete = true,
            other => {
                self.incomplete = true;
                let message =
                    format!("an input port takes `\"stage\"` or `\"stage.port\"`, not {}", other.in_words());
                loading.report.push(Diagnostic::error(entry.node.place, message));
            }
        }
        port
    }

    /// Connects an input port to the output that `text` names, as `stage` or `stage.port`.
    fn edge(&mut self, consumer: usize, input: usize, place: Place, text: &str, loading: &mut Loading<'_>) {
        let Some(text) = loading.expand(place, text) else {
            self.incomplete = true;
            return;
        };
        let (name, port) = match text.split_once('.') {
            Some((stage, port)) => (stage.trim(), Some(port.trim())),
            None => (text.trim(), None),
        };
        let Some(&producer) = self.names.get(name) else {
            self.incomplete = true;
            if !self.lost_table {
                let names = self.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>();
                let message = format!("there is no stage {}", words::name(name));
                loading.unknown(place, message, name, &names, "the stages are");
            }
            return;
        };
        self.consumed[producer] = true;
        let (upstream, stage) = (&self.stages[producer], &self.stages[consumer]);
        if upstream.component.is_none() {
            return;
        }
        let outputs = &upstream.ports.outputs;
        let wanted = stage.ports.inputs.get(input);
        let output = match port {
            None => pick(outputs, wanted),
            Some(port) => outputs.iter().position(|o| o.name == port),
        };
        let Some(output) = output else {
            self.incomplete = true;
            let (type_name, ports) =
                (upstream.type_name(), outputs.iter().map(|o| o.name).collect::<Vec<_>>());
            if ports.is_empty() {
                let message = format!("stage {} has no output: `{type_name}` is a sink", words::name(name));
                loading.report.push(
                    Diagnostic::error(place, message).also(upstream.header, "this stage gives nothing"),
                );
            } else {
                let port = port.unwrap_or_default();
                let message = format!("`{type_name}` has no output port {}", words::name(port));
                loading.unknown(place, message, port, &ports, "its output ports are");
            }
            return;
        };
        let Some(wanted) = wanted else {
            self.incomplete = true;
            return;
        };
        let fits = same_payload(&outputs[output], wanted);
        let delayed = outputs[output].delayed;
        let edge = DraftEdge { from: (producer, output), to: (consumer, input), place, delayed, fits };
        if !fits {
            self.incomplete = true;
            self.report_payload(&edge, loading);
        }
        self.edges.push(edge);
    }

    fn report_payload(&self, edge: &DraftEdge, loading: &mut Loading<'_>) {
        let (producer, consumer) = (&self.stages[edge.from.0], &self.stages[edge.to.0]);
        let output = &producer.ports.outputs[edge.from.1];
        let input = &consumer.ports.inputs[edge.to.1];
        let message = output
            .payload
            .mismatch(&crate::edge::payload::PayloadType { tensors: Vec::new(), ..input.payload.clone() });
        let message = message.unwrap_or_else(|| {
            format!(
                "two different types are both called `{}`; this is a bug of the stage types",
                input.payload.name
            )
        });
        // Another port of that stage is suggested first, then a port of any stage.
        let mut fitting = ports_of(producer, input).collect::<Vec<_>>();
        fitting
            .extend(self.stages.iter().filter(|s| s.name != producer.name).flat_map(|s| ports_of(s, input)));
        let fitting = fitting.iter().map(String::as_str);
        let diagnostic = Diagnostic::error(edge.place, message)
            .label(format!("the input `{}` wants `{}`", input.name, input.payload.name))
            .also(producer.header, format!("the output `{}` sends `{}`", output.name, output.payload.name));
        loading.report.push(if fitting.len() == 0 {
            diagnostic.help(format!("no stage of this graph sends `{}`", input.payload.name))
        } else {
            diagnostic.help(format!("`{}` comes from {}", input.payload.name, words::list(fitting, "or")))
        });
    }

    /// Notes the stages that an unusable `from` names, so that there is no warning that their outputs go nowhere.
    fn note_consumed(&mut self, node: &Node) {
        let mut note = |node: &Node| {
            if let Data::Text(text) = &node.data {
                let name = text.split('.').next().unwrap_or_default();
                if let Some(&index) = self.names.get(name) {
                    self.consumed[index] = true;
                }
            }
        };
        match &node.data {
            Data::Table(entries) => entries.iter().for_each(|e| note(&e.node)),
            _ => note(node),
        }
    }

    fn report_unconsumed(&self, loading: &mut Loading<'_>) {
        if self.incomplete {
            return;
        }
        for (stage, consumed) in self.stages.iter().zip(&self.consumed) {
            let outputs = &stage.ports.outputs;
            if *consumed || outputs.is_empty() {
                continue;
            }
            let ports = words::list(outputs.iter().map(|o| o.name), "and");
            let message = format!("the output of stage {} goes nowhere", words::name(&stage.name));
            loading.report.push(
                Diagnostic::warning(stage.header, message)
                    .help(format!("no `from` names it; it sends {ports}")),
            );
        }
    }
}

fn ports_of(stage: &Draft<'_>, input: &InputPort) -> impl Iterator<Item = String> {
    let fitting = stage.ports.outputs.iter().filter(|o| same_payload(o, input));
    fitting.map(|o| format!("{}.{}", stage.name, o.name))
}

fn same_payload(output: &OutputPort, input: &InputPort) -> bool {
    output.payload.name == input.payload.name && output.rust_type == input.rust_type
}

/// The output that a stage's bare name means: the only one with the wanted payload, or otherwise the first.
fn pick(outputs: &[OutputPort], wanted: Option<&InputPort>) -> Option<usize> {
    let mut fitting = outputs.iter().enumerate().filter(|(_, o)| wanted.is_some_and(|w| same_payload(o, w)));
    match (fitting.next(), fitting.next()) {
        (Some((only, _)), None) => Some(only),
        _ => (!outputs.is_empty()).then_some(0),
    }
}

/// Reports the required inputs that are not connected. Returns whether there are any.
fn report_missing_inputs(stage: &Draft<'_>, done: &[bool], loading: &mut Loading<'_>) -> bool {
    let Ports { inputs, .. } = &stage.ports;
    let missing =
        inputs.iter().zip(done).filter(|(port, done)| !port.optional && !**done).map(|(port, _)| port);
    let missing = missing.collect::<Vec<_>>();
    let Some(first) = missing.first() else { return false };
    let (ports, name) = (words::list(missing.iter().map(|p| p.name), "and"), words::name(&stage.name));
    let message = if missing.len() == 1 {
        format!("the input port {ports} of stage {name} is not connected")
    } else {
        format!("the input ports {ports} of stage {name} are not connected")
    };
    let help = if inputs.len() == 1 {
        format!("write `from = \"STAGE\"` with a stage that sends `{}`", first.payload.name)
    } else {
        let all = inputs.iter().filter(|p| !p.optional).map(|p| format!("{} = \"STAGE\"", p.name));
        format!("write `from = {{ {} }}`", all.collect::<Vec<_>>().join(", "))
    };
    let place = stage.from.as_ref().map_or(stage.header, |from| from.node.place);
    loading.report.push(Diagnostic::error(place, message).help(help));
    true
}
