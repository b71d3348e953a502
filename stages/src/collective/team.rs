//! The members of a group that live in this process, with a thread for each while they work together.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use candle_core::Device;

use super::carrier::{Carrier, ThroughHosts};
use super::communicator::Communicator;
use super::error::CollectiveError;
use super::local::Local;
use super::spread::Spread;
use crate::ranks::Channel;

/// The members of a group in this process, by rank. Other processes may have further members.
pub struct Team {
    members: Vec<Member>,
}

/// A member: a device, and its end of the group.
pub struct Member {
    /// The device.
    pub device: Device,
    /// The end of the group.
    pub communicator: Box<dyn Communicator>,
    /// The number of the memory that the device computes in. Devices with the same number share their memory.
    pub memory: usize,
}

/// What carries tensors between ranks that have such devices. Each rank must call it.
fn carrier(devices: &[(String, Device)], channel: &Channel) -> Result<Arc<dyn Carrier>, CollectiveError> {
    #[cfg(feature = "nccl")]
    if let Some(nccl) = super::nccl::Nccl::between(devices, channel)? {
        return Ok(Arc::new(nccl));
    }
    #[cfg(not(feature = "nccl"))]
    let _ = devices;
    Ok(Arc::new(ThroughHosts(channel.clone())))
}

impl Team {
    /// Makes a group of this process alone, with one member for each device, given as (name for messages, device). A
    /// member waits `limit` for the others.
    pub fn local(devices: &[(String, Device)], limit: Duration) -> Self {
        let mut memories: Vec<&Device> = Vec::new();
        let members = Local::group(devices, limit).into_iter().zip(devices).map(|(local, (_, device))| {
            let known = memories.iter().position(|memory| memory.same_device(device));
            let memory = known.unwrap_or_else(|| {
                memories.push(device);
                memories.len() - 1
            });
            Member { device: device.clone(), communicator: Box::new(local), memory }
        });
        Self { members: members.collect() }
    }

    /// Makes a group whose members are those of [`Team::local`] on every rank of `channel`. Each rank must call it. Within a
    /// rank, a member waits `limit` for the others. Tensors pass through the memory of the hosts; with the feature `nccl`, they go
    /// from GPU to GPU where every rank has one, and no two have the same.
    ///
    /// # Errors
    /// [`CollectiveError::Link`] if a rank is missed.
    pub fn spread(
        devices: &[(String, Device)],
        limit: Duration,
        channel: &Channel,
    ) -> Result<Self, CollectiveError> {
        let mut team = Self::local(devices, limit);
        let members = Spread::group(Local::group(devices, limit), channel, &carrier(devices, channel)?)?;
        for (member, spread) in team.members.iter_mut().zip(members) {
            member.communicator = Box::new(spread);
        }
        Ok(team)
    }

    /// The number of members of all ranks.
    pub fn size(&self) -> usize {
        self.members.first().map_or(0, |member| member.communicator.size())
    }

    /// The number of this process's first member among those of all ranks.
    pub fn first(&self) -> usize {
        self.members.first().map_or(0, |member| member.communicator.rank())
    }

    /// This team, with each member in a memory of its own, as GPUs have one.
    #[cfg(test)]
    pub(crate) fn apart(mut self) -> Self {
        self.members.iter_mut().enumerate().for_each(|(memory, member)| member.memory = memory);
        self
    }

    /// The members, by rank.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The first member of each memory, as an index in [`Team::members`], by the number of the memory.
    pub fn memories(&self) -> impl Iterator<Item = usize> {
        let is_first = |index: &usize| {
            self.members[..*index].iter().all(|other| other.memory != self.members[*index].memory)
        };
        (0..self.members.len()).filter(is_first)
    }

    /// Calls `work` for each member with its own part of `parts`, each on a thread of its own, and returns the results by
    /// rank. If one fails, the others do not wait for it. A panic in `work` is passed on.
    ///
    /// # Errors
    /// There are not as many parts as members. Otherwise the error of the lowest rank that failed by itself, not only
    /// because another one did.
    pub fn each<T: Send, R: Send>(
        &self,
        parts: Vec<T>,
        work: impl Fn(&Member, T) -> Result<R, CollectiveError> + Sync,
    ) -> Result<Vec<R>, CollectiveError> {
        let work = |member: &Member, part: T| {
            let present = Present(Some(member));
            let result = work(member, part);
            if result.is_ok() {
                present.stays();
            }
            result
        };
        let (count, members) = (parts.len(), self.members.len());
        if count != members {
            return Err(candle_core::Error::msg(format!("{count} parts for {members} members")).into());
        }
        let pairs = self.members.iter().zip(parts);
        if members == 1 {
            return pairs.map(|(member, part)| work(member, part)).collect();
        }
        let work = &work;
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                pairs.map(|(member, part)| scope.spawn(move || work(member, part))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut all = Vec::with_capacity(results.len());
        let mut consequence = None;
        for result in results {
            match result {
                Ok(result) => all.push(result),
                Err(error @ CollectiveError::Left { .. }) => consequence = consequence.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        consequence.map_or(Ok(all), Err)
    }

    /// The bytes of tensors so far that the members have taken from each other.
    pub fn received(&self) -> u64 {
        self.members.iter().map(|member| member.communicator.received()).sum()
    }
}

/// Leaves the group when it is dropped, also by a panic, unless the member stays.
struct Present<'a>(Option<&'a Member>);

impl Present<'_> {
    fn stays(mut self) {
        self.0 = None;
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.0 {
            member.communicator.leave();
        }
    }
}
