//! The table of models against what stages make of it.

use std::collections::BTreeMap;

use framewise_pipeline::{KeySpec, Keys as _};
use toml::Value;

use super::*;
use crate::model_kit::keys::ModelKeys;

fn chosen(name: &str) -> Settings {
    Settings { values: [(MODEL.to_owned(), Value::from(name))].into() }
}

#[test]
fn the_registry_has_a_forward_stage_for_each_row_with_its_keys_and_doc() {
    let registry = crate::registry();
    let forward: Vec<_> =
        registry.iter().map(|c| c.type_name()).filter(|name| name.ends_with("_forward")).collect();
    let rows: Vec<_> = MODELS.iter().map(|kind| kind.forward).collect();
    assert_eq!(forward, rows);
    for kind in MODELS {
        assert_eq!(kind.forward, format!("{}_forward", kind.name));
        let stage = registry.get(kind.forward).unwrap();
        assert_eq!(stage.doc(), kind.forward_doc);
        let names = |keys: Vec<KeySpec>| keys.into_iter().map(|key| key.name).collect::<Vec<_>>();
        let own = ["mode", "precision", "devices"].into_iter().chain(names(kind.keys())).collect::<Vec<_>>();
        assert_eq!(names(stage.keys()), own);
        let batches = &stage.ports(&Settings::default()).inputs[0].payload;
        let first = if kind.level == Level::Frame { "rgb" } else { "mean_rgb" };
        assert_eq!(batches.tensors[0].name, first, "{}", kind.name);
    }
}

#[test]
fn what_a_row_names_is_in_its_model() {
    for kind in MODELS {
        let model = kind.model(&chosen(kind.name)).unwrap();
        assert_eq!(model.name(), kind.name);
        let parameters: BTreeMap<_, _> = model.parameters().into_iter().map(|p| (p.name, p.shape)).collect();
        for name in kind.l2_parameters {
            assert!(parameters.contains_key(*name), "{} has no {name}", kind.name);
        }
        for name in kind.classifier {
            assert_eq!(parameters[*name][0], model.classes(), "{name} of {}", kind.name);
        }
        let buffers = model.buffers();
        let scale = kind.input_scale.map(|name| buffers.iter().find(|buffer| buffer.name == name).unwrap());
        assert!(scale.is_none_or(|buffer| buffer.shape == [model.rgb_size()]));
    }
}

#[test]
fn a_configuration_has_exactly_the_keys_of_its_model_and_their_defaults() {
    for kind in MODELS {
        let settings = chosen(kind.name);
        let model = ModelKind::of(&settings).model(&settings).unwrap();
        let stored = model.describe();
        let stored = stored["config"].as_object().unwrap();
        let mut defaults = serde_json::Map::new();
        for key in kind.keys() {
            let default = key.default.unwrap();
            defaults.insert(key.name.to_owned(), serde_json::to_value(default).unwrap());
        }
        assert_eq!(*stored, defaults, "{}", kind.name);
    }
}

#[test]
fn a_key_of_all_models_belongs_to_those_that_have_it() {
    for kind in MODELS {
        let applies = |key: &KeySpec| key.only_with.is_none_or(|choice| choice.words.contains(&kind.name));
        let default = |key: &KeySpec| {
            let own = key.defaults_with.iter().find(|(choice, _)| choice.words.contains(&kind.name));
            own.map(|(_, value)| value.clone()).or(key.default.clone())
        };
        let described = |keys: Vec<KeySpec>| {
            keys.into_iter().map(|key| (key.name, (default(&key), key.kind))).collect::<BTreeMap<_, _>>()
        };
        let of_all: Vec<_> =
            ModelKeys::keys().into_iter().filter(applies).filter(|k| k.name != MODEL).collect();
        assert_eq!(described(of_all), described(kind.keys()), "{}", kind.name);
    }
}
