//! The eigenvalues of YouTube-8M's PCA release, and the factors that they become.

use std::path::Path;

use candle_core::{DType, Tensor};
use framewise_pipeline::Failure;

use crate::failure::read_failure;
use crate::io::{self, content::Content};
use crate::model::Weights;
use crate::model_kit::kind::ModelKind;

/// The number that is added to the square root of each eigenvalue, as in the reference systems.
const OFFSET: f64 = 1e-4;

/// Looks whether a file holds a numpy array. Returns its bytes. The numbers are not read.
///
/// # Errors
/// `NotFound` or `Io` when the file cannot be read, `Data` when it is something else.
pub(crate) fn survey(path: &Path) -> Result<u64, Failure> {
    let (_, bytes) = io::kind_and_length(path).map_err(|e| read_failure(path, &e))?;
    let wrong =
        |what: &str| Err(Failure::data(format!("{}: {what}, not a numpy array (.npy)", path.display())));
    match Content::of_file(path).map_err(|e| read_failure(path, &e))? {
        Some(Content::Npy) => Ok(bytes),
        Some(other) => wrong(other.what()),
        None if path.is_dir() => wrong("a directory"),
        None => wrong("a file of no known kind"),
    }
}

/// Sets the factors of the visual features, sqrt(eigenvalue) + 1e-4, from a `.npy` file with rgb_size eigenvalues.
///
/// # Errors
/// `NotFound` or `Io` when the file cannot be read, `Data` when it does not hold rgb_size numbers that are not
/// negative.
pub fn apply(path: &Path, weights: &mut Weights) -> Result<(), Failure> {
    io::kind_and_length(path).map_err(|e| read_failure(path, &e))?;
    let wrong = |why: String| Failure::data(format!("{}: {why}", path.display()));
    let tensor = Tensor::read_npy(path).map_err(|e| wrong(format!("not a readable .npy file: {e}")))?;
    let values = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1::<f64>());
    let values = values.map_err(|e| wrong(e.to_string()))?;
    let wanted = weights.model.rgb_size();
    if values.len() != wanted {
        return Err(wrong(format!(
            "{} eigenvalues (shape {:?}), the model wants {wanted}",
            values.len(),
            tensor.shape()
        )));
    }
    if let Some(index) = values.iter().position(|v| !v.is_finite() || *v < 0.0) {
        return Err(wrong(format!("eigenvalue {index} is {}", values[index])));
    }
    let factors: Vec<f64> = values.iter().map(|v| v.sqrt() + OFFSET).collect();
    let scale = ModelKind::named(weights.model.name()).and_then(|kind| kind.input_scale);
    let index = weights.model.buffers().iter().position(|buffer| Some(buffer.name.as_str()) == scale);
    let index = index.ok_or_else(|| Failure::config("the model has no factors for the visual features"))?;
    let place = &weights.buffers[index];
    // A large f64 becomes infinite as f32.
    let largest = if place.dtype() == DType::F64 { f64::MAX } else { f64::from(f32::MAX) };
    if let Some(index) = factors.iter().position(|factor| *factor > largest) {
        return Err(wrong(format!(
            "eigenvalue {index} is {:e}, whose root the weights cannot hold",
            values[index]
        )));
    }
    let factors = Tensor::new(factors, place.device()).and_then(|t| t.to_dtype(place.dtype()));
    weights.buffers[index] = factors.map_err(|e| wrong(e.to_string()))?;
    Ok(())
}
