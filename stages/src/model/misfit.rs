//! The differences between tensors from outside and those of a model.

use std::fmt;

/// The most misfits that are listed. The rest are counted.
const LISTED: usize = 40;

/// A misfit: one tensor that keeps named tensors from being the weights of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A tensor of the model is not among them.
    Missing {
        /// The tensor.
        name: String,
        /// The shape the model gives it.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the model's.
    Shape {
        /// The tensor.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape the model gives it.
        expected: Vec<usize>,
    },
    /// A tensor does not belong to the model. Most likely the weights are those of another model.
    Unknown {
        /// The tensor.
        name: String,
        /// The shape of the tensor.
        found: Vec<usize>,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => write!(f, "tensor `{name}` {expected:?} is missing"),
            Self::Shape { name, found, expected } => {
                write!(f, "tensor `{name}` has the shape {found:?}, the model's has {expected:?}")
            }
            Self::Unknown { name, found } => write!(f, "tensor `{name}` {found:?} is none of the model's"),
        }
    }
}

/// All misfits in one message. A single misfit stands behind the colon. Several stand on a line each.
pub(super) struct Listed<'a>(pub(super) &'a [Misfit]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return write!(f, " {only}");
        }
        for misfit in self.0.iter().take(LISTED) {
            write!(f, "\n  {misfit}")?;
        }
        match self.0.len().checked_sub(LISTED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more"),
        }
    }
}
