//! The one-in-many-out tier: most stages are a function from an item to items, and nothing else.

use crate::error::StageError;
use crate::packet::{Mark, Packet};
use crate::payload::Payload;
use crate::port::{Input, Output};
use crate::stage::Stage;

/// A stage with one input and one output.
pub trait Transform: Send {
    /// What it takes.
    type In: Payload;
    /// What it gives.
    type Out: Payload;

    /// Takes an item and emits any number of items.
    ///
    /// # Errors
    /// A failure of this stage, or what the emitter returned.
    fn process(&mut self, item: Self::In, out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError>;

    /// Called at a mark, before the mark is passed on: emit here what must not cross it (a shuffle empties
    /// its buffer at an epoch's end).
    ///
    /// # Errors
    /// As [`Transform::process`].
    fn at_mark(&mut self, _mark: Mark, _out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError> {
        Ok(())
    }

    /// Called at the end of the input.
    ///
    /// # Errors
    /// As [`Transform::process`].
    fn at_end(&mut self, _out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError> {
        Ok(())
    }

    /// The stage that runs this transform between two ports.
    fn between(self, input: Input<Self::In>, output: Output<Self::Out>) -> Box<dyn Stage>
    where
        Self: Sized + 'static,
    {
        Box::new(Running { transform: self, input, output })
    }
}

/// Where a transform sends its items.
#[derive(Debug)]
pub struct Emitter<'a, T> {
    output: &'a mut Output<T>,
}

impl<T: Payload> Emitter<'_, T> {
    /// Sends an item on, waiting for room.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn emit(&mut self, item: T) -> Result<(), StageError> {
        self.output.send(item)
    }
}

struct Running<X: Transform> {
    transform: X,
    input: Input<X::In>,
    output: Output<X::Out>,
}

impl<X: Transform> Stage for Running<X> {
    fn run(self: Box<Self>) -> Result<(), StageError> {
        let Running { mut transform, mut input, mut output } = *self;
        loop {
            let packet = input.recv()?;
            let mut emitter = Emitter { output: &mut output };
            match packet {
                Packet::Item(item) => transform.process(item, &mut emitter)?,
                Packet::Mark(mark) => {
                    transform.at_mark(mark, &mut emitter)?;
                    output.mark(mark)?;
                }
                Packet::End => return transform.at_end(&mut emitter),
            }
        }
    }
}
