//! Descriptions of payloads for people: which videos an item is about, and for each array its shape, its range and its first
//! values.
//!
//! Law: a description is a function of the item. It changes nothing, and it follows no tape.

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::{Failure, Payload};
use serde::{Deserialize, Serialize};

use super::{
    Batch, Features, ForwardPass, Lazy, LossPass, Predictions, Ranked, Record, ShardGradients, Step,
    TrainState, Update, Video, WeightsVersion,
};
use crate::failure::compute_failure;

/// The most ids in a description.
const IDS: usize = 8;
/// The number of first values of an array.
const FIRST: usize = 5;

/// What is shown of an item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// What identifies the item: `step 3, epoch 0`, or the place of a record.
    pub item: String,
    /// The ids of the first videos.
    pub ids: Vec<String>,
    /// The number of videos; 0 where the item is not about videos.
    pub videos: usize,
    /// The arrays.
    pub arrays: Vec<Array>,
}

/// What is shown of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Array {
    /// The name of the array in its item.
    pub name: String,
    /// The type of the elements, such as `u8` or `f32`.
    pub dtype: String,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The smallest finite value; `None` if there is none.
    pub min: Option<f64>,
    /// The mean of the finite values.
    pub mean: Option<f64>,
    /// The largest finite value.
    pub max: Option<f64>,
    /// The number of values that are NaN or infinite.
    pub non_finite: usize,
    /// The first values; `None` stands for one that is not finite.
    pub first: Vec<Option<f64>>,
}

/// A payload that can be described.
pub trait Describe: Payload {
    /// The description of an item. An item that has not been read yet is read for it.
    ///
    /// # Errors
    /// The item cannot be read, or a device fails.
    fn describe(&self) -> Result<Description, Failure>;
}

impl Array {
    /// Describes values that come in row-major order.
    fn of(
        name: impl Into<String>,
        dtype: &str,
        shape: &[usize],
        values: impl Iterator<Item = f64> + Clone,
    ) -> Self {
        let (mut min, mut max, mut sum, mut finite, mut non_finite) =
            (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0_u64, 0);
        for value in values.clone() {
            if value.is_finite() {
                (min, max, sum, finite) = (min.min(value), max.max(value), sum + value, finite + 1);
            } else {
                non_finite += 1;
            }
        }
        let known = |value: f64| (finite > 0).then_some(value);
        Self {
            name: name.into(),
            dtype: dtype.to_owned(),
            shape: shape.to_vec(),
            min: known(min),
            mean: known(sum / finite as f64),
            max: known(max),
            non_finite,
            first: values.take(FIRST).map(|value| Some(value).filter(|value| value.is_finite())).collect(),
        }
    }

    fn of_bytes(name: &str, shape: &[usize], values: &[u8]) -> Self {
        Self::of(name, "u8", shape, values.iter().map(|value| f64::from(*value)))
    }

    fn of_floats(name: &str, shape: &[usize], values: &[f32]) -> Self {
        Self::of(name, "f32", shape, values.iter().map(|value| f64::from(*value)))
    }

    fn of_tensor(name: impl Into<String>, tensor: &Tensor) -> Result<Self, Failure> {
        let values = || {
            let tensor = tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            tensor.flatten_all()?.to_vec1::<f64>()
        };
        let values = values().map_err(|e| compute_failure("reading a tensor to describe it", &e))?;
        Ok(Self::of(name, tensor.dtype().as_str(), tensor.dims(), values.iter().copied()))
    }

    /// Names the array of one of several shards.
    fn in_shard(mut self, shard: usize, shards: usize) -> Self {
        if shards > 1 {
            self.name = format!("{} of shard {shard}", self.name);
        }
        self
    }
}

/// The first ids.
fn first<'a>(ids: impl Iterator<Item = &'a String>) -> Vec<String> {
    ids.take(IDS).cloned().collect()
}

/// The name of a step, counted from 1 as in reports.
fn step(index: u64, epoch: u64) -> String {
    format!("step {}, epoch {}", index + 1, epoch + 1)
}

/// The features of videos in `rows` rows.
fn features(features: &Features, videos: usize) -> Vec<Array> {
    let width = |len: usize, rows: usize| len.checked_div(rows).unwrap_or(0);
    match features {
        Features::Frames { lengths, rgb, audio } => {
            let rows = lengths.iter().sum();
            vec![
                Array::of("frames", "usize", &[videos], lengths.iter().map(|frames| *frames as f64)),
                Array::of_bytes("rgb", &[rows, width(rgb.len(), rows)], rgb),
                Array::of_bytes("audio", &[rows, width(audio.len(), rows)], audio),
            ]
        }
        Features::Means { rgb, audio } => vec![
            Array::of_floats("mean_rgb", &[videos, width(rgb.len(), videos)], rgb),
            Array::of_floats("mean_audio", &[videos, width(audio.len(), videos)], audio),
        ],
    }
}

/// The number of labels of each video.
fn labels<'a>(labels: impl Iterator<Item = &'a Vec<u32>> + Clone) -> Array {
    let videos = labels.clone().count();
    Array::of("labels of a video", "usize", &[videos], labels.map(|labels| labels.len() as f64))
}

impl Describe for Lazy<Record> {
    fn describe(&self) -> Result<Description, Failure> {
        let record = self.clone().load()?;
        let arrays = vec![Array::of_bytes("data", &[record.data.len()], &record.data)];
        Ok(Description { item: record.origin.to_string(), arrays, ..Description::default() })
    }
}

impl Describe for Lazy<Video> {
    fn describe(&self) -> Result<Description, Failure> {
        let video = self.clone().load()?;
        let item = match &video {
            Video::Frames(example) => example.origin.to_string(),
            Video::Means(example) => example.origin.to_string(),
        };
        let classes = Array::of(
            "labels",
            "u32",
            &[video.labels().len()],
            video.labels().iter().map(|label| f64::from(*label)),
        );
        let mut batch = Batch::default();
        batch.push(video)?;
        let mut arrays = features(&batch.features, 1);
        arrays.push(classes);
        Ok(Description { item, ids: batch.ids, videos: 1, arrays })
    }
}

impl Describe for Step {
    fn describe(&self) -> Result<Description, Failure> {
        let count = self.shards.len();
        let arrays = self.shards.iter().enumerate().flat_map(|(shard, batch)| {
            let mut arrays = features(&batch.features, batch.videos());
            arrays.push(labels(batch.labels.iter()));
            arrays.into_iter().map(move |array| array.in_shard(shard, count))
        });
        Ok(Description {
            item: step(self.index, self.epoch),
            ids: first(self.shards.iter().flat_map(|batch| &batch.ids)),
            videos: self.videos(),
            arrays: arrays.collect(),
        })
    }
}

impl Describe for WeightsVersion {
    fn describe(&self) -> Result<Description, Failure> {
        let names = self.weights.model.parameters();
        let tensors = names.iter().zip(&self.weights.parameters);
        let arrays = tensors.map(|(spec, tensor)| Array::of_tensor(&spec.name, tensor.as_tensor()));
        let item = format!("version {}", self.version);
        Ok(Description { item, arrays: arrays.collect::<Result<_, _>>()?, ..Description::default() })
    }
}

impl Describe for ForwardPass {
    fn describe(&self) -> Result<Description, Failure> {
        let count = self.shards.len();
        let arrays = self.shards.iter().enumerate();
        let arrays =
            arrays.map(|(n, shard)| Ok(Array::of_tensor("logits", &shard.logits)?.in_shard(n, count)));
        Ok(Description {
            item: step(self.step, self.epoch),
            ids: first(self.shards.iter().flat_map(|shard| &shard.batch.ids)),
            videos: self.shards.iter().map(|shard| shard.batch.videos()).sum(),
            arrays: arrays.collect::<Result<_, Failure>>()?,
        })
    }
}

impl Describe for LossPass {
    fn describe(&self) -> Result<Description, Failure> {
        let count = self.shards.len();
        let arrays = self.shards.iter().enumerate();
        let arrays = arrays.map(|(n, shard)| Ok(Array::of_tensor("loss", &shard.loss)?.in_shard(n, count)));
        Ok(Description {
            item: step(self.step, self.epoch),
            ids: first(self.shards.iter().flat_map(|shard| &shard.batch.ids)),
            videos: self.shards.iter().map(|shard| shard.videos).sum(),
            arrays: arrays.collect::<Result<_, Failure>>()?,
        })
    }
}

/// The gradients of parameters, in the order of the parameters, whose names do not travel with them.
fn gradients(tensors: &[Tensor]) -> Result<Vec<Array>, Failure> {
    let arrays = tensors.iter().enumerate();
    arrays.map(|(index, tensor)| Array::of_tensor(format!("parameter {index}"), tensor)).collect()
}

impl Describe for ShardGradients {
    fn describe(&self) -> Result<Description, Failure> {
        let count = self.shards.len();
        let mut arrays = Vec::new();
        for (n, shard) in self.shards.iter().enumerate() {
            let own = gradients(&shard.gradients.tensors)?.into_iter();
            arrays.extend(own.map(|array| array.in_shard(n, count)));
        }
        Ok(Description {
            item: step(self.step, self.epoch),
            ids: first(self.shards.iter().flat_map(|shard| &shard.batch.ids)),
            videos: self.shards.iter().map(|shard| shard.videos).sum(),
            arrays,
        })
    }
}

impl Describe for Update {
    fn describe(&self) -> Result<Description, Failure> {
        Ok(Description {
            item: step(self.step, self.epoch),
            ids: first(self.batches.iter().flat_map(|batch| &batch.ids)),
            videos: self.videos,
            arrays: gradients(&self.gradients.tensors().map_err(|e| compute_failure("describing", &e))?)?,
        })
    }
}

impl Describe for TrainState {
    fn describe(&self) -> Result<Description, Failure> {
        let names = self.weights.model.parameters();
        let weights = names.iter().zip(&self.weights.parameters);
        let weights = weights.map(|(spec, tensor)| Array::of_tensor(&spec.name, tensor.as_tensor()));
        let moments = |name: &'static str, tensors: &'_ [Tensor]| -> Vec<Result<Array, Failure>> {
            let tensors = names.iter().zip(tensors);
            tensors.map(|(spec, tensor)| Array::of_tensor(format!("{name}.{}", spec.name), tensor)).collect()
        };
        let joined = self.moments.join().map_err(|e| compute_failure("describing the moments", &e))?;
        let arrays = weights.chain(moments("first", &joined.first)).chain(moments("second", &joined.second));
        Ok(Description {
            item: format!("after step {}, epoch {}", self.step, self.epoch + 1),
            arrays: arrays.collect::<Result<_, _>>()?,
            ..Description::default()
        })
    }
}

impl Describe for Predictions {
    fn describe(&self) -> Result<Description, Failure> {
        let videos = self.ids.len();
        Ok(Description {
            item: step(self.step, self.epoch),
            ids: first(self.ids.iter()),
            videos,
            arrays: vec![
                Array::of_floats("scores", &[videos, self.classes], &self.scores),
                Array::of_floats("losses", &[videos], &self.losses),
                labels(self.labels.iter()),
            ],
        })
    }
}

impl Describe for Ranked {
    fn describe(&self) -> Result<Description, Failure> {
        let pairs = || self.videos.iter().flat_map(|(_, ranked)| ranked);
        let count = pairs().count();
        Ok(Description {
            item: String::new(),
            ids: first(self.videos.iter().map(|(id, _)| id)),
            videos: self.videos.len(),
            arrays: vec![
                Array::of("classes", "u32", &[count], pairs().map(|(class, _)| f64::from(*class))),
                Array::of("scores", "f32", &[count], pairs().map(|(_, score)| f64::from(*score))),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_are_counted_and_left_out() {
        let array = Array::of_floats("x", &[2, 3], &[1.0, f32::NAN, 3.0, f32::INFINITY, -4.0, 0.0]);
        assert_eq!((array.min, array.mean, array.max), (Some(-4.0), Some(0.0), Some(3.0)));
        assert_eq!((array.non_finite, array.shape.as_slice()), (2, [2, 3].as_slice()));
        assert_eq!(array.first, [Some(1.0), None, Some(3.0), None, Some(-4.0)]);
        let none = Array::of_floats("x", &[1], &[f32::NAN]);
        assert_eq!((none.min, none.mean, none.max, none.non_finite), (None, None, None, 1));
    }
}
