//! One modality in evaluation, video by video, with weights that were worked out once.
//!
//! The step from bytes to features, the fold of the assignment and its batch norm are all part of two affine maps. The
//! frames of a video are expanded, assigned and pooled while they lie in the cache, so no value of the size of all frames
//! of a batch is ever stored.

use candle_core::{Result, Tensor};

use super::normalize::normalize_video;
use crate::kernels::bf16::{Matrix, product_once};
use crate::kernels::branch::Branch;
use crate::kernels::cpu::affine::{Affine, Lines};
use crate::kernels::cpu::columns::{Columns, column_sums};
use crate::kernels::cpu::lanes::softmax;
use crate::kernels::flat::{Flat, to_f64};
use crate::kernels::float::sigmoid;
use crate::kernels::forms::L2Norm;
use crate::kernels::wide::widest;

/// The map from a video's bytes to its descriptor. The names of sizes are those of [`Branch`].
pub(crate) struct Merged {
    /// From bytes less 128 to h [E].
    expand: Affine,
    /// From bytes less 128 to the normed assignment logits [G·K] and the attention logits [G].
    assign: Affine,
    /// C [K, D].
    centers: Vec<f32>,
    groups: usize,
    clusters: usize,
    width: usize,
    form: L2Norm,
}

impl Merged {
    /// Works out the weights of a branch. `before` are the lines from bytes less 128 to features; `mean` and `variance`
    /// [G·K] are the running statistics of the assignment.
    pub(crate) fn new(
        branch: &Branch,
        before: &Lines,
        (mean, variance): (&Tensor, &Tensor),
        form: L2Norm,
    ) -> Result<Self> {
        let stacked = Tensor::cat(&[&branch.assign_weight, &branch.attention_weight], 0)?;
        let folded = stacked.matmul(&branch.expand_weight)?.contiguous()?;
        // The bias of the expansion, as the assignment and the attention see it.
        let offset = to_f64(&stacked.matmul(&branch.expand_bias.unsqueeze(1)?)?)?;
        let (mean, variance) = (to_f64(mean)?, to_f64(variance)?);
        let (weight, bias) = (to_f64(&branch.norm_weight)?, to_f64(&branch.norm_bias)?);
        let mut after = Lines { scale: Vec::new(), shift: Vec::new() };
        for column in 0..branch.groups * branch.clusters {
            let scale = weight[column] / (variance[column] + branch.epsilon).sqrt();
            after.scale.push(scale);
            after.shift.push((offset[column] - mean[column]) * scale + bias[column]);
        }
        let attention = to_f64(&branch.attention_bias)?;
        after.scale.resize(after.scale.len() + branch.groups, 1.0);
        after.shift.extend(attention.iter().zip(&offset[mean.len()..]).map(|(bias, offset)| bias + offset));
        let weight = branch.expand_weight.contiguous()?;
        let expand = Lines::shift(to_f64(&branch.expand_bias)?);
        let centers = branch.centers.contiguous()?;
        Ok(Self {
            expand: Affine::new(&Flat::<f32>::of(&weight)?, before, &expand),
            assign: Affine::new(&Flat::<f32>::of(&folded)?, before, &after),
            centers: Flat::<f32>::of(&centers)?.to_vec(),
            groups: branch.groups,
            clusters: branch.clusters,
            width: branch.width()?,
            form,
        })
    }

    /// D·K, the width of a descriptor.
    pub(crate) fn descriptor(&self) -> usize {
        self.width * self.clusters
    }

    /// Writes the descriptor of a video into `descriptor` [D·K], with every cluster at length one. `bytes` are its
    /// frames, [n, F].
    pub(crate) fn describe(&self, bytes: &[u8], frames: usize, descriptor: &mut [f32]) {
        let x = Matrix::of_rows(bytes, frames, bytes.len() / frames.max(1));
        let h = self.expand.of(x);
        let logits = self.assign.of(x);
        let (groups, clusters, width) = (self.groups, self.clusters, self.width);
        let mut a = vec![0.0; frames * groups * clusters];
        widest(
            #[inline(always)]
            || {
                let rows = a.chunks_exact_mut(groups * clusters);
                for (a, logits) in rows.zip(logits.chunks_exact(groups * clusters + groups)) {
                    let (assigned, attention) = logits.split_at(groups * clusters);
                    a.copy_from_slice(assigned);
                    for (a, attention) in a.chunks_exact_mut(clusters).zip(attention) {
                        softmax(a);
                        let attention = sigmoid(*attention);
                        a.iter_mut().for_each(|a| *a *= attention);
                    }
                }
            },
        );
        let rows = frames * groups;
        let mut v =
            product_once(Matrix::of_rows(&a, rows, clusters).transposed(), Matrix::of_rows(&h, rows, width));
        let mass = column_sums(Columns { values: &a, stride: clusters, width: clusters });
        for ((v, center), mass) in v.chunks_exact_mut(width).zip(self.centers.chunks_exact(width)).zip(mass) {
            for (v, center) in v.iter_mut().zip(center) {
                *v -= mass as f32 * center;
            }
        }
        normalize_video(&v, descriptor, (clusters, width), self.form);
    }
}
