//! An item that travels through the graph before anybody has read it.
//!
//! Law: loading gives what reading at its place would have given, or fails. A run that goes on from a checkpoint
//! replays the order of its data with such items; only those that a step is made of are ever read.

use std::fmt;
use std::sync::Arc;

use framewise_pipeline::{Failure, Payload};

use super::Origin;

/// Reads the item that lies at an origin.
pub type Loader<T> = Arc<dyn Fn(&Origin) -> Result<T, Failure> + Send + Sync>;

/// An item of the data path, and its place in the order in which its source sends an epoch.
#[derive(Clone)]
pub struct Lazy<T> {
    position: u64,
    held: Held<T>,
}

#[derive(Clone)]
enum Held<T> {
    Ready(T),
    Deferred(Deferred<T>),
}

/// An item that was not read yet.
#[derive(Clone)]
pub struct Deferred<T> {
    /// Where it lies.
    pub origin: Origin,
    /// Reads it.
    pub load: Loader<T>,
    /// Bytes that `load` keeps alive.
    pub bytes: usize,
}

impl<T> Lazy<T> {
    /// An item at hand. `position` counts what its source passed before it in the epoch, bad records included.
    pub fn ready(position: u64, item: T) -> Self {
        Self { position, held: Held::Ready(item) }
    }

    /// An item that is read when somebody wants it.
    pub fn deferred(position: u64, deferred: Deferred<T>) -> Self {
        Self { position, held: Held::Deferred(deferred) }
    }

    /// Its place in the order in which its source sends the epoch.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether it has not been read.
    pub fn is_deferred(&self) -> bool {
        matches!(self.held, Held::Deferred(_))
    }

    /// The item at hand, or how to read it.
    pub fn into_parts(self) -> Result<T, Deferred<T>> {
        match self.held {
            Held::Ready(item) => Ok(item),
            Held::Deferred(deferred) => Err(deferred),
        }
    }

    /// The item, read now if it was not yet.
    ///
    /// # Errors
    /// `Data` (65) if the item is not there any more or is not what it was; otherwise what reading it failed with.
    pub fn load(self) -> Result<T, Failure> {
        match self.held {
            Held::Ready(item) => Ok(item),
            Held::Deferred(Deferred { origin, load, .. }) => load(&origin),
        }
    }
}

impl<T> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("position", &self.position)
            .field("deferred", &self.is_deferred())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl<T: Payload> Payload for Lazy<T> {
    const NAME: &'static str = T::NAME;

    fn byte_len(&self) -> usize {
        match &self.held {
            Held::Ready(item) => item.byte_len(),
            Held::Deferred(deferred) => deferred.bytes,
        }
    }
}
