//! A bounded channel between two stages: bounded in items and in payload bytes, first in, first out, and
//! stoppable.
//!
//! Law: a channel never holds more than `items` packets, and never more than `bytes` payload bytes unless a
//! single item is larger than that (it then travels alone). `End` takes no place, so ending never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use crossbeam_channel::{Receiver, RecvError, Sender, TryRecvError, TrySendError, select_biased};

use crate::packet::Packet;
use crate::payload::Payload;
use crate::stop::StopToken;

/// The bounds of one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Packets, at least 1.
    pub items: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// Why a blocking operation returned without a packet moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// The stop token tripped.
    Stopped,
    /// The other end is gone.
    Disconnected,
}

/// Learns that an operation has to wait: called right before each wait (a send may wait for bytes and then for a
/// place) and not at all without one.
pub(crate) trait OnWait {
    fn wait_begins(&mut self);
}

impl<F: FnMut()> OnWait for F {
    fn wait_begins(&mut self) {
        self();
    }
}

/// The live state of an edge, for meters and the watch thread.
///
/// The sender adds a packet once it is in the channel, so a packet that still waits for room is never counted.
/// The receiver may subtract it first: for that moment a sum is one packet short, and may be negative.
#[derive(Debug)]
pub struct EdgeGauge {
    /// The bounds.
    pub limits: EdgeLimits,
    items: AtomicIsize,
    bytes: AtomicIsize,
    /// The sender is through: when the channel is empty and disconnected, that is an `End`.
    ended: AtomicBool,
}

impl EdgeGauge {
    /// Packets in the channel now.
    pub fn items(&self) -> usize {
        usize::try_from(self.items.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Payload bytes in the channel now.
    pub fn bytes(&self) -> usize {
        // Not Relaxed: see `EdgeSender::wait_for_bytes`.
        usize::try_from(self.bytes.load(Ordering::SeqCst)).unwrap_or(0)
    }

    fn add(&self, bytes: usize) {
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as isize, Ordering::SeqCst);
    }

    fn subtract(&self, bytes: usize) {
        self.items.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as isize, Ordering::SeqCst);
    }
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct EdgeSender<T> {
    packets: Sender<Packet<T>>,
    /// Holds a token after the receiver took something: wakes a sender that waits for bytes.
    freed: Receiver<()>,
    gauge: Arc<EdgeGauge>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct EdgeReceiver<T> {
    packets: Receiver<Packet<T>>,
    freed: Sender<()>,
    gauge: Arc<EdgeGauge>,
}

impl<T> Clone for EdgeSender<T> {
    fn clone(&self) -> Self {
        Self { packets: self.packets.clone(), freed: self.freed.clone(), gauge: self.gauge.clone() }
    }
}

impl<T> Clone for EdgeReceiver<T> {
    fn clone(&self) -> Self {
        Self { packets: self.packets.clone(), freed: self.freed.clone(), gauge: self.gauge.clone() }
    }
}

/// A channel with these bounds.
pub(crate) fn bounded<T: Payload>(limits: EdgeLimits) -> (EdgeSender<T>, EdgeReceiver<T>, Arc<EdgeGauge>) {
    let limits = EdgeLimits { items: limits.items.max(1), bytes: limits.bytes };
    let (packet_sender, packet_receiver) = crossbeam_channel::bounded(limits.items);
    let (freed_sender, freed_receiver) = crossbeam_channel::bounded(1);
    let gauge = EdgeGauge {
        limits,
        items: AtomicIsize::new(0),
        bytes: AtomicIsize::new(0),
        ended: AtomicBool::new(false),
    };
    let gauge = Arc::new(gauge);
    let sender = EdgeSender { packets: packet_sender, freed: freed_receiver, gauge: gauge.clone() };
    let receiver = EdgeReceiver { packets: packet_receiver, freed: freed_sender, gauge: gauge.clone() };
    (sender, receiver, gauge)
}

fn byte_len<T: Payload>(packet: &Packet<T>) -> usize {
    match packet {
        Packet::Item(item) => item.byte_len(),
        Packet::Mark(_) | Packet::End => 0,
    }
}

impl<T: Payload> EdgeSender<T> {
    /// Sends, waiting for room.
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
        match self.packets.try_send(packet) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(Interrupted::Disconnected),
            Err(TrySendError::Full(packet)) => {
                on_wait.wait_begins();
                select_biased! {
                    recv(stop.wake()) -> _ => return Err(Interrupted::Stopped),
                    send(self.packets, packet) -> sent => sent.map_err(|_| Interrupted::Disconnected)?,
                }
            }
        }
        self.gauge.add(bytes);
        Ok(())
    }

    /// Ends the edge: after the packets in it the receiver finds [`Packet::End`].
    pub(crate) fn end(self) {
        // Before the drop of `self`, which is the engine's and therefore the last sender, disconnects the channel.
        self.gauge.ended.store(true, Ordering::Release);
    }

    fn wait_for_bytes(
        &self,
        bytes: usize,
        stop: &StopToken,
        on_wait: &mut impl OnWait,
    ) -> Result<(), Interrupted> {
        // The only sender of the edge looks at its own finished sends: here the sum is exact, or larger than
        // what is left by now.
        let full = || {
            let queued = self.gauge.bytes();
            queued > 0 && queued.saturating_add(bytes) > self.gauge.limits.bytes
        };
        if bytes == 0 || !full() {
            return Ok(());
        }
        on_wait.wait_begins();
        while full() {
            // A token left from an earlier removal only costs one more look. None is ever lost: the receiver
            // subtracts first and leaves the token afterwards, and where it finds the slot full, the token in it
            // is taken only later. That last step orders operations on two places (the sum and the slot), so the
            // sum is read and written SeqCst, as the slot is inside the channel.
            select_biased! {
                recv(stop.wake()) -> _ => return Err(Interrupted::Stopped),
                recv(self.freed) -> token => token.map_err(|_| Interrupted::Disconnected)?,
            }
        }
        Ok(())
    }
}

impl<T: Payload> EdgeReceiver<T> {
    /// The next packet, waiting for one; [`Packet::End`] when the sender has ended the edge.
    pub(crate) fn recv(&self, stop: &StopToken, mut on_wait: impl OnWait) -> Result<Packet<T>, Interrupted> {
        if stop.is_tripped() {
            return Err(Interrupted::Stopped);
        }
        let packet = match self.packets.try_recv() {
            Ok(packet) => packet,
            Err(TryRecvError::Disconnected) => return self.disconnected(stop),
            Err(TryRecvError::Empty) => {
                on_wait.wait_begins();
                select_biased! {
                    recv(stop.wake()) -> _ => return Err(Interrupted::Stopped),
                    recv(self.packets) -> packet => match packet {
                        Ok(packet) => packet,
                        Err(RecvError) => return self.disconnected(stop),
                    },
                }
            }
        };
        self.gauge.subtract(byte_len(&packet));
        // A full token slot already says that room was made.
        let _ = self.freed.try_send(());
        Ok(packet)
    }

    /// What it means that the channel is empty and its sender gone.
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
