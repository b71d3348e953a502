//! The pieces of an epoch's files that a rank reads.
//!
//! Laws: over all ranks, every record is in just one piece, and the ranks' records in the order of the ranks are those of the
//! epoch in order. No record is counted for that: the position of a record is that of its first byte, with the bytes of the
//! epoch's files counted one after another. Of T bytes, rank r of R has the records at the positions from r·T/R to before
//! (r + 1)·T/R. A compressed file, in which no record has a position, belongs as a whole to the rank of its first byte.

use std::path::Path;

use crate::payload::Record;
use crate::ranks::Share;
use crate::tfrecord::{ReadError, ReaderOptions, RecordReader};

/// The part of a file that a rank reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The index of the file.
    pub(super) file: usize,
    /// The first byte at which a record of the piece may begin.
    from: u64,
    /// The first byte behind them. `u64::MAX` for the rest of the file, however long it is.
    to: u64,
}

impl Piece {
    /// The bytes of the piece in a plain file of `length` bytes.
    pub(super) fn bytes(self, length: u64) -> u64 {
        self.to.min(length).saturating_sub(self.from)
    }

    /// The share of [`bytes`](Self::bytes) that is read when the file is read up to the byte `position`.
    pub(super) fn read(self, position: u64, length: u64) -> u64 {
        position.saturating_sub(self.from).min(self.bytes(length))
    }
}

/// The pieces of an epoch that a rank reads. `order` has the indices of the epoch's files, and `lengths` the bytes of each
/// file, which only a process that reads everything need not know.
pub(super) fn pieces(share: Share, order: &[usize], lengths: &[u64]) -> Vec<Piece> {
    if share.is_whole() {
        return order.iter().map(|&file| Piece { file, from: 0, to: u64::MAX }).collect();
    }
    let length = |file: usize| lengths.get(file).copied().unwrap_or_default();
    let total: u128 = order.iter().map(|&file| u128::from(length(file))).sum();
    let (rank, ranks) = (share.rank as u128, share.ranks as u128);
    let (begin, end) = ((rank * total).div_ceil(ranks), ((rank + 1) * total).div_ceil(ranks));
    let is_last = share.rank + 1 == share.ranks;
    let mut pieces = Vec::new();
    let mut start = 0;
    for &file in order {
        let length = length(file);
        let over = start + u128::from(length);
        let piece = |from: u128, to: u64| Piece { file, from: from as u64, to };
        if length == 0 {
            // An empty file has no byte. One rank opens it, because it may be missing, or have grown.
            if begin <= start && start < end || is_last && start == total {
                pieces.push(piece(0, u64::MAX));
            }
        } else if start < end && begin < over {
            let to = if over <= end { u64::MAX } else { (end - start) as u64 };
            pieces.push(piece(begin.saturating_sub(start), to));
        }
        start = over;
    }
    pieces
}

/// The records of a piece, in order, with the errors in their places.
pub(super) struct PieceReader {
    reader: RecordReader,
    to: u64,
}

impl PieceReader {
    /// Opens the file at `path` and passes over what comes before the piece by the headers of its records. What is wrong
    /// there is for another rank to tell.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub(super) fn open(path: &Path, options: ReaderOptions, piece: Piece) -> Result<Self, ReadError> {
        let mut reader = RecordReader::open(path, options)?;
        if !reader.can_seek() {
            if piece.from > 0 {
                reader.finish();
            }
            return Ok(Self { reader, to: u64::MAX });
        }
        while reader.origin().byte < piece.from {
            match reader.pass() {
                Some(Err(ReadError::Io { path, source })) => return Err(ReadError::Io { path, source }),
                Some(_) => {}
                None => break,
            }
        }
        Ok(Self { reader, to: piece.to })
    }

    /// The next record or error, as [`RecordReader::next`] gives it.
    pub(super) fn next(&mut self) -> Option<Result<Record, ReadError>> {
        if self.is_over() { None } else { self.reader.next() }
    }

    /// The reader of the whole file.
    pub(super) fn reader(&mut self) -> &mut RecordReader {
        &mut self.reader
    }

    /// How far the file was read, in bytes of the file as it is stored.
    pub(super) fn stored_position(&self) -> u64 {
        self.reader.stored_position()
    }

    fn is_over(&self) -> bool {
        self.to < u64::MAX && self.reader.origin().byte >= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tfrecord::{Compression, RecordWriter};

    /// A file of records whose payloads have these lengths. The first byte of each is its number.
    fn file(lengths: &[usize], compression: Compression) -> Vec<u8> {
        let mut writer = RecordWriter::new("memory", Vec::new(), compression);
        for (number, length) in lengths.iter().enumerate() {
            writer.write(&vec![number as u8; *length]).unwrap();
        }
        writer.finish().unwrap()
    }

    /// What the ranks of a job read, rank by rank: file and index of each record or error.
    fn read(files: &[Vec<u8>], order: &[usize], ranks: usize) -> Vec<Vec<(usize, u64, bool)>> {
        let folder = tempfile::tempdir().unwrap();
        let path = |file: usize| folder.path().join(file.to_string());
        files.iter().enumerate().for_each(|(file, bytes)| std::fs::write(path(file), bytes).unwrap());
        let lengths: Vec<u64> = files.iter().map(|bytes| bytes.len() as u64).collect();
        let rank = |rank: usize| {
            let mut found = Vec::new();
            for piece in pieces(Share { rank, ranks }, order, &lengths) {
                let options = ReaderOptions::default();
                let mut reader = PieceReader::open(&path(piece.file), options, piece).unwrap();
                while let Some(next) = reader.next() {
                    let (record, good) = match next {
                        Ok(record) => (record.origin.record, true),
                        Err(ReadError::Bad(error)) => (error.origin.record, false),
                        Err(error) => panic!("{error}"),
                    };
                    found.push((piece.file, record, good));
                }
            }
            found
        };
        (0..ranks).map(rank).collect()
    }

    #[test]
    fn every_record_and_every_error_is_met_by_one_rank_in_order() {
        let mut bad_crc = file(&[40, 50, 60], Compression::None);
        bad_crc[12 + 3] ^= 1;
        let mut bad_length = file(&[40, 50, 60, 70], Compression::None);
        bad_length[56 + 8] ^= 1;
        let mut cut = file(&[200, 300], Compression::None);
        cut.truncate(cut.len() - 10);
        let gzip = file(&[900, 800, 700, 600], Compression::Gzip);
        let mut cut_gzip = gzip.clone();
        cut_gzip.truncate(cut_gzip.len() - 12);
        let files = [
            file(&[1, 2000, 3], Compression::None),
            Vec::new(),
            bad_crc,
            gzip,
            bad_length,
            cut,
            file(&[5], Compression::None),
            cut_gzip,
            Vec::new(),
        ];
        for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 6, 7, 3, 1, 0, 5, 4, 2]] {
            let alone = read(&files, &order, 1).remove(0);
            assert!(alone.iter().filter(|(_, _, good)| !good).count() >= 4, "{alone:?}");
            for ranks in [2, 3, 5, 7, 64, 1000] {
                let parts = read(&files, &order, ranks);
                assert!(parts.iter().filter(|part| !part.is_empty()).count() > 1);
                assert_eq!(parts.concat(), alone, "{ranks} ranks");
            }
        }
    }

    #[test]
    fn a_file_before_or_behind_the_part_of_a_rank_is_not_named() {
        let share = |rank| Share { rank, ranks: 4 };
        let files =
            |rank| pieces(share(rank), &[0, 1, 2, 3], &[100; 4]).iter().map(|p| p.file).collect::<Vec<_>>();
        assert_eq!((0..4).map(files).collect::<Vec<_>>(), [[0], [1], [2], [3]]);
        let cut = pieces(share(1), &[0], &[1001]);
        assert_eq!(cut, [Piece { file: 0, from: 251, to: 501 }]);
        assert_eq!((cut[0].bytes(1001), cut[0].read(300, 1001), cut[0].read(9999, 1001)), (250, 49, 250));
        // Nothing is lost where sums exceed 64 bits.
        let huge = [u64::MAX; 3];
        let last = pieces(share(3), &[0, 1, 2], &huge);
        assert_eq!(last, [Piece { file: 2, from: u64::MAX / 4 + 1, to: u64::MAX }]);
    }

    #[test]
    fn empty_files_alone_are_opened_by_one_rank_each() {
        let named: Vec<usize> = (0..3)
            .flat_map(|rank| pieces(Share { rank, ranks: 3 }, &[0, 1], &[0, 0]))
            .map(|p| p.file)
            .collect();
        assert_eq!(named, [0, 1]);
    }
}
