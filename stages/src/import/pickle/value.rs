//! What a pickle builds. The one law: a value owns no byte of the file, and refers to other values by number.

use std::ops::Range;

use super::PickledArray;

/// The number of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Read over: no array needs one.
    Float,
    /// UTF-8 in the file.
    Text(Range<usize>),
    /// Bytes in the file; Python 2 writes texts so too.
    Bytes(Range<usize>),
    /// Bytes as characters, see [`PickledArray::latin1`].
    Encoded(Range<usize>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Callable(Callable),
    /// A numpy dtype.
    Dtype {
        /// Its code, as `f4`.
        code: Range<usize>,
        /// Set by its state.
        big_endian: bool,
    },
    /// A numpy array; `None` until its state is set.
    Array(Option<PickledArray>),
}

impl Value {
    /// For messages.
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
    /// `numpy.core.multiarray._reconstruct`: an array without a state.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array whole (protocol 5).
    FromBuffer,
    /// `numpy.ndarray`, only ever an argument.
    Ndarray,
    /// `numpy.dtype`.
    Dtype,
    /// `_codecs.encode`: protocol 2 writes bytes as latin-1 text.
    Encode,
    /// `bytes()`: protocol 2 writes empty bytes so.
    Bytes,
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `tuple`, around PaddlePaddle's (name, array).
    Tuple,
}
