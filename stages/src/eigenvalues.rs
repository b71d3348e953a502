//! The eigenvalues of YouTube-8M's PCA release, and the factors they become.

use std::path::Path;

use candle_core::{DType, Tensor};
use framewise_pipeline::Failure;

use crate::model::Weights;
use crate::rejects::read_failure;

/// Added to the square root of each eigenvalue, as the reference systems do.
const OFFSET: f64 = 1e-4;

/// The buffer of the factors in the weights.
const BUFFER: &str = "input.rgb_scale";

/// Sets the factors of the visual features, sqrt(eigenvalue) + 1e-4, from a `.npy` file of rgb_size eigenvalues.
///
/// # Errors
/// `NotFound` or `Io` when the file cannot be read, `Data` when it does not hold rgb_size numbers that are not
/// negative.
pub fn apply(path: &Path, weights: &mut Weights) -> Result<(), Failure> {
    std::fs::metadata(path).map_err(|e| read_failure(path, &e))?;
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
    let specs = weights.model.buffers();
    let index = specs.iter().position(|b| b.name == BUFFER);
    let index = index.ok_or_else(|| Failure::config("the model has no factors for the visual features"))?;
    let place = &weights.buffers[index];
    // A large f64 is infinite as f32.
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
