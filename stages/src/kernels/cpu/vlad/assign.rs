//! Batch norm, softmax and attention of the assignment in one pass over the logits, and their gradient in two passes.
//!
//! Logits come as rows of stride G·K + G: first G·K assignment logits, then G attention logits. The assignment logits
//! may lack a constant for each column, because batch norm removes it.

use rayon::prelude::*;

use crate::kernels::cpu::columns::{Columns, column_moments};
use crate::kernels::cpu::lanes::{dot, softmax};
use crate::kernels::float::{Real, sigmoid};
use crate::kernels::precision::Precision;
use crate::kernels::wide::widest;

/// The number of rows of one part. It is fixed, because it decides the order of the sums.
const ROWS: usize = 64;

/// The logits, and the parameters that turn them into assignments.
pub(super) struct Logits<'a, T> {
    /// [N, G·K + G].
    pub(super) values: &'a [T],
    pub(super) groups: usize,
    pub(super) clusters: usize,
    /// [G], added to the attention logits.
    pub(super) attention_bias: &'a [T],
    /// [G·K] each: batch norm's weight and bias.
    pub(super) weight: &'a [f64],
    pub(super) bias: &'a [f64],
    pub(super) epsilon: f64,
    /// In f32, softmax takes the nearer of the two exponentials.
    pub(super) precision: Precision,
}

/// The mean and the biased variance of the assignment logits, [G·K] each.
pub(super) struct Moments {
    pub(super) mean: Vec<f64>,
    pub(super) variance: Vec<f64>,
}

/// Rows that count in the moments but are computed elsewhere, given by their assignment logits [G·K] and their number.
pub(super) type Extra<'a> = Option<(&'a [f64], f64)>;

/// The gradients of a [`forward`].
pub(super) struct Gradient<T> {
    /// The gradient of the logits, [N, G·K + G].
    pub(super) logits: Vec<T>,
    /// The gradients of batch norm's weight and bias, [G·K] each.
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
    /// The gradient of the extra row's logits [G·K], for all its repetitions together.
    pub(super) extra: Vec<f64>,
}

impl<T: Real> Logits<'_, T> {
    fn width(&self) -> usize {
        self.groups * self.clusters
    }

    fn stride(&self) -> usize {
        self.width() + self.groups
    }

    pub(super) fn moments(&self, extra: Extra) -> Moments {
        let columns = Columns { values: self.values, stride: self.stride(), width: self.width() };
        let (mean, variance) = column_moments(columns, extra);
        Moments { mean, variance }
    }

    /// The factor and the shift of the batch norm: `y = s·factor + shift`.
    fn line(&self, moments: &Moments) -> (Vec<T>, Vec<T>) {
        let spread = moments.variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt());
        let factor: Vec<f64> = spread.zip(self.weight).map(|(spread, weight)| spread * weight).collect();
        let shift = self.bias.iter().zip(&factor).zip(&moments.mean);
        let shift = shift.map(|((bias, factor), mean)| T::from_f64(bias - mean * factor)).collect();
        (factor.into_iter().map(T::from_f64).collect(), shift)
    }

    /// Writes the softmax of the batch-normed logits of one row and group into `p` [K].
    #[inline(always)]
    fn softmax(&self, row: &[T], group: usize, (factor, shift): (&[T], &[T]), p: &mut [T]) {
        let span = group * self.clusters..(group + 1) * self.clusters;
        let (s, factor, shift) = (&row[span.clone()], &factor[span.clone()], &shift[span]);
        for (((p, s), factor), shift) in p.iter_mut().zip(s).zip(factor).zip(shift) {
            *p = *s * *factor + *shift;
        }
        match self.precision {
            Precision::F32 => softmax(p, Real::exp),
            _ => softmax(p, Real::quick_exp),
        }
    }

    #[inline(always)]
    fn attention(&self, row: &[T], group: usize) -> T {
        sigmoid(row[self.width() + group] + self.attention_bias[group])
    }

    /// The assignments a [N, G, K].
    pub(super) fn forward(&self, moments: &Moments) -> Vec<T> {
        let (factor, shift) = self.line(moments);
        let mut a = vec![T::zero(); self.values.len() / self.stride() * self.width()];
        a.par_chunks_mut(ROWS * self.width()).zip(self.values.par_chunks(ROWS * self.stride())).for_each(
            |(a, rows)| {
                widest(
                    #[inline(always)]
                    || {
                        for (a, row) in a.chunks_mut(self.width()).zip(rows.chunks(self.stride())) {
                            for (group, a) in a.chunks_mut(self.clusters).enumerate() {
                                self.softmax(row, group, (&factor, &shift), a);
                                let attention = self.attention(row, group);
                                a.iter_mut().for_each(|a| *a *= attention);
                            }
                        }
                    },
                );
            },
        );
        a
    }

    /// The gradients that follow from that of the assignments, `da` [N, G, K]. This is for training, in which the
    /// moments depend on the logits.
    pub(super) fn backward(&self, moments: &Moments, extra: Extra, da: &[T]) -> Gradient<T> {
        let (width, stride) = (self.width(), self.stride());
        let line = self.line(moments);
        let (factor, shift) = (&line.0, &line.1);
        let mean: Vec<T> = moments.mean.iter().map(|mean| T::from_f64(*mean)).collect();
        let spread: Vec<f64> =
            moments.variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect();

        // Pass 1 computes the gradients of the normed logits and of the attention, and for each column Σ dy and
        // Σ dy·(s − mean).
        let mut logits = vec![T::zero(); self.values.len()];
        let parts: Vec<(Vec<T>, Vec<T>)> = logits
            .par_chunks_mut(ROWS * stride)
            .zip(self.values.par_chunks(ROWS * stride))
            .zip(da.par_chunks(ROWS * width))
            .map(|((targets, rows), da)| {
                let (mut sums, mut products) = (vec![T::zero(); width], vec![T::zero(); width]);
                widest(
                    #[inline(always)]
                    || {
                        for ((target, row), da) in
                            targets.chunks_mut(stride).zip(rows.chunks(stride)).zip(da.chunks(width))
                        {
                            let (dy, dattention) = target.split_at_mut(width);
                            for (group, (dy, da)) in
                                dy.chunks_mut(self.clusters).zip(da.chunks(self.clusters)).enumerate()
                            {
                                self.softmax(row, group, (factor, shift), dy);
                                let attention = self.attention(row, group);
                                // Σ p·da is both the attention's gradient and the mean that softmax subtracts.
                                let mass = dot(dy, da);
                                for (dy, da) in dy.iter_mut().zip(da) {
                                    *dy *= attention * (*da - mass);
                                }
                                dattention[group] = mass * attention * (T::one() - attention);
                            }
                            let columns = sums.iter_mut().zip(&mut products).zip(&*dy).zip(row).zip(&mean);
                            for ((((sum, product), dy), s), mean) in columns {
                                *sum += *dy;
                                *product += *dy * (*s - *mean);
                            }
                        }
                    },
                );
                (sums, products)
            })
            .collect();
        let (mut bias, mut weight) = (vec![0.0; width], vec![0.0; width]);
        for (sums, products) in &parts {
            for column in 0..width {
                bias[column] += sums[column].to_f64();
                weight[column] += products[column].to_f64() * spread[column];
            }
        }

        // Pass 2 computes ds = w·r·(dy − Σdy/n − ŝ·Σ(dy·ŝ)/n), with ŝ = (s − mean)·r and r = 1/sqrt(variance + ε).
        let frames = (self.values.len() / stride) as f64;
        let total = frames + extra.map_or(0.0, |(_, count)| count);
        let middle: Vec<T> = bias.iter().map(|sum| T::from_f64(sum / total)).collect();
        let slope: Vec<T> =
            weight.iter().zip(&spread).map(|(sum, spread)| T::from_f64(sum / total * spread)).collect();
        logits.par_chunks_mut(ROWS * stride).zip(self.values.par_chunks(ROWS * stride)).for_each(
            |(targets, rows)| {
                widest(
                    #[inline(always)]
                    || {
                        for (target, row) in targets.chunks_mut(stride).zip(rows.chunks(stride)) {
                            for column in 0..width {
                                let distance = row[column] - mean[column];
                                target[column] = factor[column]
                                    * (target[column] - middle[column] - distance * slope[column]);
                            }
                        }
                    },
                );
            },
        );
        let extra = extra.map_or(Vec::new(), |(row, count)| {
            let gradient = |column: usize| {
                let normal = (row[column] - moments.mean[column]) * spread[column];
                let pulled = bias[column] / total + normal * weight[column] / total;
                -count * self.weight[column] * spread[column] * pulled
            };
            (0..width).map(gradient).collect()
        });
        Gradient { logits, weight, bias, extra }
    }
}
