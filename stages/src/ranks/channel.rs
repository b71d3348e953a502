//! What ranks do together with bytes, made of exchanges.

use std::sync::Arc;

use super::link::{Incoming, Link, LinkError, Outgoing};

/// A rank's end of a channel, on which the ranks of a job do the same operations in the same order.
#[derive(Clone)]
pub struct Channel {
    link: Arc<dyn Link>,
    tag: i32,
}

impl Channel {
    pub(super) fn new(link: Arc<dyn Link>, tag: i32) -> Self {
        Self { link, tag }
    }

    /// This rank's number, from 0.
    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.link.size()
    }

    /// Exchanges messages whose lengths both sides know, as [`Link::exchange`] does.
    ///
    /// # Errors
    /// The errors of [`Link::exchange`].
    pub fn exchange(
        &self,
        outgoing: &[Outgoing<'_>],
        incoming: &mut [Incoming<'_>],
    ) -> Result<(), LinkError> {
        self.link.exchange(self.tag, outgoing, incoming)
    }

    /// The bytes of all ranks in their order, on every rank. They may differ in length.
    ///
    /// # Errors
    /// The errors of [`Link::exchange`].
    pub fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, LinkError> {
        let others: Vec<usize> = (0..self.size()).filter(|rank| *rank != self.rank()).collect();
        let mut all = self.take(&others, &others, bytes)?;
        all[self.rank()] = bytes.to_vec();
        Ok(all)
    }

    /// The bytes of all ranks in their order on rank `root`, and `None` on the others.
    ///
    /// # Errors
    /// The errors of [`Link::exchange`].
    pub fn gather(&self, root: usize, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>, LinkError> {
        if self.rank() != root {
            self.take(&[], &[root], bytes)?;
            return Ok(None);
        }
        let others: Vec<usize> = (0..self.size()).filter(|rank| *rank != root).collect();
        let mut all = self.take(&others, &[], bytes)?;
        all[root] = bytes.to_vec();
        Ok(Some(all))
    }

    /// The bytes of rank `root`. What the others give is not looked at.
    ///
    /// # Errors
    /// The errors of [`Link::exchange`].
    pub fn broadcast(&self, root: usize, bytes: &[u8]) -> Result<Vec<u8>, LinkError> {
        if self.rank() != root {
            return Ok(self.take(&[root], &[], &[])?.swap_remove(root));
        }
        let others: Vec<usize> = (0..self.size()).filter(|rank| *rank != root).collect();
        self.take(&[], &others, bytes)?;
        Ok(bytes.to_vec())
    }

    /// Sends `bytes` to the ranks `to`, and returns what the ranks `from` send, by rank. The lengths go first.
    fn take(&self, from: &[usize], to: &[usize], bytes: &[u8]) -> Result<Vec<Vec<u8>>, LinkError> {
        let length = (bytes.len() as u64).to_le_bytes();
        let mut lengths = vec![[0u8; 8]; from.len()];
        let outgoing: Vec<_> = to.iter().map(|to| Outgoing { to: *to, bytes: &length }).collect();
        let places = from.iter().zip(&mut lengths);
        let mut incoming: Vec<_> = places.map(|(from, bytes)| Incoming { from: *from, bytes }).collect();
        self.exchange(&outgoing, &mut incoming)?;

        let mut all = vec![Vec::new(); self.size()];
        for (from, length) in from.iter().zip(lengths) {
            let length = usize::try_from(u64::from_le_bytes(length));
            let length = length.map_err(|error| LinkError::System(error.to_string()))?;
            all[*from] = vec![0; length];
        }
        let outgoing: Vec<_> = to.iter().map(|to| Outgoing { to: *to, bytes }).collect();
        let places = all.iter_mut().enumerate().filter(|(rank, _)| from.contains(rank));
        let mut incoming: Vec<_> = places.map(|(from, bytes)| Incoming { from, bytes }).collect();
        self.exchange(&outgoing, &mut incoming)?;
        Ok(all)
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("rank", &self.rank()).field("tag", &self.tag).finish_non_exhaustive()
    }
}
