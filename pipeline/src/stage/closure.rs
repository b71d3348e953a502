//! A stage type that is one closure.

use std::marker::PhantomData;

use crate::edge::error::{Failure, StageError};
use crate::edge::payload::Payload;
use crate::stage::Stage;
use crate::stage::component::{Component, StageContext};
use crate::stage::config::Keys;
use crate::stage::key::KeySpec;
use crate::stage::ports::{InputPort, OutputPort, Ports, Wiring};
use crate::stage::settings::Settings;
use crate::stage::transform::{Emitter, Transform};

/// A stage type of one input and one output whose work is a closure from an item to the items that follow from it:
/// an `Option` where it keeps some, a `Vec` or an array where it makes several. `make` gets the configuration and
/// returns the closure, which owns what it remembers from one item to the next. Add it with
/// [`Registry::with`](crate::Registry::with).
///
/// The ports do not depend on the configuration here; a stage whose ports do is a [`crate::TransformType`].
///
/// ```
/// use framewise_pipeline::prelude::*;
///
/// /// A number on its way.
/// #[derive(Clone)]
/// struct Number(u64);
///
/// impl Payload for Number {
///     const NAME: &'static str = "numbers";
///
///     fn byte_len(&self) -> usize {
///         8
///     }
/// }
///
/// #[derive(Keys)]
/// struct Config {
///     /// Numbers up to this one are dropped.
///     #[key(default = 10)]
///     above: u64,
/// }
///
/// let registry = Registry::new().with(transform_fn(
///     "filter",
///     "Drops small numbers.",
///     InputPort::of::<Number>("numbers"),
///     OutputPort::of::<Number>("numbers", 8),
///     |config: Config| move |number: Number| Ok((number.0 > config.above).then_some(number)),
/// ));
/// assert!(registry.get("filter").is_some());
/// ```
pub fn transform_fn<C, In, Items, F, Make>(
    name: &'static str,
    doc: &'static str,
    input: InputPort,
    output: OutputPort,
    make: Make,
) -> impl Component
where
    C: Keys + 'static,
    In: Payload,
    Items: IntoIterator<Item: Payload> + 'static,
    F: FnMut(In) -> Result<Items, StageError> + Send + 'static,
    Make: Fn(C) -> F + Send + Sync + 'static,
{
    Closure { name, doc, input, output, make, types: PhantomData }
}

struct Closure<C, In, Items, Make> {
    name: &'static str,
    doc: &'static str,
    input: InputPort,
    output: OutputPort,
    make: Make,
    types: PhantomData<fn(C, In) -> Items>,
}

impl<C, In, Items, F, Make> Component for Closure<C, In, Items, Make>
where
    C: Keys + 'static,
    In: Payload,
    Items: IntoIterator<Item: Payload> + 'static,
    F: FnMut(In) -> Result<Items, StageError> + Send + 'static,
    Make: Fn(C) -> F + Send + Sync + 'static,
{
    fn type_name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn keys(&self) -> Vec<KeySpec> {
        C::keys()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports { inputs: vec![self.input.clone()], outputs: vec![self.output.clone()] }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let mapping = Mapping { map: (self.make)(settings.parse()?), types: PhantomData };
        Ok(mapping.between(wiring.input(self.input.name)?, wiring.output(self.output.name)?))
    }
}

struct Mapping<In, Items, F> {
    map: F,
    types: PhantomData<fn(In) -> Items>,
}

impl<In, Items, F> Transform for Mapping<In, Items, F>
where
    In: Payload,
    Items: IntoIterator<Item: Payload>,
    F: FnMut(In) -> Result<Items, StageError> + Send,
{
    type In = In;
    type Out = Items::Item;

    fn process(&mut self, item: In, out: &mut Emitter<'_, Items::Item>) -> Result<(), StageError> {
        (self.map)(item)?.into_iter().try_for_each(|item| out.emit(item))
    }
}
