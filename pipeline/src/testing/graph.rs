//! Graphs built in code, without TOML and without its checks.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::edge::channel::EdgeLimits;
use crate::edge::error::{Failure, StageError};
use crate::edge::packet::Packet;
use crate::edge::payload::{Payload, PayloadType};
use crate::edge::port::{Input, Output};
use crate::engine::{Outcome, Pipeline, RunError, RunOptions};
use crate::graph::{ResolvedEdge, ResolvedGraph, ResolvedStage};
use crate::stage::Stage;
use crate::stage::component::{Component, Registry, StageContext};
use crate::stage::key::{KeyKind, KeySpec};
use crate::stage::ports::{InputPort, OutputPort, Ports, Wiring};
use crate::stage::settings::Settings;
use crate::stage::typed::StageType;

use super::probes::{Collected, Gate, Progress};
use super::token::Token;

/// The bounds of an edge with room for `items` packets and no bound on bytes.
pub fn items(items: usize) -> EdgeLimits {
    EdgeLimits { items, bytes: usize::MAX }
}

type Factory = Box<dyn FnOnce(&mut Wiring, &StageContext) -> Result<Box<dyn Stage>, Failure> + Send>;

/// A builder of a [`ResolvedGraph`], which also runs it. Nothing is checked, so a test may wire what `check` would
/// refuse.
#[derive(Default)]
pub struct GraphBuilder {
    stages: Vec<ResolvedStage>,
    edges: Vec<ResolvedEdge>,
    factories: BTreeMap<String, Factory>,
    stall_timeout: Option<Duration>,
    memory: Option<usize>,
    /// The types of stages with the key `workers`, and the highest value of that key.
    with_workers: Vec<(&'static str, i64)>,
}

/// The stage types of a built graph. Such a type finds the factory of a stage by the stage's name.
struct Factories {
    factories: Arc<Mutex<BTreeMap<String, Factory>>>,
    type_name: &'static str,
    keys: Vec<KeySpec>,
}

impl Factories {
    const TYPE: &'static str = "in_code";
}

impl Component for Factories {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn doc(&self) -> &'static str {
        "A stage given in code."
    }

    fn keys(&self) -> Vec<KeySpec> {
        self.keys.clone()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports::default()
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let factory = self.factories.lock().unwrap_or_else(PoisonError::into_inner).remove(&*context.stage);
        let factory = factory.ok_or_else(|| Failure::internal("a stage is built twice"))?;
        factory(wiring, context)
    }
}

impl GraphBuilder {
    /// Makes a graph without stages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stage with any ports. `build` is called once, when the pipeline is built.
    ///
    /// # Panics
    /// When the name is taken.
    pub fn stage(
        &mut self,
        name: &str,
        ports: Ports,
        build: impl FnOnce(&mut Wiring, &StageContext) -> Result<Box<dyn Stage>, Failure> + Send + 'static,
    ) -> &mut Self {
        let earlier = self.factories.insert(name.to_owned(), Box::new(build));
        assert!(earlier.is_none(), "two stages are called `{name}`");
        self.stages.push(ResolvedStage {
            name: name.to_owned(),
            type_name: Factories::TYPE.to_owned(),
            settings: Settings::default(),
            ports,
        });
        self
    }

    /// Adds a stage of a real type.
    pub fn component(
        &mut self,
        name: &str,
        component: impl Component + 'static,
        settings: Settings,
    ) -> &mut Self {
        let ports = component.ports(&settings);
        self.stage(name, ports, move |wiring, context| component.build(&settings, wiring, context))
    }

    /// Adds a stage of a type with this configuration.
    pub fn typed<S: StageType>(&mut self, name: &str, config: S::Config) -> &mut Self
    where
        S::Config: Send,
    {
        self.stage(name, S::ports(&config), move |wiring, context| S::build(config, wiring, context))
    }

    /// Adds a stage with the one port `output`.
    pub fn source<T: Payload>(
        &mut self,
        name: &str,
        run: impl FnOnce(Output<T>) -> Result<(), StageError> + Send + 'static,
    ) -> &mut Self {
        self.stage(name, ports(&[], &[output::<T>("output")]), |wiring, _| {
            let output = wiring.output("output")?;
            Ok(stage_fn(move || run(output)))
        })
    }

    /// Adds a stage with the ports `input` and `output`.
    pub fn middle<T: Payload, U: Payload>(
        &mut self,
        name: &str,
        run: impl FnOnce(Input<T>, Output<U>) -> Result<(), StageError> + Send + 'static,
    ) -> &mut Self {
        self.stage(name, ports(&[input::<T>("input")], &[output::<U>("output")]), |wiring, _| {
            let (input, output) = (wiring.input("input")?, wiring.output("output")?);
            Ok(stage_fn(move || run(input, output)))
        })
    }

    /// Adds a stage with the one port `input`.
    pub fn sink<T: Payload>(
        &mut self,
        name: &str,
        run: impl FnOnce(Input<T>) -> Result<(), StageError> + Send + 'static,
    ) -> &mut Self {
        self.stage(name, ports(&[input::<T>("input")], &[]), |wiring, _| {
            let input = wiring.input("input")?;
            Ok(stage_fn(move || run(input)))
        })
    }

    /// Adds a [`GraphBuilder::source`] that sends tokens 0, 1, … and counts them.
    pub fn counting_source(&mut self, name: &str, count: u64) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        let sent = progress.clone();
        self.source(name, move |mut output| {
            (0..count).try_for_each(|value| sent.send(&mut output, Token::new(value)))
        });
        progress
    }

    /// Adds a [`GraphBuilder::middle`] that passes tokens and marks on.
    pub fn pass(&mut self, name: &str) -> &mut Self {
        self.middle(name, |mut input: Input<Token>, mut output: Output<Token>| {
            loop {
                match input.recv()? {
                    Packet::Item(token) => output.send(token)?,
                    Packet::Mark(mark) => output.mark(mark)?,
                    Packet::End => return Ok(()),
                }
            }
        })
    }

    /// Adds a [`GraphBuilder::sink`] that keeps every packet.
    pub fn collect(&mut self, name: &str) -> Collected {
        self.collect_through(name, Gate::open())
    }

    /// Adds a [`GraphBuilder::sink`] that passes the gate before it takes each packet, `End` included.
    pub fn collect_through(&mut self, name: &str, gate: Gate) -> Collected {
        let collected = Collected::default();
        let packets = collected.clone();
        self.sink(name, move |mut input: Input<Token>| {
            loop {
                gate.pass();
                let packet = input.recv()?;
                let ended = packet == Packet::End;
                packets.push(packet);
                if ended {
                    return Ok(());
                }
            }
        });
        collected
    }

    /// Joins two ports, each of which is written `stage.port`.
    ///
    /// # Panics
    /// When one of the ports does not exist.
    pub fn edge(&mut self, from: &str, to: &str, limits: EdgeLimits) -> &mut Self {
        let (producer, port) =
            self.find(from, |ports, port| ports.outputs.iter().position(|p| p.name == port));
        let (consumer, wanted) =
            self.find(to, |ports, port| ports.inputs.iter().position(|p| p.name == port));
        let output = &self.stages[producer].ports.outputs[port];
        self.edges.push(ResolvedEdge {
            from: (producer, port),
            to: (consumer, wanted),
            limits,
            payload: output.payload.clone(),
            delayed: output.delayed,
        });
        self
    }

    /// Joins the `output` of each stage to the `input` of the next.
    pub fn chain(&mut self, names: &[&str], limits: EdgeLimits) -> &mut Self {
        for pair in names.windows(2) {
            self.edge(&format!("{}.output", pair[0]), &format!("{}.input", pair[1]), limits);
        }
        self
    }

    /// Ends the run when nothing moved for this long. Without this, a run that stalls does not end.
    pub fn stall_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.stall_timeout = Some(timeout);
        self
    }

    /// Gives a stage the key `workers`, its value, and the highest value that the key may have. What the stage does with
    /// it is up to its code.
    ///
    /// # Panics
    /// When the stage does not exist.
    pub fn workers(&mut self, name: &'static str, workers: u64, most: u64) -> &mut Self {
        let stage = self.stages.iter_mut().find(|stage| stage.name == name).expect("the stage is there");
        name.clone_into(&mut stage.type_name);
        let integer = |n: u64| i64::try_from(n).expect("a number of workers is small");
        stage.settings.values.insert("workers".to_owned(), integer(workers).into());
        self.with_workers.push((name, integer(most)));
        self
    }

    /// Caps the bytes that are queued on all edges together.
    pub fn memory(&mut self, bytes: usize) -> &mut Self {
        self.memory = Some(bytes);
        self
    }

    fn find(&self, port: &str, position: impl Fn(&Ports, &str) -> Option<usize>) -> (usize, usize) {
        let (stage, name) = port.split_once('.').expect("a port is written `stage.port`");
        let found = self.stages.iter().enumerate().find(|(_, s)| s.name == stage);
        let port_index = found.and_then(|(_, s)| position(&s.ports, name));
        match (found, port_index) {
            (Some((stage, _)), Some(index)) => (stage, index),
            _ => panic!("there is no port `{port}`"),
        }
    }

    /// Wires the graph and builds its stages.
    ///
    /// # Errors
    /// The first stage that cannot be built.
    pub fn build(self, options: &RunOptions) -> Result<Pipeline, RunError> {
        let graph = ResolvedGraph {
            name: "in_code".into(),
            seed: 0,
            seed_given: true,
            stall_timeout: self.stall_timeout,
            memory: self.memory,
            stages: self.stages,
            edges: self.edges,
        };
        let factories = Arc::new(Mutex::new(self.factories));
        let of_type = |type_name, keys| Factories { factories: factories.clone(), type_name, keys };
        let mut registry = Registry::new().with(of_type(Factories::TYPE, Vec::new()));
        for (name, most) in self.with_workers {
            let key = KeySpec::new("workers", KeyKind::Integer(1..=most), "The number of threads.");
            registry = registry.with(of_type(name, vec![key]));
        }
        Pipeline::build(&graph, &registry, options)
    }

    /// Builds the pipeline and runs it with default options.
    ///
    /// # Panics
    /// When a stage cannot be built.
    pub fn run(self) -> Outcome {
        self.build(&RunOptions::default()).expect("every stage builds").run()
    }
}

impl Debug for GraphBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|s| &s.name)).finish()
    }
}

/// Makes a required input port of payload `T`.
pub fn input<T: Payload>(name: &'static str) -> InputPort {
    InputPort::new::<T>(name, PayloadType::of::<T>())
}

/// Makes an output port of payload `T`.
pub fn output<T: Payload>(name: &'static str) -> OutputPort {
    OutputPort::new::<T>(name, PayloadType::of::<T>(), 1)
}

/// Makes the ports of a stage.
pub fn ports(inputs: &[InputPort], outputs: &[OutputPort]) -> Ports {
    Ports { inputs: inputs.to_vec(), outputs: outputs.to_vec() }
}

/// Makes a stage of one closure.
pub fn stage_fn(run: impl FnOnce() -> Result<(), StageError> + Send + 'static) -> Box<dyn Stage> {
    struct Closure<F>(F);
    impl<F: FnOnce() -> Result<(), StageError> + Send> Stage for Closure<F> {
        fn run(self: Box<Self>) -> Result<(), StageError> {
            self.0()
        }
    }
    Box::new(Closure(run))
}
