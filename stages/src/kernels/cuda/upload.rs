//! Bytes from the memory of the host to a device.
//!
//! To a GPU, bytes go through memory of the host that the driver has pinned: the card fetches them itself, and the thread
//! goes on meanwhile. From other memory, the driver would copy them to such memory piece by piece while the thread waits.
//!
//! The copy is in the stream of the kernels, because a second stream would need more than the crates below give safely:
//! memory is given back in the order of the stream that allocated it, and cudarc's events for every slice, which order
//! several streams, cost two calls of the driver for each argument of each launch (device/mod.rs turns them off).

use candle_core::{Device, Result, Tensor};

/// The rows [rows, columns] of `bytes`, as u8 on `device`.
pub(crate) fn bytes(bytes: &[u8], (rows, columns): (usize, usize), device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device
        && !bytes.is_empty()
    {
        return card::upload(bytes, (rows, columns), device);
    }
    Tensor::from_slice(bytes, (rows, columns), device)
}

#[cfg(feature = "cuda")]
mod card {
    use std::sync::Mutex;

    use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice};
    use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
    use candle_core::op::BackpropOp;
    use candle_core::{CudaStorage, Error, Result, Storage, Tensor};

    /// Pinned memory, with the end of the last copy out of it.
    struct Staging {
        /// The card whose driver pinned the memory.
        ordinal: usize,
        memory: PinnedHostSlice<u8>,
        copied: CudaEvent,
    }

    /// All pinned memory that no upload is filling. There are as many as copies were ever under way at a time.
    static IDLE: Mutex<Vec<Staging>> = Mutex::new(Vec::new());

    pub(super) fn upload(bytes: &[u8], shape: (usize, usize), device: &CudaDevice) -> Result<Tensor> {
        if bytes.len() != shape.0 * shape.1 {
            candle_core::bail!("{} bytes for rows of {} x {}", bytes.len(), shape.0, shape.1);
        }
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let ordinal = stream.context().ordinal();
        let mut memory = match take(bytes.len(), ordinal)? {
            Some(memory) => memory,
            // Sizes of batches differ, so a little more is taken than is needed.
            // SAFETY: of this memory, what was written below is read alone.
            None => unsafe { stream.context().alloc_pinned::<u8>(bytes.len().next_power_of_two()) }
                .map_err(Error::wrap)?,
        };
        let staged = &mut memory.as_mut_slice().map_err(Error::wrap)?[..bytes.len()];
        staged.copy_from_slice(bytes);
        // SAFETY: the copy below writes all of it, in the same stream as whatever reads it.
        let mut target = unsafe { device.alloc::<u8>(bytes.len()) }?;
        // The memory stays as it is until `copied` has come: `take` sees to that, and an error leaks the memory.
        let sent = device.memcpy_htod(&*staged, &mut target);
        let copied = match sent.and_then(|()| stream.record_event(None).map_err(Error::wrap)) {
            Ok(copied) => copied,
            Err(error) => {
                std::mem::forget(memory);
                return Err(error);
            }
        };
        idle().push(Staging { ordinal, memory, copied });
        let storage = CudaStorage { slice: CudaStorageSlice::U8(target), device: device.clone() };
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    }

    /// Memory of at least `count` bytes whose last copy has ended.
    fn take(count: usize, ordinal: usize) -> Result<Option<PinnedHostSlice<u8>>> {
        let mut idle = idle();
        for (index, staging) in idle.iter().enumerate() {
            if staging.ordinal == ordinal
                && staging.memory.len() >= count
                && staging.copied.try_is_complete().map_err(Error::wrap)?
            {
                return Ok(Some(idle.swap_remove(index).memory));
            }
        }
        Ok(None)
    }

    fn idle() -> std::sync::MutexGuard<'static, Vec<Staging>> {
        // A thread that panicked left a list that is whole.
        IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    #[test]
    fn bytes_arrive_as_they_were_sent() {
        for place in places() {
            // With memory that was used before, for fewer and for more bytes.
            for (rows, columns) in [(3, 1000), (1, 7), (0, 5), (300, 1024), (2, 3)] {
                let sent: Vec<u8> = (0..rows * columns).map(|i| (i * 31 + rows) as u8).collect();
                let tensor = bytes(&sent, (rows, columns), &place).unwrap();
                assert_eq!(tensor.dims(), [rows, columns]);
                assert_eq!(tensor.flatten_all().unwrap().to_vec1::<u8>().unwrap(), sent);
            }
            assert!(bytes(&[1, 2, 3], (2, 2), &place).is_err());
        }
    }
}
