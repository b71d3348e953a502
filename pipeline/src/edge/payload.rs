//! Payload types: what an edge carries. `check` compares them, and drawings of the graph show them.

use std::fmt;

/// A Rust type that can travel between stages. An output with several consumers clones it, so large data inside it
/// should lie behind an `Arc`.
pub trait Payload: Clone + Send + 'static {
    /// The name that users see in `framewise stages` and in errors about edges, such as `examples`.
    const NAME: &'static str;

    /// The bytes of heap data that a queued item keeps alive. 0 for payloads whose size does not matter.
    fn byte_len(&self) -> usize {
        0
    }

    /// The number of the step that an item belongs to, counted from 1, for the trace of a run. `None` for payloads that
    /// belong to no step.
    fn step(&self) -> Option<u64> {
        None
    }
}

/// A payload's name with the tensors that it holds. An empty list of tensors matches anything. It says that the shapes
/// are not known before the run, for example those of weights that come from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadType {
    /// [`Payload::NAME`].
    pub name: &'static str,
    /// The tensors, by name.
    pub tensors: Vec<TensorType>,
}

/// One tensor of a payload, such as `rgb: u8[frames, 1024]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// The tensor's name in its payload.
    pub name: String,
    /// The element type, such as `u8` or `f32`.
    pub dtype: &'static str,
    /// The dimensions, outermost first.
    pub dims: Vec<Dim>,
}

/// One dimension of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A size that is known before the run.
    Fixed(u64),
    /// A size that varies at run time. The name is for people.
    Named(&'static str),
}

impl PayloadType {
    /// The type of a payload that has no tensors, or whose tensors are not known before the run.
    pub fn of<T: Payload>() -> Self {
        Self { name: T::NAME, tensors: Vec::new() }
    }

    /// Adds a tensor.
    #[must_use]
    pub fn tensor(mut self, name: impl Into<String>, dtype: &'static str, dims: Vec<Dim>) -> Self {
        self.tensors.push(TensorType { name: name.into(), dtype, dims });
        self
    }

    /// The reason why a producer of `self` cannot feed a consumer that wants `wanted`. `None` when it can.
    pub fn mismatch(&self, wanted: &PayloadType) -> Option<String> {
        if self.name != wanted.name {
            return Some(format!(
                "the payloads differ: `{}` is sent where `{}` is wanted",
                self.name, wanted.name
            ));
        }
        if self.tensors.is_empty() {
            return None;
        }
        wanted.tensors.iter().find_map(|want| {
            let Some(have) = self.tensors.iter().find(|t| t.name == want.name) else {
                return Some(format!("tensor `{}` is wanted but not sent", want.name));
            };
            (!have.fits(want))
                .then(|| format!("tensor `{}`: {have} is sent where {want} is wanted", want.name))
        })
    }
}

impl TensorType {
    fn fits(&self, wanted: &TensorType) -> bool {
        self.dtype == wanted.dtype
            && self.dims.len() == wanted.dims.len()
            && self.dims.iter().zip(&wanted.dims).all(|(a, b)| match (a, b) {
                (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
                _ => true,
            })
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Named(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, dim) in self.dims.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{dim}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for PayloadType {
    /// Writes the type as `batches {rgb u8[frames, 1024], audio u8[frames, 128]}`. At most three tensors are written
    /// out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for (i, tensor) in self.tensors.iter().take(3).enumerate() {
            write!(f, "{}{} {tensor}", if i == 0 { " {" } else { ", " }, tensor.name)?;
        }
        match self.tensors.len() {
            0 => Ok(()),
            1..=3 => f.write_str("}"),
            n => write!(f, ", … {} more}}", n - 3),
        }
    }
}
