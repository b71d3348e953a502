//! The typed channel ends that a running stage holds: stoppable, and metered so that stages hold no metric code.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::budget::Budget;
use crate::channel::{EdgeGauge, EdgeLimits, EdgeReceiver, EdgeSender, Interrupted, bounded};
use crate::error::StageError;
use crate::meter::{Activity, StageMeter};
use crate::packet::{Mark, Packet};
use crate::payload::Payload;
use crate::stop::StopToken;

/// An input port. A stage reads until [`Packet::End`].
#[derive(Debug)]
pub struct Input<T> {
    name: &'static str,
    edge: EdgeReceiver<T>,
    stop: StopToken,
    meter: Arc<StageMeter>,
}

/// An output port with an edge to each consumer; sending clones the item for all but the last.
///
/// The edge of a consumer that has finished is dropped, and the others still get everything.
#[derive(Debug)]
pub struct Output<T> {
    name: &'static str,
    edges: Vec<EdgeSender<T>>,
    /// A delayed output feeds a loop: its consumer ends first, and that does not end this stage.
    delayed: bool,
    producer: Producer,
}

/// What the outputs of one stage share. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    meter: Arc<StageMeter>,
    stop: StopToken,
    /// Whether the graph joins any output of the stage to anything.
    has_consumers: bool,
    /// Edges of all outputs, less those whose consumer was found to have finished.
    open_edges: Arc<AtomicUsize>,
}

impl Producer {
    /// For a stage with `edges` edges out of all its outputs together.
    pub(crate) fn new(meter: Arc<StageMeter>, stop: StopToken, edges: usize) -> Self {
        Self { meter, stop, has_consumers: edges > 0, open_edges: Arc::new(AtomicUsize::new(edges)) }
    }

    fn edge_closed(&self) {
        self.open_edges.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_abandoned(&self) -> bool {
        self.has_consumers && self.open_edges.load(Ordering::Relaxed) == 0
    }
}

impl<T: Payload> Input<T> {
    /// The next packet, waiting for one.
    ///
    /// # Errors
    /// `Stopped` when the run is stopped. (A disconnect without `End` means that the sender failed, and then the
    /// run is being stopped.)
    pub fn recv(&mut self) -> Result<Packet<T>, StageError> {
        let mut waited = false;
        let meter = &self.meter;
        let received = self.edge.recv(&self.stop, || {
            waited = true;
            meter.wait(Activity::InputWait, self.name);
        });
        if waited {
            meter.switch(Activity::Busy);
        }
        let packet = received.map_err(|_| StageError::Stopped)?;
        meter.touch();
        if let Packet::Item(item) = &packet {
            meter.received(item.byte_len());
        }
        Ok(packet)
    }
}

impl<T: Payload> Output<T> {
    /// Sends an item to every consumer, waiting for room. An item that somebody took is counted as sent, once.
    ///
    /// # Errors
    /// `Stopped` when the run is stopped; `Closed` when nothing listens to any output of this stage any more. A
    /// delayed output is never `Closed`.
    pub fn send(&mut self, item: T) -> Result<(), StageError> {
        let bytes = item.byte_len();
        self.send_packet(Packet::Item(item))?;
        if self.is_connected() {
            self.producer.meter.sent(bytes);
        }
        Ok(())
    }

    /// Passes a mark on to every consumer.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn mark(&mut self, mark: Mark) -> Result<(), StageError> {
        self.send_packet(Packet::Mark(mark))
    }

    /// Whether anything listened at the last send. A stage may skip work whose result nobody takes.
    pub fn is_connected(&self) -> bool {
        !self.edges.is_empty()
    }

    fn send_packet(&mut self, packet: Packet<T>) -> Result<(), StageError> {
        let Producer { stop, meter, .. } = &self.producer;
        // Asked here too, because without an edge nothing else would ever stop the stage.
        if stop.is_tripped() {
            return Err(StageError::Stopped);
        }
        let mut packet = Some(packet);
        let mut next = 0;
        while next < self.edges.len() {
            let is_last = next + 1 == self.edges.len();
            let copy = if is_last { packet.take() } else { packet.clone() };
            let copy = copy.expect("taken only for the last edge");
            let mut waited = false;
            let sent = self.edges[next].send(copy, stop, || {
                waited = true;
                meter.wait(Activity::OutputWait, self.name);
            });
            if waited {
                meter.switch(Activity::Busy);
            }
            match sent {
                Ok(()) => {
                    meter.touch();
                    next += 1;
                }
                Err(Interrupted::Stopped) => return Err(StageError::Stopped),
                // The engine drops a failed stage's ends only after it has tripped the token, so a tripped
                // token tells a failure from a consumer that finished early.
                Err(Interrupted::Disconnected) if stop.is_tripped() => return Err(StageError::Stopped),
                Err(Interrupted::Disconnected) => {
                    self.edges.remove(next);
                    self.producer.edge_closed();
                }
            }
        }
        if self.producer.is_abandoned() && !self.delayed { Err(StageError::Closed) } else { Ok(()) }
    }
}

/// Ends of an output that the engine keeps: until it lets go, the channels do not disconnect.
pub(crate) trait Ender: Send {
    /// Sends `End`; called when the stage has returned `Ok`. Never waits.
    fn end(self: Box<Self>);
}

impl<T: Payload> Ender for Vec<EdgeSender<T>> {
    fn end(self: Box<Self>) {
        self.into_iter().for_each(EdgeSender::end);
    }
}

/// Everything that belongs to one output port with its edges.
pub(crate) struct Connection {
    /// `Output<T>` for the producer.
    pub(crate) output: Box<dyn Any + Send>,
    /// The engine's copy of its ends.
    pub(crate) ender: Box<dyn Ender>,
    /// For each edge: `Input<T>` for the consumer, the engine's copy of its end, and the gauge.
    pub(crate) edges: Vec<ConnectedEdge>,
}

pub(crate) struct ConnectedEdge {
    pub(crate) input: Box<dyn Any + Send>,
    pub(crate) keeper: Box<dyn Any + Send>,
    pub(crate) gauge: Arc<EdgeGauge>,
}

/// An output port to make.
pub(crate) struct OutputPlan<'a> {
    pub(crate) name: &'static str,
    pub(crate) delayed: bool,
    pub(crate) edges: Vec<EdgePlan>,
    pub(crate) producer: &'a Producer,
    /// The account of the bytes on all edges of the graph.
    pub(crate) budget: Option<&'a Arc<Budget>>,
}

/// One of its edges.
pub(crate) struct EdgePlan {
    pub(crate) limits: EdgeLimits,
    /// The consumer's port and meter.
    pub(crate) input: &'static str,
    pub(crate) consumer: Arc<StageMeter>,
}

/// Makes the typed ends of an output port and of the inputs it feeds.
pub(crate) fn connect<T: Payload>(plan: &OutputPlan<'_>) -> Connection {
    let OutputPlan { name, delayed, edges, producer, budget } = plan;
    let mut senders = Vec::with_capacity(edges.len());
    let mut connected = Vec::with_capacity(edges.len());
    for EdgePlan { limits, input, consumer } in edges {
        let (sender, receiver, gauge) = bounded::<T>(*limits, *budget);
        senders.push(sender);
        let keeper = Box::new(receiver.clone());
        let (stop, meter) = (producer.stop.clone(), consumer.clone());
        let input = Input { name: input, edge: receiver, stop, meter };
        connected.push(ConnectedEdge { input: Box::new(input), keeper, gauge });
    }
    let ender = Box::new(senders.clone());
    let output = Output { name, edges: senders, delayed: *delayed, producer: Producer::clone(producer) };
    Connection { output: Box::new(output), ender, edges: connected }
}
