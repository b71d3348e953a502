//! How a stage type describes itself and is built, and the table of all types.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Value;

use crate::context::StageContext;
use crate::error::Failure;
use crate::key::KeySpec;
use crate::payload::{Payload, PayloadType};
use crate::port::{Connection, Input, Output, OutputPlan, connect};
use crate::stage::Stage;

/// A stage type: a row of the [`Registry`].
pub trait Component: Send + Sync {
    /// The word users write after `type =`.
    fn type_name(&self) -> &'static str;

    /// What the stage does: the first sentence stands in the list, the rest in the type's own page.
    fn doc(&self) -> &'static str;

    /// Every key it takes, besides `type`, `from`, `config`, `capacity` and `capacity_bytes`, which all stages have.
    fn keys(&self) -> Vec<KeySpec>;

    /// Its ports for these settings. Must not fail: values that make no sense give the ports of a sensible
    /// value, and [`Component::check`] reports them.
    fn ports(&self, settings: &Settings) -> Ports;

    /// What is wrong with the settings taken together, as (key, message); single values were checked already.
    fn check(&self, _settings: &Settings) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Whether the stage ends the run in order after a request to finish (training forward does).
    fn finishes_on_request(&self) -> bool {
        false
    }

    /// Builds the stage and takes its ports from `wiring`.
    ///
    /// # Errors
    /// What only shows when the stage is built: a missing file, a device that is not there.
    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure>;
}

/// The ports of a stage, the main one of each side first.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// What it takes.
    pub inputs: Vec<InputPort>,
    /// What it gives.
    pub outputs: Vec<OutputPort>,
}

/// An input port.
#[derive(Debug, Clone)]
pub struct InputPort {
    /// The port's name, a plural noun.
    pub name: &'static str,
    /// The payload wanted.
    pub payload: PayloadType,
    /// Whether the stage runs without it.
    pub optional: bool,
    pub(crate) rust_type: TypeId,
}

/// An output port.
#[derive(Debug, Clone)]
pub struct OutputPort {
    /// The port's name, a plural noun.
    pub name: &'static str,
    /// The payload sent. With [`OutputPort::shaped_like`] the tensors of that input are added.
    pub payload: PayloadType,
    /// An input port whose tensors this output carries on.
    pub shaped_like: Option<&'static str>,
    /// Whether the port sends before its stage has received anything, so that a cycle through it can start.
    pub delayed: bool,
    /// The capacity of its edges, in items, where the graph names none.
    pub capacity: usize,
    pub(crate) connect: ConnectFn,
    pub(crate) rust_type: TypeId,
}

/// Makes the channels of an output port.
pub(crate) type ConnectFn = fn(&OutputPlan<'_>) -> Connection;

impl InputPort {
    /// A required input that wants `payload`, whose Rust type is `T`.
    pub fn new<T: Payload>(name: &'static str, payload: PayloadType) -> Self {
        Self { name, payload, optional: false, rust_type: TypeId::of::<T>() }
    }

    /// Makes the port optional.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

impl OutputPort {
    /// An output of `payload`, whose Rust type is `T`, with edges of `capacity` items by default.
    pub fn new<T: Payload>(name: &'static str, payload: PayloadType, capacity: usize) -> Self {
        Self {
            name,
            payload,
            shaped_like: None,
            delayed: false,
            capacity,
            connect: connect::<T>,
            rust_type: TypeId::of::<T>(),
        }
    }

    /// The output carries the tensors of this input too.
    #[must_use]
    pub fn shaped_like(mut self, input: &'static str) -> Self {
        self.shaped_like = Some(input);
        self
    }

    /// The output sends first: see [`OutputPort::delayed`].
    #[must_use]
    pub fn delayed(mut self) -> Self {
        self.delayed = true;
        self
    }
}

/// A stage's settings after precedence was applied (default, named config, inline key, `--set`): every key
/// with a value or a default is there, each of the declared kind and in range, paths made absolute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The values by key.
    pub values: BTreeMap<String, Value>,
}

impl Settings {
    /// The settings as a typed configuration.
    ///
    /// # Errors
    /// Internal: the type and the stage's key table disagree.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let table: toml::Table = self.values.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        table.try_into().map_err(|e| Failure::internal(format!("settings do not fit their key table: {e}")))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A whole number, 0 when absent.
    pub fn integer(&self, key: &str) -> u64 {
        self.get(key).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    /// A text, empty when absent.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// A switch, off when absent.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// The channel ends that a stage takes while it is built: the only place where payloads are `dyn`.
#[derive(Debug)]
pub struct Wiring {
    pub(crate) inputs: BTreeMap<&'static str, Box<dyn Any + Send>>,
    pub(crate) outputs: BTreeMap<&'static str, Box<dyn Any + Send>>,
}

impl Wiring {
    /// The input `name`.
    ///
    /// # Errors
    /// Internal: the port was not declared, is optional and not connected, or has another type.
    pub fn input<T: Payload>(&mut self, name: &'static str) -> Result<Input<T>, Failure> {
        self.optional_input(name)?.ok_or_else(|| Failure::internal(format!("input `{name}` is not wired")))
    }

    /// The input `name` when something is connected to it.
    ///
    /// # Errors
    /// Internal: the port was declared with another type.
    pub fn optional_input<T: Payload>(&mut self, name: &'static str) -> Result<Option<Input<T>>, Failure> {
        let Some(input) = self.inputs.remove(name) else { return Ok(None) };
        let input =
            input.downcast().map_err(|_| Failure::internal(format!("input `{name}` has another type")))?;
        Ok(Some(*input))
    }

    /// The output `name`; sending on one that nothing is connected to does nothing.
    ///
    /// # Errors
    /// Internal: the port was not declared or has another type.
    pub fn output<T: Payload>(&mut self, name: &'static str) -> Result<Output<T>, Failure> {
        let output = self
            .outputs
            .remove(name)
            .ok_or_else(|| Failure::internal(format!("output `{name}` is not declared")))?;
        let output =
            output.downcast().map_err(|_| Failure::internal(format!("output `{name}` has another type")))?;
        Ok(*output)
    }

    pub(crate) fn new() -> Self {
        Self { inputs: BTreeMap::new(), outputs: BTreeMap::new() }
    }
}

/// The table of stage types, in the order in which they were added.
#[derive(Default)]
pub struct Registry {
    components: Vec<Box<dyn Component>>,
}

impl Registry {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type; later ones do not replace earlier ones (a test keeps the names unique).
    #[must_use]
    pub fn with(mut self, component: impl Component + 'static) -> Self {
        self.components.push(Box::new(component));
        self
    }

    /// The type of this name.
    pub fn get(&self, type_name: &str) -> Option<&dyn Component> {
        self.iter().find(|c| c.type_name() == type_name)
    }

    /// All types in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Component> {
        self.components.iter().map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(Component::type_name)).finish()
    }
}
