//! A stage type, the table of all types, and the surroundings in which a type checks its settings and builds its stage.
//!
//! [`Component`], [`Registry`] and [`StageContext`] stand in one file because each names the next: a stage type is
//! built in a context, the context holds the registry, and the registry holds the stage types.

use std::path::PathBuf;
use std::sync::Arc;

use crate::edge::error::Failure;
use crate::edge::meter::StageMeter;
use crate::edge::stop::StopToken;
use crate::stage::Stage;
use crate::stage::context::{Level, Observer, Resources, Results};
use crate::stage::estimate::{Estimate, Flows};
use crate::stage::key::KeySpec;
use crate::stage::ports::{Ports, Wiring};
use crate::stage::settings::Settings;
use crate::stage::survey::{InnerGraph, Survey};
use crate::stage::upstream::{Remark, Upstream};

/// A stage type in the form in which the [`Registry`] keeps it, with settings that are known only at run time. Wherever
/// one Rust type is the configuration, write a [`StageType`](crate::StageType) or a
/// [`TransformType`](crate::TransformType) instead.
pub trait Component: Send + Sync {
    /// The word that users write after `type =`.
    fn type_name(&self) -> &'static str;

    /// What the stage does: the first sentence stands in the list of types, the rest on the type's own page.
    fn doc(&self) -> &'static str;

    /// Every key that the type takes, besides the [`COMMON_KEYS`](crate::stage::key::COMMON_KEYS) of all stages.
    fn keys(&self) -> Vec<KeySpec>;

    /// The stage's ports for these settings.
    ///
    /// The method must not fail. Where values make no sense it gives the ports of a sensible value, and
    /// [`Component::check`] reports the values.
    fn ports(&self, settings: &Settings) -> Ports;

    /// What is wrong with the settings taken together, as pairs of key and message.
    ///
    /// Each single value has passed the check against its [`KeySpec`] before this is called.
    fn check(&self, _settings: &Settings, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The graphs that a stage with these settings runs, with its changes to them. Each is checked together with the
    /// stage's own graph, and its mistakes are told at their places in its file. A graph that is itself run by a stage
    /// runs none, so this is not called for its stages.
    fn graphs(&self, _settings: &Settings, _context: &CheckContext<'_>) -> Vec<InnerGraph> {
        Vec::new()
    }

    /// What is wrong, or hardly meant, with the settings together with those of the stages before this one. This is
    /// called once everything else about the graph is right.
    fn check_upstream(
        &self,
        _settings: &Settings,
        _upstream: &Upstream<'_>,
        _context: &CheckContext<'_>,
    ) -> Vec<Remark> {
        Vec::new()
    }

    /// What a stage with these settings touches outside of the graph, and what of it is missing or unfit. This is called
    /// for graphs that are right, before a run begins. Nothing may be written. Files may be looked up, and a bounded part of
    /// them may be read, which must not be noticed beside the start of a run.
    ///
    /// What the keys tell by themselves is the default: see [`Survey::of_keys`].
    fn survey(&self, site: &Site<'_>) -> Survey {
        Survey::of_keys(&self.keys(), site.settings)
    }

    /// What a stage with these settings needs and sends when these flows reach it, as far as that is known before a run.
    /// `None` says that it is not known. This is called for graphs that are right. Nothing may be written. Files may be
    /// looked up, and a bounded part of them may be read.
    fn estimate(&self, _site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        None
    }

    /// Whether a stage with these settings ends the run in order after a request to finish, as a forward stage that
    /// trains does. A run without such a stage is stopped at once instead.
    fn finishes_on_request(&self, _settings: &Settings) -> bool {
        false
    }

    /// Whether a stage with these settings may run on several ranks of which each reads a part of the records. What the
    /// parts give, put together in the order of the ranks, must then be what one process gives: a stage with outputs
    /// treats each item by itself, and a sink has its results merged.
    ///
    /// # Errors
    /// The reason why the stage may not, in words that follow the stage's name. A stage type that does not say is refused.
    fn divides(&self, _site: &Site<'_>) -> Result<(), String> {
        Err(format!(
            "stages of type `{}` do not say that they may run on parts of the records",
            self.type_name()
        ))
    }

    /// Builds the stage and takes its ports from `wiring`.
    ///
    /// # Errors
    /// Whatever shows only when the stage is built: a missing file, a device that is not there.
    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure>;
}

/// What a stage type may look at, besides its settings, when [`Component::check`] is called.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CheckContext<'a> {
    /// The stage types with which the graph is checked. A stage that names another graph checks that one with the same.
    pub registry: &'a Registry,
    /// Whether the graph is checked because a stage of another graph names it. Graphs may name each other in a ring, so a
    /// stage that names a graph must not load it when this is set.
    pub is_inner: bool,
}

impl<'a> CheckContext<'a> {
    /// The surroundings of a check with these stage types.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, is_inner: false }
    }
}

/// The surroundings in which a stage is surveyed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Site<'a> {
    /// The settings of the stage.
    pub settings: &'a Settings,
    /// The stages before this one.
    pub upstream: &'a Upstream<'a>,
    /// The stage types, and whether a stage of another graph runs this one.
    pub check: CheckContext<'a>,
    /// Whether the run is resumed from a checkpoint. What such a run takes from the checkpoint, it does not read.
    pub resumes: bool,
}

/// What a stage gets besides its settings and ports. Cloning is cheap.
#[derive(Clone)]
pub struct StageContext {
    /// The stage's name in the graph.
    pub stage: Arc<str>,
    /// The graph's name.
    pub graph: Arc<str>,
    /// The graph's seed, from which every random draw of a stage derives.
    pub seed: u64,
    /// This process's number among those that run the graph together, less than `ranks`.
    pub rank: usize,
    /// How many processes run the graph together; 1 for a run that is not distributed.
    pub ranks: usize,
    /// The stage types that the run was built with. A stage that runs another graph builds that one with the same.
    pub registry: Registry,
    /// The resolved graph in TOML, of which checkpoints keep a copy.
    pub resolved_graph: Arc<str>,
    /// The directory that the run writes to; `None` for a run inside another (an evaluation), which writes nothing of
    /// its own.
    pub run_dir: Option<PathBuf>,
    /// The run's stop token.
    pub stop: StopToken,
    /// This stage's meter.
    pub meter: Arc<StageMeter>,
    /// The values from the caller, and those that stages share.
    pub resources: Arc<Resources>,
    /// The run's results.
    pub results: Arc<Results>,
    /// The receiver of messages.
    pub observer: Arc<dyn Observer>,
}

impl StageContext {
    /// Sends a message to the observer under this stage's name.
    pub fn message(&self, level: Level, text: impl AsRef<str>) {
        self.observer.message(level, &self.stage, text.as_ref());
    }
}

impl std::fmt::Debug for StageContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageContext")
            .field("stage", &self.stage)
            .field("graph", &self.graph)
            .finish_non_exhaustive()
    }
}

/// The table of stage types, in the order in which they were added. Cloning is cheap: clones share their types.
#[derive(Clone, Default)]
pub struct Registry {
    components: Arc<Vec<Arc<dyn Component>>>,
    schemes: Vec<&'static str>,
}

impl Registry {
    /// A table without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table with one type more. Names must be unique: of two types with one name, the later is never found.
    #[must_use]
    pub fn with(mut self, component: impl Component + 'static) -> Self {
        Arc::make_mut(&mut self.components).push(Arc::new(component));
        self
    }

    /// Declares that the stages open addresses of this scheme, such as `s3` in `s3://bucket/key`. A graph that names an
    /// address of any other scheme does not pass its check.
    #[must_use]
    pub fn opening(mut self, scheme: &'static str) -> Self {
        self.schemes.push(scheme);
        self
    }

    /// Whether the stages open addresses of this scheme.
    pub fn opens(&self, scheme: &str) -> bool {
        self.schemes.iter().any(|opened| opened.eq_ignore_ascii_case(scheme))
    }

    /// The type with this name.
    pub fn get(&self, type_name: &str) -> Option<&dyn Component> {
        self.iter().find(|c| c.type_name() == type_name)
    }

    /// All types, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Component> {
        self.components.iter().map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(Component::type_name)).finish()
    }
}
