//! The keys that describe a NeXtVLAD, for every stage that needs to know it.
//!
//! Law: one table serves all of them, so that a preset means the same everywhere.

use std::sync::Arc;

use framewise_pipeline::{Failure, KeyKind, KeySpec, Settings};
use toml::Value;

use crate::model::{Model, NextVlad, NextVladConfig};

const SIZE: KeyKind = KeyKind::Integer(1..=1 << 24);

/// Every key of [`NextVladConfig`], with the defaults of preset `paddle`.
pub(crate) fn nextvlad_keys() -> Vec<KeySpec> {
    let keys = vec![
        KeySpec::new("rgb_size", SIZE, "Bytes of a visual row.").unit("bytes"),
        KeySpec::new("audio_size", SIZE, "Bytes of an audio row.").unit("bytes"),
        KeySpec::new("classes", SIZE, "Classes that the model scores."),
        KeySpec::new("max_frames", SIZE, "Frames kept of a longer video.").unit("frames"),
        KeySpec::new("clusters", SIZE, "Clusters K of the visual branch."),
        KeySpec::new("audio_clusters", SIZE, "Clusters K of the audio branch."),
        KeySpec::new("groups", SIZE, "Groups G of the visual branch; they divide expansion · rgb_size."),
        KeySpec::new(
            "audio_groups",
            SIZE,
            "Groups G of the audio branch; they divide expansion · audio_size.",
        ),
        KeySpec::new("hidden", SIZE, "Width H of the hidden layer."),
        KeySpec::new("expansion", SIZE, "Expansion of the input before grouping."),
        KeySpec::new("gating_reduction", SIZE, "Reduction of the gate's bottleneck; it divides hidden."),
        KeySpec::new(
            "drop_rate",
            KeyKind::Float(0.0..=0.99),
            "Share of the joined descriptors dropped in training.",
        ),
        KeySpec::new(
            "dropout",
            KeyKind::OneOf(&["downscale_in_eval", "upscale_in_train"]),
            "Which side is scaled so that training and evaluation agree in the mean.",
        ),
        KeySpec::new("norm_epsilon", KeyKind::Float(1e-12..=1.0), "Added to a variance under a square root."),
        KeySpec::new(
            "norm_momentum",
            KeyKind::Float(0.0..=1.0),
            "Share of a running statistic kept at each step.",
        ),
        KeySpec::new(
            "l2_norm",
            KeyKind::OneOf(&["sqrt_sum_plus_epsilon", "sqrt_max_epsilon"]),
            "How each cluster's descriptor is brought to length one.",
        ),
        KeySpec::new(
            "pad_to",
            KeyKind::Integer(0..=1 << 24),
            "Rows to which the assignment's batch statistics pad every video; 0 counts real frames only.",
        )
        .unit("frames"),
        KeySpec::new(
            "loss",
            KeyKind::OneOf(&["logits", "probabilities"]),
            "What the cross-entropy is computed from.",
        ),
        KeySpec::new(
            "gate_variance",
            KeyKind::OneOf(&["biased", "unbiased"]),
            "Which variance the gate's batch norm keeps as its running one.",
        ),
        KeySpec::new(
            "centers_fan_in",
            KeyKind::OneOf(&["clusters", "width"]),
            "Which dimension of the cluster centers counts as fan-in when they are drawn.",
        ),
        KeySpec::new(
            "running_statistics",
            KeyKind::OneOf(&["first_shard", "every_shard"]),
            "Which shards' batch moments reach the running statistics.",
        ),
    ];
    let defaults = defaults();
    keys.into_iter()
        .map(|key| match defaults.get(key.name) {
            Some(value) => key.default(value.clone()),
            None => key,
        })
        .collect()
}

/// The model that the settings describe. Values that make no sense are those of preset `paddle` here;
/// [`check_nextvlad`] reports them.
pub(crate) fn nextvlad_config(settings: &Settings) -> NextVladConfig {
    let known = defaults();
    let table: toml::Table = settings
        .values
        .iter()
        .filter(|(k, _)| known.contains_key(*k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    table.try_into().unwrap_or_default()
}

/// What is wrong with the model's sizes taken together.
pub(crate) fn check_nextvlad(settings: &Settings) -> Vec<(&'static str, String)> {
    let keys = nextvlad_keys();
    nextvlad_config(settings)
        .check()
        .into_iter()
        .map(|problem| {
            // The message begins with the key it is about.
            let key = keys.iter().find(|k| problem.split([' ', '=']).next() == Some(k.name));
            (key.map_or("classes", |k| k.name), problem)
        })
        .collect()
}

/// The model that the settings describe.
///
/// # Errors
/// `Config` when no model can have these sizes.
pub(crate) fn nextvlad(settings: &Settings) -> Result<Arc<dyn Model>, Failure> {
    let config = nextvlad_config(settings);
    sound(&config.check())?;
    let model = NextVlad::new(config).map_err(|e| Failure::config(e.to_string()))?;
    Ok(Arc::new(model))
}

/// Fails with what is wrong with a configuration. Asked before the model is made: candle's errors carry a backtrace where
/// `RUST_BACKTRACE` is set, of tens of megabytes and at the end of every message.
pub(crate) fn sound(errors: &[String]) -> Result<(), Failure> {
    if errors.is_empty() { Ok(()) } else { Err(Failure::config(errors.join("; "))) }
}

fn defaults() -> toml::Table {
    match Value::try_from(NextVladConfig::paddle()) {
        Ok(Value::Table(table)) => table,
        // The configuration is a flat struct of numbers and words.
        _ => unreachable!("a configuration serialises to a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_table_has_exactly_the_keys_of_the_configuration() {
        let mut keys: Vec<_> = nextvlad_keys().iter().map(|k| k.name.to_owned()).collect();
        keys.sort();
        let mut fields: Vec<_> = defaults().keys().cloned().collect();
        fields.sort();
        assert_eq!(keys, fields);
        assert!(nextvlad_keys().iter().all(|k| k.default.is_some()));
    }
}
