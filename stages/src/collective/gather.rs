//! The slices of all members in one place.

use candle_core::{DType, Result, Tensor};

use super::carrier::{Carrier as _, Expected, Parcel, ThroughHosts, on_host};
use super::cut::Cut;
use super::error::{CollectiveError, failed};
use super::spread::shape_of;
use crate::ranks::Channel;

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
    let carrier = ThroughHosts(channel.clone());
    let own = || slices.iter().flat_map(|slice| slice.iter());
    let Some(ranges) = ranges else {
        let parcels = own().map(|part| Parcel { to: vec![0], tensor: part.clone() });
        carrier.carry(OPERATION, &parcels.collect::<Vec<_>>(), &[])?;
        return Ok(None);
    };
    let dtype = own().next().map_or(DType::F32, Tensor::dtype);
    let (mut expected, mut owners) = (Vec::new(), Vec::new());
    for (rank, range) in ranges.iter().enumerate().skip(1) {
        let words: Vec<usize> =
            range.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word) as usize).collect();
        let &[first, count] = words.as_slice() else { continue };
        for member in (first..first.saturating_add(count)).filter(|member| *member < cut.count()) {
            for span in cut.spans(member) {
                expected.push(Expected { from: rank, dtype, shape: shape_of(cut, span) });
                owners.push(member);
            }
        }
    }
    let mut all: Vec<Vec<Tensor>> = vec![Vec::new(); cut.count()];
    for (part, member) in carrier.carry(OPERATION, &[], &expected)?.into_iter().zip(owners) {
        all[member].push(part);
    }
    for (member, slice) in slices.iter().enumerate() {
        all[first + member] = slice.iter().map(on_host).collect::<Result<_>>()?;
    }
    Ok(Some(all))
}
