//! An item that may travel through the graph before it has been read.
//!
//! A resumed run replays the order of its data with such items, and reads only the items that a step is made of.
//!
//! Law: loading an item gives what reading at its place would have given, or fails.

use std::fmt;
use std::sync::Arc;

use framewise_pipeline::{Failure, Payload};

use super::Origin;

/// A function that reads the item that lies at an origin.
pub type Loader<T> = Arc<dyn Fn(&Origin) -> Result<T, Failure> + Send + Sync>;

/// An item of the data path, with its place in the order in which its source sends an epoch.
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

/// An item that has not been read yet.
#[derive(Clone)]
pub struct Deferred<T> {
    /// The place of the item in its file.
    pub origin: Origin,
    /// The function that reads the item.
    pub load: Loader<T>,
    /// The bytes that `load` keeps alive.
    pub bytes: usize,
}

impl<T> Lazy<T> {
    /// Wraps an item at hand. `position` is the number of records that its source passed before it in the epoch, bad
    /// records included.
    pub fn ready(position: u64, item: T) -> Self {
        Self { position, held: Held::Ready(item) }
    }

    /// Wraps an item that is read only when a stage wants it.
    pub fn deferred(position: u64, deferred: Deferred<T>) -> Self {
        Self { position, held: Held::Deferred(deferred) }
    }

    /// The item's place in the order in which its source sends the epoch.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the item has not been read yet.
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

    /// The item that `f` makes of this one, with the same position. For an item at hand `f` is called now. For an item
    /// that has not been read yet `f` is called when somebody reads it.
    ///
    /// # Errors
    /// What `f` fails with.
    pub fn map<U>(
        self,
        f: impl Fn(T) -> Result<U, Failure> + Send + Sync + 'static,
    ) -> Result<Lazy<U>, Failure>
    where
        T: 'static,
    {
        let position = self.position;
        Ok(match self.held {
            Held::Ready(item) => Lazy::ready(position, f(item)?),
            Held::Deferred(Deferred { origin, load, bytes }) => {
                let load: Loader<U> = Arc::new(move |origin| f(load(origin)?));
                Lazy::deferred(position, Deferred { origin, load, bytes })
            }
        })
    }

    /// The item. An item that has not been read yet is read now.
    ///
    /// # Errors
    /// `Data` (exit code 65) if the item is not there any more or is not what it was. Otherwise the failure of reading
    /// it.
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
