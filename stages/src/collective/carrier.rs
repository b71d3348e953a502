//! What carries tensors between ranks: the trait, and the way through the memory of the hosts.

use candle_core::{DType, Device, Shape, Tensor};

use super::error::{CollectiveError, failed};
use super::wire::{Bytes, Place};
use crate::ranks::{Channel, Incoming, Outgoing};

/// A tensor for other ranks.
pub(super) struct Parcel {
    /// The ranks that take it.
    pub(super) to: Vec<usize>,
    pub(super) tensor: Tensor,
}

/// A tensor that another rank sends.
pub(super) struct Expected {
    /// The rank that sends it.
    pub(super) from: usize,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
}

/// A rank's end of what carries tensors between the ranks of a job.
pub(super) trait Carrier: Send + Sync {
    /// Sends and takes tensors, and returns those that were taken, in the order of `expected` and with their shapes. Between two
    /// ranks they arrive in the order of their place in `parcels`. All ranks call this in the same order.
    ///
    /// # Errors
    /// [`CollectiveError::Link`] if a rank is missed, and [`CollectiveError::Tensor`] if a device fails.
    fn carry(
        &self,
        operation: &'static str,
        parcels: &[Parcel],
        expected: &[Expected],
    ) -> Result<Vec<Tensor>, CollectiveError>;
}

/// Tensors pass through the memory of the hosts, where those that were taken stay.
pub(super) struct ThroughHosts(pub(super) Channel);

impl Carrier for ThroughHosts {
    fn carry(
        &self,
        operation: &'static str,
        parcels: &[Parcel],
        expected: &[Expected],
    ) -> Result<Vec<Tensor>, CollectiveError> {
        let parts = parcels.iter().map(|parcel| on_host(&parcel.tensor));
        let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
        let bytes = parts.iter().map(Bytes::of).collect::<candle_core::Result<Vec<_>>>()?;
        let each = parcels.iter().zip(&bytes);
        let outgoing =
            each.flat_map(|(parcel, bytes)| parcel.to.iter().map(|&to| Outgoing { to, bytes: bytes.get() }));
        let outgoing: Vec<_> = outgoing.collect();
        let places = expected.iter().map(|parcel| Place::new(parcel.dtype, parcel.shape.elem_count()));
        let mut places = places.collect::<candle_core::Result<Vec<_>>>()?;
        let each = places.iter_mut().zip(expected);
        let mut incoming: Vec<_> =
            each.map(|(place, parcel)| Incoming { from: parcel.from, bytes: place.get() }).collect();
        self.0.exchange(&outgoing, &mut incoming).map_err(failed(operation))?;
        let taken = places.into_iter().zip(expected).map(|(place, parcel)| place.tensor(&parcel.shape));
        Ok(taken.collect::<candle_core::Result<_>>()?)
    }
}

/// A contiguous tensor in the memory of the host.
pub(super) fn on_host(tensor: &Tensor) -> candle_core::Result<Tensor> {
    if tensor.device().is_cpu() {
        tensor.contiguous()
    } else {
        tensor.force_contiguous()?.to_device(&Device::Cpu)
    }
}
