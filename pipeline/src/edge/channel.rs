//! The channel between two stages: it is bounded in items and in payload bytes, keeps the order of its packets, and can
//! be stopped.
//!
//! Law: a channel never holds more than `items` packets. It never holds more than `bytes` payload bytes, unless a
//! single item is larger than that; such an item travels alone. `End` takes no place, so ending an edge never waits.
//! Where the graph has a cap on the queued bytes of all edges, the cap holds in addition: see [`crate::edge::budget`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, RecvError, Sender, TryRecvError, TrySendError, select_biased};

use crate::edge::budget::{Budget, CloseShare, Share};
use crate::edge::packet::Packet;
use crate::edge::payload::Payload;
use crate::edge::stop::StopToken;

/// The bounds of one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeLimits {
    /// The most packets that the edge may hold, at least 1.
    pub items: usize,
    /// The most payload bytes that the edge may hold.
    pub bytes: usize,
}

/// Why a blocking operation returned without a packet moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// The stop token tripped.
    Stopped,
    /// The other end is gone.
    Disconnected,
    /// An orderly end was asked for while nothing was there.
    Finishing,
}

/// A callback that learns when an operation has to wait. It is called right before each wait, and not at all when the
/// operation need not wait. A send may wait twice: for bytes, and then for a place.
pub(crate) trait OnWait {
    fn wait_begins(&mut self);
}

impl<F: FnMut()> OnWait for F {
    fn wait_begins(&mut self) {
        self();
    }
}

/// The live state of an edge, for the meters and the sampler.
///
/// The sender counts a packet once it is in the channel, so a packet that still waits for room is never counted. The
/// receiver counts the packet once it is out, which may happen before the sender counts it. While a packet moves, a
/// difference is therefore off by that packet and may be negative.
#[derive(Debug)]
pub struct EdgeGauge {
    /// The bounds of the edge.
    pub limits: EdgeLimits,
    /// What the sender has put in, and what the receiver has taken out.
    sent: Counted,
    taken: Counted,
    /// Whether the sender waits for bytes, so that the receiver must wake it.
    wants_bytes: AtomicBool,
    /// Whether the sender ended the edge. A channel that is empty and disconnected then means `End`.
    ended: AtomicBool,
}

/// Packets and their payload bytes, as far as one end of an edge has counted them. Sums that grow too large begin again at 0.
///
/// Each end has cache lines of its own for what it counts. Otherwise every packet would move a line between two cores twice.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counted {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counted {
    fn count(&self, bytes: usize) {
        self.items.fetch_add(1, Ordering::Relaxed);
        if bytes > 0 {
            self.bytes.fetch_add(bytes, Ordering::SeqCst);
        }
    }
}

/// How much more was sent than taken. A packet that is moving may make it negative, which counts as nothing.
fn difference(sent: usize, taken: usize) -> usize {
    usize::try_from(sent.wrapping_sub(taken) as isize).unwrap_or(0)
}

impl EdgeGauge {
    /// The number of packets in the channel now, give or take one that is moving. At most [`EdgeLimits::items`].
    pub fn items(&self) -> usize {
        let (sent, taken) = (&self.sent.items, &self.taken.items);
        difference(sent.load(Ordering::Relaxed), taken.load(Ordering::Relaxed)).min(self.limits.items)
    }

    /// The payload bytes in the channel now, give or take an item that is moving.
    pub fn bytes(&self) -> usize {
        // `Relaxed` would not do here: see `EdgeSender::wait_for_bytes`.
        let (sent, taken) = (&self.sent.bytes, &self.taken.bytes);
        difference(sent.load(Ordering::SeqCst), taken.load(Ordering::SeqCst))
    }
}

/// The sending end of an edge.
#[derive(Debug)]
pub(crate) struct EdgeSender<T> {
    packets: Sender<Packet<T>>,
    /// Holds a token after the receiver took something, which wakes a sender that waits for bytes.
    freed: Receiver<()>,
    gauge: Arc<EdgeGauge>,
    share: Option<Share>,
}

/// The receiving end of an edge.
#[derive(Debug)]
pub(crate) struct EdgeReceiver<T> {
    packets: Receiver<Packet<T>>,
    freed: Sender<()>,
    gauge: Arc<EdgeGauge>,
    /// This field stands behind `packets` and `freed`, so that it is dropped after them.
    share: Option<Arc<CloseShare>>,
}

impl<T> Clone for EdgeSender<T> {
    fn clone(&self) -> Self {
        let (packets, freed) = (self.packets.clone(), self.freed.clone());
        Self { packets, freed, gauge: self.gauge.clone(), share: self.share.clone() }
    }
}

impl<T> Clone for EdgeReceiver<T> {
    fn clone(&self) -> Self {
        let (packets, freed) = (self.packets.clone(), self.freed.clone());
        Self { packets, freed, gauge: self.gauge.clone(), share: self.share.clone() }
    }
}

/// Makes a channel with these bounds. Its bytes are counted against `budget`, if there is one.
pub(crate) fn bounded<T: Payload>(
    limits: EdgeLimits,
    budget: Option<&Arc<Budget>>,
) -> (EdgeSender<T>, EdgeReceiver<T>, Arc<EdgeGauge>) {
    let limits = EdgeLimits { items: limits.items.max(1), bytes: limits.bytes };
    let (packet_sender, packet_receiver) = crossbeam_channel::bounded(limits.items);
    let (freed_sender, freed_receiver) = crossbeam_channel::bounded(1);
    let gauge = EdgeGauge {
        limits,
        sent: Counted::default(),
        taken: Counted::default(),
        wants_bytes: AtomicBool::new(false),
        ended: AtomicBool::new(false),
    };
    let gauge = Arc::new(gauge);
    let share = budget.map(|budget| Share::new(budget, freed_sender.clone()));
    let close = share.clone().map(|share| Arc::new(CloseShare(share)));
    let sender = EdgeSender { packets: packet_sender, freed: freed_receiver, gauge: gauge.clone(), share };
    let receiver =
        EdgeReceiver { packets: packet_receiver, freed: freed_sender, gauge: gauge.clone(), share: close };
    (sender, receiver, gauge)
}

/// Tries an operation until it gives a result, for a microsecond or two. `None` if it gives none in that time.
///
/// Where both stages are fast, the other one is about to make the operation possible. Waiting costs several microseconds on
/// both sides, because the thread sleeps and must be woken.
fn patiently<R>(mut attempt: impl FnMut() -> Option<R>) -> Option<R> {
    for pause in 0..PAUSES {
        if let Some(result) = attempt() {
            return Some(result);
        }
        for _ in 0..1 << pause {
            std::hint::spin_loop();
        }
    }
    attempt()
}

/// The pauses between two attempts of [`patiently`], each of which is twice as long as the one before.
const PAUSES: u32 = 6;

fn byte_len<T: Payload>(packet: &Packet<T>) -> usize {
    match packet {
        Packet::Item(item) => item.byte_len(),
        Packet::Mark(_) | Packet::End => 0,
    }
}

impl<T: Payload> EdgeSender<T> {
    /// Sends a packet. Waits until there is room for it.
    pub(crate) fn send(
        &self,
        packet: Packet<T>,
        stop: &StopToken,
        mut on_wait: impl OnWait,
    ) -> Result<(), Interrupted> {
        if stop.is_tripped() {
            return Err(Interrupted::Stopped);
        }
        let bytes = byte_len(&packet);
        self.wait_for_bytes(bytes, stop, &mut on_wait)?;
        let mut unsent = Some(packet);
        let tried = patiently(|| {
            let packet = unsent.take()?;
            match self.packets.try_send(packet) {
                Err(TrySendError::Full(packet)) => {
                    unsent = Some(packet);
                    None
                }
                sent => Some(sent),
            }
        });
        match (tried, unsent) {
            (Some(Ok(())), _) => {}
            (Some(Err(_)), _) | (None, None) => return Err(Interrupted::Disconnected),
            (None, Some(packet)) => {
                on_wait.wait_begins();
                select_biased! {
                    recv(stop.wake()) -> _ => return Err(Interrupted::Stopped),
                    send(self.packets, packet) -> sent => sent.map_err(|_| Interrupted::Disconnected)?,
                }
            }
        }
        self.gauge.sent.count(bytes);
        Ok(())
    }

    /// Ends the edge: after the packets in it, the receiver finds [`Packet::End`].
    pub(crate) fn end(self) {
        // This store comes before the drop of `self`. `self` is the engine's copy and so the last sender: its drop
        // disconnects the channel.
        self.gauge.ended.store(true, Ordering::Release);
    }

    fn wait_for_bytes(
        &self,
        bytes: usize,
        stop: &StopToken,
        on_wait: &mut impl OnWait,
    ) -> Result<(), Interrupted> {
        // Only the edge's single sender calls this, and only after its own sends. The difference is therefore exact here, or
        // too large by an item that is on its way out.
        let full = || {
            let queued = self.gauge.bytes();
            let edge_is_full = queued > 0 && queued.saturating_add(bytes) > self.gauge.limits.bytes;
            // The edge's own bound is asked first, because what the share admits is counted in at once.
            edge_is_full || !self.share.as_ref().is_none_or(|share| share.admit(bytes))
        };
        if bytes == 0 || !full() {
            return Ok(());
        }
        on_wait.wait_begins();
        // The receiver counts first and looks at this wish afterwards. So either it finds the wish, or `full` below finds
        // what it has counted. Both places are read and written SeqCst, which orders the operations on them.
        self.gauge.wants_bytes.store(true, Ordering::SeqCst);
        let mut waited = Ok(());
        while waited.is_ok() && full() {
            // A token that is left from an earlier removal only costs one more look. No token is ever lost: where the
            // receiver finds the slot full, the token in the slot is taken only later. That orders operations on two
            // places, the counts and the slot, which is inside the channel and SeqCst, too.
            waited = select_biased! {
                recv(stop.wake()) -> _ => Err(Interrupted::Stopped),
                recv(self.freed) -> token => token.map_err(|_| Interrupted::Disconnected),
            };
        }
        self.gauge.wants_bytes.store(false, Ordering::SeqCst);
        waited
    }
}

impl<T: Payload> EdgeReceiver<T> {
    /// Takes the next packet, and waits for one if need be. Returns [`Packet::End`] once the sender has ended the edge
    /// and nothing is left in it.
    pub(crate) fn recv(&self, stop: &StopToken, on_wait: impl OnWait) -> Result<Packet<T>, Interrupted> {
        self.recv_or(&crossbeam_channel::never(), stop, on_wait)
    }

    /// Takes the next packet as [`EdgeReceiver::recv`] does. The wait also ends when an orderly end is asked for.
    pub(crate) fn recv_until_finish(
        &self,
        stop: &StopToken,
        on_wait: impl OnWait,
    ) -> Result<Packet<T>, Interrupted> {
        self.recv_or(stop.wake_to_finish(), stop, on_wait)
    }

    /// Takes the next packet. The wait also ends when `finishing` disconnects.
    fn recv_or(
        &self,
        finishing: &Receiver<()>,
        stop: &StopToken,
        mut on_wait: impl OnWait,
    ) -> Result<Packet<T>, Interrupted> {
        if stop.is_tripped() {
            return Err(Interrupted::Stopped);
        }
        let tried = patiently(|| match self.packets.try_recv() {
            Err(TryRecvError::Empty) => None,
            received => Some(received),
        });
        let packet = match tried {
            Some(Ok(packet)) => packet,
            Some(Err(_)) => return self.disconnected(stop),
            None => {
                on_wait.wait_begins();
                select_biased! {
                    recv(stop.wake()) -> _ => return Err(Interrupted::Stopped),
                    recv(self.packets) -> packet => match packet {
                        Ok(packet) => packet,
                        Err(RecvError) => return self.disconnected(stop),
                    },
                    recv(finishing) -> _ => return Err(Interrupted::Finishing),
                }
            }
        };
        let bytes = byte_len(&packet);
        self.gauge.taken.count(bytes);
        if let (Some(close), 1..) = (&self.share, bytes) {
            close.0.release(bytes);
        }
        if self.gauge.wants_bytes.load(Ordering::SeqCst) {
            // A full token slot already says that room was made.
            let _ = self.freed.try_send(());
        }
        Ok(packet)
    }

    /// Says what it means that the channel is empty and its sender is gone.
    fn disconnected(&self, stop: &StopToken) -> Result<Packet<T>, Interrupted> {
        if stop.is_tripped() {
            Err(Interrupted::Stopped)
        } else if self.gauge.ended.load(Ordering::Acquire) {
            Ok(Packet::End)
        } else {
            Err(Interrupted::Disconnected)
        }
    }
}

#[cfg(test)]
mod tests;
