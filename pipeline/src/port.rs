//! The typed channel ends that a running stage holds: stoppable, and metered so that stages hold no metric code.

use std::any::Any;
use std::sync::Arc;

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
#[derive(Debug)]
pub struct Output<T> {
    edges: Vec<EdgeSender<T>>,
    /// A delayed output feeds a loop: its consumer ends first, and that does not end this stage.
    delayed: bool,
    stop: StopToken,
    meter: Arc<StageMeter>,
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
    /// Sends an item to every consumer, waiting for room.
    ///
    /// # Errors
    /// `Stopped` when the run is stopped; `Closed` when every consumer has finished.
    pub fn send(&mut self, item: T) -> Result<(), StageError> {
        self.meter.sent(item.byte_len());
        self.send_packet(Packet::Item(item))
    }

    /// Passes a mark on to every consumer.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn mark(&mut self, mark: Mark) -> Result<(), StageError> {
        self.send_packet(Packet::Mark(mark))
    }

    /// Whether anything listens. A stage may skip work whose result nobody takes.
    pub fn is_connected(&self) -> bool {
        !self.edges.is_empty()
    }

    fn send_packet(&mut self, packet: Packet<T>) -> Result<(), StageError> {
        if self.edges.is_empty() {
            return Ok(());
        }
        let mut open = Vec::with_capacity(self.edges.len());
        let last = self.edges.len() - 1;
        let mut packet = Some(packet);
        for (i, edge) in std::mem::take(&mut self.edges).into_iter().enumerate() {
            let copy = if i == last { packet.take() } else { packet.clone() };
            let copy = copy.expect("taken only for the last edge");
            let mut waited = false;
            let meter = &self.meter;
            let sent = edge.send(copy, &self.stop, || {
                waited = true;
                meter.switch(Activity::OutputWait);
            });
            if waited {
                meter.switch(Activity::Busy);
            }
            match sent {
                Ok(()) => open.push(edge),
                Err(Interrupted::Stopped) => return Err(StageError::Stopped),
                // The engine drops a failed stage's ends only after it has tripped the token, so a tripped
                // token tells a failure from a consumer that finished early.
                Err(Interrupted::Disconnected) if self.stop.is_tripped() => return Err(StageError::Stopped),
                Err(Interrupted::Disconnected) => {}
            }
        }
        self.edges = open;
        if self.edges.is_empty() && !self.delayed { Err(StageError::Closed) } else { Ok(()) }
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
pub(crate) fn connect<T: Payload>(
    edges: &[EdgePlan],
    delayed: bool,
    producer: &Arc<StageMeter>,
    stop: &StopToken,
) -> Connection {
    let mut senders = Vec::with_capacity(edges.len());
    let mut connected = Vec::with_capacity(edges.len());
    for (limits, consumer) in edges {
        let (sender, receiver, gauge) = bounded::<T>(*limits);
        senders.push(sender);
        let keeper = Box::new(receiver.clone());
        let input = Box::new(Input { edge: receiver, stop: stop.clone(), meter: consumer.clone() });
        connected.push(ConnectedEdge { input, keeper, gauge });
    }
    let ender = Box::new(senders.clone());
    let output = Output { edges: senders, delayed, stop: stop.clone(), meter: producer.clone() };
    Connection { output: Box::new(output), ender, edges: connected }
}
