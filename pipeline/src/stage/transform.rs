//! The simple tier of stages. Most stages are a function from an item to any number of items, and nothing else.

use crate::edge::error::StageError;
use crate::edge::packet::{Mark, Packet};
use crate::edge::payload::Payload;
use crate::edge::port::{Input, Output};
use crate::stage::Stage;

/// A stage with one input and one output.
pub trait Transform: Send {
    /// The payload that it takes.
    type In: Payload;
    /// The payload that it emits.
    type Out: Payload;

    /// Called on the stage's thread before the first item is waited for.
    ///
    /// # Errors
    /// The errors of [`Transform::process`].
    fn at_start(&mut self, _out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError> {
        Ok(())
    }

    /// Takes an item, and emits any number of items.
    ///
    /// # Errors
    /// A failure of this stage, or what the emitter returned.
    fn process(&mut self, item: Self::In, out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError>;

    /// Called at a mark, before the mark is passed on. Emit here what must not cross the mark: a shuffle empties its
    /// buffer at the end of an epoch.
    ///
    /// # Errors
    /// The errors of [`Transform::process`].
    fn at_mark(&mut self, _mark: Mark, _out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError> {
        Ok(())
    }

    /// Called at the end of the input.
    ///
    /// # Errors
    /// The errors of [`Transform::process`].
    fn at_end(&mut self, _out: &mut Emitter<'_, Self::Out>) -> Result<(), StageError> {
        Ok(())
    }

    /// Makes the stage that runs this transform between two ports.
    fn between(self, input: Input<Self::In>, output: Output<Self::Out>) -> Box<dyn Stage>
    where
        Self: Sized + 'static,
    {
        Box::new(Running { transform: self, input, output })
    }
}

/// The output of a transform, to which it sends its items.
#[derive(Debug)]
pub struct Emitter<'a, T> {
    output: &'a mut Output<T>,
}

impl<T: Payload> Emitter<'_, T> {
    /// Sends an item, and waits for room if need be.
    ///
    /// # Errors
    /// The errors of [`Output::send`].
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
        transform.at_start(&mut Emitter { output: &mut output })?;
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
