//! The newest of a row of values, for stages that need a value only if no newer one comes.
//!
//! A stage that sends one value after the other shows the newest in a [`Row`]. Each value that it sends has a [`Lease`], with
//! which a stage may let go of the value, so that the memory of it can be used again, and find it later.
//!
//! Law: what a lease finds is the value that it came with, or a newer one of the same row, and never an older one. It finds
//! exactly its own value while that is the newest one, and always once the value was kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A row of values. Its maker shows the newest.
#[derive(Debug)]
pub(crate) struct Row<T> {
    newest: Arc<Mutex<Option<T>>>,
}

/// A tie to one value of a row, which does not keep the value.
#[derive(Debug)]
pub struct Lease<T> {
    newest: Arc<Mutex<Option<T>>>,
    /// The value, if its maker has kept it for all holders of the lease.
    kept: Arc<Mutex<Option<T>>>,
}

impl<T> Clone for Lease<T> {
    fn clone(&self) -> Self {
        Self { newest: self.newest.clone(), kept: self.kept.clone() }
    }
}

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self { newest: Arc::new(Mutex::new(None)) }
    }
}

impl<T> Row<T> {
    /// The newest value. While its maker has the guard, no lease finds anything, so the maker may change the value.
    pub(crate) fn newest(&self) -> MutexGuard<'_, Option<T>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tie to the value that is the newest now, or is about to be.
    pub(crate) fn lease(&self) -> Lease<T> {
        Lease { newest: self.newest.clone(), kept: Arc::default() }
    }
}

impl<T: Clone> Row<T> {
    /// Keeps the newest value, whose lease this is, for as long as somebody else has the lease.
    pub(crate) fn keep(&self, lease: Lease<T>) {
        // A holder that looks at the same time finds the value in one of the two places.
        let newest = self.newest();
        lease.kept().clone_from(&newest);
    }
}

impl<T> Lease<T> {
    fn kept(&self) -> MutexGuard<'_, Option<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Lease<T> {
    /// The value of this lease, or the newest one of its row. `None` if the row has no value any more.
    pub(crate) fn find(&self) -> Option<T> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        self.kept().clone().or_else(|| newest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_finds_its_value_or_a_newer_one() {
        let row = Row::default();
        *row.newest() = Some(1);
        let first = row.lease();
        assert_eq!(first.find(), Some(1));
        *row.newest() = Some(2);
        assert_eq!(first.find(), Some(2));
        drop(row);
        assert_eq!(first.find(), Some(2));
    }

    #[test]
    fn a_value_is_kept_while_somebody_has_its_lease() {
        let row = Row::default();
        let value = Arc::new(1);
        *row.newest() = Some(value.clone());
        let lease = row.lease();
        row.keep(lease.clone());
        *row.newest() = Some(Arc::new(2));
        assert_eq!(lease.find().as_deref(), Some(&1));
        assert_eq!(row.lease().find().as_deref(), Some(&2));
        drop(lease);
        assert_eq!(Arc::strong_count(&value), 1);

        // Where nobody has the lease, nothing is kept.
        let value = Arc::new(3);
        *row.newest() = Some(value.clone());
        row.keep(row.lease());
        row.newest().take();
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
