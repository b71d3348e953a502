//! Files of weights that were exported for evaluation.
//!
//! A file says in the text `framewise` of its header what it is. Law: equal weights give equal bytes, so that text holds no
//! time, no host and no path.

use std::path::Path;

use framewise_pipeline::KeyWord as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StoreError;
use super::manifest::FileInfo;
use super::tensors::{Content, read_arrays, read_text, write_contents};
use crate::io;
use crate::model::{Array, Arrays, Precision};

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// The name of the text in the header.
const NAME: &str = "framewise";

/// What a file of exported weights says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The layout of the file.
    pub format: u32,
    /// The version of Framewise that wrote the file.
    pub framewise: String,
    /// The name and the configuration of the model.
    pub model: Value,
    /// The precision of the weights, in the word that graphs have for it.
    pub precision: String,
    /// The checkpoint of which the weights were made. `None` if they were made of a bare weights file.
    pub source: Option<ExportSource>,
}

/// The checkpoint of which weights were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportSource {
    /// The number of steps done.
    pub step: u64,
    /// The epoch of the next example, from 0.
    pub epoch: u64,
    /// The number of examples seen.
    pub samples: u64,
    /// The length and checksum of the checkpoint's file of weights.
    pub weights: FileInfo,
}

impl Export {
    /// What a file says that this version writes.
    pub fn new(model: Value, precision: &str, source: Option<ExportSource>) -> Self {
        let framewise = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, framewise, model, precision: precision.to_owned(), source }
    }

    /// Whether the file has the parameters of a model, from which training can start. It has not in whole numbers, nor in a
    /// precision that this version does not know.
    pub fn serves_training(&self) -> bool {
        let known = Precision::ALL.iter().find(|precision| precision.word() == self.precision);
        known.is_some_and(|precision| precision.trains())
    }

    /// What the file at `path` says. `None` for a file of weights that was not exported.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or has a layout of another version.
    pub fn of_file(path: &Path) -> Result<Option<Self>, StoreError> {
        let text = read_text(path, NAME).map_err(|error| error.alone(path))?;
        let Some(text) = text else { return Ok(None) };
        let wrong = |why: String| StoreError::format(path, format!("the text `{NAME}` of its header: {why}"));
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if value["format"] != FORMAT {
            return Err(wrong(format!("format {}; this version reads {FORMAT}", value["format"])));
        }
        serde_json::from_value(value).map(Some).map_err(|error| wrong(error.to_string()))
    }
}

/// Writes exported weights, whole or not at all, or through to a stream. Returns the number of bytes.
///
/// # Errors
/// The file cannot be written.
pub fn save_export(path: &Path, export: &Export, arrays: &Arrays) -> Result<u64, StoreError> {
    let text = serde_json::to_string(export).map_err(|error| StoreError::format(path, error.to_string()))?;
    let contents = arrays.iter().map(|(name, array)| {
        let content = match array {
            Array::I8 { shape, values } => Content::I8(values, shape),
            Array::Float(tensor) => Content::Tensor(tensor),
        };
        (name, content)
    });
    let mut file = io::create(path)?;
    let info = write_contents(&mut file, path, contents.collect(), Some((NAME, text)))?;
    file.commit()?;
    Ok(info.bytes)
}

/// Reads the arrays of exported weights.
///
/// # Errors
/// The file cannot be read or is damaged.
pub fn load_export(path: &Path) -> Result<Arrays, StoreError> {
    read_arrays(path).map_err(|error| error.alone(path))
}
