//! Weights from elsewhere: PaddlePaddle's `.pdparams`, numpy's `.npz`, and `.safetensors` files of other programs.
//! The one law: nothing in a file is run and none of its numbers is trusted, and what comes out is weights of the model
//! whole and to the shape, or an error that names the tensor.
//!
//! [`Source`] opens a file and lists its tensors, a [`NameMap`] says which of them becomes which of ours, and
//! [`import`] makes weights of them.

mod assemble;
mod element;
mod error;
mod names;
mod npz;
pub mod pickle;
mod sizes;
mod source;

pub use assemble::{Imported, Options, Origin, Row, import, take_over};
pub use element::ElementType;
pub use error::ImportError;
pub use names::{Mapping, NameMap};
pub use npz::NpyHeader;
pub use source::{Foreign, Format, Source};
