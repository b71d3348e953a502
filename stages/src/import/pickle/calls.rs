//! The functions that a pickled dict of arrays calls. Each of them makes a value and does nothing else.
//!
//! Law: a name or an argument that is not expected is an error that says so.

use super::error::PickleError;
use super::machine::Machine;
use super::value::{Callable, Id, PickledArray, Value};
use crate::import::element::ElementType;
use crate::import::error::shown;

/// The most axes of an array, which is also numpy's limit.
const MAX_AXES: usize = 64;
/// The most bytes of a dtype's code, such as `f4`.
const MAX_CODE: usize = 16;
/// The number of parts of a state that are looked at. The state of a dtype has up to nine parts.
const MAX_STATE: usize = 9;

impl Machine<'_> {
    /// The function with this name.
    pub(super) fn global(&self, module: &str, name: &str) -> Result<Callable, PickleError> {
        Ok(match (module, name) {
            // numpy 2 renamed its inner package.
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Callable::Reconstruct,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Callable::FromBuffer,
            ("numpy", "ndarray") => Callable::Ndarray,
            ("numpy", "dtype") => Callable::Dtype,
            ("_codecs", "encode") => Callable::Encode,
            ("collections", "OrderedDict") => Callable::OrderedDict,
            // Protocol 2 keeps Python 2's name of the module `builtins`.
            ("builtins" | "__builtin__", "tuple") => Callable::Tuple,
            ("builtins" | "__builtin__", "bytes") => Callable::Bytes,
            _ => {
                return Err(self.error(format!(
                    "the pickle asks for `{}.{}`, which is not among the few functions that make arrays; nothing was run",
                    shown(module),
                    shown(name)
                )));
            }
        })
    }

    pub(super) fn call(&mut self, function: Id, arguments: Id) -> Result<(), PickleError> {
        let Value::Callable(callable) = *self.value(function) else {
            return Err(
                self.error(format!("{} is called as if it were a function", self.value(function).kind()))
            );
        };
        let Value::Tuple(arguments) = self.value(arguments) else {
            return Err(self.error(format!(
                "the arguments of a call are {}, not a tuple",
                self.value(arguments).kind()
            )));
        };
        match (callable, arguments.as_slice()) {
            (Callable::Reconstruct, [class, _shape, _code])
                if matches!(self.value(*class), Value::Callable(Callable::Ndarray)) =>
            {
                self.push(Value::Array(None))
            }
            // The flags after the code only say how the dtype was copied.
            (Callable::Dtype, [code, ..]) => match self.value(*code) {
                Value::Text(code) | Value::Bytes(code) if code.len() <= MAX_CODE => {
                    let code = code.clone();
                    self.push(Value::Dtype { code, big_endian: false })
                }
                other => Err(self.error(format!("a dtype is made of {}, not of a short code", other.kind()))),
            },
            (Callable::Encode, [text, encoding]) => self.encode(*text, *encoding),
            (Callable::Bytes, []) => self.push(Value::Bytes(0..0)),
            (Callable::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            // A tuple of a tuple is that tuple.
            (Callable::Tuple, [tuple]) if matches!(self.value(*tuple), Value::Tuple(_)) => {
                let tuple = *tuple;
                self.push_again(tuple)
            }
            (Callable::FromBuffer, [data, dtype, shape, order]) => {
                let fortran = match self.text(*order) {
                    Some("C") => false,
                    Some("F") => true,
                    _ => return Err(self.error("an array's order is neither C nor F")),
                };
                let array = self.filled(*dtype, *shape, fortran, *data)?;
                self.push(Value::Array(Some(array)))
            }
            (callable, arguments) => Err(self.error(format!(
                "{callable:?} is called with {} arguments that numpy would not write",
                arguments.len()
            ))),
        }
    }

    /// `_codecs.encode(text, "latin1")`.
    fn encode(&mut self, text: Id, encoding: Id) -> Result<(), PickleError> {
        if !matches!(self.text(encoding), Some("latin1" | "latin-1" | "iso-8859-1")) {
            return Err(self.error("a text is encoded as something other than latin1"));
        }
        let Value::Text(place) = self.value(text) else {
            return Err(self.error(format!("{} is encoded", self.value(text).kind())));
        };
        let place = place.clone();
        // In what Python writes, each text is encoded once. Without this bound, a short file could ask for much work.
        self.encoded = self.encoded.saturating_add(place.len());
        if self.encoded > self.bytes.len() {
            return Err(self.error("more text is encoded than the file has"));
        }
        self.push(Value::Encoded(place))
    }

    /// Sets the state of an array or a dtype.
    pub(super) fn set_state(&mut self, object: Id, state: Id) -> Result<(), PickleError> {
        let Value::Tuple(state) = self.value(state) else {
            return Err(self.error(format!("a state is {}, not a tuple", self.value(state).kind())));
        };
        let parts = state.len();
        let state: Vec<Id> = state.iter().take(MAX_STATE).copied().collect();
        match self.value(object) {
            Value::Array(None) => {
                let [_version, shape, dtype, fortran, data] = state[..] else {
                    return Err(self.error(format!("an array's state has {parts} parts, not 5")));
                };
                let fortran = match self.value(fortran) {
                    Value::Bool(fortran) => *fortran,
                    Value::Int(fortran) => *fortran != 0,
                    _ => return Err(self.error("an array's order is not a bool")),
                };
                let array = self.filled(dtype, shape, fortran, data)?;
                *self.value_mut(object) = Value::Array(Some(array));
                Ok(())
            }
            Value::Dtype { code, .. } => {
                let code = code.clone();
                let order = state.get(1).and_then(|order| self.text(*order));
                let big_endian = match order {
                    // `|` stands for types without a byte order: bytes and bools.
                    Some("<" | "|") => false,
                    Some(">") => true,
                    _ => return Err(self.error("a dtype has no byte order")),
                };
                *self.value_mut(object) = Value::Dtype { code, big_endian };
                Ok(())
            }
            other => Err(self.error(format!("a state is set for {}", other.kind()))),
        }
    }

    fn filled(&self, dtype: Id, shape: Id, fortran: bool, data: Id) -> Result<PickledArray, PickleError> {
        let Value::Dtype { code, big_endian } = self.value(dtype) else {
            return Err(self.error(format!("an array's dtype is {}", self.value(dtype).kind())));
        };
        let code = std::str::from_utf8(&self.bytes[code.clone()]);
        let code = code.map_err(|_| self.error("a dtype's code is not UTF-8"))?;
        let dtype = ElementType::of_numpy(code, *big_endian);
        let Value::Tuple(axes) = self.value(shape) else {
            return Err(self.error(format!("an array's shape is {}", self.value(shape).kind())));
        };
        if axes.len() > MAX_AXES {
            return Err(self.error(format!("an array has {} axes, more than {MAX_AXES}", axes.len())));
        }
        let mut shape = Vec::with_capacity(axes.len());
        for axis in axes {
            let size =
                if let Value::Int(size) = self.value(*axis) { usize::try_from(*size).ok() } else { None };
            shape.push(size.ok_or_else(|| self.error("an array's shape is not made of whole numbers"))?);
        }
        let (place, latin1) = match self.value(data) {
            Value::Bytes(place) => (place.clone(), false),
            Value::Encoded(place) => (place.clone(), true),
            // Arrays of Python objects keep their data in a list.
            other => {
                return Err(
                    self.error(format!("the data of an array of {dtype} are {}, not bytes", other.kind()))
                );
            }
        };
        if dtype.is_float() && !latin1 && dtype.bytes(&shape) != Some(place.len()) {
            return Err(self.error(format!("an array of {} bytes cannot be {dtype} {shape:?}", place.len())));
        }
        Ok(PickledArray { dtype, shape, fortran, place, latin1 })
    }
}
