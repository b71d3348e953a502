//! The values that a pickle builds.
//!
//! Law: a value owns no byte of the file, and refers to other values by number.

use std::ops::Range;

use crate::import::element::ElementType;

/// An array in a pickle. Its elements stay where they are.
#[derive(Debug, Clone, PartialEq)]
pub struct PickledArray {
    /// The type of the elements.
    pub dtype: ElementType,
    /// The shape.
    pub shape: Vec<usize>,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// The bytes of the file that hold the elements.
    pub place: Range<usize>,
    /// Whether these bytes are UTF-8 for characters up to U+00FF, each of which stands for a byte. Protocol 2 writes
    /// bytes in this way.
    pub latin1: bool,
}

/// The number of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

/// A value that a pickle builds.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number with a fraction. Its digits are not kept, because no array needs it.
    Float,
    /// A text: the place of its UTF-8 in the file.
    Text(Range<usize>),
    /// Bytes: their place in the file. Python 2 writes texts as bytes too.
    Bytes(Range<usize>),
    /// Bytes that are written as characters: see [`PickledArray::latin1`].
    Encoded(Range<usize>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Callable(Callable),
    /// A numpy dtype.
    Dtype {
        /// The place of the dtype's code, such as `f4`.
        code: Range<usize>,
        /// Whether the elements are big-endian. The state of the dtype sets this.
        big_endian: bool,
    },
    /// A numpy array. `None` until its state is set.
    Array(Option<PickledArray>),
}

impl Value {
    /// The kind of the value, in words for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "a whole number",
            Self::Float => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) | Self::Encoded(_) => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Callable(_) => "a function",
            Self::Dtype { .. } => "a dtype",
            Self::Array(_) => "an array",
        }
    }
}

/// The functions that a pickled dict of arrays calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callable {
    /// `numpy.core.multiarray._reconstruct`, which makes an array without a state.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`, which makes a whole array (protocol 5).
    FromBuffer,
    /// `numpy.ndarray`, which is only ever an argument.
    Ndarray,
    /// `numpy.dtype`, which makes a dtype.
    Dtype,
    /// `_codecs.encode`, since protocol 2 writes bytes as latin-1 text.
    Encode,
    /// `bytes()`, since protocol 2 writes empty bytes in this way.
    Bytes,
    /// `collections.OrderedDict`, which makes a dict.
    OrderedDict,
    /// `tuple`, which stands around PaddlePaddle's (name, array).
    Tuple,
}
