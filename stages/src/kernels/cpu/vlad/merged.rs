//! One modality in evaluation, video by video, with weights that were worked out once.
//!
//! The step from bytes to features, the fold of the assignment and its batch norm are all part of two affine maps. The
//! frames of a video are expanded, assigned and pooled while they lie in the cache, so no value of the size of all frames
//! of a batch is ever stored.

use candle_core::{Device, Result, Tensor};

use super::normalize::normalize_video;
use crate::kernels::bf16::product_once;
use crate::kernels::branch::Branch;
use crate::kernels::cpu::affine::{Affine, Input, Lines, Map};
use crate::kernels::cpu::columns::{Columns, column_sums};
use crate::kernels::cpu::lanes::softmax;
use crate::kernels::flat::{Flat, to_f64};
use crate::kernels::float::{Real, sigmoid};
use crate::kernels::forms::L2Norm;
use crate::kernels::tiles::Matrix;
use crate::kernels::wide::widest;

/// What is worked out of the weights of a branch, with maps of some kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BranchMaps<M> {
    /// From bytes less 128 to h [E].
    pub(crate) expand: M,
    /// From bytes less 128 to the normed assignment logits [G·K] and the attention logits [G].
    pub(crate) assign: M,
    /// C [K, D].
    pub(crate) centers: Vec<f32>,
}

impl<M> BranchMaps<M> {
    /// Works out the weights of a branch. `before` are the lines from bytes less 128 to features; `mean` and `variance`
    /// [G·K] are the running statistics of the assignment. `make` makes a map.
    pub(crate) fn new(
        branch: &Branch,
        before: &Lines,
        (mean, variance): (&Tensor, &Tensor),
        mut make: impl FnMut(&Map) -> M,
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
        let mut make = |weight: &Tensor, after: &Lines| -> Result<M> {
            let weight = Flat::<f32>::of(weight)?;
            Ok(make(&Map { weight: &weight, before: Some(before), after, input: Input::Codes }))
        };
        Ok(Self {
            expand: make(&weight, &expand)?,
            assign: make(&folded, &after)?,
            centers: Flat::<f32>::of(&centers)?.to_vec(),
        })
    }
}

/// The map from a video's bytes to its descriptor. The names of sizes are those of [`Branch`].
pub(crate) struct Merged {
    pub(crate) maps: BranchMaps<Affine>,
    pub(crate) groups: usize,
    pub(crate) clusters: usize,
    pub(crate) width: usize,
    pub(crate) form: L2Norm,
    /// Whether frames are pooled in bf16, and in f32 otherwise.
    pub(crate) pools_in_bf16: bool,
}

impl Merged {
    /// D·K, the width of a descriptor.
    pub(crate) fn descriptor(&self) -> usize {
        self.width * self.clusters
    }

    /// Writes the descriptor of a video into `descriptor` [D·K], with every cluster at length one. `bytes` are its
    /// frames, [n, F].
    pub(crate) fn describe(&self, bytes: &[u8], frames: usize, descriptor: &mut [f32]) -> Result<()> {
        let x = Matrix::of_rows(bytes, frames, bytes.len() / frames.max(1));
        let h = self.maps.expand.of_codes(x);
        let logits = self.maps.assign.of_codes(x);
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
                        softmax(a, Real::quick_exp);
                        let attention = sigmoid(*attention);
                        a.iter_mut().for_each(|a| *a *= attention);
                    }
                }
            },
        );
        let mass = column_sums(Columns { values: &a, stride: clusters, width: clusters });
        let mut v = self.pool(a, h, frames * groups)?;
        let centers = self.maps.centers.chunks_exact(width);
        for ((v, center), mass) in v.chunks_exact_mut(width).zip(centers).zip(mass) {
            for (v, center) in v.iter_mut().zip(center) {
                *v -= mass as f32 * center;
            }
        }
        normalize_video(&v, descriptor, (clusters, width), self.form);
        Ok(())
    }

    /// `aᵀ h` [K, D] for a [rows, K] and h [rows, D].
    fn pool(&self, a: Vec<f32>, h: Vec<f32>, rows: usize) -> Result<Vec<f32>> {
        let (clusters, width) = (self.clusters, self.width);
        if self.pools_in_bf16 {
            let a = Matrix::of_rows(&a, rows, clusters).transposed();
            return Ok(product_once(a, Matrix::of_rows(&h, rows, width)));
        }
        let a = Tensor::from_vec(a, (rows, clusters), &Device::Cpu)?;
        let product = a.t()?.matmul(&Tensor::from_vec(h, (rows, width), &Device::Cpu)?)?;
        Ok(Flat::<f32>::of(&product)?.to_vec())
    }
}
