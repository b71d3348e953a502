//! The division of the parameters into slices.
//!
//! Law: the boundaries of a cut depend on the sizes of the tensors and on the number of slices alone. Every slice begins
//! and ends between two pieces, and the pieces do not depend on the number of slices.

use std::ops::Range;

use candle_core::{Device, Result, Shape, Tensor};

/// The elements of a piece. Sums over pieces are the parts of which norms are added up, so the number is fixed: it
/// decides the order of those sums.
pub const PIECE: usize = 1 << 16;

/// Tensors seen as one long vector, in their order, cut into slices.
///
/// Each tensor is a sequence of pieces of equal size, of which the last may be shorter. A slice is a run of pieces. The
/// slices are as even as the pieces allow. Where there are fewer pieces than slices, some slices are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    shapes: Vec<Shape>,
    piece: usize,
    slices: Vec<Vec<Span>>,
}

/// The part of one tensor that belongs to a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The index of the tensor.
    pub tensor: usize,
    /// The elements, in row-major order.
    pub elements: Range<usize>,
    /// Whether these are all elements of the tensor.
    pub is_whole: bool,
}

impl Cut {
    /// Cuts tensors of these shapes into `slices` slices, which must be at least one.
    pub fn new(shapes: impl IntoIterator<Item = Shape>, slices: usize) -> Self {
        Self::with_pieces(shapes, slices, PIECE)
    }

    /// Cuts as [`Cut::new`] does, with pieces of `piece` elements.
    pub fn with_pieces(shapes: impl IntoIterator<Item = Shape>, slices: usize, piece: usize) -> Self {
        let (shapes, piece) = (shapes.into_iter().collect::<Vec<_>>(), piece.max(1));
        let mut starts = Vec::new();
        let mut total = 0;
        for shape in &shapes {
            let count = shape.elem_count();
            starts.extend((0..count).step_by(piece).map(|start| total + start));
            total += count;
        }
        starts.push(total);
        let slices = slices.max(1);
        let bounds: Vec<usize> = (0..=slices).map(|slice| nearest(&starts, total, slice, slices)).collect();
        let slices = bounds.windows(2).map(|bounds| spans(&shapes, bounds[0]..bounds[1])).collect();
        Self { shapes, piece, slices }
    }

    /// The number of slices.
    pub fn count(&self) -> usize {
        self.slices.len()
    }

    /// The shapes of the tensors.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// The elements of a piece.
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// The number of pieces of tensor `tensor`.
    pub fn pieces_of(&self, tensor: usize) -> usize {
        self.shapes[tensor].elem_count().div_ceil(self.piece)
    }

    /// The spans of slice `slice`, in the order of the tensors.
    pub fn spans(&self, slice: usize) -> &[Span] {
        &self.slices[slice]
    }

    /// The number of elements of slice `slice`.
    pub fn elements(&self, slice: usize) -> usize {
        self.slices[slice].iter().map(|span| span.elements.len()).sum()
    }

    /// The number of elements of all slices.
    pub fn total(&self) -> usize {
        self.shapes.iter().map(Shape::elem_count).sum()
    }

    /// The places of the parts of tensor `tensor`, as (slice, index of the span in the slice).
    fn parts_of(&self, tensor: usize) -> impl Iterator<Item = (usize, usize)> {
        let slices = self.slices.iter().enumerate();
        slices.flat_map(move |(slice, spans)| {
            let own = spans.iter().enumerate().filter(move |(_, span)| span.tensor == tensor);
            own.map(move |(index, _)| (slice, index))
        })
    }

    /// The whole tensor `tensor` of parts, where `part(slice, span)` lies on the device of its slice. A tensor of one part
    /// is that part itself. One of several parts is put together in the memory of the host.
    pub(crate) fn join<'a>(
        &self,
        tensor: usize,
        part: impl Fn(usize, usize) -> Option<&'a Tensor>,
    ) -> Result<Tensor> {
        let parts = self.parts_of(tensor).map(|(slice, span)| {
            let found = part(slice, span);
            found.ok_or_else(|| candle_core::Error::msg(format!("slice {slice} lacks its span {span}")))
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let shape = &self.shapes[tensor];
        if let [only] = parts.as_slice() {
            return only.reshape(shape);
        }
        let parts = parts.into_iter().map(|part| part.to_device(&Device::Cpu));
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?.reshape(shape)
    }
}

impl Span {
    /// This part of its tensor, seen in place. A whole tensor keeps its shape, and a part of one is flat.
    ///
    /// # Errors
    /// The tensor is not contiguous, or too small.
    pub fn view(&self, tensor: &Tensor) -> Result<Tensor> {
        if self.is_whole {
            return Ok(tensor.clone());
        }
        if !tensor.is_contiguous() {
            candle_core::bail!("a tensor that is not contiguous has no slices");
        }
        tensor.flatten_all()?.narrow(0, self.elements.start, self.elements.len())
    }
}

/// The boundary between two pieces that is nearest to `slice / slices` of all elements, and the lower one of two.
fn nearest(starts: &[usize], total: usize, slice: usize, slices: usize) -> usize {
    // In u128, because a large count times the number of slices may not fit.
    let target = (total as u128 * slice as u128 / slices as u128) as usize;
    let after = starts.partition_point(|start| *start < target);
    let above = starts.get(after).copied().unwrap_or(total);
    let below = after.checked_sub(1).map_or(above, |index| starts[index]);
    if target.abs_diff(below) <= above.abs_diff(target) { below } else { above }
}

/// The spans of the elements `range` of the vector that the tensors are in their order.
fn spans(shapes: &[Shape], range: Range<usize>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut first = 0;
    for (tensor, shape) in shapes.iter().enumerate() {
        let count = shape.elem_count();
        let (start, end) = (range.start.max(first), range.end.min(first + count));
        if start < end {
            let elements = start - first..end - first;
            spans.push(Span { tensor, is_whole: elements.len() == count, elements });
        }
        first += count;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(sizes: &[usize]) -> Vec<Shape> {
        sizes.iter().map(|size| Shape::from(*size)).collect()
    }

    #[test]
    fn slices_are_runs_of_whole_pieces_that_cover_everything_once() {
        for sizes in [&[1000][..], &[3, 100, 1, 64, 7], &[64, 64, 64], &[1]] {
            for slices in 1..8 {
                for piece in [1, 10, 64, 2000] {
                    let cut = Cut::with_pieces(shapes(sizes), slices, piece);
                    assert_eq!(cut.count(), slices);
                    let all = (0..slices).flat_map(|slice| cut.spans(slice).iter());
                    let mut seen = all.flat_map(|s| s.elements.clone().map(|element| (s.tensor, element)));
                    for (tensor, size) in sizes.iter().enumerate() {
                        for element in 0..*size {
                            assert_eq!(seen.next(), Some((tensor, element)));
                        }
                    }
                    assert_eq!(seen.next(), None);
                    for span in (0..slices).flat_map(|slice| cut.spans(slice)) {
                        let size = sizes[span.tensor];
                        assert!(span.elements.start.is_multiple_of(piece));
                        assert!(span.elements.end.is_multiple_of(piece) || span.elements.end == size);
                        assert_eq!(span.is_whole, span.elements == (0..size));
                    }
                    let total: usize = sizes.iter().sum();
                    assert_eq!((0..slices).map(|slice| cut.elements(slice)).sum::<usize>(), total);
                    for slice in 0..slices {
                        // Each boundary is at most half a piece away from where it would be best.
                        let away = cut.elements(slice).abs_diff(total / slices);
                        assert!(away <= piece + 1, "{sizes:?} in {slices}: slice {slice} is {away} away");
                    }
                }
            }
        }
    }

    #[test]
    fn a_cut_is_written_down_here() {
        let cut = Cut::with_pieces(shapes(&[10, 4, 10]), 2, 4);
        // The middle is 12, between the boundaries 10 and 14. The lower one is taken.
        let span = |tensor, elements: Range<usize>, is_whole| Span { tensor, elements, is_whole };
        assert_eq!(cut.spans(0), [span(0, 0..10, true)]);
        assert_eq!(cut.spans(1), [span(1, 0..4, true), span(2, 0..10, true)]);
        let cut = Cut::with_pieces(shapes(&[10, 4, 10]), 4, 4);
        assert_eq!(cut.spans(0), [span(0, 0..4, false)]);
        assert_eq!(cut.spans(1), [span(0, 4..10, false)]);
        assert_eq!(cut.spans(2), [span(1, 0..4, true), span(2, 0..4, false)]);
        assert_eq!(cut.spans(3), [span(2, 4..10, false)]);
        assert_eq!([cut.pieces_of(0), cut.pieces_of(1), cut.pieces_of(2)], [3, 1, 3]);
    }

    #[test]
    fn parts_are_joined_to_the_tensors_they_came_from() {
        let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let tensor = Tensor::from_vec(values, (4, 6), &Device::Cpu).unwrap();
        for slices in [1, 3, 5] {
            let cut = Cut::with_pieces([tensor.shape().clone()], slices, 5);
            let parts: Vec<Vec<Tensor>> = (0..slices)
                .map(|slice| cut.spans(slice).iter().map(|span| span.view(&tensor).unwrap()).collect())
                .collect();
            let joined = cut.join(0, |slice, span| parts[slice].get(span)).unwrap();
            assert_eq!(joined.to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
            assert!(cut.join(0, |slice, span| parts[slice].get(span + 1)).is_err());
        }
    }
}
