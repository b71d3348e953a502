//! Which model a stage is about: its keys, its payloads, the model itself.
//!
//! Law: every stage that knows a model goes through [`ModelKind`], so that a model is added in one place, and a key
//! that has no effect on the chosen one is refused.

use std::sync::Arc;

use framewise_pipeline::{Dim, Failure, KeyKind, KeySpec, Payload, PayloadType, Settings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use crate::model::{Logistic, LogisticConfig, MixtureConfig, MixtureOfExperts, Model};
use crate::model_keys::{check_nextvlad, nextvlad, nextvlad_config, nextvlad_keys, sound};
use crate::payload::{WeightsVersion, means_of, rows_of};

/// The key by which a stage that serves any model is told which.
pub(crate) const MODEL: &str = "model";

const NEXTVLAD: &str = "nextvlad";
const LOGISTIC: &str = "logistic";
const MIXTURE: &str = "mixture_of_experts";

/// Names of the video-level models.
pub(crate) const VIDEO_LEVEL: &[&str] = &[LOGISTIC, MIXTURE];

/// Name of NeXtVLAD, the default.
pub(crate) const FRAME_LEVEL: &[&str] = &[NEXTVLAD];

const SIZE: KeyKind = KeyKind::Integer(1..=1 << 24);

/// A model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelKind {
    NextVlad,
    Logistic,
    MixtureOfExperts,
}

impl ModelKind {
    /// The model that the key `model` names.
    pub(crate) fn of(settings: &Settings) -> Self {
        match settings.text(MODEL) {
            LOGISTIC => Self::Logistic,
            MIXTURE => Self::MixtureOfExperts,
            _ => Self::NextVlad,
        }
    }

    /// Every key of its configuration, with defaults.
    pub(crate) fn keys(self) -> Vec<KeySpec> {
        match self {
            Self::NextVlad => nextvlad_keys(),
            Self::Logistic => video_keys(false),
            Self::MixtureOfExperts => video_keys(true),
        }
    }

    /// The model that the settings describe.
    ///
    /// # Errors
    /// `Config` when no model can have these sizes.
    pub(crate) fn model(self, settings: &Settings) -> Result<Arc<dyn Model>, Failure> {
        let wrong = |e: candle_core::Error| Failure::config(e.to_string());
        match self {
            Self::NextVlad => nextvlad(settings),
            Self::Logistic => {
                let config: LogisticConfig = config(settings);
                sound(&config.check())?;
                Ok(Arc::new(Logistic::new(config).map_err(wrong)?))
            }
            Self::MixtureOfExperts => {
                let config: MixtureConfig = config(settings);
                sound(&config.check())?;
                Ok(Arc::new(MixtureOfExperts::new(config).map_err(wrong)?))
            }
        }
    }

    /// What is wrong with the model's keys taken together. The sizes of video-level models are free.
    pub(crate) fn check(self, settings: &Settings) -> Vec<(&'static str, String)> {
        match self {
            Self::NextVlad => check_nextvlad(settings),
            Self::Logistic | Self::MixtureOfExperts => Vec::new(),
        }
    }

    /// The payload, `batches` say, of the videos that it takes.
    pub(crate) fn videos<T: Payload>(self, settings: &Settings) -> PayloadType {
        // Of the configuration, not of the model: of a model that cannot be, the edges are still checked.
        let means = |rgb: usize, audio: usize| means_of::<T>((rgb as u64, audio as u64));
        match self {
            Self::NextVlad => {
                let config = nextvlad_config(settings);
                rows_of::<T>((config.rgb_size as u64, config.audio_size as u64))
            }
            Self::Logistic => {
                let config: LogisticConfig = config(settings);
                means(config.rgb_size, config.audio_size)
            }
            Self::MixtureOfExperts => {
                let config: MixtureConfig = config(settings);
                means(config.rgb_size, config.audio_size)
            }
        }
    }

    /// The `weights` payload: every parameter with its shape.
    pub(crate) fn weights(self, settings: &Settings) -> PayloadType {
        let payload = PayloadType::of::<WeightsVersion>();
        // A model that cannot be is reported by `check`; its weights are not.
        let Ok(model) = self.model(settings) else { return payload };
        model.parameters().into_iter().fold(payload, |payload, parameter| {
            let dims = parameter.shape.iter().map(|n| Dim::Fixed(*n as u64)).collect();
            payload.tensor(parameter.name, "f32", dims)
        })
    }
}

/// `model`, and every key of every model, each with the models that have it.
pub(crate) fn model_keys() -> Vec<KeySpec> {
    const NAMES: &[&str] = &[NEXTVLAD, LOGISTIC, MIXTURE];
    let doc = "The model; the keys below it are those of its configuration.";
    let mut keys = vec![KeySpec::new(MODEL, KeyKind::OneOf(NAMES), doc).default(NEXTVLAD)];
    let shared: Vec<&str> = video_keys(false).iter().map(|key| key.name).collect();
    keys.extend(nextvlad_keys().into_iter().map(|key| match key.name {
        // The sizes of the data are every model's.
        "rgb_size" | "audio_size" | "classes" => key,
        _ => key.only_with(MODEL, FRAME_LEVEL),
    }));
    for key in video_keys(true) {
        if keys.iter().any(|known| known.name == key.name) {
            continue;
        }
        let models = if shared.contains(&key.name) { VIDEO_LEVEL } else { &[MIXTURE] };
        keys.push(key.only_with(MODEL, models));
    }
    keys
}

/// The keys of [`MixtureConfig`], or those that [`LogisticConfig`] shares with it.
fn video_keys(mixture: bool) -> Vec<KeySpec> {
    let mut keys = vec![
        KeySpec::new("rgb_size", SIZE, "Mean visual features of a video.").unit("features"),
        KeySpec::new("audio_size", SIZE, "Mean audio features of a video.").unit("features"),
        KeySpec::new("classes", SIZE, "Classes that the model scores."),
        KeySpec::new(
            "input_norm",
            KeyKind::OneOf(&["l2", "none"]),
            "l2 divides a video's joined features by their length, as YouTube-8M's starter code does.",
        ),
    ];
    if mixture {
        keys.push(KeySpec::new(
            "mixtures",
            KeyKind::Integer(1..=1 << 16),
            "Experts of a class, besides the one that always says no.",
        ));
    }
    let defaults = defaults::<MixtureConfig>();
    let with_default = |key: KeySpec| match defaults.get(key.name) {
        Some(value) => key.default(value.clone()),
        None => key,
    };
    keys.into_iter().map(with_default).collect()
}

/// The configuration in the settings. Values that make no sense are the defaults; every single one was checked.
fn config<C: Default + Serialize + DeserializeOwned>(settings: &Settings) -> C {
    let known = defaults::<C>();
    let table: toml::Table = settings
        .values
        .iter()
        .filter(|(key, _)| known.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    table.try_into().unwrap_or_default()
}

fn defaults<C: Default + Serialize>() -> toml::Table {
    match Value::try_from(C::default()) {
        Ok(Value::Table(table)) => table,
        // The configurations are flat structs of numbers and words.
        _ => unreachable!("a configuration serialises to a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_tables_have_exactly_the_keys_of_the_configurations() {
        let fields = |table: toml::Table| table.keys().cloned().collect::<Vec<_>>();
        for (kind, fields) in [
            (ModelKind::Logistic, fields(defaults::<LogisticConfig>())),
            (ModelKind::MixtureOfExperts, fields(defaults::<MixtureConfig>())),
        ] {
            let mut keys: Vec<_> = kind.keys().iter().map(|k| k.name.to_owned()).collect();
            keys.sort();
            let mut fields = fields;
            fields.sort();
            assert_eq!(keys, fields);
            assert!(kind.keys().iter().all(|k| k.default.is_some()));
        }
    }

    #[test]
    fn a_key_of_all_models_belongs_to_those_that_have_it() {
        for (kind, name) in [
            (ModelKind::NextVlad, NEXTVLAD),
            (ModelKind::Logistic, LOGISTIC),
            (ModelKind::MixtureOfExperts, MIXTURE),
        ] {
            let applies = |key: &KeySpec| key.only_with.is_none_or(|choice| choice.words.contains(&name));
            let mut of_all: Vec<_> = model_keys().into_iter().filter(applies).map(|k| k.name).collect();
            of_all.retain(|name| *name != MODEL);
            let mut own: Vec<_> = kind.keys().into_iter().map(|k| k.name).collect();
            of_all.sort();
            own.sort();
            assert_eq!(of_all, own);
            let settings = Settings { values: [(MODEL.to_owned(), Value::from(name))].into() };
            assert_eq!(ModelKind::of(&settings), kind);
            assert_eq!(kind.model(&settings).unwrap().name(), name);
        }
    }
}
