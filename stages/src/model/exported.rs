//! Weights for evaluation alone, as they are stored.

use candle_core::Tensor;

/// An array of exported weights.
#[derive(Clone, Debug)]
pub enum Array {
    /// Whole numbers of 8 bits, row by row.
    I8 {
        /// The dimensions.
        shape: Vec<usize>,
        /// The elements.
        values: Vec<i8>,
    },
    /// Numbers of any float type.
    Float(Tensor),
}

impl Array {
    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::I8 { shape, .. } => shape,
            Self::Float(tensor) => tensor.dims(),
        }
    }
}

/// Arrays with their names.
pub type Arrays = Vec<(String, Array)>;
