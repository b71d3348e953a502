//! The table of models, with one row for each model. A row has everything that stages need to know of the model besides
//! its mathematics.
//!
//! A model is added by its own file in [`crate::model`] and a row in [`MODELS`]. Everything else follows from the row:
//! the stage that computes the model, the keys of every stage that names a model, and the tensors that fine-tuning and
//! the eigenvalues may change.

use std::sync::Arc;

use framewise_pipeline::stage::upstream::Neighbour;
use framewise_pipeline::{Dim, Failure, KeySpec, Payload, PayloadType, Remark, Settings};

use toml::Value;

use super::configured::{Configurable, Configured};
use crate::model::{LogisticConfig, MixtureConfig, Model, NextVladConfig};
use crate::payload::{WeightsVersion, means_of, rows_of};

/// The key that tells a stage which model to use, where the stage serves any model.
pub(crate) const MODEL: &str = "model";

/// What a model takes of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The frames of the video.
    Frame,
    /// The means over the frames of the video.
    Video,
}

/// A row of [`MODELS`].
#[derive(Debug)]
pub(crate) struct ModelKind {
    /// The model's name in graphs and checkpoints.
    pub(crate) name: &'static str,
    /// The name of this model in the description of a file that holds its configuration.
    pub(crate) title: &'static str,
    /// What the model takes of a video.
    pub(crate) level: Level,
    /// The type of the stage that computes the model: its name and `_forward`.
    pub(crate) forward: &'static str,
    /// The documentation of that stage.
    pub(crate) forward_doc: &'static str,
    /// The configuration: its keys, and the model that it defines.
    pub(crate) config: Configurable,
    /// The parameters to which the optimizer's `l2` applies by default.
    pub(crate) l2_parameters: &'static [&'static str],
    /// The parameters whose first dimension is the number of classes. A fine-tuning run with other classes draws them
    /// anew. If the list is empty, such a run is refused.
    pub(crate) classifier: &'static [&'static str],
    /// The buffer of the factors that the eigenvalues become, if the model has one.
    pub(crate) input_scale: Option<&'static str>,
}

/// Every model; the first one is the default of the key [`MODEL`].
pub(crate) static MODELS: &[ModelKind] = &[
    ModelKind {
        name: "nextvlad",
        title: "NeXtVLAD configuration",
        level: Level::Frame,
        forward: "nextvlad_forward",
        forward_doc: "Computes NeXtVLAD's logits for every shard of a step. In mode train it takes a new version of the weights for \
                      each step and keeps the tape for backward; in mode evaluate it uses running statistics and the one version it \
                      gets.",
        config: Configurable::of::<NextVladConfig>(),
        l2_parameters: &["classifier.weight", "classifier.bias"],
        classifier: &["classifier.weight", "classifier.bias"],
        input_scale: Some("input.rgb_scale"),
    },
    ModelKind {
        name: "logistic",
        title: "configuration of a logistic model",
        level: Level::Video,
        forward: "logistic_forward",
        forward_doc: "Computes the logits of logistic regression on video-level features, for every shard of a step; modes as in \
                      nextvlad_forward. The baseline `LogisticModel` of YouTube-8M's starter code.",
        config: Configurable::of::<LogisticConfig>(),
        l2_parameters: &["classifier.weight"],
        classifier: &["classifier.weight", "classifier.bias"],
        input_scale: None,
    },
    ModelKind {
        name: "mixture_of_experts",
        title: "configuration of a mixture of experts",
        level: Level::Video,
        forward: "mixture_of_experts_forward",
        forward_doc: "Computes the logits of a mixture of logistic experts on video-level features, for every shard of a step; modes \
                      as in nextvlad_forward. The baseline `MoeModel` of YouTube-8M's starter code.",
        config: Configurable::of::<MixtureConfig>(),
        l2_parameters: &["gates.weight", "experts.weight"],
        // A class has several rows in each of its tensors.
        classifier: &[],
        input_scale: None,
    },
];

impl ModelKind {
    /// The row with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|kind| kind.name == name)
    }

    /// The model that the key [`MODEL`] names, or the default one.
    pub(crate) fn of(settings: &Settings) -> &'static Self {
        Self::named(settings.text(MODEL)).unwrap_or(&MODELS[0])
    }

    /// Every key of the model's configuration, with defaults.
    pub(crate) fn keys(&self) -> Vec<KeySpec> {
        (self.config.keys)()
    }

    /// The configuration that the settings describe. A value that makes no sense is replaced by its default. Resolving
    /// the graph reports the value.
    pub(crate) fn configured(&self, settings: &Settings) -> Configured {
        (self.config.of_settings)(settings)
    }

    /// The model that the settings describe.
    ///
    /// # Errors
    /// `Config` when no model can have these sizes.
    pub(crate) fn model(&self, settings: &Settings) -> Result<Arc<dyn Model>, Failure> {
        self.configured(settings).model.map_err(|problems| Failure::config(problems.join("; ")))
    }

    /// Everything that is wrong with the keys of the model taken together. Each problem comes with the key that it is
    /// about.
    pub(crate) fn check(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let Err(problems) = self.configured(settings).model else { return Vec::new() };
        let keys = self.keys();
        let placed = problems.into_iter().map(|problem| {
            // The message begins with the key that it is about.
            let key = keys.iter().find(|key| problem.split([' ', '=']).next() == Some(key.name));
            (key.map_or("classes", |key| key.name), problem)
        });
        placed.collect()
    }

    /// The keys of the model whose values in two stages differ, with the value of each stage. A key that one of the
    /// stages does not have is left out.
    pub(crate) fn differences<'s>(
        &self,
        ours: &'s Settings,
        theirs: &'s Settings,
    ) -> Vec<(&'static str, &'s Value, &'s Value)> {
        let both = |key: KeySpec| Some((key.name, ours.get(key.name)?, theirs.get(key.name)?));
        self.keys().into_iter().filter_map(both).filter(|(_, ours, theirs)| ours != theirs).collect()
    }

    /// Remarks on a stage that computes the same model with other values. The stages of a graph must agree, because one
    /// computes with the weights of the other.
    pub(crate) fn disagreements(&self, settings: &Settings, other: &Neighbour<'_>) -> Vec<Remark> {
        let differences = self.differences(settings, other.settings).into_iter();
        let remarks = differences.map(|(key, ours, theirs)| {
            let text = format!(
                "{key} = {ours} does not agree with {key} = {theirs} of stage `{}`, and both compute one model: give \
                 both stages the same `config`",
                other.name
            );
            Remark::error(key, text).against(other, key)
        });
        remarks.collect()
    }

    /// The payload, `batches` say, of the videos that the model takes.
    pub(crate) fn videos<T: Payload>(&self, settings: &Settings) -> PayloadType {
        // Of the configuration, not of the model: of a model that cannot be, the edges are still checked.
        let sizes = self.configured(settings).sizes;
        let sizes = (sizes.rgb_size as u64, sizes.audio_size as u64);
        match self.level {
            Level::Frame => rows_of::<T>(sizes),
            Level::Video => means_of::<T>(sizes),
        }
    }

    /// The `weights` payload: every parameter with its shape.
    pub(crate) fn weights(&self, settings: &Settings) -> PayloadType {
        let payload = PayloadType::of::<WeightsVersion>();
        // A model that cannot be is reported by `check`; its weights are not.
        let Ok(model) = self.model(settings) else { return payload };
        model.parameters().into_iter().fold(payload, |payload, parameter| {
            let dims = parameter.shape.iter().map(|n| Dim::Fixed(*n as u64)).collect();
            payload.tensor(parameter.name, "f32", dims)
        })
    }
}

/// A configuration in a TOML file, with the title of its kind.
///
/// The key `model` tells which model it is, as it does in a stage; without it the model is the default one. `None` for
/// the name of no model, or for keys or values that are not those of the model.
pub fn configuration(mut table: toml::Table) -> Option<(&'static str, Configured)> {
    let name = table.remove(MODEL);
    let kind = match &name {
        Some(name) => ModelKind::named(name.as_str()?)?,
        None => &MODELS[0],
    };
    Some((kind.title, (kind.config.of_table)(table)?))
}

#[cfg(test)]
mod tests;
