//! A model's configuration without its type, as the rows of the table of models hold it.

use std::fmt;
use std::sync::Arc;

use framewise_pipeline::{KeySpec, Settings};

use crate::model::{DataSizes, Model, ModelConfig};

/// The configuration of some model, after reading.
#[derive(Debug)]
pub struct Configured {
    /// The sizes of the data. They are also known where no model can have them.
    pub sizes: DataSizes,
    /// The model, or everything that is wrong with the configuration, with one sentence each.
    pub model: Result<Arc<dyn Model>, Vec<String>>,
}

impl Configured {
    fn of<C: ModelConfig>(config: C) -> Self {
        let (sizes, problems) = (config.data_sizes(), config.problems());
        // The check comes before the model is made: where `RUST_BACKTRACE` is set, candle's errors end with a backtrace
        // of tens of megabytes.
        if !problems.is_empty() {
            return Self { sizes, model: Err(problems) };
        }
        match config.model() {
            Ok(model) => Self { sizes, model: Ok(Arc::new(model)) },
            Err(error) => Self { sizes, model: Err(vec![error.to_string()]) },
        }
    }
}

/// The functions of a configuration's type.
#[derive(Clone, Copy)]
pub(crate) struct Configurable {
    /// Every key, with its default.
    pub(crate) keys: fn() -> Vec<KeySpec>,
    /// The configuration in a stage's settings. A value that does not fit is replaced by its default.
    pub(crate) of_settings: fn(&Settings) -> Configured,
    /// The configuration in a table that holds nothing else. It is `None` if the table holds other keys or values.
    pub(crate) of_table: fn(toml::Table) -> Option<Configured>,
}

impl Configurable {
    /// The functions of `C`.
    pub(crate) const fn of<C: ModelConfig>() -> Self {
        Self {
            keys: C::keys,
            of_settings: |settings| Configured::of(settings.parse_or_default::<C>()),
            of_table: |table| table.try_into().ok().map(Configured::of::<C>),
        }
    }
}

impl fmt::Debug for Configurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configurable").finish_non_exhaustive()
    }
}
