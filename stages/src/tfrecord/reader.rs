//! The framing of the records of one file.
//!
//! Laws: after a record whose payload is damaged, the next one is read as if nothing had happened. After a header that
//! cannot be trusted, and after an end where none should be, the file is over. No length is believed before its bytes
//! are there.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use framewise_pipeline::Keys;

use super::{
    ReadError, Reason, RecordError,
    features::{DEFAULT_ID_KEYS, peek_id},
    source::{Failure, Source},
};
use crate::io::content::{self, Content, HEAD_BYTES};
use crate::io::framing::{FOOTER_BYTES, HEADER_BYTES, header_length, masked_crc};
use crate::io::packing::Packing;
use crate::payload::{Origin, Record};

/// The default of [`ReaderOptions::max_record_bytes`]: 64 MiB, which is some 250 times a full-size video.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 64 << 20;

/// The length from which records are passed over by reading only their headers.
const LONG_BYTES: u64 = 8 << 10;

/// The way in which a file is read, and the keys of the stage that reads files.
#[derive(Clone, Debug, PartialEq, Eq, Keys)]
pub struct ReaderOptions {
    /// Checks the CRC of each record's data. The CRC of its length is always checked.
    #[key(name = "verify_crc", default = true)]
    pub verify_data_crc: bool,
    /// A longer record is a bad one, of the reason too_long.
    #[key(range = 1..=1 << 31, default = DEFAULT_MAX_RECORD_BYTES, unit = "bytes")]
    pub max_record_bytes: u64,
    /// The context keys that may hold the id, by which a video is named whose payload is damaged. Default `id`,
    /// `video_id`.
    #[key(skip = DEFAULT_ID_KEYS.map(str::to_owned).to_vec())]
    pub id_keys: Vec<String>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self::defaults()
    }
}

/// The records of one file, in order.
///
/// This is not an [`Iterator`], because an iterator's by-value `skip` would be found before [`RecordReader::skip`].
///
/// Plain, GZIP, ZLIB and Zstandard files are told apart by content. After [`Reason::DataCrc`] and [`Reason::TooLong`],
/// the reader continues with the next record. After an error that [ends the file](RecordError::ends_file) and after an
/// I/O error, it yields nothing more.
pub struct RecordReader {
    source: Source,
    file: Arc<Path>,
    options: ReaderOptions,
    /// The index and the header offset of the record that comes next.
    record: u64,
    byte: u64,
    over: bool,
    /// Whether the last record was long. Then it is not worth filling a buffer for the next header.
    long: bool,
}

/// The reason why a record does not come.
enum Stop {
    /// The file is over, for the reason given.
    Bad(Reason, String),
    /// The record, of this many bytes, is longer than allowed and was passed over.
    TooLong(u64),
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

    /// Reads from a stream that cannot seek, such as standard input. `name` stands for the file in origins and errors.
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

    /// Opens the uncompressed file of a record at that record, without reading what comes before.
    ///
    /// # Errors
    /// The errors of [`RecordReader::open`]. If a stream stands in the place of the file by now, the record cannot be
    /// reached.
    pub fn at(origin: &Origin, options: ReaderOptions) -> Result<Self, ReadError> {
        let mut reader = Self::new(&origin.file, Source::at(&origin.file, origin.byte), options)?;
        // If the file is shorter by now, there is no next record.
        (reader.record, reader.byte) = (origin.record, origin.byte);
        Ok(reader)
    }

    /// The compression of the file, if it is compressed.
    pub fn packing(&self) -> Option<Packing> {
        self.source.packing()
    }

    /// How far the file was read, in bytes of the file as it is stored. For a compressed file, what the decompressor has
    /// read ahead is counted.
    pub fn stored_position(&self) -> u64 {
        self.source.stored_position(self.byte)
    }

    /// Whether records can be passed over without reading them, which is so in a plain file.
    pub fn can_seek(&self) -> bool {
        self.source.can_seek()
    }

    fn new(path: &Path, source: io::Result<Source>, options: ReaderOptions) -> Result<Self, ReadError> {
        let source = source.map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Ok(Self { source, file: path.into(), options, record: 0, byte: 0, over: false, long: false })
    }

    /// The place of the next record, if there is one. `origin().record` is the number of records passed so far, bad
    /// ones included.
    pub fn origin(&self) -> Origin {
        Origin { file: Arc::clone(&self.file), record: self.record, byte: self.byte }
    }

    /// The next record, an error in its place, or `None` at the end of the file and after what ends it.
    ///
    /// # Errors
    /// [`ReadError::Bad`] for a record that cannot be framed or whose CRC does not match. [`ReadError::Io`] if the
    /// operating system refuses.
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
                    return Some(Ok(Record { origin, data: data.into() }));
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

    /// Passes over up to `count` records by their headers alone, without looking at payloads. Returns how many there
    /// were, which is fewer only where the file ends. The reader seeks in plain files, and decompresses compressed
    /// ones.
    ///
    /// # Errors
    /// The errors of [`RecordReader::next`], except that damaged payloads go unnoticed.
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

    /// Passes over the next record as [`RecordReader::skip`] does, and returns its place. `None` where
    /// [`RecordReader::next`] gives `None`.
    ///
    /// # Errors
    /// The errors of [`RecordReader::skip`].
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

    /// Gives up the rest of the file. Nothing more comes.
    pub fn finish(&mut self) {
        self.over = true;
    }

    fn pass_one(&mut self) -> Result<bool, Stop> {
        let Some(length) = self.read_header(self.long)? else { return Ok(false) };
        self.pass_payload(length)?;
        self.advance(length);
        Ok(true)
    }

    /// Passes over a payload whose header was read, and over its CRC.
    fn pass_payload(&mut self, length: u64) -> Result<(), Stop> {
        self.long = length >= LONG_BYTES;
        let whole = length.saturating_add(FOOTER_BYTES as u64);
        let passed = self.source.pass(self.byte + HEADER_BYTES as u64, whole)?;
        if passed < whole { Err(short(passed, length)) } else { Ok(()) }
    }

    /// Reads the payload of the next record. Returns it, and whether its CRC agrees.
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

    /// Reads the length of the next payload and checks it. `None` at the end of the file.
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
            // Eight bytes of text, read as a length, are longer than any file. So this is not the beginning of a
            // record.
            8.. if self.byte == 0 && Content::of(&header[..read]).is_some() => {
                return Err(self.not_records(&header[..read]));
            }
            read => {
                let detail =
                    format!("truncated: the file ends after {read} of the header's {HEADER_BYTES} bytes");
                return Err(Stop::Bad(Reason::Truncated, detail));
            }
        }
        match header_length(&header) {
            Some(length) if length <= self.options.max_record_bytes => Ok(Some(length)),
            Some(length) => {
                self.pass_payload(length)?;
                Err(Stop::TooLong(length))
            }
            None if self.byte == 0 => Err(self.not_records(&header)),
            None => Err(Stop::Bad(Reason::LengthCrc, "length CRC mismatch".to_owned())),
        }
    }

    /// The error of a file that does not begin with a record. It says what the file is instead, according to these
    /// first bytes and those that follow.
    fn not_records(&mut self, first: &[u8]) -> Stop {
        let mut head = first.to_vec();
        // What cannot be read of the rest is not needed, because the first bytes say something by themselves.
        let _ = self.source.append((HEAD_BYTES - first.len()) as u64, &mut head);
        let is = match self.source.packing() {
            Some(packing) => format!("the {packing} stream holds"),
            None => "it is".to_owned(),
        };
        let found = match Content::of(&head) {
            Some(content) => match content.advice_for_records() {
                Some(advice) => format!("{is} {}; {advice}", content.what()),
                None => format!("{is} {}", content.what()),
            },
            None => {
                let begins = content::begins_with(&head);
                format!("the length CRC of its first record does not match; {begins}")
            }
        };
        Stop::Bad(Reason::NotTfrecord, format!("not a TFRecord file: {found}"))
    }

    fn advance(&mut self, length: u64) {
        self.record += 1;
        // The whole payload was there, and a file cannot reach 2^64 bytes.
        self.byte += (HEADER_BYTES + FOOTER_BYTES) as u64 + length;
    }

    fn stop(&mut self, stop: Stop) -> ReadError {
        let origin = self.origin();
        let (reason, detail) = match stop {
            Stop::Bad(reason, detail) => (reason, detail),
            Stop::TooLong(length) => {
                self.advance(length);
                let most = self.options.max_record_bytes;
                (Reason::TooLong, format!("the record has {length} bytes; max_record_bytes allows {most}"))
            }
            Stop::Failed(Failure::Io(source)) => {
                self.over = true;
                return ReadError::Io { path: self.file.to_path_buf(), source };
            }
            Stop::Failed(Failure::Trailing(detail)) => (Reason::TrailingGarbage, detail),
            Stop::Failed(Failure::Cut(detail) | Failure::Damaged(detail)) => {
                (Reason::Truncated, format!("truncated: {detail}"))
            }
        };
        self.over = reason.ends_file();
        RecordError { origin, id: None, reason, detail }.into()
    }
}

/// The error of a record whose header is followed by only `found` bytes.
fn short(found: u64, length: u64) -> Stop {
    let detail = match found.checked_sub(length) {
        None => format!("truncated: the file ends after {found} of {length} bytes"),
        Some(crc) => format!("truncated: the file ends after {crc} of the data CRC's {FOOTER_BYTES} bytes"),
    };
    Stop::Bad(Reason::Truncated, detail)
}

#[cfg(test)]
mod tests;
