//! One version of a model's parameters and buffers. The one law: a published version never changes; the optimiser
//! makes the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::{Init, Model, ParameterSpec};
use crate::random;

/// One version of a model's parameters and buffers, each in the order of the model's specification, all on one device
/// and of one float type.
///
/// Parameters are [`Var`]s, allocated once, so that a tape can start at them without a copy. Nothing may write to them
/// once the version is published; [`Var::set`] would change them under any live tape.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The model they belong to.
    pub model: Arc<dyn Model>,
    /// Trainable tensors, in the order of [`Model::parameters`].
    pub parameters: Vec<Var>,
    /// Stored but untrained tensors, in the order of [`Model::buffers`].
    pub buffers: Vec<Tensor>,
}

/// Why named tensors do not make weights of a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A tensor the model has is not among them.
    #[error("tensor `{name}` {expected:?} of model `{model}` is missing")]
    Missing {
        /// The model.
        model: &'static str,
        /// The tensor.
        name: String,
        /// The shape the model gives it.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the model's.
    #[error("tensor `{name}` has shape {found:?}, model `{model}` expects {expected:?}")]
    Shape {
        /// The model.
        model: &'static str,
        /// The tensor.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape the model gives it.
        expected: Vec<usize>,
    },
    /// A tensor is none of the model's: most likely the weights are of another model.
    #[error("tensor `{name}` {found:?} is none of model `{model}`")]
    Unknown {
        /// The model.
        model: &'static str,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor could not be converted or copied.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Weights {
    /// Fresh weights: parameter `i` is drawn from the stream (`seed`, "initial value", `i`), the same on every device.
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

    /// Weights from tensors by name, brought to `device` and `dtype`. Every tensor of the model must be there, with its
    /// shape, and no other.
    pub fn from_named(
        model: Arc<dyn Model>,
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, WeightsError> {
        let mut tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
        let mut take = |name: String, expected: Vec<usize>| {
            let model = model.name();
            let Some(tensor) = tensors.remove(&name) else {
                return Err(WeightsError::Missing { model, name, expected });
            };
            if tensor.dims() != expected {
                return Err(WeightsError::Shape { model, name, found: tensor.dims().to_vec(), expected });
            }
            Ok(tensor.detach().to_dtype(dtype)?.to_device(device)?.contiguous()?)
        };
        let mut parameters = Vec::new();
        for spec in model.parameters() {
            parameters.push(Var::from_tensor(&take(spec.name, spec.shape)?)?);
        }
        let mut buffers = Vec::new();
        for spec in model.buffers() {
            // Forced: a tensor from outside may share its storage with others.
            buffers.push(take(spec.name, spec.shape)?.force_contiguous()?);
        }
        if let Some((name, tensor)) = tensors.into_iter().next() {
            return Err(WeightsError::Unknown { model: model.name(), name, found: tensor.dims().to_vec() });
        }
        Ok(Self { model, parameters, buffers })
    }

    /// The parameter or buffer of that name.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        let parameter = self.model.parameters().iter().position(|spec| spec.name == name);
        if let Some(parameter) = parameter.and_then(|index| self.parameters.get(index)) {
            return Some(parameter.as_detached_tensor());
        }
        let buffer = self.model.buffers().iter().position(|spec| spec.name == name);
        buffer.and_then(|index| self.buffers.get(index)).cloned()
    }

    /// Every tensor with its name, parameters first, without their tapes and without copies.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let parameters = self.model.parameters().into_iter().zip(&self.parameters);
        let buffers = self.model.buffers().into_iter().zip(&self.buffers);
        parameters
            .map(|(spec, tensor)| (spec.name, tensor.as_detached_tensor()))
            .chain(buffers.map(|(spec, tensor)| (spec.name, tensor.clone())))
            .collect()
    }

    /// The same version on `device`; shared, not copied, where it lies there already.
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

    /// The device of all tensors; none for a model without parameters.
    pub fn device(&self) -> Option<&Device> {
        self.parameters.first().map(|parameter| parameter.device())
    }

    /// Trainable numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.elem_count()).sum()
    }
}

/// Parameter `index` of a model as it begins.
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
