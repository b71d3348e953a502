//! A set of tensors of which each device holds a slice.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::cut::Cut;

/// Tensors in slices: slice `d` lies on device `d`, with one tensor for each of its spans.
#[derive(Clone, Debug)]
pub struct Sliced {
    /// The cut.
    pub cut: Arc<Cut>,
    /// The index of the first slice of this process. The others before and behind are in other processes.
    pub first: usize,
    /// The slices of this process, with one tensor for each span. A whole tensor has its shape, and a part of one is flat.
    pub slices: Vec<Vec<Tensor>>,
}

impl Sliced {
    /// These tensors as one slice, without a copy.
    pub fn whole(tensors: Vec<Tensor>) -> Self {
        let cut = Cut::new(tensors.iter().map(|tensor| tensor.shape().clone()), 1);
        Self { cut: Arc::new(cut), first: 0, slices: vec![tensors] }
    }

    /// The tensor with this index. One that is cut is put together in the memory of the host.
    ///
    /// # Errors
    /// There is no such tensor, or a copy fails.
    pub fn tensor(&self, index: usize) -> Result<Tensor> {
        self.cut.join(index, |slice, span| self.slices.get(slice.checked_sub(self.first)?)?.get(span))
    }

    /// All tensors, as [`Sliced::tensor`] gives them.
    ///
    /// # Errors
    /// The errors of [`Sliced::tensor`].
    pub fn tensors(&self) -> Result<Vec<Tensor>> {
        (0..self.cut.shapes().len()).map(|index| self.tensor(index)).collect()
    }

    /// The tensors of all slices.
    pub fn parts(&self) -> impl Iterator<Item = &Tensor> {
        self.slices.iter().flatten()
    }
}
