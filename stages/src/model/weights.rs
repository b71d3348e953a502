//! Making weights, finding a tensor in them, and moving them between devices.
//!
//! Law: a published version never changes. The optimizer makes the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::definition::{Init, Model, ParameterSpec, Weights};
use super::misfit::{Listed, Misfit};
use crate::random;

/// The reason why named tensors do not make weights of a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Tensors are missing, have another shape, or do not belong to the model. All of them are reported at once.
    #[error("the tensors are not those of model `{model}`:{}", Listed(misfits))]
    Misfits {
        /// The model.
        model: &'static str,
        /// The tensors that do not fit, at least one. Those of the model come first, in the order of the model.
        misfits: Vec<Misfit>,
    },
    /// A tensor could not be converted or copied.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Checks that tensors of these names and shapes are the weights of `model`.
///
/// # Errors
/// [`WeightsError::Misfits`] with everything that does not fit.
pub fn check_fit(
    model: &dyn Model,
    shapes: impl IntoIterator<Item = (String, Vec<usize>)>,
) -> Result<(), WeightsError> {
    let mut shapes: BTreeMap<String, Vec<usize>> = shapes.into_iter().collect();
    let parameters = model.parameters().into_iter().map(|spec| (spec.name, spec.shape));
    let buffers = model.buffers().into_iter().map(|spec| (spec.name, spec.shape));
    let mut misfits = Vec::new();
    for (name, expected) in parameters.chain(buffers) {
        match shapes.remove(&name) {
            Some(found) if found == expected => {}
            Some(found) => misfits.push(Misfit::Shape { name, found, expected }),
            None => misfits.push(Misfit::Missing { name, expected }),
        }
    }
    misfits.extend(shapes.into_iter().map(|(name, found)| Misfit::Unknown { name, found }));
    if misfits.is_empty() {
        return Ok(());
    }
    Err(WeightsError::Misfits { model: model.name(), misfits })
}

impl Weights {
    /// Makes fresh weights. Parameter `i` is drawn from the stream (`seed`, "initial value", `i`), so it is the same on
    /// every device.
    pub fn initial(
        model: Arc<dyn Model>,
        seed: u64,
        device: &Device,
        dtype: DType,
    ) -> candle_core::Result<Self> {
        let specs = model.parameters();
        let parameters = (0..specs.len()).map(|index| draw(&specs[index], index, seed, device, dtype));
        let parameters = parameters.collect::<candle_core::Result<_>>()?;
        let mut buffers = Vec::new();
        for spec in model.buffers() {
            buffers
                .push(Tensor::full(spec.fill, spec.shape.as_slice(), device)?.to_dtype(dtype)?.contiguous()?);
        }
        Ok(Self { model, parameters, buffers })
    }

    /// Makes weights from tensors by name, and brings them to `device` and `dtype`. Every tensor of the model must be
    /// there with its shape, and there must be no others.
    pub fn from_named(
        model: Arc<dyn Model>,
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, WeightsError> {
        let mut tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
        check_fit(&*model, tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())))?;
        let mut all = |names: Vec<String>| -> Vec<Tensor> {
            names.iter().filter_map(|name| tensors.remove(name)).collect()
        };
        let parameters = all(model.parameters().into_iter().map(|spec| spec.name).collect());
        let buffers = all(model.buffers().into_iter().map(|spec| spec.name).collect());
        let bring = |tensor: Tensor| tensor.detach().to_dtype(dtype)?.to_device(device)?.contiguous();
        let parameters = parameters.into_iter().map(|tensor| Var::from_tensor(&bring(tensor)?));
        let parameters = parameters.collect::<candle_core::Result<_>>()?;
        // The copy is forced, because a tensor from outside may share its storage with others.
        let buffers = buffers.into_iter().map(|tensor| bring(tensor)?.force_contiguous());
        let buffers = buffers.collect::<candle_core::Result<_>>()?;
        Ok(Self { model, parameters, buffers })
    }

    /// The parameter or buffer with this name.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        let parameter = self.model.parameters().iter().position(|spec| spec.name == name);
        if let Some(parameter) = parameter.and_then(|index| self.parameters.get(index)) {
            return Some(parameter.as_detached_tensor());
        }
        let buffer = self.model.buffers().iter().position(|spec| spec.name == name);
        buffer.and_then(|index| self.buffers.get(index)).cloned()
    }

    /// Every tensor with its name, parameters first. The tensors have no tapes and are not copied.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let parameters = self.model.parameters().into_iter().zip(&self.parameters);
        let buffers = self.model.buffers().into_iter().zip(&self.buffers);
        parameters
            .map(|(spec, tensor)| (spec.name, tensor.as_detached_tensor()))
            .chain(buffers.map(|(spec, tensor)| (spec.name, tensor.clone())))
            .collect()
    }

    /// This version on `device`: a copy, or the very tensors where they lie there already.
    pub fn to_device(&self, device: &Device) -> candle_core::Result<Self> {
        if self.device().is_some_and(|own| own.same_device(device)) {
            return Ok(self.clone());
        }
        let parameters = self
            .parameters
            .iter()
            .map(|parameter| Var::from_tensor(&parameter.as_detached_tensor().to_device(device)?))
            .collect::<candle_core::Result<_>>()?;
        let buffers =
            self.buffers.iter().map(|buffer| buffer.to_device(device)).collect::<candle_core::Result<_>>()?;
        Ok(Self { model: self.model.clone(), parameters, buffers })
    }

    /// The device of all tensors. `None` for a model without parameters.
    pub fn device(&self) -> Option<&Device> {
        self.parameters.first().map(|parameter| parameter.device())
    }

    /// The number of trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.elem_count()).sum()
    }
}

/// The initial value of parameter `index` of a model.
pub(crate) fn draw(
    spec: &ParameterSpec,
    index: usize,
    seed: u64,
    device: &Device,
    dtype: DType,
) -> candle_core::Result<Var> {
    let (shape, count) = (spec.shape.as_slice(), spec.shape.iter().product());
    let (purpose, place) = ("initial value", [index as u64]);
    match spec.init {
        Init::Zeros => Var::zeros(shape, dtype, device),
        Init::Ones => Var::ones(shape, dtype, device),
        Init::Normal { variance } => {
            let scale = variance.sqrt();
            match dtype {
                DType::F32 => {
                    let values = random::normals(seed, purpose, &place, count, |v| (v * scale) as f32);
                    Var::from_vec(values, shape, device)
                }
                DType::F64 => {
                    let values = random::normals(seed, purpose, &place, count, |v| v * scale);
                    Var::from_vec(values, shape, device)
                }
                other => candle_core::bail!("weights are F32 or F64, not {other:?}"),
            }
        }
    }
}
