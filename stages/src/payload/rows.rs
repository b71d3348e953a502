//! The frames of a video in one modality, a row of bytes for each.
//!
//! Law: what rows are equal depends on their bytes alone, and not on where they lie.

use std::fmt;

use bytes::Bytes;

/// Rows of bytes, u8 `[rows, width]`, which lie side by side or scattered in the record from which they were decoded.
///
/// Clones share the memory. Rows in a record keep the whole record alive.
#[derive(Clone)]
pub struct Rows {
    bytes: Bytes,
    width: usize,
    places: Places,
}

/// Where the rows lie.
#[derive(Clone)]
enum Places {
    /// So many rows lie side by side.
    Packed(usize),
    /// Each row begins at such a byte.
    Scattered(Vec<usize>),
}

impl Rows {
    /// So many rows that lie side by side in `bytes`.
    ///
    /// # Panics
    /// The bytes do not divide evenly into the rows.
    pub fn packed(bytes: impl Into<Bytes>, rows: usize) -> Self {
        let bytes = bytes.into();
        let width = bytes.len().checked_div(rows).unwrap_or(0);
        assert_eq!(width * rows, bytes.len(), "{} bytes do not divide into {rows} rows", bytes.len());
        Self { bytes, width, places: Places::Packed(rows) }
    }

    /// The rows of `width` bytes that begin at these bytes of a record.
    ///
    /// # Panics
    /// A row reaches beyond the record.
    pub(crate) fn within(record: &Bytes, width: usize, starts: Vec<usize>) -> Self {
        let fits = |start: &usize| start.checked_add(width).is_some_and(|end| end <= record.len());
        assert!(starts.iter().all(fits), "a row reaches beyond its record");
        Self { bytes: record.clone(), width, places: Places::Scattered(starts) }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match &self.places {
            Places::Packed(rows) => *rows,
            Places::Scattered(starts) => starts.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.len()).map(|row| self.row(row))
    }

    /// The row with this index.
    ///
    /// # Panics
    /// There are not so many rows.
    pub fn row(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..][..self.width]
    }

    /// The rows with these indices, in their order. No row is copied.
    ///
    /// # Panics
    /// There are not so many rows.
    #[must_use]
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let starts = rows.into_iter().map(|row| {
            assert!(row < self.len(), "there is no row {row} in {} rows", self.len());
            self.start(row)
        });
        Self::within(&self.bytes, self.width, starts.collect())
    }

    /// Adds all rows at the end of `target`, side by side.
    pub fn append_to(&self, target: &mut Vec<u8>) {
        match &self.places {
            Places::Packed(_) => target.extend_from_slice(&self.bytes),
            Places::Scattered(starts) => {
                target.reserve(starts.len() * self.width);
                self.iter().for_each(|row| target.extend_from_slice(row));
            }
        }
    }

    /// A copy of all rows, side by side.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() * self.width);
        self.append_to(&mut bytes);
        bytes
    }

    /// The rows side by side in memory of their own.
    pub(crate) fn to_packed(&self) -> Self {
        Self { bytes: self.to_vec().into(), width: self.width, places: Places::Packed(self.len()) }
    }

    /// The bytes that these and other rows keep alive together. A record in which both lie counts once.
    pub(crate) fn byte_len_with(&self, other: &Self) -> usize {
        let same = self.bytes.as_ptr() == other.bytes.as_ptr() && self.bytes.len() == other.bytes.len();
        let bytes = if same { self.bytes.len() } else { self.bytes.len() + other.bytes.len() };
        bytes + self.places.byte_len() + other.places.byte_len()
    }

    fn start(&self, index: usize) -> usize {
        match &self.places {
            Places::Packed(_) => index * self.width,
            Places::Scattered(starts) => starts[index],
        }
    }
}

impl Places {
    fn byte_len(&self) -> usize {
        match self {
            Self::Packed(_) => 0,
            Self::Scattered(starts) => size_of_val(starts.as_slice()),
        }
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.width == other.width && self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Rows {}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_equal_wherever_they_lie() {
        let packed = Rows::packed(vec![1, 2, 3, 4, 5, 6], 3);
        let record = Bytes::from_static(&[9, 3, 4, 9, 9, 1, 2, 5, 6]);
        let scattered = Rows::within(&record, 2, vec![5, 1, 7]);
        assert_eq!(scattered, packed);
        assert_eq!(scattered.to_vec(), [1, 2, 3, 4, 5, 6]);
        assert_eq!((scattered.len(), scattered.width(), scattered.row(1)), (3, 2, &[3, 4][..]));
        assert_eq!(scattered.to_packed(), packed);
        assert_ne!(scattered.select([0, 1]), packed);
        assert_ne!(scattered.select([0, 2, 1]), packed);
        assert_ne!(Rows::packed(vec![1, 2, 3, 4, 5, 6], 2), packed);
        for rows in [&packed, &scattered] {
            assert_eq!(rows.select([2, 0]).iter().collect::<Vec<_>>(), [[5, 6], [1, 2]]);
        }
        assert_eq!(format!("{packed:?}"), "[[1, 2], [3, 4], [5, 6]]");
    }

    #[test]
    fn a_record_that_two_modalities_share_counts_once() {
        let record = Bytes::from(vec![0; 100]);
        let (rgb, audio) = (Rows::within(&record, 8, vec![2, 20]), Rows::within(&record, 4, vec![60, 70]));
        assert_eq!(rgb.byte_len_with(&audio), 100 + 4 * size_of::<usize>());
        assert_eq!(rgb.to_packed().byte_len_with(&audio.to_packed()), 24);
        assert_eq!(Rows::packed(Vec::new(), 0).byte_len_with(&audio), 100 + 2 * size_of::<usize>());
    }

    #[test]
    #[should_panic(expected = "a row reaches beyond its record")]
    fn a_row_lies_in_its_record() {
        Rows::within(&Bytes::from_static(&[1, 2, 3]), 2, vec![0, 2]);
    }
}
