//! Weights from elsewhere: PaddlePaddle's `.pdparams`, numpy's `.npz`, and `.safetensors` files of other programs.
//!
//! [`Source`] opens a file and lists its tensors. A [`NameMap`] says which of them becomes which tensor of the model.
//! [`import`] makes weights of them.
//!
//! Law: nothing in a file is run, and no number in it is trusted. What comes out is either the weights of a whole
//! model, each tensor with the model's shape, or an error that names the tensor.

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
