//! A group whose members are threads of one process, each with a device of its own.
//!
//! On the CPU, the members share the memory, so a member reads what another one made where it lies. Between devices with
//! memories of their own, candle copies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::communicator::{Communicator, ShardTensors};
use super::cut::{Cut, Span};
use super::error::{CollectiveError, Peer};
use super::sum::{Addend, ShardSlice, fetch, slice_of_sum};

/// The time that a member waits for the others. They do the same work on slices of the same size, so even a machine with
/// much else to do lets them come within a small part of it.
pub const LIMIT: Duration = Duration::from_secs(600);

/// A member's end of a group of threads.
#[derive(Debug)]
pub struct Local {
    rank: usize,
    device: Device,
    meeting: Arc<Meeting>,
    received: AtomicU64,
}

/// What a member brings to an operation.
#[derive(Clone, Debug)]
pub(super) enum Brought {
    Shards(Vec<ShardTensors>),
    Replica(Vec<Tensor>),
    Tensors(Vec<Tensor>),
    Numbers(Vec<f64>),
    /// What other ranks have sent for the slice of each member.
    Slices(Vec<Vec<ShardSlice>>),
    /// Parts of whole tensors that other ranks have sent, one for each of these spans.
    Parts(Vec<(Span, Tensor)>),
    Nothing,
}

/// Where the members wait for each other.
#[derive(Debug)]
struct Meeting {
    places: Vec<String>,
    limit: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

/// What the members brought to one operation, by rank.
pub(super) type Round = Arc<Vec<(&'static str, Brought)>>;

#[derive(Debug, Default)]
struct State {
    /// The number of operations that all members have come to.
    rounds: u64,
    /// What the members brought that have come to the operation in hand, by rank.
    come: Vec<Option<(&'static str, Brought)>>,
    /// What the members brought to the last operation that all have come to. The next one cannot be complete before every
    /// member has taken this. The last to take it leaves nothing, so that no tensors are kept alive.
    last: Round,
    /// The number of members that have not taken `last` yet.
    to_take: usize,
    /// The first member that left.
    left: Option<usize>,
}

impl Local {
    /// Makes a group with one member for each device, given as (name for messages, device). A member waits `limit` for
    /// the others.
    pub fn group(devices: &[(String, Device)], limit: Duration) -> Vec<Self> {
        let places = devices.iter().map(|(name, _)| name.clone()).collect();
        let state = State { come: vec![None; devices.len()], ..State::default() };
        let meeting = Arc::new(Meeting { places, limit, state: Mutex::new(state), changed: Condvar::new() });
        let member = |(rank, (_, device)): (usize, &(String, Device))| Self {
            rank,
            device: device.clone(),
            meeting: meeting.clone(),
            received: AtomicU64::new(0),
        };
        devices.iter().enumerate().map(member).collect()
    }

    /// The only member of a group.
    pub fn alone(device: &Device) -> Self {
        let meeting = Meeting {
            places: vec![format!("{:?}", device.location())],
            limit: LIMIT,
            state: Mutex::new(State { come: vec![None], ..State::default() }),
            changed: Condvar::new(),
        };
        Self { rank: 0, device: device.clone(), meeting: Arc::new(meeting), received: AtomicU64::new(0) }
    }

    /// The device of this member.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn count(&self, elements: usize, of: Option<&Tensor>) {
        let size = of.map_or(0, |tensor| tensor.dtype().size_in_bytes());
        self.received.fetch_add((elements * size) as u64, Ordering::Relaxed);
    }

    /// Refuses a cut for another number of members.
    fn check(&self, cut: &Cut) -> Result<(), CollectiveError> {
        let (slices, members) = (cut.count(), self.size());
        if slices == members {
            return Ok(());
        }
        Err(candle_core::Error::msg(format!("a cut into {slices} slices for {members} members")).into())
    }

    /// Takes slice `slice` of another member's replica into this one, unless the two are one.
    pub(super) fn take_slice(
        &self,
        cut: &Cut,
        slice: usize,
        theirs: &[Tensor],
        replica: &[Tensor],
    ) -> Result<(), CollectiveError> {
        if theirs.len() != cut.shapes().len() || replica.len() != theirs.len() {
            let (found, expected) = (theirs.len(), cut.shapes().len());
            let text = format!("a replica of {found} tensors where there are {expected}");
            return Err(candle_core::Error::msg(text).into());
        }
        self.count(cut.elements(slice), theirs.first());
        for span in cut.spans(slice) {
            let (source, target) = (&theirs[span.tensor], &replica[span.tensor]);
            if source.id() != target.id() {
                let part = fetch(span, source, &self.device)?.flatten_all()?;
                // On one device the part lies in the other member's replica, which candle would lock for reading while it
                // waits to write into this one. Two members that read from each other would wait for ever.
                let part = if source.device().same_device(&self.device) { part.copy()? } else { part };
                target.flatten_all()?.slice_set(&part, 0, span.elements.start)?;
            }
        }
        Ok(())
    }

    /// Waits for all members and returns what each brought, by rank.
    pub(super) fn meet(&self, operation: &'static str, brought: Brought) -> Result<Round, CollectiveError> {
        let round = self.meeting.meet(self.rank, operation, brought)?;
        for (rank, (called, _)) in round.iter().enumerate() {
            if *called != operation {
                let member = self.meeting.peer(rank);
                return Err(CollectiveError::Mismatch { operation, member, called });
            }
        }
        Ok(round)
    }
}

impl Meeting {
    fn peer(&self, rank: usize) -> Peer {
        Peer { rank, place: self.places[rank].clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self, rank: usize, operation: &'static str, brought: Brought) -> Result<Round, CollectiveError> {
        let left = |state: &State| state.left.map(|rank| self.peer(rank));
        let mut state = self.lock();
        if let Some(member) = left(&state) {
            return Err(CollectiveError::Left { operation, member });
        }
        let round = state.rounds;
        state.come[rank] = Some((operation, brought));
        if state.come.iter().all(Option::is_some) {
            state.last = Arc::new(state.come.iter_mut().filter_map(Option::take).collect());
            state.to_take = self.places.len();
            state.rounds += 1;
            self.changed.notify_all();
        }
        let start = Instant::now();
        while state.rounds == round {
            if let Some(member) = left(&state) {
                return Err(CollectiveError::Left { operation, member });
            }
            let Some(remaining) = self.limit.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero())
            else {
                let missing = state.come.iter().enumerate().filter(|(_, come)| come.is_none());
                let missing = missing.map(|(rank, _)| self.peer(rank)).collect();
                // The others need not wait for the time limit too, and what comes too late must not meet a later round.
                state.left = state.come.iter().position(Option::is_none);
                self.changed.notify_all();
                return Err(CollectiveError::Missing {
                    operation,
                    seconds: self.limit.as_secs_f64(),
                    missing,
                });
            };
            let waited = self.changed.wait_timeout(state, remaining);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.to_take -= 1;
        Ok(if state.to_take == 0 { std::mem::take(&mut state.last) } else { state.last.clone() })
    }
}

impl Communicator for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.places.len()
    }

    fn reduce_scatter_in_order(
        &self,
        cut: &Cut,
        shards: &[ShardTensors],
    ) -> Result<Vec<Tensor>, CollectiveError> {
        self.check(cut)?;
        let round = self.meet("reduce_scatter_in_order", Brought::Shards(shards.to_vec()))?;
        let mut all: Vec<Addend<'_>> = Vec::new();
        for (rank, (_, brought)) in round.iter().enumerate() {
            let Brought::Shards(shards) = brought else { continue };
            all.extend(shards.iter().map(Addend::Whole));
            if rank != self.rank {
                let elements = shards.len() * cut.elements(self.rank);
                self.count(elements, shards.first().and_then(|shard| shard.tensors.first()));
            }
        }
        all.sort_by_key(Addend::shard);
        // What the others brought are values that nobody changes, so no one need wait until it was read.
        Ok(slice_of_sum(cut, self.rank, &all, &self.device)?)
    }

    fn all_gather(&self, cut: &Cut, replica: &[Tensor]) -> Result<(), CollectiveError> {
        self.check(cut)?;
        let round = self.meet("all_gather", Brought::Replica(replica.to_vec()))?;
        for (rank, (_, brought)) in round.iter().enumerate() {
            let Brought::Replica(theirs) = brought else { continue };
            if rank == self.rank {
                continue;
            }
            self.take_slice(cut, rank, theirs, replica)?;
        }
        // No member may go on to write into its replica while another one still reads it.
        self.meet("all_gather", Brought::Nothing).map(|_| ())
    }

    fn broadcast(&self, root: usize, tensors: &[Tensor]) -> Result<Vec<Tensor>, CollectiveError> {
        let own = if self.rank == root { tensors } else { &[] };
        let round = self.meet("broadcast", Brought::Tensors(own.to_vec()))?;
        let Some((_, Brought::Tensors(given))) = round.get(root) else {
            let text = format!("there is no rank {root} to give tensors");
            return Err(candle_core::Error::msg(text).into());
        };
        if self.rank != root {
            given.iter().for_each(|tensor| self.count(tensor.elem_count(), Some(tensor)));
        }
        Ok(given.iter().map(|tensor| tensor.to_device(&self.device)).collect::<candle_core::Result<_>>()?)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.meet("barrier", Brought::Nothing).map(|_| ())
    }

    fn agree(&self, numbers: &[f64]) -> Result<Vec<f64>, CollectiveError> {
        let round = self.meet("agree", Brought::Numbers(numbers.to_vec()))?;
        let all = round.iter().filter_map(|(_, brought)| match brought {
            Brought::Numbers(numbers) => Some(numbers.as_slice()),
            _ => None,
        });
        Ok(all.flatten().copied().collect())
    }

    fn leave(&self) {
        let mut state = self.meeting.lock();
        state.left.get_or_insert(self.rank);
        self.meeting.changed.notify_all();
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_taken_is_not_kept_alive() {
        let group = Local::group(&[("a".into(), Device::Cpu), ("b".into(), Device::Cpu)], LIMIT);
        std::thread::scope(|scope| {
            for local in &group {
                scope.spawn(|| {
                    let tensor = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
                    local.broadcast(0, &[tensor]).unwrap();
                });
            }
        });
        let state = group[0].meeting.lock();
        assert!(state.last.is_empty() && state.come.iter().all(Option::is_none));
    }
}
