//! The clustering of a modality as one node on the tape, with fused CPU kernels and a gradient that is written by hand.
//!
//! Two exact identities save work. The first one is the *fold*: `h W = x (W_expandᵀ Wᵀ) + b_expand Wᵀ`, where W is
//! W_assign and W_att stacked. With it, the product takes F instead of E columns for each frame, and needs no gradient
//! with respect to h. It costs a product of weights in each step, so small batches go without it ([`Branch::folds`]). The
//! second one is that batch norm removes any constant of a column. The assignment's part of `b_expand Wᵀ` is therefore
//! left out of the logits, and is put back into the reported mean.

use candle_core::{Result, Tensor};

use super::assign::{Extra, Logits, Moments};
use super::frames::Frames;
use super::pool::Packed;
use super::{assign, pool};
use crate::kernels::backend::Fold;
use crate::kernels::branch::{Branch, BranchGradients};
use crate::kernels::cpu::columns::{Columns, add_row, column_sums};
use crate::kernels::cpu::matmul::{matmul, matmul_by_rows};
use crate::kernels::flat::{Flat, reals, tensor, to_f64, vector};
use crate::kernels::float::{Real, for_float};
use crate::kernels::moments::NormMoments;
use crate::kernels::precision::Precision;
use crate::kernels::tape::{attach, into_storage};

/// The product of weights [G·K + G, F] through which an evaluation is computed, if it goes through the fold
/// ([`Branch::folds_in_evaluation`]).
pub(crate) fn fold_for_evaluation(
    branch: &Branch,
    precision: Precision,
    fold: Fold,
) -> Result<Option<Tensor>> {
    branch.folds_in_evaluation(fold)?.then(|| Parts::new(branch)?.folded(precision)).transpose()
}

/// The detached parameters, and the stacked weights of assignment and attention.
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

    /// `W W_expand` [G·K + G, F].
    fn folded(&self, precision: Precision) -> Result<Tensor> {
        matmul(&self.stacked, &self.expand_weight, precision)
    }

    /// `b_expand Wᵀ` [G·K + G].
    fn offset(&self) -> Result<Tensor> {
        let bias = self.expand_bias.unsqueeze(1)?;
        self.stacked.matmul(&bias)?.squeeze(1)
    }
}

/// The values that the forward pass keeps.
struct Forward {
    x: Frames,
    h: Tensor,
    /// The logits [N, G·K + G]. In folded form, the constant of each assignment column is left out.
    s: Tensor,
    /// Whether `s` was made from `x` rather than from `h`.
    folded: bool,
    /// What is added to the attention logits: the bias, and the constant that was left out of `s`.
    attention_bias: Tensor,
    /// The constant that was left out of the assignment logits, [G·K].
    constant: Vec<f64>,
    /// The assignment logits of a padded row [G·K], in the form of `s`.
    padding: Vec<f64>,
}

impl Forward {
    /// With `folded`, the logits are made through this product of weights.
    fn new<T: Real>(parts: &Parts, x: Frames, folded: Option<&Tensor>) -> Result<Self> {
        let width = parts.groups * parts.clusters;
        let precision = x.precision();
        let h = x.times(&parts.expand_weight)?;
        let shape = h.dims2()?;
        let mut h = candle_core::WithDType::cpu_storage_data(into_storage(h)?)?;
        add_row::<T>(&mut h, &Flat::<T>::of(&parts.expand_bias)?);
        let h = tensor(h, &[shape.0, shape.1])?;
        let offset = parts.offset()?;
        let assign_offset = to_f64(&offset.narrow(0, 0, width)?)?;
        if let Some(folded) = folded {
            let s = x.times(folded)?;
            let attention_bias = parts.attention_bias.add(&offset.narrow(0, width, parts.groups)?)?;
            let (constant, padding) = (assign_offset, vec![0.0; width]);
            Ok(Self { x, h, s, folded: true, attention_bias, constant, padding })
        } else {
            let s = matmul_by_rows(&h, &parts.stacked.t()?, precision)?;
            let attention_bias = parts.attention_bias.clone();
            let (constant, padding) = (vec![0.0; width], assign_offset);
            Ok(Self { x, h, s, folded: false, attention_bias, constant, padding })
        }
    }

    /// Calls `body` with the logits in the form that the assignment's kernels want.
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
            precision: self.x.precision(),
        }))
    }

    fn packed<'a>(&'a self, parts: &'a Parts, a: &'a Tensor, lengths: &'a [usize]) -> Packed<'a> {
        let precision = self.x.precision();
        Packed { a, h: &self.h, centers: &parts.centers, lengths, groups: parts.groups, precision }
    }

    fn pooled<T: Real>(&self, parts: &Parts, a: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let packed = self.packed(parts, a, lengths);
        let (clusters, width) = parts.centers.dims2()?;
        tensor(packed.forward::<T>()?, &[lengths.len(), clusters, width])
    }

    /// The gradients of the parameters, from those of h (through the pooling) and of the logits.
    fn gradients<T: Real>(
        &self,
        parts: &Parts,
        pooled: pool::Gradient<T>,
        assigned: assign::Gradient<T>,
    ) -> Result<BranchGradients> {
        let (frames, expanded) = self.h.dims2()?;
        let width = parts.groups * parts.clusters;
        let stride = width + parts.groups;
        drop(pooled.a);
        let ds = tensor(assigned.logits, &[frames, stride])?;
        let mut dh = tensor(pooled.h, &[frames, expanded])?;
        let sums = column_sums(Columns { values: &Flat::<T>::of(&ds)?, stride, width: stride });
        let dattention_bias = vector::<T>(&sums[width..])?;
        let expand_bias = parts.expand_bias.unsqueeze(0)?;

        // `doffset` is the gradient of b_expand Wᵀ, as far as that term stands apart from h.
        let precision = self.x.precision();
        let sums_of_dh = |dh: &Tensor| -> Result<Vec<f64>> {
            Ok(column_sums(Columns { values: &Flat::<T>::of(dh)?, stride: expanded, width: expanded }))
        };
        let (mut dexpand_bias, mut dstacked, dexpand, doffset);
        if self.folded {
            // Here s = x W_eaᵀ and W_ea = W W_expand. The assignment's constant was removed, so it has no gradient.
            dexpand_bias = sums_of_dh(&dh)?;
            let [dfolded, through_h] =
                self.x.gradients([(&ds, sums.as_slice()), (&dh, dexpand_bias.as_slice())])?;
            dstacked = matmul(&dfolded, &parts.expand_weight.t()?, precision)?;
            dexpand = matmul(&parts.stacked.t()?, &dfolded, precision)?.add(&through_h)?;
            let mut constants = vec![0.0; width];
            constants.extend_from_slice(&sums[width..]);
            doffset = constants;
        } else {
            dh = dh.add(&matmul(&ds, &parts.stacked, precision)?)?;
            dexpand_bias = sums_of_dh(&dh)?;
            dstacked = matmul(&ds.t()?, &self.h, precision)?;
            [dexpand] = self.x.gradients([(&dh, dexpand_bias.as_slice())])?;
            let mut constants = assigned.extra;
            if !constants.is_empty() {
                constants.resize(stride, 0.0);
            }
            doffset = constants;
        }
        drop((ds, dh));
        if !doffset.is_empty() {
            let doffset = vector::<T>(&doffset)?.unsqueeze(1)?;
            dstacked = dstacked.add(&doffset.matmul(&expand_bias)?)?;
            let through = to_f64(&parts.stacked.t()?.matmul(&doffset)?)?;
            dexpand_bias.iter_mut().zip(through).for_each(|(sum, through)| *sum += through);
        }
        let dcenters =
            Tensor::from_vec(reals::<T>(&pooled.centers), parts.centers.dims(), parts.centers.device())?;
        Ok(BranchGradients {
            expand_weight: dexpand,
            expand_bias: vector::<T>(&dexpand_bias)?,
            stacked: dstacked,
            attention_bias: dattention_bias,
            norm_weight: vector::<T>(&assigned.weight)?,
            norm_bias: vector::<T>(&assigned.bias)?,
            centers: dcenters,
        })
    }
}

/// The residuals V [B, K, D] with their tape, and the assignment's moments.
pub(crate) fn train(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    padded_rows: usize,
    fold: Fold,
) -> Result<(Tensor, NormMoments)> {
    let (frames, size) = x.dims()?;
    let fold = branch.folds(frames, size, fold)?;
    for_float!(x.dtype(), T => train_as::<T>(branch, x, lengths, padded_rows, fold))
}

fn train_as<T: Real>(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    padded_rows: usize,
    fold: bool,
) -> Result<(Tensor, NormMoments)> {
    let (frames, _) = x.dims()?;
    let parts = Parts::new(branch)?;
    let folded = fold.then(|| parts.folded(x.precision())).transpose()?;
    let forward = Forward::new::<T>(&parts, x, folded.as_ref())?;
    drop(folded);
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
    let targets = branch.clone();
    let backward = move |_: &Tensor, dv: &Tensor| {
        let pooled = forward.packed(&parts, &a, &lengths).backward::<T>(dv)?;
        let extra: Extra = (padded_rows > 0).then_some((&forward.padding, count));
        let assigned =
            forward.with_logits::<T, _>(&parts, |logits| logits.backward(&moments, extra, &pooled.a))?;
        targets.deposit(forward.gradients(&parts, pooled, assigned)?)?;
        Ok(vec![None])
    };
    let v = attach("vlad", v, &[&branch.expand_weight], Box::new(backward))?;
    Ok((v, reported))
}

/// The residuals V [B, K, D] under running statistics, without a tape. `folded` is [`fold_for_evaluation`].
pub(crate) fn eval(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    (mean, variance): (&Tensor, &Tensor),
    folded: Option<&Tensor>,
) -> Result<Tensor> {
    for_float!(x.dtype(), T => eval_as::<T>(branch, x, lengths, (mean, variance), folded))
}

fn eval_as<T: Real>(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    (mean, variance): (&Tensor, &Tensor),
    folded: Option<&Tensor>,
) -> Result<Tensor> {
    let parts = Parts::new(branch)?;
    let (frames, _) = x.dims()?;
    let forward = Forward::new::<T>(&parts, x, folded)?;
    let mean = to_f64(mean)?.iter().zip(&forward.constant).map(|(mean, constant)| mean - constant).collect();
    let moments = Moments { mean, variance: to_f64(variance)? };
    let a = forward.with_logits::<T, _>(&parts, |logits| logits.forward(&moments))?;
    let a = tensor(a, &[frames, parts.groups * parts.clusters])?;
    forward.pooled::<T>(&parts, &a, lengths)
}
