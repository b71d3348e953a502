//! The typed channel ends that a running stage holds: stoppable, and metered so that stages hold no metric code.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::channel::{EdgeGauge, EdgeLimits, EdgeReceiver, EdgeSender, Interrupted, bounded};
use crate::error::StageError;
use crate::meter::{Activity, StageMeter};
use crate::packet::{Mark, Packet};
use crate::payload::Payload;
use crate::stop::StopToken;

/// An input port. A stage reads until [`Packet::End`].
#[derive(Debug)]
pub struct Input<T> {
    edge: EdgeReceiver<T>,
    stop: StopToken,
    meter: Arc<StageMeter>,
}

/// An output port with an edge to each consumer; sending clones the item for all but the last.
///
/// The edge of a consumer that has finished is dropped, and the others still get everything.
#[derive(Debug)]
pub struct Output<T> {
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
            meter.switch(Activity::InputWait);
        });
        if waited {
            meter.switch(Activity::Busy);
        }
        let packet = received.map_err(|_| StageError::Stopped)?;
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
                meter.switch(Activity::OutputWait);
            });
            if waited {
                meter.switch(Activity::Busy);
            }
            match sent {
                Ok(()) => next += 1,
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

/// One edge to make: its bounds and the consumer's meter.
pub(crate) type EdgePlan = (EdgeLimits, Arc<StageMeter>);

/// Makes the typed ends of an output port and of the inputs it feeds.
pub(crate) fn connect<T: Payload>(edges: &[EdgePlan], delayed: bool, producer: &Producer) -> Connection {
    let mut senders = Vec::with_capacity(edges.len());
    let mut connected = Vec::with_capacity(edges.len());
    for (limits, consumer) in edges {
        let (sender, receiver, gauge) = bounded::<T>(*limits);
        senders.push(sender);
        let keeper = Box::new(receiver.clone());
        let input = Input { edge: receiver, stop: producer.stop.clone(), meter: consumer.clone() };
        connected.push(ConnectedEdge { input: Box::new(input), keeper, gauge });
    }
    let ender = Box::new(senders.clone());
    let output = Output { edges: senders, delayed, producer: producer.clone() };
    Connection { output: Box::new(output), ender, edges: connected }
}
