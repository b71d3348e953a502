//! What the stages of a run share with its caller and with one another: messages, resources, results.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The receiver of a run's messages. The program prints them and writes them to `log.jsonl`.
pub trait Observer: Send + Sync {
    /// Takes a message of a stage: a warning, a line about progress (`Level::Info`), or a detail.
    fn message(&self, level: Level, stage: &str, text: &str);

    /// Takes the numbers of a report or of an evaluation, by name. `kind` says which of them it is, as in
    /// `metrics.jsonl`; `step` counts from 1.
    fn numbers(&self, _kind: &str, _step: u64, _values: &[(&str, f64)]) {}
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Shown with `-v`.
    Debug,
    /// Shown unless `-q`.
    Info,
    /// Always shown.
    Warning,
}

impl Level {
    /// The name of the level in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
        }
    }
}

/// An observer that drops every message, for tests and embedded runs.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn message(&self, _level: Level, _stage: &str, _text: &str) {}
}

/// The values that the caller of a run hands to its stages, by their Rust types. Such values are the weights for an
/// evaluation inside a training run, and the state to resume from.
#[derive(Default)]
pub struct Resources {
    values: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Resources {
    /// Puts in a value. It replaces an earlier value of the same type.
    pub fn insert<T: Any + Send + Sync>(&self, value: T) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value of this type, if the caller gave one.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let value =
            self.values.lock().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).cloned()?;
        value.downcast().ok()
    }

    /// The value of this type. If it is not there yet, `make` makes it. Stages share the value.
    pub fn get_or_insert_with<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(make())).clone();
        value.downcast().expect("the map is keyed by the value's type")
    }
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resources").finish_non_exhaustive()
    }
}

/// The numbers that a run ends with (`results` in the JSON result), by name.
#[derive(Debug, Default)]
pub struct Results {
    values: Mutex<BTreeMap<String, f64>>,
}

impl Results {
    /// Sets one result. A later value replaces an earlier one.
    pub fn set(&self, name: impl Into<String>, value: f64) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), value);
    }

    /// One result.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// All results, by name.
    pub fn all(&self) -> BTreeMap<String, f64> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
