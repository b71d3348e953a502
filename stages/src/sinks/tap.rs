//! What passes an edge, for `framewise tap`: a sink that describes what reaches it, and the description of a single item. The
//! sink is not in the table of stage types: the program puts it behind the port that is looked at.

use std::any::Any;
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

/// Calls `$call::<T>(…)` with the type `T` of the payload of this name, or returns `None` for a payload that this crate does
/// not describe. Each type that implements `Describe` has an arm.
macro_rules! for_payload {
    ($payload:expr, $call:ident $arguments:tt) => {
        for_payload!(@arms $payload, $call $arguments,
            Lazy<Record>, Lazy<Video>, Step, WeightsVersion, ForwardPass, LossPass, ShardGradients, Update, TrainState,
            Predictions, Ranked)
    };
    (@arms $payload:expr, $call:ident $arguments:tt, $($type:ty),+) => {
        match $payload {
            $(name if name == <$type>::NAME => $call::<$type> $arguments,)+
            _ => return None,
        }
    };
}

/// Adds the sink for a payload to a table of stage types. `None` for a payload that this crate does not describe.
pub fn tapped(registry: &Registry, payload: &str, count: u64) -> Option<Tapped> {
    let (sender, seen) = channel();
    let (registry, ports) = for_payload!(payload, add(registry.clone(), sender, count));
    Some(Tapped { registry, ports, seen })
}

/// The description of an item of the named payload. `None` for a payload that this crate does not describe, and for an item
/// of another type.
pub fn described(payload: &str, item: &(dyn Any + Send)) -> Option<Result<Description, Failure>> {
    for_payload!(payload, describe(item))
}

/// A mark, in words.
pub fn mark_in_words(mark: Mark) -> String {
    let Mark::EpochEnd { epoch } = mark;
    format!("end of epoch {}", words::epoch(epoch))
}

fn describe<T: Describe>(item: &(dyn Any + Send)) -> Option<Result<Description, Failure>> {
    item.downcast_ref::<T>().map(Describe::describe)
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
                Packet::Mark(mark) => Seen::Mark(mark_in_words(mark)),
                Packet::End => break,
            };
            if self.sender.send(seen).is_err() {
                break;
            }
        }
        Ok(())
    }
}
