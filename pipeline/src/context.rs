//! What a stage gets besides its keys and ports: names, seed, run directory, shared resources, results.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::meter::StageMeter;
use crate::stop::StopToken;

/// Where a run's messages go. The binary prints them and writes `log.jsonl`.
pub trait Observer: Send + Sync {
    /// A message of a stage: a progress line (`Level::Info`), a warning, a detail.
    fn message(&self, level: Level, stage: &str, text: &str);
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
    /// Lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
        }
    }
}

/// Drops every message; for tests and embedded runs.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn message(&self, _level: Level, _stage: &str, _text: &str) {}
}

/// Values that the caller of a run hands to its stages by Rust type: weights for an evaluation inside a
/// training run, the state to resume from.
#[derive(Default)]
pub struct Resources {
    values: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Resources {
    /// Puts a value, replacing an earlier one of the same type.
    pub fn insert<T: Any + Send + Sync>(&self, value: T) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value of this type, if the caller gave one.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let value =
            self.values.lock().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).cloned()?;
        value.downcast().ok()
    }

    /// The value of this type, made by `make` when it is not there yet: stages share it.
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

/// The numbers a run ends with (`results` in the JSON result), by name.
#[derive(Debug, Default)]
pub struct Results {
    values: Mutex<BTreeMap<String, f64>>,
}

impl Results {
    /// Sets one result; a later value replaces an earlier one.
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

/// A stage's surroundings. Cloning is cheap.
#[derive(Clone)]
pub struct StageContext {
    /// The stage's name in the graph.
    pub stage: Arc<str>,
    /// The graph's name.
    pub graph: Arc<str>,
    /// The graph's seed; every random draw of a stage derives from it.
    pub seed: u64,
    /// The graph as resolved, in TOML: checkpoints keep a copy.
    pub resolved_graph: Arc<str>,
    /// Where the run writes; `None` for a run inside another (an evaluation), which writes nothing of its own.
    pub run_dir: Option<PathBuf>,
    /// The run's stop token.
    pub stop: StopToken,
    /// This stage's meter.
    pub meter: Arc<StageMeter>,
    /// Values from the caller and between stages.
    pub resources: Arc<Resources>,
    /// The run's results.
    pub results: Arc<Results>,
    /// Where messages go.
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
