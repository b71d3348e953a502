//! A batch of videos as tensors on a device.

use candle_core::{Device, Tensor, WithDType};

use crate::kernels::cuda::upload;
use crate::model::DeviceBatch;
use crate::payload::{Batch, Features};

/// The features of a batch as tensors on a device.
pub(crate) fn to_device(batch: &Batch, device: &Device) -> candle_core::Result<DeviceBatch> {
    fn bytes(data: &[u8], rows: usize, device: &Device) -> candle_core::Result<Tensor> {
        upload::bytes(data, (rows, data.len() / rows.max(1)), device)
    }
    fn rows<T: WithDType>(data: &[T], rows: usize, device: &Device) -> candle_core::Result<Tensor> {
        Tensor::from_slice(data, (rows, data.len() / rows.max(1)), device)
    }
    Ok(match &batch.features {
        Features::Frames { lengths, rgb, audio } => {
            let frames = lengths.iter().sum();
            DeviceBatch {
                rgb: bytes(rgb, frames, device)?,
                audio: bytes(audio, frames, device)?,
                lengths: lengths.clone(),
            }
        }
        Features::Means { rgb, audio } => {
            let videos = batch.videos();
            DeviceBatch {
                rgb: rows(rgb, videos, device)?,
                audio: rows(audio, videos, device)?,
                lengths: vec![1; videos],
            }
        }
    })
}
