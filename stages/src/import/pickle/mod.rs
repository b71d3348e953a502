//! Pickles of dicts of numpy arrays, read without Python.
//!
//! Law: nothing in a pickle is ever run. A pickle is a program that may name any function. The machine in this module
//! knows the few functions that build dicts and arrays (`calls.rs`), each of which only makes a value. It refuses every
//! other function and gives its name and byte.
//!
//! Any bytes may come in. A length is compared with the bytes that are left before it is used. Values lie in one list
//! and refer to each other by number, so there is no recursion however deep they are nested. The number of operations,
//! the number of tensors and the length of a name are bounded. The work is linear in the length of the file.

mod calls;
mod error;
mod machine;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use super::error::shown;
pub use error::PickleError;
use machine::Machine;
pub use value::PickledArray;
use value::{Id, Value};

/// The key under which PaddlePaddle's imperative mode keeps the names of parameters, by the names of its layers.
const PARAMETER_NAMES: &str = "StructuredToParameterName@@";
/// The key under which PaddlePaddle says which tensors it cut into pieces. It does so with protocols 2 and 3 for more
/// than 2^30 bytes.
const PIECES: &str = "UnpackBigParamInfor@@";

/// The most tensors of a file.
const MAX_TENSORS: usize = 1 << 16;
/// The most bytes of a name.
const MAX_NAME: usize = 512;

/// The content of a pickled dict.
#[derive(Debug, Default, PartialEq)]
pub struct StateDict {
    /// The arrays by name, in the order of the file.
    pub arrays: Vec<(String, PickledArray)>,
    /// PaddlePaddle's names of parameters, for the arrays that are named by their layer.
    pub parameter_names: BTreeMap<String, String>,
    /// The names of everything that is not an array.
    pub others: Vec<String>,
}

/// Reads the pickle of a dict of arrays, protocols 2 to 5.
///
/// # Errors
/// The bytes are not such a pickle, ask for a function that is not known, or exceed a bound. Whatever the bytes are,
/// this does not panic.
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
            .ok_or_else(|| refuse(format!("a key of the dict is not a text of at most {MAX_NAME} bytes")))?;
        if !names.insert(name) {
            return Err(refuse(format!("two entries are named `{}`", shown(name))));
        }
        if names.len() > MAX_TENSORS {
            return Err(refuse(format!("the dict has more than {MAX_TENSORS} entries")));
        }
        match machine.value(*value) {
            Value::Dict(pairs) if name == PARAMETER_NAMES => {
                for (layer, parameter) in pairs {
                    let (layer, parameter) = (machine.name(*layer), machine.name(*parameter));
                    if let (Some(layer), Some(parameter)) = (layer, parameter) {
                        found.parameter_names.insert(layer.to_owned(), parameter.to_owned());
                    }
                    if found.parameter_names.len() > MAX_TENSORS {
                        return Err(refuse(format!("the dict has more than {MAX_TENSORS} parameter names")));
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
    /// The text of a value, if it is short enough to be a name.
    fn name(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(place) | Value::Bytes(place) if place.len() <= MAX_NAME => self.text(id),
            _ => None,
        }
    }

    /// The array of a value, which is an array or the pair (name, array) that PaddlePaddle writes for a tensor.
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
