//! The state of Adam, whole or in slices.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::collective::{CollectiveError, Cut, PIECE, gather_slices};
use crate::model::Weights;
use crate::ranks::Channel;

/// The moments of some parameters, with one tensor of each kind for each, in their order: of all parameters of a model,
/// or of the spans of a slice.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The decayed mean m of the gradients.
    pub first: Vec<Tensor>,
    /// The decayed mean v of the squares of the gradients.
    pub second: Vec<Tensor>,
    /// The number t of updates made.
    pub updates: u64,
}

impl Moments {
    /// The state of all parameters before the first update.
    pub fn zeros(weights: &Weights) -> Result<Self> {
        let zeros =
            || weights.parameters.iter().map(|parameter| parameter.zeros_like()).collect::<Result<_>>();
        Ok(Self { first: zeros()?, second: zeros()?, updates: 0 })
    }

    /// Copies slice `slice` of the moments of all parameters to `device`.
    pub(super) fn slice(&self, cut: &Cut, slice: usize, device: &Device) -> Result<Self> {
        let copies = |tensors: &[Tensor]| {
            let spans = cut.spans(slice).iter();
            // The copy is forced: the optimizer writes into its moments, so nobody else may hold them.
            let copy = spans.map(|span| {
                let tensor = tensors.get(span.tensor);
                let tensor = tensor.ok_or_else(|| candle_core::Error::msg("moments lack a tensor"))?;
                span.view(tensor)?.force_contiguous()?.to_device(device)
            });
            copy.collect::<Result<_>>()
        };
        Ok(Self { first: copies(&self.first)?, second: copies(&self.second)?, updates: self.updates })
    }

    /// The tensors of both kinds.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.first.iter().chain(&self.second)
    }
}

/// A tensor of zeros. On the CPU its memory is written, by all threads. Memory that was never written is mapped when it is first read
/// and once more when it is first written, and a step does both with moments.
pub(super) fn zeros(shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    if !device.is_cpu() || dtype != DType::F32 {
        return Tensor::zeros(shape, dtype, device);
    }
    let values: Vec<f32> = (0..shape.elem_count()).into_par_iter().with_min_len(PIECE).map(|_| 0.0).collect();
    Tensor::from_vec(values, shape, device)
}

/// Adam's moments of all parameters, of which each device holds a slice.
#[derive(Clone, Debug)]
pub struct DividedMoments {
    /// The cut.
    pub cut: Arc<Cut>,
    /// The index of the first slice of this process. The others before and behind are in other processes.
    pub first: usize,
    /// The moments of each slice of this process, on the device of the slice.
    pub slices: Vec<Moments>,
}

impl DividedMoments {
    /// These moments of all parameters as one slice, without a copy.
    pub fn whole(moments: Moments) -> Self {
        let cut = Cut::new(moments.first.iter().map(|tensor| tensor.shape().clone()), 1);
        Self { cut: Arc::new(cut), first: 0, slices: vec![moments] }
    }

    /// The number t of updates made.
    pub fn updates(&self) -> u64 {
        self.slices.first().map_or(0, |slice| slice.updates)
    }

    /// The moments of all parameters. A tensor that lies in one slice is not copied. One that is cut is put together in
    /// the memory of the host.
    ///
    /// # Errors
    /// A slice lacks a tensor, or a copy fails.
    pub fn join(&self) -> Result<Moments> {
        let all = |of: fn(&Moments) -> &[Tensor]| {
            let tensors = 0..self.cut.shapes().len();
            let join = |tensor| {
                self.cut.join(tensor, |slice, span| {
                    of(self.slices.get(slice.checked_sub(self.first)?)?).get(span)
                })
            };
            tensors.map(join).collect::<Result<Vec<_>>>()
        };
        Ok(Moments { first: all(|m| &m.first)?, second: all(|m| &m.second)?, updates: self.updates() })
    }

    /// The moments of the slices of all ranks as one, on rank 0, and `None` on the others. They come to the memory of the host.
    ///
    /// # Errors
    /// A slice lacks a tensor, or a rank is missed.
    pub fn gather(&self, channel: &Channel) -> std::result::Result<Option<Self>, CollectiveError> {
        let all = |of: fn(&Moments) -> &[Tensor]| {
            let slices: Vec<_> = self.slices.iter().map(of).collect();
            gather_slices(channel, &self.cut, self.first, &slices)
        };
        let (first, second) = (all(|moments| &moments.first)?, all(|moments| &moments.second)?);
        let (Some(first), Some(second)) = (first, second) else { return Ok(None) };
        let updates = self.updates();
        let slices = first.into_iter().zip(second).map(|(first, second)| Moments { first, second, updates });
        Ok(Some(Self { cut: self.cut.clone(), first: 0, slices: slices.collect() }))
    }

    /// The tensors of all slices.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.slices.iter().flat_map(Moments::tensors)
    }
}
