//! Laws of the table of stage types: names are unique, everything is documented, and defaults are of the declared kind.

use std::collections::BTreeSet;

use framewise_pipeline::{KeyKind, Settings};
use framewise_stages::registry;

#[test]
fn names_are_unique_and_everything_is_documented() {
    let registry = registry();
    let mut names = BTreeSet::new();
    for component in registry.iter() {
        let name = component.type_name();
        assert!(names.insert(name), "{name} stands twice in the table");
        assert!(component.doc().ends_with('.'), "{name}");
        let mut keys = BTreeSet::new();
        for key in component.keys() {
            assert!(keys.insert(key.name), "{name}.{} stands twice", key.name);
            assert!(key.doc.ends_with('.'), "{name}.{}: `{}`", key.name, key.doc);
            assert!(
                !["type", "from", "config", "capacity", "capacity_bytes"].contains(&key.name),
                "{name}.{}",
                key.name
            );
            assert!(
                !(key.required && key.default.is_some()),
                "{name}.{} is required and has a default",
                key.name
            );
        }
    }
    assert!(names.len() >= 20);
}

#[test]
fn defaults_are_of_the_declared_kind_and_in_range() {
    for component in registry().iter() {
        for key in component.keys() {
            let Some(value) = &key.default else { continue };
            let fits = match &key.kind {
                KeyKind::Bool => value.is_bool(),
                KeyKind::Integer(range) => value.as_integer().is_some_and(|n| range.contains(&n)),
                KeyKind::Float(range) => value.as_float().is_some_and(|n| range.contains(&n)),
                KeyKind::OneOf(words) => value.as_str().is_some_and(|w| words.contains(&w)),
                KeyKind::Text | KeyKind::Path | KeyKind::OutputPath | KeyKind::OutputDirectory => {
                    value.is_str()
                }
                KeyKind::Paths | KeyKind::Texts | KeyKind::Integers(_) | KeyKind::Floats(_) => {
                    value.is_array()
                }
            };
            assert!(fits, "{}.{} = {value}", component.type_name(), key.name);
        }
    }
}

#[test]
fn ports_can_be_asked_for_with_any_settings() {
    // `check` asks for the ports before it knows that the settings make sense.
    for component in registry().iter() {
        component.ports(&Settings::default());
    }
}

#[test]
fn the_readme_and_the_changelog_name_every_stage_type_they_should() {
    let changelog = std::fs::read_to_string(crate::support::run::root().join("CHANGELOG.md")).unwrap();
    for component in registry().iter() {
        let name = component.type_name();
        assert!(changelog.contains(&format!("`{name}`")), "{name} is not in the changelog");
    }
}
