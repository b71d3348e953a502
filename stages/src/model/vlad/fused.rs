//! A modality as one node on the tape: fused CPU kernels and a gradient written by hand.
//!
//! Two exact identities save work. The *fold*: `h W = x (W_expandᵀ Wᵀ) + b_expand Wᵀ` for W = W_assign and W_att stacked,
//! so that their product takes F instead of E columns a frame and needs no gradient with respect to h; it costs a
//! product of weights a step, so small batches go without ([`folds`]). And batch norm removes any constant per column,
//! so that the assignment's part of `b_expand Wᵀ` is left out of the logits and put back into the reported mean.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::Branch;
use super::assign::{Extra, Logits, Moments};
use super::pool::{Packed, tensor};
use crate::model::NormMoments;
use crate::model::gradients::deposit;
use crate::model::kernels::{Columns, Flat, Real, add_row, column_sums, for_float, to_f64};
use crate::model::node::{attach, into_storage};
use crate::model::norm::{reals, vector};

/// Whether the fold saves arithmetic: per frame E·W against F·W in each of a step's products, per step F·E·W three times.
pub(super) fn folds(branch: &Branch, x: &Tensor) -> Result<bool> {
    let (frames, size) = x.dims2()?;
    let expanded = branch.expanded()?;
    // Forward: E − F a frame; backward: E (gradient of h) + E − F.
    let saved = frames * (3 * expanded).saturating_sub(2 * size);
    Ok(saved > 3 * expanded * size)
}

/// The detached parameters, and the stack of assignment and attention weights.
struct Parts {
    expand_weight: Tensor,
    expand_bias: Tensor,
    /// [G·K + G, E].
    stacked: Tensor,
    attention_bias: Tensor,
    weight: Vec<f64>,
    bias: Vec<f64>,
    centers: Tensor,
    groups: usize,
    clusters: usize,
    epsilon: f64,
}

impl Parts {
    fn new(branch: &Branch) -> Result<Self> {
        let (assign, attention) = (branch.assign_weight.detach(), branch.attention_weight.detach());
        Ok(Self {
            expand_weight: branch.expand_weight.detach(),
            expand_bias: branch.expand_bias.detach(),
            stacked: Tensor::cat(&[&assign, &attention], 0)?,
            attention_bias: branch.attention_bias.detach(),
            weight: to_f64(&branch.norm_weight)?,
            bias: to_f64(&branch.norm_bias)?,
            centers: branch.centers.detach(),
            groups: branch.groups,
            clusters: branch.clusters,
            epsilon: branch.epsilon,
        })
    }

    /// `b_expand Wᵀ` [G·K + G].
    fn offset(&self) -> Result<Tensor> {
        let bias = self.expand_bias.unsqueeze(1)?;
        self.stacked.matmul(&bias)?.squeeze(1)
    }
}

/// What the forward pass keeps.
struct Forward {
    x: Tensor,
    h: Tensor,
    /// Logits [N, G·K + G], in folded form without the constant per assignment column.
    s: Tensor,
    /// Whether `s` was made from `x` rather than from `h`.
    folded: bool,
    /// Added to the attention logits: the bias, and the constant left out of `s`.
    attention_bias: Tensor,
    /// Left out of the assignment logits [G·K].
    constant: Vec<f64>,
    /// Assignment logits of a padded row [G·K], in the form of `s`.
    padding: Vec<f64>,
}

impl Forward {
    fn new<T: Real>(parts: &Parts, x: &Tensor, fold: bool) -> Result<Self> {
        let width = parts.groups * parts.clusters;
        let x = x.contiguous()?;
        let h = x.matmul(&parts.expand_weight.t()?)?;
        let shape = h.dims2()?;
        let mut h = candle_core::WithDType::cpu_storage_data(into_storage(h)?)?;
        add_row::<T>(&mut h, &Flat::<T>::of(&parts.expand_bias)?);
        let h = tensor(h, &[shape.0, shape.1])?;
        let offset = parts.offset()?;
        let assign_offset = to_f64(&offset.narrow(0, 0, width)?)?;
        if fold {
            let folded = parts.stacked.matmul(&parts.expand_weight)?;
            let s = x.matmul(&folded.t()?)?;
            let attention_bias = parts.attention_bias.add(&offset.narrow(0, width, parts.groups)?)?;
            let (constant, padding) = (assign_offset, vec![0.0; width]);
            Ok(Self { x, h, s, folded: true, attention_bias, constant, padding })
        } else {
            let s = h.matmul(&parts.stacked.t()?)?;
            let attention_bias = parts.attention_bias.clone();
            let (constant, padding) = (vec![0.0; width], assign_offset);
            Ok(Self { x, h, s, folded: false, attention_bias, constant, padding })
        }
    }

    /// Calls `body` with the logits as the assignment's kernels want them.
    fn with_logits<T: Real, R>(&self, parts: &Parts, body: impl FnOnce(&Logits<T>) -> R) -> Result<R> {
        let (values, attention_bias) = (Flat::<T>::of(&self.s)?, Flat::<T>::of(&self.attention_bias)?);
        Ok(body(&Logits {
            values: &values,
            groups: parts.groups,
            clusters: parts.clusters,
            attention_bias: &attention_bias,
            weight: &parts.weight,
            bias: &parts.bias,
            epsilon: parts.epsilon,
        }))
    }

    fn pooled<T: Real>(&self, parts: &Parts, a: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let packed = Packed { a, h: &self.h, centers: &parts.centers, lengths, groups: parts.groups };
        let (clusters, width) = parts.centers.dims2()?;
        tensor(packed.forward::<T>()?, &[lengths.len(), clusters, width])
    }
}

/// V [B, K, D] with its tape, and the assignment's moments.
pub(super) fn train(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    padded_rows: usize,
    fold: bool,
) -> Result<(Tensor, NormMoments)> {
    for_float!(x.dtype(), T => train_as::<T>(branch, x, lengths, padded_rows, fold))
}

fn train_as<T: Real>(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    padded_rows: usize,
    fold: bool,
) -> Result<(Tensor, NormMoments)> {
    let frames = x.dim(0)?;
    let parts = Parts::new(branch)?;
    let forward = Forward::new::<T>(&parts, x, fold)?;
    let count = padded_rows as f64;
    let (moments, a) = forward.with_logits::<T, _>(&parts, |logits| {
        let moments = logits.moments(Some((&forward.padding, count)));
        let a = logits.forward(&moments);
        (moments, a)
    })?;
    let a = tensor(a, &[frames, parts.groups * parts.clusters])?;
    let v = forward.pooled::<T>(&parts, &a, lengths)?;
    let mean: Vec<f64> = moments.mean.iter().zip(&forward.constant).map(|(mean, c)| mean + c).collect();
    let reported = NormMoments {
        mean: vector::<T>(&mean)?,
        variance: vector::<T>(&moments.variance)?,
        rows: frames + padded_rows,
    };
    let lengths = lengths.to_vec();
    // The handles to which gradients go; cheap clones that keep the identity of the parameters.
    let targets = Targets::of(branch);
    let backward = move |_: &Tensor, dv: &Tensor| {
        let packed =
            Packed { a: &a, h: &forward.h, centers: &parts.centers, lengths: &lengths, groups: parts.groups };
        let pooled = packed.backward::<T>(dv)?;
        let extra: Extra = (padded_rows > 0).then_some((&forward.padding, count));
        let assigned =
            forward.with_logits::<T, _>(&parts, |logits| logits.backward(&moments, extra, &pooled.a))?;
        targets.deposit::<T>(&parts, &forward, pooled, assigned)?;
        Ok(vec![None])
    };
    let v = attach("vlad", v, &[&branch.expand_weight], Box::new(backward))?;
    Ok((v, reported))
}

/// The parameters of a branch, as places of their gradients.
struct Targets {
    expand_weight: Tensor,
    expand_bias: Tensor,
    attention_weight: Tensor,
    attention_bias: Tensor,
    assign_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    centers: Tensor,
}

impl Targets {
    fn of(branch: &Branch) -> Self {
        Self {
            expand_weight: branch.expand_weight.clone(),
            expand_bias: branch.expand_bias.clone(),
            attention_weight: branch.attention_weight.clone(),
            attention_bias: branch.attention_bias.clone(),
            assign_weight: branch.assign_weight.clone(),
            norm_weight: branch.norm_weight.clone(),
            norm_bias: branch.norm_bias.clone(),
            centers: branch.centers.clone(),
        }
    }

    /// From the gradients of h (through the pooling) and of the logits to those of the parameters.
    fn deposit<T: Real>(
        &self,
        parts: &Parts,
        forward: &Forward,
        pooled: super::pool::Gradient<T>,
        assigned: super::assign::Gradient<T>,
    ) -> Result<()> {
        let (frames, expanded) = forward.h.dims2()?;
        let width = parts.groups * parts.clusters;
        let stride = width + parts.groups;
        drop(pooled.a);
        let ds = tensor(assigned.logits, &[frames, stride])?;
        let mut dh = tensor(pooled.h, &[frames, expanded])?;
        let sums = column_sums(Columns { values: &Flat::<T>::of(&ds)?, stride, width: stride });
        let dattention_bias = vector::<T>(&sums[width..])?;
        let expand_bias = parts.expand_bias.unsqueeze(0)?;

        // `doffset`: gradient of b_expand Wᵀ as far as it stands apart from h.
        let (mut dstacked, dexpand, doffset) = if forward.folded {
            // s = x W_eaᵀ, W_ea = W W_expand. The assignment's constant was removed and so has no gradient.
            let dfolded = ds.t()?.matmul(&forward.x)?;
            let dstacked = dfolded.matmul(&parts.expand_weight.t()?)?;
            let mut doffset = vec![0.0; width];
            doffset.extend_from_slice(&sums[width..]);
            (dstacked, Some(parts.stacked.t()?.matmul(&dfolded)?), doffset)
        } else {
            dh = dh.add(&ds.matmul(&parts.stacked)?)?;
            let mut doffset = assigned.extra;
            if !doffset.is_empty() {
                doffset.resize(stride, 0.0);
            }
            (ds.t()?.matmul(&forward.h)?, None, doffset)
        };
        drop(ds);
        let through_h = dh.t()?.matmul(&forward.x)?;
        let dexpand = match dexpand {
            Some(dexpand) => dexpand.add(&through_h)?,
            None => through_h,
        };
        let mut dexpand_bias =
            column_sums(Columns { values: &Flat::<T>::of(&dh)?, stride: expanded, width: expanded });
        drop(dh);
        if !doffset.is_empty() {
            let doffset = vector::<T>(&doffset)?.unsqueeze(1)?;
            dstacked = dstacked.add(&doffset.matmul(&expand_bias)?)?;
            let through = to_f64(&parts.stacked.t()?.matmul(&doffset)?)?;
            dexpand_bias.iter_mut().zip(through).for_each(|(sum, through)| *sum += through);
        }
        deposit(&self.expand_weight, dexpand)?;
        deposit(&self.expand_bias, vector::<T>(&dexpand_bias)?)?;
        deposit(&self.attention_weight, dstacked.narrow(0, width, parts.groups)?)?;
        deposit(&self.attention_bias, dattention_bias)?;
        deposit(&self.assign_weight, dstacked.narrow(0, 0, width)?)?;
        deposit(&self.norm_weight, vector::<T>(&assigned.weight)?)?;
        deposit(&self.norm_bias, vector::<T>(&assigned.bias)?)?;
        let dcenters =
            Tensor::from_vec(reals::<T>(&pooled.centers), parts.centers.dims(), parts.centers.device())?;
        deposit(&self.centers, dcenters)
    }
}

/// V [B, K, D] under running statistics, without tape.
pub(super) fn eval(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    mean: &Tensor,
    variance: &Tensor,
    fold: bool,
) -> Result<Tensor> {
    for_float!(x.dtype(), T => eval_as::<T>(branch, x, lengths, (mean, variance), fold))
}

fn eval_as<T: Real>(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    (mean, variance): (&Tensor, &Tensor),
    fold: bool,
) -> Result<Tensor> {
    let parts = Parts::new(branch)?;
    let forward = Forward::new::<T>(&parts, x, fold)?;
    let mean = to_f64(mean)?.iter().zip(&forward.constant).map(|(mean, constant)| mean - constant).collect();
    let moments = Moments { mean, variance: to_f64(variance)? };
    let a = forward.with_logits::<T, _>(&parts, |logits| logits.forward(&moments))?;
    let a = tensor(a, &[x.dim(0)?, parts.groups * parts.clusters])?;
    forward.pooled::<T>(&parts, &a, lengths)
}

/// Features of byte rows in one pass: see [`super::dequantize`].
pub(super) fn dequantize(
    bytes: &Tensor,
    offset: f64,
    scale: Option<&Tensor>,
    dtype: DType,
) -> Result<Tensor> {
    for_float!(dtype, T => dequantize_as::<T>(bytes, offset, scale))
}

fn dequantize_as<T: Real>(bytes: &Tensor, offset: f64, scale: Option<&Tensor>) -> Result<Tensor> {
    let (rows, width) = bytes.dims2()?;
    let bytes = bytes.contiguous()?;
    let bytes = Flat::<u8>::of(&bytes)?;
    let scale = scale.map_or(Ok(vec![1.0; width]), to_f64)?;
    let factor: Vec<T> = scale.iter().map(|scale| T::from_f64(scale * 4.0 / 255.0)).collect();
    let shift: Vec<T> = scale.iter().map(|scale| T::from_f64(scale * (offset - 2.0))).collect();
    let mut x = vec![T::zero(); rows * width];
    x.par_chunks_mut(64 * width.max(1)).zip(bytes.par_chunks(64 * width.max(1))).for_each(|(x, bytes)| {
        for (x, bytes) in x.chunks_mut(width).zip(bytes.chunks(width)) {
            for (((x, byte), factor), shift) in x.iter_mut().zip(bytes).zip(&factor).zip(&shift) {
                *x = T::from_f64(f64::from(*byte)) * *factor + *shift;
            }
        }
    });
    tensor(x, &[rows, width])
}
