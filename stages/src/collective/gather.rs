//! The slices of all members in one place.

use candle_core::{Result, Shape, Tensor};

use super::carrier::on_host;
use super::cut::Cut;
use super::error::{CollectiveError, failed};
use super::spread::shape_of;
use super::wire::{Bytes, Place};
use crate::ranks::{Channel, Incoming, Outgoing};

/// The slices of all members, by member, on rank 0 and in the memory of the host, and `None` on the other ranks. `first` is the
/// number of this rank's first member, and `slices` has the slice of each of its members, with one tensor for each span of
/// `cut`.
///
/// # Errors
/// [`CollectiveError::Tensor`] where the slices do not fit the cut, and [`CollectiveError::Link`] where a rank is missed.
pub fn gather_slices(
    channel: &Channel,
    cut: &Cut,
    first: usize,
    slices: &[&[Tensor]],
) -> std::result::Result<Option<Vec<Vec<Tensor>>>, CollectiveError> {
    const OPERATION: &str = "gather_slices";
    for (member, slice) in slices.iter().enumerate() {
        if slice.len() != cut.spans(first + member).len() {
            let (found, member) = (slice.len(), first + member);
            let text = format!("{found} parts where slice {member} has {}", cut.spans(member).len());
            return Err(candle_core::Error::msg(text).into());
        }
    }
    let range = [first as u64, slices.len() as u64].map(u64::to_le_bytes).concat();
    let ranges = channel.gather(0, &range).map_err(failed(OPERATION))?;
    let parts = slices.iter().flat_map(|slice| slice.iter().map(on_host)).collect::<Result<Vec<_>>>()?;
    let Some(ranges) = ranges else {
        let bytes = parts.iter().map(Bytes::of).collect::<Result<Vec<_>>>()?;
        let outgoing: Vec<_> = bytes.iter().map(|bytes| Outgoing { to: 0, bytes: bytes.get() }).collect();
        channel.exchange(&outgoing, &mut []).map_err(failed(OPERATION))?;
        return Ok(None);
    };
    let dtype = parts.first().map_or(candle_core::DType::F32, Tensor::dtype);
    let mut all: Vec<Vec<Tensor>> = vec![Vec::new(); cut.count()];
    let mut places = Vec::new();
    for (rank, range) in ranges.iter().enumerate().skip(1) {
        let words: Vec<usize> =
            range.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word) as usize).collect();
        let &[first, count] = words.as_slice() else { continue };
        for member in (first..first.saturating_add(count)).filter(|member| *member < cut.count()) {
            for span in cut.spans(member) {
                let shape: Shape = shape_of(cut, span);
                places.push((rank, member, shape, Place::new(dtype, span.elements.len())?));
            }
        }
    }
    let mut incoming: Vec<_> =
        places.iter_mut().map(|(rank, .., place)| Incoming { from: *rank, bytes: place.get() }).collect();
    channel.exchange(&[], &mut incoming).map_err(failed(OPERATION))?;
    for (_, member, shape, place) in places {
        all[member].push(place.tensor(&shape)?);
    }
    let mut own = parts.into_iter();
    for (member, slice) in slices.iter().enumerate() {
        all[first + member] = own.by_ref().take(slice.len()).collect();
    }
    Ok(Some(all))
}
