//! A probe: a look at what passes an output while a run goes on.
//!
//! Laws: a producer never waits for a probe. What a probe has no room for is left out and counted. A probe sees copies,
//! so it changes nothing of what the consumers get.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use crate::edge::packet::{Mark, Packet};
use crate::edge::payload::Payload;

/// The number of packets that wait for whoever holds a probe. More would keep more memory alive.
const ROOM: usize = 1;

/// The place at an output to which a probe can be put.
#[derive(Debug, Default)]
pub(crate) struct ProbePoint {
    /// Whether a probe is there. Without one, a packet costs the producer this look.
    is_watched: AtomicBool,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    sender: Option<Sender<Seen>>,
    left_out: Arc<AtomicU64>,
    /// Whether the output was dropped, so that nothing passes any more.
    has_ended: bool,
}

/// A copy of a packet that passed an output.
pub enum Seen {
    /// An item of the output's payload type, with its payload bytes.
    Item(Box<dyn Any + Send>, usize),
    /// A mark.
    Mark(Mark),
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Item(_, bytes) => f.debug_tuple("Item").field(bytes).finish_non_exhaustive(),
            Seen::Mark(mark) => f.debug_tuple("Mark").field(mark).finish(),
        }
    }
}

/// The answer of a probe.
#[derive(Debug)]
pub enum Look {
    /// A packet has passed.
    Seen(Seen),
    /// Nothing has passed since the last look.
    Nothing,
    /// Nothing will pass any more.
    Ended,
}

/// A probe at an output. It is taken away when it is dropped.
#[derive(Debug)]
pub struct Probe {
    point: Arc<ProbePoint>,
    seen: Receiver<Seen>,
    left_out: Arc<AtomicU64>,
}

impl Probe {
    /// Puts a probe to an output. `None` if one is there already.
    pub(crate) fn at(point: &Arc<ProbePoint>) -> Option<Self> {
        let (sender, seen) = bounded(ROOM);
        let mut watch = point.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.sender.is_some() {
            return None;
        }
        let left_out = Arc::default();
        // An output that has ended gets no sender, and so the probe tells its end at once.
        let sender = (!watch.has_ended).then_some(sender);
        point.is_watched.store(sender.is_some(), Ordering::Relaxed);
        (watch.sender, watch.left_out) = (sender, Arc::clone(&left_out));
        drop(watch);
        Some(Self { point: point.clone(), seen, left_out })
    }

    /// Takes the next packet, if one has passed. Never waits.
    pub fn look(&self) -> Look {
        match self.seen.try_recv() {
            Ok(seen) => Look::Seen(seen),
            Err(TryRecvError::Empty) => Look::Nothing,
            Err(TryRecvError::Disconnected) => Look::Ended,
        }
    }

    /// The number of packets that have passed since the probe was put there and were left out.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.point.is_watched.store(false, Ordering::Relaxed);
        self.point.watch.lock().unwrap_or_else(PoisonError::into_inner).sender = None;
    }
}

impl ProbePoint {
    /// Shows a packet that is about to be sent to the probe, if there is one.
    pub(crate) fn show<T: Payload>(&self, packet: &Packet<T>) {
        if !self.is_watched.load(Ordering::Relaxed) {
            return;
        }
        // Whoever puts a probe here or takes it away holds the lock for a moment. The producer does not wait for that.
        let Ok(watch) = self.watch.try_lock() else { return };
        let Some(sender) = &watch.sender else { return };
        // A copy is made where there is room for it. Nobody else sends, so the room stays.
        let sent = if sender.is_full() {
            false
        } else {
            let seen = match packet {
                Packet::Item(item) => Seen::Item(Box::new(item.clone()), item.byte_len()),
                Packet::Mark(mark) => Seen::Mark(*mark),
                Packet::End => return,
            };
            !matches!(sender.try_send(seen), Err(TrySendError::Full(_)))
        };
        if !sent {
            watch.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says that nothing will pass any more.
    pub(crate) fn end(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        (watch.sender, watch.has_ended) = (None, true);
        self.is_watched.store(false, Ordering::Relaxed);
    }
}
