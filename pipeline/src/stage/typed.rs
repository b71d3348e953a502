//! A stage type described by a Rust type: its name, what it does, its configuration, its ports and how it is built.
//!
//! [`StageType`] is for every stage, [`TransformType`] for those that are a [`Transform`]. The registry keeps them as
//! [`Component`]s, which know of settings only.

use std::marker::PhantomData;

use crate::edge::error::Failure;
use crate::stage::Stage;
use crate::stage::component::{CheckContext, Component, Registry, Site, StageContext};
use crate::stage::config::Keys;
use crate::stage::estimate::{Estimate, Flows};
use crate::stage::key::KeySpec;
use crate::stage::ports::{InputPort, OutputPort, Ports, Wiring};
use crate::stage::settings::Settings;
use crate::stage::survey::{InnerGraph, Survey};
use crate::stage::transform::Transform;
use crate::stage::upstream::{Remark, Upstream};

/// A stage type with a typed configuration. Register it with [`Registry::stage`].
pub trait StageType: 'static {
    /// The word that users write after `type =`.
    const NAME: &'static str;

    /// What the stage does. The first sentence stands in the list of types, and the rest on the type's own page.
    const DOC: &'static str;

    /// The configuration, whose fields are the keys; `()` for a stage without keys.
    type Config: Keys;

    /// The ports for this configuration. Called for graphs that are not right yet too, with the default in place of a
    /// value that does not fit, so it must not fail: sizes that make no sense together give some ports all the same,
    /// and [`StageType::check`] reports them.
    fn ports(config: &Self::Config) -> Ports;

    /// What is wrong with the configuration taken together, as pairs of key and message. Each single value has passed
    /// its own check before this is called.
    fn check(_config: &Self::Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The graphs that a stage with this configuration runs: see [`Component::graphs`].
    fn graphs(_config: &Self::Config, _context: &CheckContext<'_>) -> Vec<InnerGraph> {
        Vec::new()
    }

    /// What is wrong, or hardly meant, with the configuration together with the stages before this one: see
    /// [`Component::check_upstream`].
    fn check_upstream(
        _config: &Self::Config,
        _upstream: &Upstream<'_>,
        _context: &CheckContext<'_>,
    ) -> Vec<Remark> {
        Vec::new()
    }

    /// What a stage with this configuration touches outside of the graph: see [`Component::survey`].
    fn survey(_config: &Self::Config, site: &Site<'_>) -> Survey {
        Survey::of_keys(&Self::Config::keys(), site.settings)
    }

    /// What a stage with this configuration needs and sends, as far as that is known before a run: see
    /// [`Component::estimate`].
    fn estimate(_config: &Self::Config, _site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        None
    }

    /// Whether a stage with this configuration ends the run in order after a request to finish: see
    /// [`Component::finishes_on_request`].
    fn finishes_on_request(_config: &Self::Config) -> bool {
        false
    }

    /// Whether a stage with this configuration may run on several ranks of which each reads a part of the records: see
    /// [`Component::divides`].
    ///
    /// # Errors
    /// The reason why it may not, in words that follow the stage's name.
    fn divides(_config: &Self::Config, _site: &Site<'_>) -> Result<(), String> {
        Err(unsaid(Self::NAME))
    }

    /// Builds the stage and takes its ports from `wiring`.
    ///
    /// # Errors
    /// A failure that shows only when the stage is built, such as a missing file or device.
    fn build(
        config: Self::Config,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure>;
}

/// A stage type of one input and one output, which is nothing but its [`Transform`]: the struct that processes the
/// items says here what it is called, which keys it has and how it is made. Register it with [`Registry::stage`].
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
///     /// How often each number is sent.
///     #[key(range = 1..=100, default = 2)]
///     times: usize,
/// }
///
/// struct Repeat {
///     config: Config,
/// }
///
/// impl TransformType for Repeat {
///     const NAME: &'static str = "repeat";
///     const DOC: &'static str = "Sends each number several times.";
///     type Config = Config;
///
///     fn ports(_config: &Config) -> (InputPort, OutputPort) {
///         (InputPort::of::<Number>("numbers"), OutputPort::of::<Number>("numbers", 8))
///     }
///
///     fn new(config: Config, _context: &StageContext) -> Result<Self, Failure> {
///         Ok(Self { config })
///     }
/// }
///
/// impl Transform for Repeat {
///     type In = Number;
///     type Out = Number;
///
///     fn process(&mut self, number: Number, out: &mut Emitter<'_, Number>) -> Result<(), StageError> {
///         (0..self.config.times).try_for_each(|_| out.emit(number.clone()))
///     }
/// }
///
/// let registry = Registry::new().stage::<Repeat>();
/// assert_eq!(registry.get("repeat").map(|repeat| repeat.keys()[0].name), Some("times"));
/// ```
pub trait TransformType: Transform + Sized + 'static {
    /// The word that users write after `type =`.
    const NAME: &'static str;

    /// What the stage does. The first sentence stands in the list of types, and the rest on the type's own page.
    const DOC: &'static str;

    /// The configuration, whose fields are the keys; `()` for a stage without keys.
    type Config: Keys;

    /// The input and the output for this configuration, of the payloads `In` and `Out`; as [`StageType::ports`].
    fn ports(config: &Self::Config) -> (InputPort, OutputPort);

    /// What is wrong with the configuration taken together, as pairs of key and message. Each single value has passed
    /// its own check before this is called.
    fn check(_config: &Self::Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The graphs that a stage with this configuration runs: see [`Component::graphs`].
    fn graphs(_config: &Self::Config, _context: &CheckContext<'_>) -> Vec<InnerGraph> {
        Vec::new()
    }

    /// What is wrong, or hardly meant, with the configuration together with the stages before this one: see
    /// [`Component::check_upstream`].
    fn check_upstream(
        _config: &Self::Config,
        _upstream: &Upstream<'_>,
        _context: &CheckContext<'_>,
    ) -> Vec<Remark> {
        Vec::new()
    }

    /// What a stage with this configuration touches outside of the graph: see [`Component::survey`].
    fn survey(_config: &Self::Config, site: &Site<'_>) -> Survey {
        Survey::of_keys(&Self::Config::keys(), site.settings)
    }

    /// What a stage with this configuration needs and sends, as far as that is known before a run: see
    /// [`Component::estimate`].
    fn estimate(_config: &Self::Config, _site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        None
    }

    /// Whether a stage with this configuration may run on several ranks of which each reads a part of the records: see
    /// [`Component::divides`].
    ///
    /// # Errors
    /// The reason why it may not, in words that follow the stage's name.
    fn divides(_config: &Self::Config, _site: &Site<'_>) -> Result<(), String> {
        Err(unsaid(Self::NAME))
    }

    /// Makes the transform.
    ///
    /// # Errors
    /// A failure that shows only when the stage is built, such as a missing file or device.
    fn new(config: Self::Config, context: &StageContext) -> Result<Self, Failure>;
}

/// The reason why a stage of a type that does not say so may not run on a part of the records.
fn unsaid(type_name: &str) -> String {
    format!("stages of type `{type_name}` do not say that they may run on parts of the records")
}

impl<T: TransformType> StageType for T {
    const NAME: &'static str = T::NAME;
    const DOC: &'static str = T::DOC;
    type Config = T::Config;

    fn ports(config: &T::Config) -> Ports {
        let (input, output) = T::ports(config);
        Ports { inputs: vec![input], outputs: vec![output] }
    }

    fn check(config: &T::Config, context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        T::check(config, context)
    }

    fn graphs(config: &T::Config, context: &CheckContext<'_>) -> Vec<InnerGraph> {
        T::graphs(config, context)
    }

    fn check_upstream(
        config: &T::Config,
        upstream: &Upstream<'_>,
        context: &CheckContext<'_>,
    ) -> Vec<Remark> {
        T::check_upstream(config, upstream, context)
    }

    fn survey(config: &T::Config, site: &Site<'_>) -> Survey {
        T::survey(config, site)
    }

    fn estimate(config: &T::Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        T::estimate(config, site, flows)
    }

    fn divides(config: &T::Config, site: &Site<'_>) -> Result<(), String> {
        T::divides(config, site)
    }

    fn build(
        config: T::Config,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let (input, output) = T::ports(&config);
        let transform = T::new(config, context)?;
        Ok(transform.between(wiring.input(input.name)?, wiring.output(output.name)?))
    }
}

impl Registry {
    /// Adds a type that a Rust type describes.
    #[must_use]
    pub fn stage<S: StageType>(self) -> Self {
        self.with(component::<S>())
    }
}

/// A stage type as the registry keeps it.
pub fn component<S: StageType>() -> impl Component {
    Typed::<S>(PhantomData)
}

struct Typed<S>(PhantomData<fn() -> S>);

impl<S: StageType> Component for Typed<S> {
    fn type_name(&self) -> &'static str {
        S::NAME
    }

    fn doc(&self) -> &'static str {
        S::DOC
    }

    fn keys(&self) -> Vec<KeySpec> {
        S::Config::keys()
    }

    fn ports(&self, settings: &Settings) -> Ports {
        S::ports(&settings.parse_or_default())
    }

    fn check(&self, settings: &Settings, context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        S::check(&settings.parse_or_default(), context)
    }

    fn graphs(&self, settings: &Settings, context: &CheckContext<'_>) -> Vec<InnerGraph> {
        S::graphs(&settings.parse_or_default(), context)
    }

    fn check_upstream(
        &self,
        settings: &Settings,
        upstream: &Upstream<'_>,
        context: &CheckContext<'_>,
    ) -> Vec<Remark> {
        S::check_upstream(&settings.parse_or_default(), upstream, context)
    }

    fn survey(&self, site: &Site<'_>) -> Survey {
        S::survey(&site.settings.parse_or_default(), site)
    }

    fn estimate(&self, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        S::estimate(&site.settings.parse_or_default(), site, flows)
    }

    fn finishes_on_request(&self, settings: &Settings) -> bool {
        S::finishes_on_request(&settings.parse_or_default())
    }

    fn divides(&self, site: &Site<'_>) -> Result<(), String> {
        S::divides(&site.settings.parse_or_default(), site)
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        S::build(settings.parse()?, wiring, context)
    }
}
