//! The keys of the stages that serve any model: the key `model`, and every key of every model.

use std::collections::BTreeMap;
use std::slice;
use std::sync::{Arc, LazyLock};

use framewise_pipeline::stage::config::Values;
use framewise_pipeline::stage::upstream::Neighbour;
use framewise_pipeline::{Failure, KeyKind, KeySpec, Keys, PayloadType, Remark, Settings};
use toml::Value;

use super::kind::{MODEL, MODELS, ModelKind};
use crate::model::Model;

/// The key `model`, and the keys of the model that it names.
pub(crate) struct ModelKeys(Settings);

impl Keys for ModelKeys {
    fn keys() -> Vec<KeySpec> {
        model_keys()
    }

    fn read(values: &mut Values<'_>) -> Self {
        Self(values.settings().clone())
    }
}

impl ModelKeys {
    /// The model that the keys describe.
    ///
    /// # Errors
    /// `Config` when no model can have these sizes.
    pub(crate) fn model(&self) -> Result<Arc<dyn Model>, Failure> {
        ModelKind::of(&self.0).model(&self.0)
    }

    /// Remarks on a stage before this one that computes the same model with other values: both must agree, because one
    /// computes with the weights of the other.
    pub(crate) fn disagreements(&self, other: &Neighbour<'_>) -> Vec<Remark> {
        ModelKind::of(&self.0).disagreements(&self.0, other)
    }

    /// Everything that is wrong with the keys of the model taken together.
    pub(crate) fn check(&self) -> Vec<(&'static str, String)> {
        ModelKind::of(&self.0).check(&self.0)
    }

    /// The `weights` payload: every parameter with its shape.
    pub(crate) fn weights(&self) -> PayloadType {
        ModelKind::of(&self.0).weights(&self.0)
    }
}

/// The names of the models in the order of their table.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| MODELS.iter().map(|kind| kind.name).collect());

/// For each key of a configuration, the names of the models that have it.
static OWNERS: LazyLock<BTreeMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let mut owners = BTreeMap::<_, Vec<_>>::new();
    for kind in MODELS {
        for key in kind.keys() {
            owners.entry(key.name).or_default().push(kind.name);
        }
    }
    owners
});

/// The names of the models that have factors for the visual features.
pub(crate) static SCALED: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| MODELS.iter().filter(|kind| kind.input_scale.is_some()).map(|kind| kind.name).collect());

/// The key `model`, and every key of every model. Each key stands once, with the default that each model gives it. A
/// key that only some models have names these models.
fn model_keys() -> Vec<KeySpec> {
    let doc = "The model; the keys below it are those of its configuration.";
    let mut keys = vec![KeySpec::new(MODEL, KeyKind::OneOf(&NAMES), doc).default(MODELS[0].name)];
    for kind in MODELS {
        for key in kind.keys() {
            let owners: &'static [&'static str] = OWNERS.get(key.name).map_or(&[], Vec::as_slice);
            match keys.iter_mut().find(|known| known.name == key.name) {
                None if owners.len() == MODELS.len() => keys.push(key),
                None => keys.push(key.only_with(MODEL, owners)),
                Some(known) if known.default == key.default => {}
                Some(known) => *known = with_default(known.clone(), &kind.name, key.default),
            }
        }
    }
    keys
}

/// The key of the parameters that L2 applies to, with the default of each model.
pub(crate) fn l2_parameters_by_model(key: KeySpec) -> KeySpec {
    let names = |names: &[&str]| Value::Array(names.iter().map(|name| Value::from(*name)).collect());
    MODELS.iter().fold(key, |key, kind| {
        let own = Some(names(kind.l2_parameters));
        if key.default == own { key } else { with_default(key, &kind.name, own) }
    })
}

/// Gives a key another default for one model.
fn with_default(key: KeySpec, model: &'static &'static str, default: Option<Value>) -> KeySpec {
    match default {
        Some(default) => key.default_with(MODEL, slice::from_ref(model), default),
        None => key,
    }
}
