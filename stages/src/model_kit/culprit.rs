//! The culprit: the first tensor of a step that is not finite. It says where the tensor was computed, and where in the
//! tensor the first such number stands.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::ErrorKind;

use crate::kernels::finite::all_finite;
use crate::model::Weights;
use crate::payload::Batch;

/// The origin of a tensor of a step. The variants stand in the order of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The version of the weights that the step began with.
    Weights,
    /// The forward stage of this model computed it.
    Forward(&'static str),
    /// `loss` computed it.
    Loss,
    /// `backward` and `all_reduce` computed it.
    Gradients,
    /// `optimizer` made it from the gradients.
    Update,
}

impl Origin {
    /// The type of the stage that computed the tensor.
    fn stage(self) -> String {
        match self {
            Origin::Weights | Origin::Update => "optimizer".to_owned(),
            Origin::Forward(model) => format!("{model}_forward"),
            Origin::Loss => "loss".to_owned(),
            Origin::Gradients => "backward".to_owned(),
        }
    }
}

/// The first tensor of a step that is not finite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Culprit {
    /// The origin of the tensor.
    pub(crate) origin: Origin,
    /// The tensor's name.
    pub(crate) tensor: String,
    /// The shard that the tensor belongs to.
    pub(crate) shard: Option<usize>,
    /// The count of the tensor's numbers that are not finite, and the count of all its numbers.
    count: (usize, usize),
    /// The place and the value of the first number that is not finite.
    first: (Vec<usize>, f64),
    /// The video that this number belongs to, if a row of the tensor is a video.
    video: Option<String>,
}

impl Culprit {
    /// Makes the culprit of `tensor`. `None` if all of its numbers are finite.
    pub(crate) fn of(origin: Origin, name: &str, tensor: &Tensor) -> candle_core::Result<Option<Self>> {
        if all_finite([tensor])? {
            return Ok(None);
        }
        let values = tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?;
        let values = values.to_vec1::<f64>()?;
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        let Some(mut index) = values.iter().position(|v| !v.is_finite()) else { return Ok(None) };
        let value = values[index];
        let mut place = Vec::new();
        for dim in tensor.dims().iter().rev() {
            place.push(index % dim);
            index /= dim;
        }
        place.reverse();
        let tensor = name.to_owned();
        let (count, first) = ((bad, values.len()), (place, value));
        Ok(Some(Self { origin, tensor, shard: None, count, first, video: None }))
    }

    pub(crate) fn in_shard(mut self, shard: usize, batch: &Batch, row_is_a_video: bool) -> Self {
        self.shard = Some(shard);
        if row_is_a_video {
            self.video = self.first.0.first().and_then(|row| batch.ids.get(*row)).cloned();
        }
        self
    }

    /// Whether the step began with this tensor. Then no later update can mend it.
    pub(crate) fn is_in_the_weights(&self) -> bool {
        self.origin == Origin::Weights
    }

    /// The kind of the failure: `Data` (exit code 65) where what the step was given is to blame, and `Config` (exit
    /// code 78) where training with these settings led to the number.
    pub(crate) fn kind(&self) -> ErrorKind {
        if self.is_in_the_weights() || self.tensor.ends_with(".features") {
            ErrorKind::Data
        } else {
            ErrorKind::Config
        }
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((bad, all), (place, value)) = (self.count, &self.first);
        write!(f, "`{}` of {}", self.tensor, self.origin.stage())?;
        if let Some(shard) = self.shard {
            write!(f, " in shard {shard}")?;
        }
        if all > 1 {
            write!(f, " ({bad} of {all} numbers, the first {value} at {place:?}")?;
        } else {
            write!(f, " ({value}")?;
        }
        if let Some(video) = &self.video {
            write!(f, ", video {video:?}")?;
        }
        f.write_str(")")
    }
}

/// The first tensor of `weights` that is not finite, parameters first.
pub(crate) fn in_weights(weights: &Weights) -> candle_core::Result<Option<Culprit>> {
    let tensors = || weights.parameters.iter().map(|p| p.as_tensor()).chain(&weights.buffers);
    if all_finite(tensors())? {
        return Ok(None);
    }
    first_of(Origin::Weights, weights.named_tensors())
}

pub(crate) fn first_of(
    origin: Origin,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> candle_core::Result<Option<Culprit>> {
    for (name, tensor) in tensors {
        if let Some(culprit) = Culprit::of(origin, &name, &tensor)? {
            return Ok(Some(culprit));
        }
    }
    Ok(None)
}
