//! The part of a graph that is needed for what passes one port.

use framewise_pipeline::graph::{ResolvedEdge, ResolvedGraph, ResolvedStage};
use framewise_pipeline::{PayloadType, Ports, Settings};
use framewise_stages::TAP;

/// An output port: the index of its stage, and its index among the outputs of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port {
    stage: usize,
    output: usize,
}

impl Port {
    /// The port that is written `STAGE` or `STAGE.PORT`. Without a port it is the main one.
    ///
    /// # Errors
    /// A text for people: there is no such stage or port, and which there are.
    pub(super) fn named(text: &str, graph: &ResolvedGraph) -> Result<Self, String> {
        let (name, port) = text.split_once('.').map_or((text, None), |(name, port)| (name, Some(port)));
        let Some(stage) = graph.stages.iter().position(|stage| stage.name == name) else {
            return Err(format!(
                "there is no stage `{name}` in the graph `{}`; {}",
                graph.name,
                near(name, graph)
            ));
        };
        let outputs = &graph.stages[stage].ports.outputs;
        let names: Vec<String> = outputs.iter().map(|port| format!("`{}`", port.name)).collect();
        match port.map_or(Some(0), |port| outputs.iter().position(|output| output.name == port)) {
            _ if outputs.is_empty() => Err(format!(
                "stage `{name}` has no output; look at a stage before it: {}",
                before(stage, graph).join(", ")
            )),
            Some(output) => Ok(Self { stage, output }),
            None => {
                let port = port.unwrap_or_default();
                let are = if names.len() == 1 { "its output is" } else { "its outputs are" };
                Err(format!("stage `{name}` has no output `{port}`; {are} {}", names.join(", ")))
            }
        }
    }

    /// What passes the port.
    pub(super) fn payload(self, graph: &ResolvedGraph) -> &PayloadType {
        &graph.stages[self.stage].ports.outputs[self.output].payload
    }
}

/// The stage whose name is nearest, or all stages.
fn near(name: &str, graph: &ResolvedGraph) -> String {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let names = || graph.stages.iter().map(|stage| stage.name.as_str());
    match names().map(|other| (distance(other), other)).min() {
        Some((distance, other)) if distance <= (name.chars().count() / 3).max(2) => {
            format!("did you mean `{other}`?")
        }
        _ => format!(
            "its stages are {}",
            names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The ports before a stage, as they are written on the command line.
fn before(stage: usize, graph: &ResolvedGraph) -> Vec<String> {
    let edges = graph.edges.iter().filter(|edge| edge.to.0 == stage);
    let ports = edges.map(|edge| {
        let of = &graph.stages[edge.from.0];
        format!("`{}.{}`", of.name, of.ports.outputs[edge.from.1].name)
    });
    ports.collect()
}

/// For each stage, whether a port depends on it. A port in a loop depends on the whole loop.
pub(super) fn needed(graph: &ResolvedGraph, port: Port) -> Vec<bool> {
    let mut needed = vec![false; graph.stages.len()];
    let mut waiting = vec![port.stage];
    while let Some(stage) = waiting.pop() {
        if !std::mem::replace(&mut needed[stage], true) {
            let into = graph.edges.iter().filter(|edge| edge.to.0 == stage);
            waiting.extend(into.map(|edge| edge.from.0));
        }
    }
    needed
}

/// The stages on which a port depends, and the sink of type [`TAP`] with these ports behind it.
pub(super) fn up_to(graph: &ResolvedGraph, port: Port, ports: Ports) -> ResolvedGraph {
    let needed = needed(graph, port);
    // A stage keeps its order, and so its place counts the needed ones before it.
    let place = |stage: usize| needed[..stage].iter().filter(|needed| **needed).count();
    let kept = graph.stages.iter().zip(&needed).filter(|(_, needed)| **needed);
    let mut stages: Vec<ResolvedStage> = kept.map(|(stage, _)| stage.clone()).collect();
    let edges = graph.edges.iter().filter(|edge| needed[edge.from.0] && needed[edge.to.0]);
    let mut edges: Vec<ResolvedEdge> = edges
        .map(|edge| ResolvedEdge {
            from: (place(edge.from.0), edge.from.1),
            to: (place(edge.to.0), edge.to.1),
            ..edge.clone()
        })
        .collect();
    let limits = graph.edges.iter().find(|edge| edge.from.0 == port.stage).or(graph.edges.first());
    if let Some(limits) = limits.map(|edge| edge.limits) {
        edges.push(ResolvedEdge {
            from: (place(port.stage), port.output),
            to: (stages.len(), 0),
            limits,
            payload: port.payload(graph).clone(),
            delayed: graph.stages[port.stage].ports.outputs[port.output].delayed,
        });
    }
    let settings = Settings::default();
    // No graph can name a stage like that.
    stages.push(ResolvedStage { name: "(tap)".to_owned(), type_name: TAP.to_owned(), settings, ports });
    ResolvedGraph { stages, edges, ..graph.clone() }
}
