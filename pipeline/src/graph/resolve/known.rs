//! The ports of a stage of which not every key is known, because a config cannot be read or a value is wrong.
//!
//! Law: what depends on an unknown key is left open, and everything else is compared as usual. So a mistake is not
//! reported again where its effects show, and does not hide other mistakes.

use std::collections::BTreeSet;

use toml::Value;

use crate::edge::payload::{Dim, PayloadType};
use crate::stage::component::Component;
use crate::stage::key::{KeyKind, KeySpec};
use crate::stage::ports::Ports;
use crate::stage::settings::Settings;

/// A dimension that depends on an unknown key.
const OPEN: Dim = Dim::Named("?");

/// The ports as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct KnownPorts {
    /// The ports. An open dimension fits any other.
    pub(crate) ports: Ports,
    /// For each output, whether it is open which tensors it sends.
    pub(crate) open_outputs: Vec<bool>,
}

/// The ports for these settings, in which the values of the keys `unknown` mean nothing.
///
/// A tensor depends on a key if another value of the key changes the tensor.
pub(crate) fn ports(
    component: &dyn Component,
    settings: &Settings,
    unknown: &BTreeSet<&'static str>,
) -> KnownPorts {
    let ports = component.ports(settings);
    let mut known = KnownPorts { open_outputs: vec![false; ports.outputs.len()], ports };
    if unknown.is_empty() {
        return known;
    }
    for spec in component.keys().into_iter().filter(|spec| unknown.contains(spec.name)) {
        for value in others(&spec, settings.get(spec.name)) {
            let mut changed = settings.clone();
            match value {
                Some(value) => changed.values.insert(spec.name.to_owned(), value),
                None => changed.values.remove(spec.name),
            };
            known.open_where_different(&component.ports(&changed));
        }
    }
    known
}

impl KnownPorts {
    /// Opens everything in which the ports differ from `other`.
    fn open_where_different(&mut self, other: &Ports) {
        for (index, input) in self.ports.inputs.iter_mut().enumerate() {
            let same = other.inputs.get(index).filter(|port| port.name == input.name);
            if !open_dims(&mut input.payload, same.map(|port| &port.payload)) {
                input.payload.tensors.clear();
            }
        }
        for (index, output) in self.ports.outputs.iter_mut().enumerate() {
            let same = other.outputs.get(index).filter(|port| port.name == output.name);
            if !open_dims(&mut output.payload, same.map(|port| &port.payload)) {
                output.payload.tensors.clear();
                self.open_outputs[index] = true;
            }
        }
    }
}

/// Opens the dimensions in which two payloads differ. Returns whether they differ in nothing else.
fn open_dims(payload: &mut PayloadType, other: Option<&PayloadType>) -> bool {
    let Some(other) = other.filter(|other| other.tensors.len() == payload.tensors.len()) else {
        return false;
    };
    payload.tensors.iter_mut().zip(&other.tensors).all(|(tensor, other)| {
        let is_alike =
            tensor.name == other.name && tensor.dtype == other.dtype && tensor.dims.len() == other.dims.len();
        if is_alike {
            for (dim, _) in tensor.dims.iter_mut().zip(&other.dims).filter(|(dim, other)| dim != other) {
                *dim = OPEN;
            }
        }
        is_alike
    })
}

/// Some other values that a key may have. `None` stands for a key that is not set.
fn others(spec: &KeySpec, value: Option<&Value>) -> Vec<Option<Value>> {
    let mut others: Vec<Option<Value>> = match &spec.kind {
        KeyKind::Bool => vec![Some(true.into()), Some(false.into())],
        KeyKind::Integer(range) => {
            let value = value.and_then(Value::as_integer).unwrap_or(*range.start());
            let near = [value.saturating_sub(1), value, value.saturating_add(1)];
            near.into_iter().filter(|n| range.contains(n)).map(|n| Some(n.into())).collect()
        }
        KeyKind::OneOf(words) => words.iter().map(|word| Some((*word).into())).collect(),
        KeyKind::Texts | KeyKind::Integers(_) | KeyKind::Floats(_) => vec![Some(Value::Array(Vec::new()))],
        KeyKind::Float(_)
        | KeyKind::Text
        | KeyKind::Path
        | KeyKind::OutputPath
        | KeyKind::OutputDirectory
        | KeyKind::Paths => Vec::new(),
    };
    if spec.default.is_none() && !spec.required {
        others.push(None);
    }
    others.retain(|other| other.as_ref() != value);
    others
}
