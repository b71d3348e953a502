//! The ports of a stage: what a stage type declares of them, and the channel ends that a stage takes while it is built.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;

use crate::edge::error::Failure;
use crate::edge::payload::{Payload, PayloadType};
use crate::edge::port::{Connection, Input, Output, OutputPlan, connect};

/// The ports of a stage. The main port of each side comes first.
#[derive(Debug, Clone, Default)]
pub struct Ports {
    /// The inputs.
    pub inputs: Vec<InputPort>,
    /// The outputs.
    pub outputs: Vec<OutputPort>,
}

/// An input port.
#[derive(Debug, Clone)]
pub struct InputPort {
    /// The port's name, a plural noun.
    pub name: &'static str,
    /// The payload that the port wants.
    pub payload: PayloadType,
    /// Whether the stage also runs when nothing is connected to the port.
    pub optional: bool,
    pub(crate) rust_type: TypeId,
}

/// An output port.
#[derive(Debug, Clone)]
pub struct OutputPort {
    /// The port's name, a plural noun.
    pub name: &'static str,
    /// The payload that the port sends. With [`OutputPort::shaped_like`], the tensors of that input are added.
    pub payload: PayloadType,
    /// The input port whose tensors this output carries on.
    pub shaped_like: Option<&'static str>,
    /// Whether the port sends before its stage has received anything, so that a cycle through it can start.
    pub delayed: bool,
    /// The capacity in items of the port's edges, where the graph names none.
    pub capacity: usize,
    pub(crate) connect: ConnectFn,
    pub(crate) rust_type: TypeId,
}

/// A function that makes the channels of an output port.
pub(crate) type ConnectFn = fn(&OutputPlan<'_>) -> Connection;

impl InputPort {
    /// Makes a required input of payload `T`, whatever its tensors are.
    pub fn of<T: Payload>(name: &'static str) -> Self {
        Self::new::<T>(name, PayloadType::of::<T>())
    }

    /// Makes a required input that wants `payload`, whose Rust type is `T`.
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
    /// Makes an output of payload `T` that names no tensors. Its edges have room for `capacity` items by default.
    pub fn of<T: Payload>(name: &'static str, capacity: usize) -> Self {
        Self::new::<T>(name, PayloadType::of::<T>(), capacity)
    }

    /// Makes an output of `payload`, whose Rust type is `T`. Its edges have room for `capacity` items by default.
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

    /// Makes the output carry the tensors of this input too.
    #[must_use]
    pub fn shaped_like(mut self, input: &'static str) -> Self {
        self.shaped_like = Some(input);
        self
    }

    /// Makes the output a delayed one, which sends first: see [`OutputPort::delayed`].
    #[must_use]
    pub fn delayed(mut self) -> Self {
        self.delayed = true;
        self
    }
}

/// The channel ends that a stage takes while it is built. This is the only place where payloads are `dyn`.
#[derive(Debug)]
pub struct Wiring {
    pub(crate) inputs: BTreeMap<&'static str, Box<dyn Any + Send>>,
    pub(crate) outputs: BTreeMap<&'static str, Box<dyn Any + Send>>,
}

impl Wiring {
    /// Takes the input `name`.
    ///
    /// # Errors
    /// `Internal` when the port was not declared, is optional and not connected, or has another type.
    pub fn input<T: Payload>(&mut self, name: &'static str) -> Result<Input<T>, Failure> {
        self.optional_input(name)?.ok_or_else(|| Failure::internal(format!("input `{name}` is not wired")))
    }

    /// Takes the input `name`, if something is connected to it.
    ///
    /// # Errors
    /// `Internal` when the port was declared with another type.
    pub fn optional_input<T: Payload>(&mut self, name: &'static str) -> Result<Option<Input<T>>, Failure> {
        let Some(input) = self.inputs.remove(name) else { return Ok(None) };
        let input =
            input.downcast().map_err(|_| Failure::internal(format!("input `{name}` has another type")))?;
        Ok(Some(*input))
    }

    /// Takes the output `name`. Sending on an output to which nothing is connected does nothing.
    ///
    /// # Errors
    /// `Internal` when the port was not declared or has another type.
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
