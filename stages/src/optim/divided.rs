//! Adam over several devices. Each holds all weights, and the moments of its slice alone.
//!
//! Law: every version is the same, bit for bit, on any number of devices of one kind.

use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor, Var};

use super::adam::{Adam, Slice, allocate, check_memory, check_moments};
use super::in_place::Bounds;
use super::moments::{DividedMoments, Moments, zeros};
use crate::collective::{CollectiveError, Cut, Sliced, Team};
use crate::model::Weights;

/// A version of the weights with the moments that belong to it.
#[derive(Clone, Debug)]
pub struct Version {
    /// The weights, once in each memory of the team. They are all equal. The first is that of the first device.
    pub replicas: Vec<Arc<Weights>>,
    /// The moments.
    pub moments: Arc<DividedMoments>,
}

/// The memory of a version that nobody holds any more.
#[derive(Debug)]
pub struct Memory {
    weights: Vec<Weights>,
    moments: DividedMoments,
}

/// An optimizer whose work and moments are divided among the members of a team.
pub struct Divided {
    adam: Adam,
    team: Team,
    cut: Arc<Cut>,
}

impl Version {
    /// The weights on the first device.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.replicas[0]
    }

    /// Whether nobody else holds any of it.
    pub fn is_free(&self) -> bool {
        self.has_holders(1)
    }

    /// Whether this many hold each part of it, the one who asks among them.
    pub fn has_holders(&self, count: usize) -> bool {
        self.replicas.iter().all(|weights| Arc::strong_count(weights) == count)
            && Arc::strong_count(&self.moments) == count
    }

    /// The memory of a version that [is free](Self::is_free). `None` if it is not.
    pub fn into_memory(self) -> Option<Memory> {
        let weights = self.replicas.into_iter().map(Arc::into_inner).collect::<Option<_>>()?;
        Some(Memory { weights, moments: Arc::into_inner(self.moments)? })
    }
}

impl Divided {
    /// Divides the work of `adam` on the parameters that `cut` cuts among the members of `team`. The cut must have one
    /// slice for each member.
    pub fn new(adam: Adam, team: Team, cut: Arc<Cut>) -> Self {
        Self { adam, team, cut }
    }

    /// The cut.
    pub fn cut(&self) -> &Arc<Cut> {
        &self.cut
    }

    /// The team.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// The version before the first update: these weights, which lie on the first device, with moments of 0.
    ///
    /// # Errors
    /// The cut is one of other parameters or for another number of members, or a device fails.
    pub fn start(&self, weights: Weights) -> std::result::Result<Version, CollectiveError> {
        let dtype = weights.parameters.first().map(|parameter| parameter.dtype());
        let start = |rank: usize, device: &Device| {
            let all = || {
                let spans = self.cut.spans(rank).iter().zip(dtype.into_iter().cycle());
                let moments = spans.map(|(span, dtype)| {
                    if span.is_whole {
                        zeros(&self.cut.shapes()[span.tensor], dtype, device)
                    } else {
                        zeros(&Shape::from(span.elements.len()), dtype, device)
                    }
                });
                moments.collect::<Result<Vec<_>>>()
            };
            Ok(Moments { first: all()?, second: all()?, updates: 0 })
        };
        self.version(weights, start)
    }

    /// The version of these weights, which lie on the first device, and of these moments of all parameters, which are
    /// copied.
    ///
    /// # Errors
    /// The errors of [`Divided::start`].
    pub fn restore(
        &self,
        weights: Weights,
        moments: &Moments,
    ) -> std::result::Result<Version, CollectiveError> {
        self.version(weights, |rank, device| moments.slice(&self.cut, rank, device))
    }

    fn version(
        &self,
        weights: Weights,
        moments: impl Fn(usize, &Device) -> Result<Moments> + Sync,
    ) -> std::result::Result<Version, CollectiveError> {
        let shapes = weights.parameters.iter().map(|parameter| parameter.shape());
        let mut members = self.team.members().iter();
        if !shapes.eq(self.cut.shapes()) || members.any(|m| m.communicator.size() != self.cut.count()) {
            let text = "the slices are cut for other parameters or another number of devices";
            return Err(candle_core::Error::msg(text).into());
        }
        let parameters = weights.parameters.iter().map(|parameter| parameter.as_detached_tensor());
        let tensors: Vec<Tensor> = parameters.chain(weights.buffers.iter().cloned()).collect();
        let nothing = vec![(); self.team.members().len()];
        let made = self.team.each(nothing, |member, ()| {
            let communicator = &member.communicator;
            let tensors = communicator.broadcast(0, &tensors)?;
            Ok((tensors, moments(communicator.rank(), &member.device)?))
        })?;
        let (given, slices): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let count = weights.parameters.len();
        let model = weights.model.clone();
        let mut replicas = vec![Arc::new(weights)];
        for first in self.team.memories().skip(1) {
            let (parameters, buffers) = given[first].split_at(count);
            let parameters = parameters.iter().map(Var::from_tensor).collect::<Result<_>>()?;
            let buffers = buffers.to_vec();
            replicas.push(Arc::new(Weights { model: model.clone(), parameters, buffers }));
        }
        Ok(Version {
            replicas,
            moments: Arc::new(DividedMoments { cut: self.cut.clone(), first: self.team.first(), slices }),
        })
    }

    /// Makes the next version, into `memory` if that is given. Its buffers are `buffers`, which lie on the first device.
    /// Returns with it whether every number of its parameters and second moments is finite.
    ///
    /// # Errors
    /// The gradients or the memory do not fit the version, the settings name a parameter that the model does not have, or
    /// a device fails.
    pub fn update(
        &self,
        current: &Version,
        gradients: &Sliced,
        buffers: &[Tensor],
        learning_rate: f64,
        memory: Option<Memory>,
    ) -> std::result::Result<(Version, bool), CollectiveError> {
        if *gradients.cut != *self.cut {
            let (found, expected) = (gradients.cut.count(), self.cut.count());
            let text = format!(
                "gradients in {found} slices for parameters in {expected}: the slices must be those of the same \
                 parameters and devices"
            );
            return Err(candle_core::Error::msg(text).into());
        }
        let (mut next, memory) = self.memory(current, memory)?;
        let slices = current.moments.slices.iter().zip(&gradients.slices).zip(memory).collect();
        let made = self.team.each(slices, |member, ((moments, gradients), memory)| {
            let communicator = &*member.communicator;
            let (weights, next) = (&current.replicas[member.memory], &next[member.memory].parameters);
            let slice = Slice { cut: &self.cut, weights, moments, gradients, next };
            let (moments, finite) = self.adam.update_slice(communicator, &slice, memory, learning_rate)?;
            Ok((moments, finite, communicator.broadcast(0, buffers)?))
        })?;
        let (mut slices, mut finite, mut given) = (Vec::new(), true, Vec::new());
        for (moments, all_finite, buffers) in made {
            slices.push(moments);
            finite &= all_finite;
            given.push(buffers);
        }
        for (weights, first) in next.iter_mut().zip(self.team.memories()) {
            weights.buffers = std::mem::take(&mut given[first]);
        }
        let moments = Arc::new(DividedMoments { cut: self.cut.clone(), first: self.team.first(), slices });
        Ok((Version { replicas: next.into_iter().map(Arc::new).collect(), moments }, finite))
    }

    /// Makes the next version as [`Divided::update`] does, in the memory of `current`, which nobody may read any more if
    /// there is a next version. There is none, and nothing was written, if it is not certain beforehand that all numbers
    /// are finite, if there are several members, or if the kernels of the CPU do not compute: then [`Divided::update`]
    /// makes it. `buffers` must be finite.
    ///
    /// # Errors
    /// The errors of [`Divided::update`]. If one comes from a device, `current` may have changed.
    pub fn update_in_place(
        &self,
        current: &Version,
        gradients: &Sliced,
        buffers: &[Tensor],
        learning_rate: f64,
        bounds: &mut Option<Bounds>,
    ) -> Result<Option<Version>> {
        // With several members, one of them may fail when another has written its slice.
        if self.cut.count() > 1 {
            return Ok(None);
        }
        let ([weights], [moments], [gradients]) =
            (&*current.replicas, &*current.moments.slices, &*gradients.slices)
        else {
            return Ok(None);
        };
        let moments = self.adam.update_in_place(weights, moments, gradients, learning_rate, bounds)?;
        Ok(moments.map(|moments| {
            let (model, parameters) = (weights.model.clone(), weights.parameters.clone());
            let weights = Weights { model, parameters, buffers: buffers.to_vec() };
            let moments = DividedMoments { cut: self.cut.clone(), first: 0, slices: vec![moments] };
            Version { replicas: vec![Arc::new(weights)], moments: Arc::new(moments) }
        }))
    }

    /// The memory of the next version: weights for each memory, and moments for each member.
    fn memory(
        &self,
        current: &Version,
        memory: Option<Memory>,
    ) -> Result<(Vec<Weights>, Vec<Option<Moments>>)> {
        let Some(Memory { weights, moments }) = memory else {
            let next = current.replicas.iter().map(|weights| {
                let (model, parameters) = (weights.model.clone(), allocate(weights)?);
                Ok(Weights { model, parameters, buffers: Vec::new() })
            });
            let nothing = self.team.members().iter().map(|_| None).collect();
            return Ok((next.collect::<Result<_>>()?, nothing));
        };
        if weights.len() != current.replicas.len() || moments.slices.len() != self.team.members().len() {
            candle_core::bail!("the recycled version is one of other devices");
        }
        for (recycled, current) in weights.iter().zip(&current.replicas) {
            check_memory(recycled, current)?;
        }
        for (recycled, current) in moments.slices.iter().zip(&current.moments.slices) {
            check_moments(recycled, current)?;
        }
        Ok((weights, moments.slices.into_iter().map(Some).collect()))
    }
}

#[cfg(test)]
mod tests;
