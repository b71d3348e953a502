//! A sink that describes what reaches it, for `framewise tap`. It is not in the table of stage types: the program puts it
//! behind the port that is looked at.

use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, Sender, channel};

use framewise_pipeline::prelude::*;
use framewise_pipeline::{Component, KeySpec, Settings};

use crate::payload::{
    Describe, Description, ForwardPass, Lazy, LossPass, Predictions, Ranked, Record, ShardGradients, Step,
    TrainState, Update, Video, WeightsVersion,
};
use crate::words;

/// The name of the stage type.
pub const TAP: &str = "tap";

/// What passed an edge.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// An item, with its payload bytes.
    Item(Description, usize),
    /// A mark, in words.
    Mark(String),
}

/// A table of stage types with a sink that describes up to `count` items of the named payload, the port of that sink, and
/// what it sees.
pub struct Tapped {
    /// The table.
    pub registry: Registry,
    /// The ports of the sink.
    pub ports: Ports,
    /// What the sink sees.
    pub seen: Receiver<Seen>,
}

impl std::fmt::Debug for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tapped").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// Adds the sink for a payload to a table of stage types. `None` for a payload that this crate does not describe.
pub fn tapped(registry: &Registry, payload: &str, count: u64) -> Option<Tapped> {
    let (sender, seen) = channel();
    let registry = registry.clone();
    // One arm for each type that implements `Describe`.
    let made = match payload {
        Lazy::<Record>::NAME => add::<Lazy<Record>>(registry, sender, count),
        Lazy::<Video>::NAME => add::<Lazy<Video>>(registry, sender, count),
        Step::NAME => add::<Step>(registry, sender, count),
        WeightsVersion::NAME => add::<WeightsVersion>(registry, sender, count),
        ForwardPass::NAME => add::<ForwardPass>(registry, sender, count),
        LossPass::NAME => add::<LossPass>(registry, sender, count),
        ShardGradients::NAME => add::<ShardGradients>(registry, sender, count),
        Update::NAME => add::<Update>(registry, sender, count),
        TrainState::NAME => add::<TrainState>(registry, sender, count),
        Predictions::NAME => add::<Predictions>(registry, sender, count),
        Ranked::NAME => add::<Ranked>(registry, sender, count),
        _ => return None,
    };
    let (registry, ports) = made;
    Some(Tapped { registry, ports, seen })
}

fn add<T: Describe>(registry: Registry, sender: Sender<Seen>, count: u64) -> (Registry, Ports) {
    let sink = Sink::<T> { sender, count, payload: PhantomData };
    let ports = sink.ports(&Settings::default());
    (registry.with(sink), ports)
}

struct Sink<T> {
    sender: Sender<Seen>,
    count: u64,
    payload: PhantomData<fn(T)>,
}

/// The name of the sink's input.
const INPUT: &str = "items";

impl<T: Describe> Component for Sink<T> {
    fn type_name(&self) -> &'static str {
        TAP
    }

    fn doc(&self) -> &'static str {
        "Describes what reaches it."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports { inputs: vec![InputPort::of::<T>(INPUT)], outputs: vec![] }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let input: Input<T> = wiring.input(INPUT)?;
        Ok(Box::new(Looking { input, sender: self.sender.clone(), left: self.count }))
    }
}

struct Looking<T> {
    input: Input<T>,
    sender: Sender<Seen>,
    left: u64,
}

impl<T: Describe> Stage for Looking<T> {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        while self.left > 0 {
            let seen = match self.input.recv()? {
                Packet::Item(item) => {
                    self.left -= 1;
                    Seen::Item(item.describe()?, item.byte_len())
                }
                Packet::Mark(Mark::EpochEnd { epoch }) => {
                    Seen::Mark(format!("end of epoch {}", words::epoch(epoch)))
                }
                Packet::End => break,
            };
            if self.sender.send(seen).is_err() {
                break;
            }
        }
        Ok(())
    }
}
