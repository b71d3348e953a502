//! The ports: the typed channel ends that a running stage holds. A port wakes when the run is stopped, and it keeps the
//! stage's meter, so that stages hold no metric code.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::edge::budget::Budget;
use crate::edge::channel::{EdgeGauge, EdgeLimits, EdgeReceiver, EdgeSender, Interrupted, bounded};
use crate::edge::error::StageError;
use crate::edge::meter::{Activity, StageMeter, WaitSlot};
use crate::edge::packet::{Mark, Packet};
use crate::edge::payload::Payload;
use crate::edge::probe::ProbePoint;
use crate::edge::stop::StopToken;

/// An input port. A stage reads from it until [`Packet::End`].
#[derive(Debug)]
pub struct Input<T> {
    edge: EdgeReceiver<T>,
    /// The place of this port's waits in the meter.
    waits: WaitSlot,
    stop: StopToken,
    meter: Arc<StageMeter>,
}

/// An output port with an edge to each consumer. Sending clones the item for every consumer but the last.
///
/// The edge of a consumer that has finished is dropped, and the other consumers still get everything.
#[derive(Debug)]
pub struct Output<T> {
    edges: Vec<OpenEdge<T>>,
    /// Whether the output is delayed. A delayed output feeds a loop: its consumer ends first, and that does not end
    /// this stage.
    delayed: bool,
    producer: Producer,
    probe: Probed,
}

/// The place for a probe at an output. A probe learns that the output was dropped.
#[derive(Debug)]
struct Probed(Arc<ProbePoint>);

impl Drop for Probed {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An edge whose consumer still listens, as far as the producer knows.
#[derive(Debug)]
struct OpenEdge<T> {
    sender: EdgeSender<T>,
    /// The place of the producer's waits at this edge in its meter.
    waits: WaitSlot,
}

/// What all outputs of one stage share. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    meter: Arc<StageMeter>,
    stop: StopToken,
    /// Whether the graph joins any output of the stage to anything.
    has_consumers: bool,
    /// The number of edges of all outputs, less those whose consumer was found to have finished.
    open_edges: Arc<AtomicUsize>,
}

impl Producer {
    /// Makes the shared part for a stage whose outputs have `edges` edges together.
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
    /// Takes the next packet, and waits for one if need be.
    ///
    /// # Errors
    /// `Stopped` when the run is stopped. A disconnect without `End` gives this error too: it means that the sender
    /// failed, and then the run is being stopped.
    pub fn recv(&mut self) -> Result<Packet<T>, StageError> {
        self.receive(false).map_err(|_| StageError::Stopped)
    }

    /// Takes the next packet, and waits for one if need be. Returns `None` when an orderly end of the run was asked
    /// for ([`StopToken::request_finish`]) and there is nothing to take. A stage that sets the pace reads its input in
    /// this way, so that it can end although nothing comes.
    ///
    /// # Errors
    /// The errors of [`Input::recv`].
    pub fn recv_until_finish(&mut self) -> Result<Option<Packet<T>>, StageError> {
        match self.receive(true) {
            Ok(packet) => Ok(Some(packet)),
            Err(Interrupted::Finishing) => Ok(None),
            Err(Interrupted::Stopped | Interrupted::Disconnected) => Err(StageError::Stopped),
        }
    }

    fn receive(&mut self, until_finish: bool) -> Result<Packet<T>, Interrupted> {
        let mut waited = false;
        let meter = &self.meter;
        let on_wait = || {
            waited = true;
            meter.wait(Activity::InputWait, self.waits);
        };
        let received = if until_finish {
            self.edge.recv_until_finish(&self.stop, on_wait)
        } else {
            self.edge.recv(&self.stop, on_wait)
        };
        if waited {
            meter.switch(Activity::Busy);
        }
        let packet = received?;
        meter.touch();
        if let Packet::Item(item) = &packet {
            meter.received(item.byte_len());
        }
        if let (Some(recorder), Packet::Item(_) | Packet::Mark(_)) = (meter.recorder(), &packet) {
            recorder.received(self.waits, packet.step(), waited);
        }
        Ok(packet)
    }
}

impl<T: Payload> Output<T> {
    /// Sends an item to every consumer, and waits for room if need be. An item that at least one consumer takes is
    /// counted as sent once.
    ///
    /// # Errors
    /// `Stopped` when the run is stopped. `Closed` when nothing listens to any output of this stage any more; a delayed
    /// output never returns `Closed`.
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
    /// The errors of [`Output::send`].
    pub fn mark(&mut self, mark: Mark) -> Result<(), StageError> {
        self.send_packet(Packet::Mark(mark))
    }

    /// Whether anything listened at the last send. A stage may use this to skip work whose result nobody takes.
    pub fn is_connected(&self) -> bool {
        !self.edges.is_empty()
    }

    fn send_packet(&mut self, packet: Packet<T>) -> Result<(), StageError> {
        let Producer { stop, meter, .. } = &self.producer;
        // The token is asked here too, because without an edge nothing else would ever stop the stage.
        if stop.is_tripped() {
            return Err(StageError::Stopped);
        }
        self.probe.0.show(&packet);
        let recorded = meter.recorder().map(|recorder| (recorder, recorder.made(packet.step())));
        let mut packet = Some(packet);
        let mut next = 0;
        while next < self.edges.len() {
            let is_last = next + 1 == self.edges.len();
            let copy = if is_last { packet.take() } else { packet.clone() };
            let copy = copy.expect("taken only for the last edge");
            let mut waited = false;
            let OpenEdge { sender, waits } = &self.edges[next];
            let sent = sender.send(copy, stop, || {
                waited = true;
                meter.wait(Activity::OutputWait, *waits);
            });
            if waited {
                meter.switch(Activity::Busy);
            }
            match sent {
                Ok(()) => {
                    meter.touch();
                    if let Some((recorder, ready)) = recorded {
                        recorder.sent(*waits, ready);
                    }
                    next += 1;
                }
                Err(Interrupted::Stopped | Interrupted::Finishing) => return Err(StageError::Stopped),
                // The engine drops the channel ends of a failed stage only after it has tripped the token. A tripped
                // token therefore tells a failure from a consumer that finished early.
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

/// The ends of an output that the engine keeps. The channels do not disconnect until the engine lets go of them.
pub(crate) trait Ender: Send {
    /// Sends `End`. The engine calls this when the stage has returned `Ok`. The call never waits.
    fn end(self: Box<Self>);
}

impl<T: Payload> Ender for Vec<EdgeSender<T>> {
    fn end(self: Box<Self>) {
        self.into_iter().for_each(EdgeSender::end);
    }
}

/// Everything that belongs to one output port and its edges.
pub(crate) struct Connection {
    /// `Output<T>` for the producer.
    pub(crate) output: Box<dyn Any + Send>,
    /// The engine's copy of the port's ends.
    pub(crate) ender: Box<dyn Ender>,
    /// The edges of the port.
    pub(crate) edges: Vec<ConnectedEdge>,
    /// The place for a probe.
    pub(crate) probe: Arc<ProbePoint>,
}

/// The consumer's side of one edge.
pub(crate) struct ConnectedEdge {
    /// `Input<T>` for the consumer.
    pub(crate) input: Box<dyn Any + Send>,
    /// The engine's copy of the consumer's end.
    pub(crate) keeper: Box<dyn Any + Send>,
    /// The live state of the edge.
    pub(crate) gauge: Arc<EdgeGauge>,
    /// The places of the waits at the edge in the meters of its producer and of its consumer.
    pub(crate) waits: (WaitSlot, WaitSlot),
}

/// The plan of an output port that is to be made.
pub(crate) struct OutputPlan<'a> {
    pub(crate) name: &'static str,
    pub(crate) delayed: bool,
    pub(crate) edges: Vec<EdgePlan>,
    pub(crate) producer: &'a Producer,
    /// The account of the bytes on all edges of the graph, where the graph has a cap.
    pub(crate) budget: Option<&'a Arc<Budget>>,
}

/// The plan of one edge of an output port.
pub(crate) struct EdgePlan {
    pub(crate) limits: EdgeLimits,
    /// The name of the consumer's port.
    pub(crate) input: &'static str,
    /// The consumer's meter.
    pub(crate) consumer: Arc<StageMeter>,
}

/// Makes the typed ends of an output port and of the inputs that it feeds.
pub(crate) fn connect<T: Payload>(plan: &OutputPlan<'_>) -> Connection {
    let OutputPlan { name, delayed, edges, producer, budget } = plan;
    let mut senders = Vec::with_capacity(edges.len());
    let mut open = Vec::with_capacity(edges.len());
    let mut connected = Vec::with_capacity(edges.len());
    for EdgePlan { limits, input, consumer } in edges {
        let (sender, receiver, gauge) = bounded::<T>(*limits, *budget);
        let send_waits = producer.meter.add_wait(Activity::OutputWait, name);
        let receive_waits = consumer.add_wait(Activity::InputWait, input);
        senders.push(sender.clone());
        open.push(OpenEdge { sender, waits: send_waits });
        let keeper = Box::new(receiver.clone());
        let (stop, meter) = (producer.stop.clone(), consumer.clone());
        let input = Input { edge: receiver, waits: receive_waits, stop, meter };
        let waits = (send_waits, receive_waits);
        connected.push(ConnectedEdge { input: Box::new(input), keeper, gauge, waits });
    }
    let ender = Box::new(senders);
    let probe = Arc::<ProbePoint>::default();
    let producer = Producer::clone(producer);
    let output = Output { edges: open, delayed: *delayed, producer, probe: Probed(probe.clone()) };
    Connection { output: Box::new(output), ender, edges: connected, probe }
}
