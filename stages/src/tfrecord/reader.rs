//! Frames the records of one file.
//!
//! One law: after a record whose payload is damaged the next one is read as if nothing had happened; after a header
//! that cannot be trusted, or an end where none should be, the file is over. No length is believed before its bytes are
//! there.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use super::{
    FOOTER_BYTES, HEADER_BYTES, ReadError, Reason, RecordError,
    features::{DEFAULT_ID_KEYS, peek_id},
    header_length, masked_crc,
    source::{Failure, Source},
};
use crate::payload::{Origin, Record};

/// Default of [`ReaderOptions::max_record_bytes`]: 64 MiB, some 250 times a full-size video.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 64 << 20;

/// Records from here on are passed by reading their headers alone.
const LONG_BYTES: u64 = 8 << 10;

/// How a file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// The longest payload accepted, in bytes. Default 64 MiB.
    pub max_record_bytes: u64,
    /// Whether payloads are checked against their CRC. Headers always are. Default true.
    pub verify_data_crc: bool,
    /// Context keys that may hold the id, to name a video whose payload is damaged. Default `id`, `video_id`.
    pub id_keys: Vec<String>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            verify_data_crc: true,
            id_keys: DEFAULT_ID_KEYS.map(str::to_owned).to_vec(),
        }
    }
}

/// The records of one file, in order.
///
/// Not an [`Iterator`]: its by-value `skip` would be found before [`RecordReader::skip`].
///
/// Plain, GZIP and ZLIB files are told apart by content. After [`Reason::DataCrc`] it goes on with the next record;
/// after an error that [ends the file](RecordError::ends_file) or an I/O error it yields nothing more.
pub struct RecordReader {
    source: Source,
    file: Arc<Path>,
    options: ReaderOptions,
    /// Index and header offset of the record that comes next.
    record: u64,
    byte: u64,
    over: bool,
    /// The record passed last was long: its successor's header is not worth filling a buffer for.
    long: bool,
}

/// What ends a file early.
enum Stop {
    Bad(Reason, String),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl RecordReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError::Io`] if it cannot be opened or its first bytes cannot be read.
    pub fn open(path: impl AsRef<Path>, options: ReaderOptions) -> Result<Self, ReadError> {
        let path = path.as_ref();
        Self::new(path, Source::open(path), options)
    }

    /// Reads what cannot seek, such as standard input; `name` stands for the file in origins and errors.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the first bytes cannot be read.
    pub fn over(
        name: impl AsRef<Path>,
        bytes: impl Read + Send + 'static,
        options: ReaderOptions,
    ) -> Result<Self, ReadError> {
        Self::new(name.as_ref(), Source::stream(bytes), options)
    }

    /// Opens the file of a record and stands before it, without reading what comes before.
    ///
    /// # Errors
    /// As [`RecordReader::open`].
    pub fn at(origin: &Origin, options: ReaderOptions) -> Result<Self, ReadError> {
        let mut reader = Self::open(&origin.file, options)?;
        if let Err(failure) = reader.source.pass(0, origin.byte) {
            return Err(reader.stop(failure.into()));
        }
        // If the file is shorter by now, there is no next record.
        (reader.record, reader.byte) = (origin.record, origin.byte);
        Ok(reader)
    }

    /// Whether records can be passed over without reading them: the file is a plain one.
    pub fn can_seek(&self) -> bool {
        self.source.can_seek()
    }

    fn new(path: &Path, source: io::Result<Source>, options: ReaderOptions) -> Result<Self, ReadError> {
        let source = source.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Self { source, file: path.into(), options, record: 0, byte: 0, over: false, long: false })
    }

    /// Where the next record lies, if there is one. `origin().record` is the number of records passed so far, the bad
    /// ones included.
    pub fn origin(&self) -> Origin {
        Origin { file: Arc::clone(&self.file), record: self.record, byte: self.byte }
    }

    /// The next record, an error in its place, or `None` at the end of the file and after what ends it.
    ///
    /// # Errors
    /// [`ReadError::Bad`] for a record that cannot be framed or whose CRC does not match, [`ReadError::Io`] if the
    /// system refuses.
    #[expect(clippy::should_implement_trait, reason = "see the type: an iterator's `skip` would shadow ours")]
    pub fn next(&mut self) -> Option<Result<Record, ReadError>> {
        if self.over {
            return None;
        }
        match self.read_one() {
            Ok(Some((data, good))) => {
                let origin = self.origin();
                self.advance(data.len() as u64);
                if good {
                    return Some(Ok(Record { origin, data }));
                }
                let id = peek_id(&data, &self.options.id_keys);
                let detail = "data CRC mismatch".to_owned();
                Some(Err(RecordError { origin, id, reason: Reason::DataCrc, detail }.into()))
            }
            Ok(None) => {
                self.over = true;
                None
            }
            Err(stop) => Some(Err(self.stop(stop))),
        }
    }

    /// Passes over up to `count` records by their headers alone, without looking at payloads, and returns how many
    /// there were: fewer only where the file ends. Plain files are sought through, compressed ones decompressed.
    ///
    /// # Errors
    /// As [`RecordReader::next`], except that damaged payloads go unnoticed.
    pub fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        let mut skipped = 0;
        while skipped < count && !self.over {
            match self.pass_one() {
                Ok(true) => skipped += 1,
                Ok(false) => self.over = true,
                Err(stop) => return Err(self.stop(stop)),
            }
        }
        Ok(skipped)
    }

    /// Passes over the next record as [`RecordReader::skip`] does and says where it lies; `None` where
    /// [`RecordReader::next`] gives `None`.
    ///
    /// # Errors
    /// As [`RecordReader::skip`].
    pub fn pass(&mut self) -> Option<Result<Origin, ReadError>> {
        if self.over {
            return None;
        }
        let origin = self.origin();
        match self.pass_one() {
            Ok(true) => Some(Ok(origin)),
            Ok(false) => {
                self.over = true;
                None
            }
            Err(stop) => Some(Err(self.stop(stop))),
        }
    }

    /// Gives the rest of the file up: nothing more comes.
    pub fn finish(&mut self) {
        self.over = true;
    }

    fn pass_one(&mut self) -> Result<bool, Stop> {
        let Some(length) = self.read_header(self.long)? else { return Ok(false) };
        self.long = length >= LONG_BYTES;
        let whole = length.saturating_add(FOOTER_BYTES as u64);
        let passed = self.source.pass(self.byte + HEADER_BYTES as u64, whole)?;
        if passed < whole {
            return Err(short(passed, length));
        }
        self.advance(length);
        Ok(true)
    }

    /// The payload of the next record and whether its CRC agrees.
    fn read_one(&mut self) -> Result<Option<(Vec<u8>, bool)>, Stop> {
        let Some(length) = self.read_header(false)? else { return Ok(None) };
        let mut data = Vec::new();
        self.source.append(length, &mut data)?;
        if (data.len() as u64) < length {
            return Err(short(data.len() as u64, length));
        }
        let mut footer = [0; FOOTER_BYTES];
        let read = self.source.fill(&mut footer, false)?;
        if read < FOOTER_BYTES {
            return Err(short(length + read as u64, length));
        }
        let good = !self.options.verify_data_crc || u32::from_le_bytes(footer) == masked_crc(&data);
        Ok(Some((data, good)))
    }

    /// The length of the next payload, checked, or `None` at the end of the file.
    fn read_header(&mut self, alone: bool) -> Result<Option<u64>, Stop> {
        let mut header = [0; HEADER_BYTES];
        let read = self.source.fill(&mut header, alone).map_err(|failure| match failure {
            Failure::Damaged(detail) if self.byte == 0 => {
                Stop::Bad(Reason::NotTfrecord, format!("not a TFRecord file: {detail}"))
            }
            other => other.into(),
        })?;
        match read {
            0 => return Ok(None),
            HEADER_BYTES => {}
            read => {
                let detail =
                    format!("truncated: the file ends after {read} of the header's {HEADER_BYTES} bytes");
                return Err(Stop::Bad(Reason::Truncated, detail));
            }
        }
        let most = self.options.max_record_bytes;
        match header_length(&header) {
            Some(length) if length <= most => Ok(Some(length)),
            Some(length) => {
                let detail =
                    format!("truncated: the record claims {length} bytes, max_record_bytes is {most}");
                Err(Stop::Bad(Reason::Truncated, detail))
            }
            None if self.byte == 0 => {
                let detail = "not a TFRecord file: the length CRC of its first record does not match";
                Err(Stop::Bad(Reason::NotTfrecord, detail.to_owned()))
            }
            None => Err(Stop::Bad(Reason::LengthCrc, "length CRC mismatch".to_owned())),
        }
    }

    fn advance(&mut self, length: u64) {
        self.record += 1;
        // At most `max_record_bytes` at a time, and all of it was read: a file cannot reach 2^64.
        self.byte += (HEADER_BYTES + FOOTER_BYTES) as u64 + length;
    }

    fn stop(&mut self, stop: Stop) -> ReadError {
        self.over = true;
        let (reason, detail) = match stop {
            Stop::Bad(reason, detail) => (reason, detail),
            Stop::Failed(Failure::Io(source)) => {
                return ReadError::Io { path: self.file.to_path_buf(), source };
            }
            Stop::Failed(Failure::Cut(detail) | Failure::Damaged(detail)) => {
                (Reason::Truncated, format!("truncated: {detail}"))
            }
        };
        RecordError { origin: self.origin(), id: None, reason, detail }.into()
    }
}

/// The error of a record of which only `found` bytes follow the header.
fn short(found: u64, length: u64) -> Stop {
    let detail = match found.checked_sub(length) {
        None => format!("truncated: the file ends after {found} of {length} bytes"),
        Some(crc) => format!("truncated: the file ends after {crc} of the data CRC's {FOOTER_BYTES} bytes"),
    };
    Stop::Bad(Reason::Truncated, detail)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use crate::tfrecord::{Compression, RecordWriter};

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = RecordWriter::create(folder.path().join("file"), Compression::None).unwrap();
        payloads.iter().for_each(|payload| writer.write(payload).unwrap());
        let path = writer.path().to_owned();
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Payloads as text, and the errors after the name.
    fn read(bytes: Vec<u8>, options: ReaderOptions) -> Vec<String> {
        let mut reader = RecordReader::over("t", Cursor::new(bytes), options).unwrap();
        std::iter::from_fn(|| reader.next())
            .map(|item| match item {
                Ok(record) => String::from_utf8(record.data).unwrap(),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    fn default(bytes: Vec<u8>) -> Vec<String> {
        read(bytes, ReaderOptions::default())
    }

    #[test]
    fn gzip_members_are_one_stream() {
        let whole = file(&[b"one", b"two", b""]);
        let members = [gzip(&whole[..20]), gzip(&whole[20..])].concat();
        assert_eq!(default(members), ["one", "two", ""]);
    }

    #[test]
    fn a_damaged_stream_ends_the_file_where_it_is_damaged() {
        let mut packed = gzip(&file(&[b"one", b"two"]));
        let end = packed.len();
        packed[end - 8] ^= 1; // GZIP's own CRC of the contents
        let read = default(packed);
        assert_eq!(read[..2], ["one", "two"]);
        assert!(
            read[2].starts_with("t: record 2 at byte 38: truncated: the gzip stream is damaged: "),
            "{read:?}"
        );
        assert_eq!(read.len(), 3);
        let read = default(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x07 is no kind of block".to_vec());
        assert!(
            read[0].starts_with("t: record 0 at byte 0: not a TFRecord file: the gzip stream"),
            "{read:?}"
        );
        let read = default(b"x^7 + 1 is no zlib stream".to_vec());
        assert!(
            read[0].starts_with("t: record 0 at byte 0: not a TFRecord file: the zlib stream"),
            "{read:?}"
        );
    }

    #[test]
    fn every_cut_is_told_from_a_whole_file() {
        let whole = file(&[b"one", b"three"]);
        let ends = [0, 12 + 3 + 4, whole.len()];
        for cut in 0..=whole.len() {
            let read = default(whole[..cut].to_vec());
            let good = ends.iter().filter(|&&end| end <= cut).count() - 1;
            assert_eq!(read[..good], ["one", "three"][..good]);
            match ends.contains(&cut) {
                true => assert_eq!(read.len(), good),
                false => {
                    let place =
                        format!("t: record {good} at byte {}: truncated: the file ends after", ends[good]);
                    assert!(read[good].starts_with(&place), "{cut}: {read:?}");
                    assert_eq!(read.len(), good + 1);
                }
            }
        }
    }

    #[test]
    fn a_record_longer_than_allowed_ends_the_file() {
        let options = ReaderOptions { max_record_bytes: 4, ..ReaderOptions::default() };
        let read = read(file(&[b"four", b"fiver", b"x"]), options);
        let expected = "t: record 1 at byte 20: truncated: the record claims 5 bytes, max_record_bytes is 4";
        assert_eq!(read, ["four", expected]);
    }

    #[test]
    fn records_are_passed_over_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // Short and long ones in turn: the buffer is used and passed by.
        let payload = |n: u8| vec![n; [3, 20_000, 0, 9_000, 8_191, 8_192, 70_000, 5][usize::from(n) % 8]];
        let mut writer = RecordWriter::create(&path, Compression::None).unwrap();
        (0..40).for_each(|n| writer.write(&payload(n)).unwrap());
        writer.finish().unwrap();

        let mut reader = RecordReader::open(&path, ReaderOptions::default()).unwrap();
        assert!(reader.can_seek());
        let mut places = Vec::new();
        for n in 0..40u8 {
            // Every fifth is read, so that both ways follow each other in every order of sizes.
            let origin = if n % 5 == 0 {
                let record = reader.next().unwrap().unwrap();
                assert_eq!(record.data, payload(n));
                record.origin
            } else {
                reader.pass().unwrap().unwrap()
            };
            assert_eq!(origin.record, u64::from(n));
            places.push(origin);
        }
        assert!(reader.pass().is_none() && reader.next().is_none());
        for (n, origin) in (0..40).zip(&places).rev() {
            let mut reader = RecordReader::at(origin, ReaderOptions::default()).unwrap();
            let record = reader.next().unwrap().unwrap();
            assert_eq!((&record.origin, record.data), (origin, payload(n)));
        }
        // Where there is nothing any more, there is nothing; within a record there is no header.
        let behind = Origin { byte: 1 << 40, ..places[39].clone() };
        assert!(RecordReader::at(&behind, ReaderOptions::default()).unwrap().next().is_none());
        let within = Origin { byte: places[39].byte + 1, ..places[39].clone() };
        let bad = RecordReader::at(&within, ReaderOptions::default()).unwrap().next().unwrap().unwrap_err();
        assert!(bad.to_string().contains("record 39 at byte "), "{bad}");
    }

    #[test]
    fn the_messages_are_those_of_the_specification() {
        let origin = Origin { file: Path::new("train03.tfrecord").into(), record: 17, byte: 4_410_982 };
        let error = RecordError {
            origin,
            id: Some("aB3d".into()),
            reason: Reason::DataCrc,
            detail: "data CRC mismatch".into(),
        };
        assert_eq!(
            error.to_string(),
            "train03.tfrecord: record 17 at byte 4410982 (id \"aB3d\"): data CRC mismatch"
        );
        let names = "truncated length_crc data_crc not_tfrecord bad_proto missing_feature frame_size \
                     frame_count_mismatch no_frames label_out_of_range id_missing";
        assert_eq!(Reason::ALL.map(Reason::as_str).join(" "), names);
    }
}
