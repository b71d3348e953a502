//! Writing TFRecord files, plain or GZIP.
//!
//! Law: equal records give equal files. The GZIP header therefore holds no time and no name.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression as Level, GzBuilder, write::GzEncoder};

use super::WriteError;
use crate::io::framing::masked_crc;

/// The form in which the whole file is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// The file is not compressed.
    #[default]
    None,
    /// The file is compressed by GZIP with the default level.
    Gzip,
}

enum Sink<W: Write> {
    Plain(BufWriter<W>),
    Gzip(GzEncoder<BufWriter<W>>),
}

/// A TFRecord file that is being written. [`RecordWriter::finish`] completes it. A writer that is dropped before leaves
/// a file that ends early.
pub struct RecordWriter<W: Write = File> {
    path: PathBuf,
    sink: Sink<W>,
}

impl RecordWriter<File> {
    /// Creates the file, or empties it if it exists.
    ///
    /// # Errors
    /// [`WriteError`] if the file cannot be created.
    pub fn create(path: impl Into<PathBuf>, compression: Compression) -> Result<Self, WriteError> {
        let path = path.into();
        let file = File::create(&path).map_err(|source| WriteError { path: path.clone(), source })?;
        Ok(Self::new(path, file, compression))
    }
}

impl<W: Write> RecordWriter<W> {
    /// Makes a writer to `file`. `path` names the file in errors.
    pub fn new(path: impl Into<PathBuf>, file: W, compression: Compression) -> Self {
        let file = BufWriter::with_capacity(1 << 18, file);
        let sink = match compression {
            Compression::None => Sink::Plain(file),
            Compression::Gzip => Sink::Gzip(GzBuilder::new().mtime(0).write(file, Level::default())),
        };
        Self { path: path.into(), sink }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one record.
    ///
    /// # Errors
    /// [`WriteError`] if the file system refuses to write.
    pub fn write(&mut self, payload: &[u8]) -> Result<(), WriteError> {
        let length = (payload.len() as u64).to_le_bytes();
        let sink: &mut dyn Write = match &mut self.sink {
            Sink::Plain(file) => file,
            Sink::Gzip(file) => file,
        };
        sink.write_all(&length)
            .and_then(|()| sink.write_all(&masked_crc(&length).to_le_bytes()))
            .and_then(|()| sink.write_all(payload))
            .and_then(|()| sink.write_all(&masked_crc(payload).to_le_bytes()))
            .map_err(|source| WriteError { path: self.path.clone(), source })
    }

    /// Writes out what is buffered and GZIP's trailer, and returns the file. The file is not flushed to the disk.
    ///
    /// # Errors
    /// [`WriteError`] if the file system refuses to write.
    pub fn finish(self) -> Result<W, WriteError> {
        let Self { path, sink } = self;
        let finish = |sink| -> io::Result<W> {
            let file = match sink {
                Sink::Plain(file) => file,
                Sink::Gzip(file) => file.finish()?,
            };
            file.into_inner().map_err(io::IntoInnerError::into_error)
        };
        finish(sink).map_err(|source| WriteError { path, source })
    }
}
