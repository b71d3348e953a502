//! Pickles of dicts of numpy arrays, without Python. The one law: nothing in a pickle is ever run. A pickle is a
//! program that may name any function; this machine knows the few that build dicts and arrays (`calls.rs`), each of
//! which only makes a value of its own, and refuses every other by name and byte.
//!
//! Any bytes may come in: a length is compared with the bytes that are left before it is used, values lie in one
//! list and refer to each other by number (no recursion, however deep they are nested), and the number of
//! operations, tensors and characters of a name is bounded. The work is linear in the length of the file.

mod calls;
mod machine;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::element::ElementType;
use super::error::shown;
use machine::Machine;
use value::{Id, Value};

/// Where PaddlePaddle's imperative mode keeps the parameters' own names, by those of its layers.
const PARAMETER_NAMES: &str = "StructuredToParameterName@@";
/// Where PaddlePaddle says which tensors it cut into pieces, for protocols 2 and 3 and more than 2^30 bytes.
const PIECES: &str = "UnpackBigParamInfor@@";

/// Tensors in a file.
const MAX_TENSORS: usize = 1 << 16;
/// Bytes of a name.
const MAX_NAME: usize = 512;

/// Why bytes are not a pickled dict of arrays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {why}")]
pub struct PickleError {
    /// Where in the file the trouble begins.
    pub at: usize,
    /// What is wrong.
    pub why: String,
}

/// An array in a pickle; its elements stay where they are.
#[derive(Debug, Clone, PartialEq)]
pub struct PickledArray {
    /// Type of its elements.
    pub dtype: ElementType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// The bytes of the file that hold its elements.
    pub place: Range<usize>,
    /// They are UTF-8 for characters up to U+00FF, each of which is a byte: how protocol 2 writes bytes.
    pub latin1: bool,
}

/// What a pickled dict holds.
#[derive(Debug, Default, PartialEq)]
pub struct StateDict {
    /// Its arrays by name, in the order of the file.
    pub arrays: Vec<(String, PickledArray)>,
    /// Names of PaddlePaddle's parameters, for those arrays that are named by their layer.
    pub parameter_names: BTreeMap<String, String>,
    /// Names of what is no array.
    pub others: Vec<String>,
}

/// Reads the pickle of a dict of arrays, protocols 2 to 5.
///
/// # Errors
/// The bytes are no such pickle, ask for a function, or hold more than the bounds. Never a panic, whatever they are.
pub fn state_dict(bytes: &[u8]) -> Result<StateDict, PickleError> {
    let (machine, root) = Machine::new(bytes).run()?;
    let end = PickleError { at: bytes.len(), why: String::new() };
    let refuse = |why: String| PickleError { why, ..end.clone() };
    let Value::Dict(entries) = machine.value(root) else {
        return Err(refuse(format!("the pickle is {}, not a dict of arrays", machine.value(root).kind())));
    };
    let mut found = StateDict::default();
    let mut names = BTreeSet::new();
    for (key, value) in entries {
        let name = machine
            .name(*key)
            .ok_or_else(|| refuse(format!("a key of the dict is no text of at most {MAX_NAME} bytes")))?;
        if !names.insert(name) {
            return Err(refuse(format!("two entries are named `{}`", shown(name))));
        }
        if names.len() > MAX_TENSORS {
            return Err(refuse(format!("more than {MAX_TENSORS} entries")));
        }
        match machine.value(*value) {
            Value::Dict(pairs) if name == PARAMETER_NAMES => {
                for (layer, parameter) in pairs {
                    let (layer, parameter) = (machine.name(*layer), machine.name(*parameter));
                    if let (Some(layer), Some(parameter)) = (layer, parameter) {
                        found.parameter_names.insert(layer.to_owned(), parameter.to_owned());
                    }
                    if found.parameter_names.len() > MAX_TENSORS {
                        return Err(refuse(format!("more than {MAX_TENSORS} parameter names")));
                    }
                }
            }
            _ if name == PIECES => {
                return Err(refuse("tensors are cut into pieces; save them with protocol 4".into()));
            }
            _ => match machine.array(*value) {
                Some(array) => found.arrays.push((name.to_owned(), array.clone())),
                None => found.others.push(name.to_owned()),
            },
        }
    }
    Ok(found)
}

impl Machine<'_> {
    /// A text short enough to be a name.
    fn name(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(place) | Value::Bytes(place) if place.len() <= MAX_NAME => self.text(id),
            _ => None,
        }
    }

    /// An array, or the pair (name, array) that PaddlePaddle writes for a tensor.
    fn array(&self, id: Id) -> Option<&PickledArray> {
        match self.value(id) {
            Value::Array(array) => array.as_ref(),
            Value::Tuple(pair) => match pair[..] {
                [_, array] => match self.value(array) {
                    Value::Array(array) => array.as_ref(),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }
}
