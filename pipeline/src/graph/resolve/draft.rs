//! A stage on the way from written to resolved.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::read::syntax::Entry;
use crate::graph::report::diagnostic::Place;
use crate::stage::component::Component;
use crate::stage::ports::Ports;
use crate::stage::settings::Settings;

/// What is known of a stage so far: its type, settings and ports.
pub(crate) struct Draft<'r> {
    pub(crate) name: String,
    /// The place of `[stages.NAME]`.
    pub(crate) header: Place,
    /// `None` when the type is missing or unknown.
    pub(crate) component: Option<&'r dyn Component>,
    pub(crate) settings: Settings,
    /// The place of each value that is not a default.
    pub(crate) origins: BTreeMap<String, Place>,
    /// The places of the elements of each list that is written out.
    pub(crate) entries: BTreeMap<String, Vec<Place>>,
    /// The keys whose values are not known: a value is wrong, or it stands in a config or a line that cannot be read.
    /// What follows from them is not compared.
    pub(crate) unknown: BTreeSet<&'static str>,
    pub(crate) ports: Ports,
    /// For each output, whether it is open which tensors the stage itself adds.
    pub(crate) open_outputs: Vec<bool>,
    pub(crate) from: Option<Entry>,
    /// The input ports that are connected one by one besides `from`.
    pub(crate) from_ports: Vec<Entry>,
    pub(crate) capacity: Option<usize>,
    pub(crate) capacity_bytes: usize,
    /// Whether a line of the stage could not be read, so that nothing is said about inputs that are missing.
    pub(crate) damaged: bool,
    /// Whether it is known which configs the stage applies.
    pub(crate) configs_known: bool,
}

impl Draft<'_> {
    /// The word after `type =`, empty when the type is missing or unknown.
    pub(crate) fn type_name(&self) -> &'static str {
        self.component.map_or("", Component::type_name)
    }
}
