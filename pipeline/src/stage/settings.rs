//! The settings of a stage: the values of its keys, whatever their Rust types are.

use std::collections::BTreeMap;

use toml::Value;

/// The settings of a stage, after precedence was applied (default, named config, key in the stage, `--set`). Every key
/// with a value or a default is there, each value is of the declared kind and in range, and paths are absolute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The values by key.
    pub values: BTreeMap<String, Value>,
}

impl Settings {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The value of a key as a whole number; 0 when it is absent.
    pub fn integer(&self, key: &str) -> u64 {
        self.get(key).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    /// The value of a key as a text; empty when it is absent.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// The value of a key as a switch; off when it is absent.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }
}
