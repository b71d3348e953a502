//! The clustering of a modality as one node on the tape, on the GPU, with a gradient that is written by hand.
//!
//! The way is that of [`crate::kernels::cpu::vlad::cluster`], which explains the fold and what is left out of the logits.

use candle_core::{DType, Result, Tensor};

use super::codes::Frames;
use super::columns::{Line, Moments, Padding, add_row, line, moments, norm_gradient, running_line, sums};
use super::launch::{Argument, Grid, Kernel, fresh, launch};
use super::only_f32;
use super::pool::{self, Pooled};
use super::product::{operand, product};
use crate::kernels::backend::Fold;
use crate::kernels::branch::{Branch, BranchGradients};
use crate::kernels::moments::NormMoments;
use crate::kernels::precision::Precision;
use crate::kernels::tape::attach;

use Argument::{Read, Size, Write};

const fn kernel(name: &'static str) -> Kernel {
    Kernel { source: "assign", name }
}

/// The detached parameters, and the stacked weights of assignment and attention.
struct Parts {
    expand_weight: Tensor,
    expand_bias: Tensor,
    /// [G·K + G, E].
    stacked: Tensor,
    attention_bias: Tensor,
    /// Batch norm's weight and bias, [G·K] each.
    weight: Tensor,
    bias: Tensor,
    centers: Tensor,
    groups: usize,
    clusters: usize,
    epsilon: f64,
    precision: Precision,
}

impl Parts {
    fn new(branch: &Branch, precision: Precision) -> Result<Self> {
        let detached = |tensor: &Tensor| {
            only_f32(tensor)?;
            tensor.detach().contiguous()
        };
        let (assign, attention) = (detached(&branch.assign_weight)?, detached(&branch.attention_weight)?);
        Ok(Self {
            expand_weight: detached(&branch.expand_weight)?,
            expand_bias: detached(&branch.expand_bias)?,
            stacked: Tensor::cat(&[&assign, &attention], 0)?,
            attention_bias: detached(&branch.attention_bias)?,
            weight: detached(&branch.norm_weight)?,
            bias: detached(&branch.norm_bias)?,
            centers: detached(&branch.centers)?,
            groups: branch.groups,
            clusters: branch.clusters,
            epsilon: branch.epsilon,
            precision,
        })
    }

    /// `W W_expand` [G·K + G, F].
    fn folded(&self) -> Result<Tensor> {
        let (stacked, expand) =
            (operand(&self.stacked, self.precision)?, operand(&self.expand_weight, self.precision)?);
        product(&stacked, &expand)
    }

    /// G·K, the number of assignment logits of a frame.
    fn width(&self) -> usize {
        self.groups * self.clusters
    }
}

/// The values that the forward pass makes before the batch norm.
struct Forward {
    x: Frames,
    /// h as operand of products, [N, E].
    h: Tensor,
    /// The logits [N, G·K + G]. In folded form, the constant of each assignment column is left out.
    s: Tensor,
    /// Whether `s` was made from `x` rather than from `h`.
    folded: bool,
    /// What is added to the attention logits: the bias, and the constant that was left out of `s`.
    attention_bias: Tensor,
    /// `b_expand Wᵀ` of the assignment, [G·K].
    offset: Tensor,
}

impl Forward {
    /// With `folded`, the logits are made through this product of weights.
    fn new(parts: &Parts, x: Frames, folded: Option<&Tensor>) -> Result<Self> {
        let width = parts.width();
        let h = x.times(&parts.expand_weight)?;
        add_row(&h, &parts.expand_bias)?;
        let h = operand(&h, parts.precision)?;
        let offset = product(&parts.stacked, &parts.expand_bias.unsqueeze(1)?)?.squeeze(1)?;
        let (s, attention_bias) = if let Some(folded) = folded {
            let through = offset.narrow(0, width, parts.groups)?;
            (x.times(folded)?, parts.attention_bias.add(&through)?)
        } else {
            let stacked = operand(&parts.stacked, parts.precision)?;
            (product(&h, &stacked.t()?)?, parts.attention_bias.clone())
        };
        let offset = offset.narrow(0, 0, width)?.contiguous()?;
        Ok(Self { x, h, s, folded: folded.is_some(), attention_bias, offset })
    }

    fn padding(&self, rows: usize) -> Padding<'_> {
        Padding { offset: &self.offset, folded: self.folded, rows }
    }

    /// The assignments a [N, G·K] under the line of the batch norm.
    fn assign(&self, parts: &Parts, factor: &Tensor, shift: &Tensor) -> Result<Tensor> {
        let (rows, device) = (self.s.dim(0)?, self.s.device());
        let a = fresh(&[rows, parts.width()], DType::F32, device)?;
        let arguments = [
            Read(&self.s),
            Read(&self.attention_bias),
            Read(factor),
            Read(shift),
            Size(rows),
            Size(parts.groups),
            Size(parts.clusters),
            Write(&a),
        ];
        launch(device, kernel("assignments"), Grid::segments(rows * parts.groups)?, &arguments)?;
        Ok(a)
    }

    /// The gradients of the normed logits and of the attention logits, [N, G·K + G], from that of the assignments.
    fn assign_gradient(&self, parts: &Parts, line: &Line, da: &Tensor) -> Result<Tensor> {
        let (rows, device) = (self.s.dim(0)?, self.s.device());
        let gradient = fresh(self.s.dims(), DType::F32, device)?;
        let arguments = [
            Read(&self.s),
            Read(&self.attention_bias),
            Read(&line.factor),
            Read(&line.shift),
            Read(da),
            Size(rows),
            Size(parts.groups),
            Size(parts.clusters),
            Write(&gradient),
        ];
        launch(device, kernel("assignments_gradient"), Grid::segments(rows * parts.groups)?, &arguments)?;
        Ok(gradient)
    }

    /// V [B, K, D], and what its gradient needs.
    fn pool(&self, parts: &Parts, a: &Tensor, lengths: &[usize]) -> Result<(Tensor, Pooled)> {
        Pooled::forward(a, self.h.clone(), &parts.centers, (lengths, parts.groups, parts.precision))
    }
}

/// The residuals V [B, K, D] with their tape, and the assignment's moments.
///
/// # Errors
/// A parameter is not f32, or the card fails.
pub(crate) fn train(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    padded_rows: usize,
    fold: Fold,
) -> Result<(Tensor, NormMoments)> {
    let (frames, size) = x.dims()?;
    let folded = branch.folds(frames, size, fold)?;
    let parts = Parts::new(branch, x.precision())?;
    let folded = folded.then(|| parts.folded()).transpose()?;
    let forward = Forward::new(&parts, x, folded.as_ref())?;
    drop(folded);
    let moments = moments(&forward.s, parts.width(), forward.padding(padded_rows))?;
    let line = line(&moments, (&parts.weight, &parts.bias), parts.epsilon)?;
    let a = forward.assign(&parts, &line.factor, &line.shift)?;
    let (v, pooled) = forward.pool(&parts, &a, lengths)?;
    drop(a);
    let reported = NormMoments {
        mean: moments.reported_mean.clone(),
        variance: moments.reported_variance.clone(),
        rows: frames + padded_rows,
    };
    let kept = Kept { parts, forward, moments, line, pooled, padded_rows };
    let targets = branch.clone();
    let backward = move |_: &Tensor, dv: &Tensor| {
        kept.deposit(&targets, dv)?;
        Ok(vec![None])
    };
    let v = attach("vlad", v, &[&branch.expand_weight], Box::new(backward))?;
    Ok((v, reported))
}

/// What a training forward pass keeps for the gradient.
struct Kept {
    parts: Parts,
    forward: Forward,
    moments: Moments,
    line: Line,
    pooled: Pooled,
    padded_rows: usize,
}

impl Kept {
    /// The gradients of the parameters, from that of the residuals.
    fn deposit(&self, targets: &Branch, dv: &Tensor) -> Result<()> {
        let Self { parts, forward, moments, line, .. } = self;
        let (width, groups, precision) = (parts.width(), parts.groups, parts.precision);
        let pool::Gradient { a: da, h: mut dh, centers: dcenters } = self.pooled.backward(dv)?;
        let ds = forward.assign_gradient(parts, line, &da)?;
        drop(da);
        let padding = forward.padding(self.padded_rows);
        let norm = norm_gradient(&forward.s, &ds, (moments, line, &parts.weight), padding)?;
        let (sums_of_ds, rounded) = sums(&ds)?;
        let dattention_bias = rounded.narrow(0, width, groups)?;
        let zeros = |count: usize| Tensor::zeros(count, DType::F32, ds.device());

        // `doffset` is the gradient of b_expand Wᵀ, as far as that term stands apart from h.
        let (mut dexpand_bias, mut dstacked, dexpand, doffset);
        if forward.folded {
            // Here s = x W_eaᵀ and W_ea = W W_expand. The assignment's constant was removed, so it has no gradient.
            let (sums_of_dh, rounded) = sums(&dh)?;
            dexpand_bias = rounded;
            let dfolded = operand(&forward.x.gradient(&ds, &sums_of_ds)?, precision)?;
            let through_h = forward.x.gradient(&dh, &sums_of_dh)?;
            dstacked = product(&dfolded, &operand(&parts.expand_weight, precision)?.t()?)?;
            dexpand = product(&operand(&parts.stacked, precision)?.t()?, &dfolded)?.add(&through_h)?;
            doffset = Some(Tensor::cat(&[&zeros(width)?, &dattention_bias], 0)?);
        } else {
            let narrow = operand(&ds, precision)?;
            dh = dh.add(&product(&narrow, &operand(&parts.stacked, precision)?)?)?;
            let (sums_of_dh, rounded) = sums(&dh)?;
            dexpand_bias = rounded;
            dstacked = product(&narrow.t()?, self.pooled.h())?;
            dexpand = forward.x.gradient(&dh, &sums_of_dh)?;
            doffset = match self.padded_rows {
                0 => None,
                _ => Some(Tensor::cat(&[&norm.padding, &zeros(groups)?], 0)?),
            };
        }
        if let Some(doffset) = doffset {
            let doffset = doffset.unsqueeze(1)?;
            dstacked = dstacked.add(&product(&doffset, &parts.expand_bias.unsqueeze(0)?)?)?;
            dexpand_bias = dexpand_bias.add(&product(&parts.stacked.t()?, &doffset)?.squeeze(1)?)?;
        }
        targets.deposit(BranchGradients {
            expand_weight: dexpand,
            expand_bias: dexpand_bias,
            stacked: dstacked,
            attention_bias: dattention_bias,
            norm_weight: norm.weight,
            norm_bias: norm.bias,
            centers: dcenters,
        })
    }
}

/// The product of weights [G·K + G, F] through which an evaluation is computed, if it goes through the fold.
pub(crate) fn fold_for_evaluation(
    branch: &Branch,
    precision: Precision,
    fold: Fold,
) -> Result<Option<Tensor>> {
    branch.folds_in_evaluation(fold)?.then(|| Parts::new(branch, precision)?.folded()).transpose()
}

/// The residuals V [B, K, D] under running statistics, without a tape. `folded` is [`fold_for_evaluation`].
///
/// # Errors
/// A parameter is not f32, or the card fails.
pub(crate) fn eval(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    running: (&Tensor, &Tensor),
    folded: Option<&Tensor>,
) -> Result<Tensor> {
    let parts = Parts::new(branch, x.precision())?;
    let forward = Forward::new(&parts, x, folded)?;
    let norm = (&parts.weight, &parts.bias);
    let (factor, shift) = running_line(running, norm, parts.epsilon, forward.padding(0))?;
    let a = forward.assign(&parts, &factor, &shift)?;
    Ok(forward.pool(&parts, &a, lengths)?.0)
}
