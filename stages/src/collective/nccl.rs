//! NCCL as what carries tensors between ranks that have a GPU each: they go from card to card, and not through the memory of the
//! hosts.
//!
//! NCCL only moves bytes here. Sums are made by this crate in the order of the shards, because the order of NCCL's own depends on
//! how many ranks there are and on which cards.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, ValidAsZeroBits};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::safe::NcclType;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, group_end, group_start};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Shape, Storage, Tensor};

use super::carrier::{Carrier, Expected, Parcel};
use super::error::{CollectiveError, failed};
use crate::ranks::Channel;

/// A rank's end of a communicator of NCCL.
pub(super) struct Nccl {
    communicator: Mutex<Owned>,
    device: Device,
    card: CudaDevice,
}

/// The communicator. It is never taken down: that would wait for ranks that may be lost, and it lives as long as the process.
struct Owned(ManuallyDrop<Comm>);

// SAFETY: a communicator is a handle, which NCCL lets any thread use as long as no two do at once; the mutex sees to that. Each
// use binds the context of the card to its thread first. The stream of the communicator is Send and Sync by itself.
unsafe impl Send for Owned {}

const BEGINNING: &str = "joining the GPUs by NCCL";

impl Nccl {
    /// Joins the GPUs of all ranks, which must all call this. `None` unless every rank has one device and these are different
    /// GPUs, because NCCL joins no others.
    ///
    /// # Errors
    /// NCCL fails, or a rank is missed.
    pub(super) fn between(
        devices: &[(String, Device)],
        channel: &Channel,
    ) -> Result<Option<Self>, CollectiveError> {
        let own = match devices {
            [(_, device @ Device::Cuda(card))] => Some((device.clone(), card.clone())),
            _ => None,
        };
        let identity = own.as_ref().map(|(_, card)| card.cuda_stream().context().uuid());
        let identity = identity.transpose().map_err(candle_core::Error::wrap)?;
        let identity: Vec<u8> =
            identity.map_or(Vec::new(), |uuid| uuid.bytes.map(|byte| byte as u8).to_vec());
        let all = channel.all_gather(&identity).map_err(failed(BEGINNING))?;
        let distinct: BTreeSet<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let Some((device, card)) = own.filter(|_| distinct.len() == all.len() && !distinct.contains(&[][..]))
        else {
            return Ok(None);
        };
        let id =
            if channel.rank() == 0 { Id::new().map_err(refused)?.internal().to_vec() } else { Vec::new() };
        let id: Vec<u8> = id.into_iter().map(|byte| byte as u8).collect();
        let id = channel.broadcast(0, &id).map_err(failed(BEGINNING))?;
        let id: [u8; 128] = id.try_into().map_err(|id: Vec<u8>| {
            candle_core::Error::msg(format!(
                "NCCL's name for a job has 128 bytes, and rank 0 sent {}",
                id.len()
            ))
        })?;
        let id = Id::uninit(id.map(|byte| byte as std::ffi::c_char));
        card.cuda_stream().context().bind_to_thread().map_err(candle_core::Error::wrap)?;
        let communicator =
            Comm::from_rank(card.cuda_stream(), channel.rank(), all.len(), id).map_err(refused)?;
        let communicator = Mutex::new(Owned(ManuallyDrop::new(communicator)));
        Ok(Some(Self { communicator, device, card }))
    }

    /// Puts all sending and taking on the stream of the card as one operation, in which nothing waits for anything else.
    fn carry_as<T>(
        &self,
        parcels: &[Parcel],
        shapes: &[(usize, Shape)],
    ) -> Result<Vec<Tensor>, CollectiveError>
    where
        T: CudaDType + NcclType + DeviceRepr + ValidAsZeroBits,
    {
        let communicator = self.communicator.lock().unwrap_or_else(PoisonError::into_inner);
        let communicator = &communicator.0;
        self.card.cuda_stream().context().bind_to_thread().map_err(candle_core::Error::wrap)?;
        let sent = parcels.iter().map(|parcel| parcel.tensor.to_device(&self.device)?.contiguous());
        let sent = sent.collect::<candle_core::Result<Vec<_>>>()?;
        let places = shapes.iter().map(|(_, shape)| self.card.alloc_zeros::<T>(shape.elem_count()));
        let mut places: Vec<CudaSlice<T>> = places.collect::<candle_core::Result<_>>()?;

        group_start().map_err(refused)?;
        let mut queue = || -> Result<(), CollectiveError> {
            for (tensor, parcel) in sent.iter().zip(parcels) {
                let (storage, layout) = tensor.storage_and_layout();
                let Storage::Cuda(storage) = &*storage else {
                    return Err(candle_core::Error::msg("a tensor on a GPU lies elsewhere").into());
                };
                let (first, end) = layout
                    .contiguous_offsets()
                    .ok_or_else(|| candle_core::Error::msg("a contiguous tensor is not contiguous"))?;
                let view: CudaView<'_, T> = storage.as_cuda_slice::<T>()?.slice(first..end);
                for rank in &parcel.to {
                    communicator.send(&view, *rank as i32).map_err(refused)?;
                }
            }
            for (place, (from, _)) in places.iter_mut().zip(shapes) {
                communicator.recv(place, *from as i32).map_err(refused)?;
            }
            Ok(())
        };
        let queued = queue();
        // A group that was begun must be ended, also after an error.
        let ended = group_end().map_err(refused);
        queued?;
        ended?;
        let tensor = |(slice, (_, shape)): (CudaSlice<T>, &(usize, Shape))| {
            let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, self.card.clone()));
            Tensor::from_storage(storage, shape.clone(), BackpropOp::none(), false)
        };
        Ok(places.into_iter().zip(shapes).map(tensor).collect())
    }
}

impl Carrier for Nccl {
    fn carry(
        &self,
        operation: &'static str,
        parcels: &[Parcel],
        expected: &[Expected],
    ) -> Result<Vec<Tensor>, CollectiveError> {
        let sent = parcels.iter().map(|parcel| parcel.tensor.dtype());
        let types: Vec<DType> = sent.chain(expected.iter().map(|parcel| parcel.dtype)).collect();
        let Some(dtype) = types.first() else { return Ok(Vec::new()) };
        let shapes: Vec<_> = expected.iter().map(|parcel| (parcel.from, parcel.shape.clone())).collect();
        match dtype {
            _ if types.iter().any(|other| other != dtype) => Err(candle_core::Error::msg(format!(
                "{operation}: tensors of several types are carried at once"
            ))
            .into()),
            DType::F32 => self.carry_as::<f32>(parcels, &shapes),
            DType::F64 => self.carry_as::<f64>(parcels, &shapes),
            other => Err(candle_core::Error::msg(format!(
                "{operation}: tensors of the type {other:?} are not sent to other ranks"
            ))
            .into()),
        }
    }
}

fn refused(error: NcclError) -> CollectiveError {
    candle_core::Error::msg(format!("NCCL fails with {:?}", error.0)).into()
}
