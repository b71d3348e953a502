//! A group whose members are spread over the ranks of a job: threads within each rank, and a channel between the ranks.
//!
//! The members of a rank first meet among themselves. The first of them, the courier, then exchanges with the other ranks
//! what all members of its rank have to send and to take, and hands it out at a second meeting.

use std::ops::Range;

use std::sync::Arc;

use candle_core::{DType, Shape, Tensor};

use super::carrier::{Carrier, Expected, Parcel};
use super::communicator::{Communicator, ShardTensors};
use super::cut::{Cut, Span};
use super::error::{CollectiveError, failed};
use super::local::{Brought, Local, Round};
use super::sum::{Addend, ShardSlice, check, slice_of_sum};
use super::wire::{describe, described};
use crate::ranks::Channel;

/// A member's end of a group that is spread over ranks.
pub(super) struct Spread {
    local: Local,
    channel: Channel,
    carrier: Arc<dyn Carrier>,
    /// The numbers of the members of each rank, by rank.
    members: Vec<Range<usize>>,
}

/// The number of a shard, and the bits of its weight, as they are sent.
const HEADER: usize = 16;

impl Spread {
    /// The members of this rank, one for each device, in a group that goes over all ranks of the channel. `carrier` carries their
    /// tensors.
    pub(super) fn group(
        locals: Vec<Local>,
        channel: &Channel,
        carrier: &Arc<dyn Carrier>,
    ) -> Result<Vec<Self>, CollectiveError> {
        let own = (locals.len() as u64).to_le_bytes();
        let counts = channel.all_gather(&own).map_err(failed("forming a group"))?;
        let mut members = Vec::with_capacity(counts.len());
        let mut first = 0;
        for count in counts {
            let count = count.try_into().map_or(0, u64::from_le_bytes) as usize;
            members.push(first..first + count);
            first += count;
        }
        let member = |local| {
            let (channel, carrier) = (channel.clone(), carrier.clone());
            Self { local, channel, carrier, members: members.clone() }
        };
        Ok(locals.into_iter().map(member).collect())
    }

    fn own(&self) -> Range<usize> {
        self.members[self.channel.rank()].clone()
    }

    fn is_courier(&self) -> bool {
        self.local.rank() == 0
    }

    /// The other ranks with their members.
    fn others(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let own = self.channel.rank();
        self.members.iter().cloned().enumerate().filter(move |(rank, _)| *rank != own)
    }

    fn check(&self, cut: &Cut) -> Result<(), CollectiveError> {
        let (slices, members) = (cut.count(), self.size());
        if slices == members {
            return Ok(());
        }
        Err(candle_core::Error::msg(format!("a cut into {slices} slices for {members} members")).into())
    }

    /// Sends the shards of this rank, slice by slice, and takes the slices of this rank's members from all other shards.
    fn trade_shards(
        &self,
        cut: &Cut,
        own: &[&ShardTensors],
    ) -> Result<Vec<Vec<ShardSlice>>, CollectiveError> {
        const OPERATION: &str = "reduce_scatter_in_order";
        let header: Vec<u8> = own
            .iter()
            .flat_map(|s| (s.shard as u64).to_le_bytes().into_iter().chain(s.weight.to_bits().to_le_bytes()))
            .collect();
        let headers = self.channel.all_gather(&header).map_err(failed(OPERATION))?;

        // What is sent: for each rank, for each shard, the spans of the slices of the rank's members.
        let mut parcels = Vec::new();
        for (rank, members) in self.others() {
            for shard in own {
                check(cut, shard)?;
                for span in members.clone().flat_map(|member| cut.spans(member)) {
                    let tensor = span.view(&shard.tensors[span.tensor])?;
                    parcels.push(Parcel { to: vec![rank], tensor });
                }
            }
        }
        // What is taken, in the same order on the other side. All ranks have gradients of one type.
        let dtype = own.iter().flat_map(|shard| &shard.tensors).next().map_or(DType::F32, Tensor::dtype);
        let (mut expected, mut owners) = (Vec::new(), Vec::new());
        for (rank, _) in self.others() {
            for header in headers[rank].chunks_exact(HEADER) {
                let (shard, weight) = read_header(header);
                for (index, member) in self.own().enumerate() {
                    for span in cut.spans(member) {
                        expected.push(Expected { from: rank, dtype, shape: shape_of(cut, span) });
                        owners.push((index, shard, weight));
                    }
                }
            }
        }
        let taken = self.carrier.carry(OPERATION, &parcels, &expected)?;

        let mut slices: Vec<Vec<ShardSlice>> = self.own().map(|_| Vec::new()).collect();
        for (part, (index, shard, weight)) in taken.into_iter().zip(owners) {
            self.local.count(part.elem_count(), Some(&part));
            match slices[index].last_mut() {
                Some(last) if last.shard == shard => last.parts.push(part),
                _ => slices[index].push(ShardSlice { shard, weight, parts: vec![part] }),
            }
        }
        Ok(slices)
    }

    /// Sends the slices of this rank's members to all other ranks, and takes theirs. `replicas` has the replica of each
    /// member.
    fn trade_slices(&self, cut: &Cut, replicas: &Round) -> Result<Vec<(Span, Tensor)>, CollectiveError> {
        let others: Vec<usize> = self.others().map(|(rank, _)| rank).collect();
        let mut parcels = Vec::new();
        let mut dtype = DType::F32;
        for (member, (_, brought)) in self.own().zip(replicas.iter()) {
            let Brought::Replica(replica) = brought else { continue };
            if replica.len() != cut.shapes().len() {
                let (found, expected) = (replica.len(), cut.shapes().len());
                let text = format!("a replica of {found} tensors where there are {expected}");
                return Err(candle_core::Error::msg(text).into());
            }
            dtype = replica.first().map_or(dtype, Tensor::dtype);
            for span in cut.spans(member) {
                parcels.push(Parcel { to: others.clone(), tensor: span.view(&replica[span.tensor])? });
            }
        }
        let (mut expected, mut spans) = (Vec::new(), Vec::new());
        for (from, members) in self.others() {
            for span in members.flat_map(|member| cut.spans(member)) {
                expected.push(Expected { from, dtype, shape: Shape::from(span.elements.len()) });
                spans.push(span.clone());
            }
        }
        let taken = self.carrier.carry("all_gather", &parcels, &expected)?;
        taken.iter().for_each(|part| self.local.count(part.elem_count(), Some(part)));
        Ok(spans.into_iter().zip(taken).collect())
    }

    /// The tensors that rank `root` sends to all others.
    fn trade_tensors(&self, root: usize, tensors: &[Tensor]) -> Result<Vec<Tensor>, CollectiveError> {
        let operation = "broadcast";
        if self.channel.rank() == root {
            self.channel.broadcast(root, &describe(tensors)).map_err(failed(operation))?;
            let to: Vec<usize> = self.others().map(|(rank, _)| rank).collect();
            let parcels = tensors.iter().map(|tensor| Parcel { to: to.clone(), tensor: tensor.clone() });
            self.carrier.carry(operation, &parcels.collect::<Vec<_>>(), &[])?;
            return Ok(tensors.to_vec());
        }
        let there = described(&self.channel.broadcast(root, &[]).map_err(failed(operation))?)?;
        let expected = there.into_iter().map(|(dtype, shape)| Expected { from: root, dtype, shape });
        let taken = self.carrier.carry(operation, &[], &expected.collect::<Vec<_>>())?;
        taken.iter().for_each(|tensor| self.local.count(tensor.elem_count(), Some(tensor)));
        Ok(taken)
    }
}

impl Communicator for Spread {
    fn rank(&self) -> usize {
        self.own().start + self.local.rank()
    }

    fn size(&self) -> usize {
        self.members.last().map_or(0, |last| last.end)
    }

    fn reduce_scatter_in_order(
        &self,
        cut: &Cut,
        shards: &[ShardTensors],
    ) -> Result<Vec<Tensor>, CollectiveError> {
        self.check(cut)?;
        let operation = "reduce_scatter_in_order";
        let round = self.local.meet(operation, Brought::Shards(shards.to_vec()))?;
        let here: Vec<&ShardTensors> = round
            .iter()
            .flat_map(|(_, brought)| if let Brought::Shards(shards) = brought { shards } else { &[][..] })
            .collect();
        let taken = if self.is_courier() {
            Brought::Slices(self.trade_shards(cut, &here)?)
        } else {
            Brought::Nothing
        };
        let handed = self.local.meet(operation, taken)?;
        let mut all: Vec<Addend<'_>> = here.iter().map(|shard| Addend::Whole(shard)).collect();
        if let Some((_, Brought::Slices(slices))) = handed.first() {
            all.extend(slices[self.local.rank()].iter().map(Addend::Slice));
        }
        all.sort_by_key(Addend::shard);
        Ok(slice_of_sum(cut, self.rank(), &all, self.local.device())?)
    }

    fn all_gather(&self, cut: &Cut, replica: &[Tensor]) -> Result<(), CollectiveError> {
        self.check(cut)?;
        let operation = "all_gather";
        let round = self.local.meet(operation, Brought::Replica(replica.to_vec()))?;
        let taken = if self.is_courier() {
            Brought::Parts(self.trade_slices(cut, &round)?)
        } else {
            Brought::Nothing
        };
        // Whoever writes into a replica does so after the courier has read it.
        let handed = self.local.meet(operation, taken)?;
        let mut is_first = true;
        for ((index, slice), (_, brought)) in self.own().enumerate().zip(round.iter()) {
            let Brought::Replica(theirs) = brought else { continue };
            if index != self.local.rank() {
                self.local.take_slice(cut, slice, theirs, replica)?;
                let same = |pair: (&Tensor, &Tensor)| pair.0.id() == pair.1.id();
                is_first &= index > self.local.rank() || !theirs.iter().zip(replica).all(same);
            }
        }
        // Of the members that share a replica, the first takes into it what came from other ranks.
        if let (true, Some((_, Brought::Parts(parts)))) = (is_first, handed.first()) {
            for (span, part) in parts {
                let part = part.to_device(self.local.device())?;
                replica[span.tensor].flatten_all()?.slice_set(&part, 0, span.elements.start)?;
            }
        }
        self.local.meet(operation, Brought::Nothing).map(|_| ())
    }

    fn broadcast(&self, root: usize, tensors: &[Tensor]) -> Result<Vec<Tensor>, CollectiveError> {
        let operation = "broadcast";
        let Some(rank) = self.members.iter().position(|members| members.contains(&root)) else {
            let text = format!("there is no member {root} to give tensors");
            return Err(candle_core::Error::msg(text).into());
        };
        let own = if self.rank() == root { tensors } else { &[] };
        let round = self.local.meet(operation, Brought::Tensors(own.to_vec()))?;
        let here = round.iter().find_map(|(_, brought)| match brought {
            Brought::Tensors(tensors) if !tensors.is_empty() => Some(tensors.as_slice()),
            _ => None,
        });
        let given =
            if self.is_courier() { self.trade_tensors(rank, here.unwrap_or_default())? } else { Vec::new() };
        let handed = self.local.meet(operation, Brought::Tensors(given))?;
        let Some((_, Brought::Tensors(given))) = handed.first() else { return Ok(Vec::new()) };
        let device = self.local.device();
        Ok(given.iter().map(|tensor| tensor.to_device(device)).collect::<candle_core::Result<_>>()?)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.agree(&[]).map(|_| ())
    }

    fn agree(&self, numbers: &[f64]) -> Result<Vec<f64>, CollectiveError> {
        let operation = "agree";
        let round = self.local.meet(operation, Brought::Numbers(numbers.to_vec()))?;
        let all = if self.is_courier() {
            let here = round.iter().filter_map(|(_, brought)| match brought {
                Brought::Numbers(numbers) => Some(numbers.as_slice()),
                _ => None,
            });
            let bytes: Vec<u8> = here.flatten().flat_map(|number| number.to_bits().to_le_bytes()).collect();
            let all = self.channel.all_gather(&bytes).map_err(failed(operation))?;
            let all = all.iter().flat_map(|bytes| bytes.as_chunks().0);
            all.map(|number| f64::from_bits(u64::from_le_bytes(*number))).collect()
        } else {
            Vec::new()
        };
        let handed = self.local.meet(operation, Brought::Numbers(all))?;
        let Some((_, Brought::Numbers(all))) = handed.first() else { return Ok(Vec::new()) };
        Ok(all.clone())
    }

    fn leave(&self) {
        self.local.leave();
    }

    fn received(&self) -> u64 {
        self.local.received()
    }
}

/// The shape of the part of its tensor that a span is.
pub(super) fn shape_of(cut: &Cut, span: &Span) -> Shape {
    if span.is_whole { cut.shapes()[span.tensor].clone() } else { Shape::from(span.elements.len()) }
}

fn read_header(bytes: &[u8]) -> (usize, f64) {
    let (shard, weight) = bytes.split_at(HEADER / 2);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    (word(shard) as usize, f64::from_bits(word(weight)))
}
