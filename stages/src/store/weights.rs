//! Weights by themselves: those in a bare `.safetensors` file, or those of a checkpoint.

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::catalog;
use super::error::StoreError;
use super::manifest::{Manifest, WEIGHTS};
use super::tensors::{read, write};
use crate::io;

/// Writes tensors to a bare `.safetensors` file, whole or not at all, or through to a stream.
pub fn save_weights(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), StoreError> {
    let mut file = io::create(path)?;
    write(&mut file, path, tensors)?;
    Ok(file.commit()?)
}

/// Reads weights into host memory, sorted by name. They come from a `.safetensors` file, or from the checkpoint that
/// [`find`](super::find) finds at `path`, which is checked against its checksum.
pub fn load_weights(path: &Path) -> Result<Vec<(String, Tensor)>, StoreError> {
    if path.is_file() {
        return read(path, None).map_err(|error| error.alone(path));
    }
    let found = catalog::find(path)?;
    let manifest = Manifest::read(&found.path)?;
    read(&found.path.join(WEIGHTS), Some(manifest.files[WEIGHTS]))
}

/// The file of the weights of the checkpoint that `path` stands for, as [`find`](super::find) finds it.
///
/// # Errors
/// There is no complete checkpoint.
pub(crate) fn weights_of(path: &Path) -> Result<PathBuf, StoreError> {
    Ok(catalog::find(path)?.path.join(WEIGHTS))
}
