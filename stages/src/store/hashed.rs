//! Checksums of what passes through a reader or a writer, so that no byte is read twice for its checksum.

use std::io::{self, Read, Write};

use super::manifest::FileInfo;

/// A wrapper around a reader or a writer that keeps the CRC-32C and the number of the bytes that passed.
pub(super) struct Hashed<T> {
    inner: T,
    info: FileInfo,
}

impl<T> Hashed<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, info: FileInfo { bytes: 0, crc32c: 0 } }
    }

    pub(super) fn info(&self) -> FileInfo {
        self.info
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.info.crc32c = crc32c::crc32c_append(self.info.crc32c, bytes);
        self.info.bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.passed(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.passed(&bytes[..read]);
        Ok(read)
    }
}
