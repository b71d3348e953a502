//! Files of records that are read side by side by several threads, and handed on one after another.
//!
//! Laws: the records and errors of a file come in the order of the file, and the files in the order of the list, whatever
//! the number of threads. What was read ahead is bounded: one file more than there are threads is open, with about 64 MB of
//! records each. A thread that ends early is told as a failure and never taken for the end of a file.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use framewise_pipeline::prelude::*;

use super::pieces::{Piece, PieceReader};
use crate::payload::Record;
use crate::tfrecord::{ReadError, ReaderOptions};

/// The bytes of payloads from which on a chunk is handed on.
const CHUNK_BYTES: usize = 256 << 10;
/// The chunks of a file that wait to be taken, about 64 MB. A file is taken after all files before it, so a thread that is to
/// work meanwhile needs room for much of its file.
const WAITING: usize = 256;

/// The most bytes that the threads hold, for records of so many bytes.
pub(super) fn held(workers: u64, record: u64) -> u64 {
    // A chunk exceeds its bytes by less than one record. Besides the files of the threads, one is being taken.
    let chunk = CHUNK_BYTES as u64 + record;
    chunk.saturating_mul(WAITING as u64 + 2).saturating_mul(workers + 1)
}

/// What was read: a record, or an error in its place.
pub(super) struct Read {
    pub(super) next: Result<Record, ReadError>,
    /// How far the file was read, in bytes of the file as it is stored.
    pub(super) stored_position: u64,
}

enum Chunk {
    Some(Vec<Read>),
    /// The file is over.
    End,
}

/// Files that are being read, in order.
pub(super) struct ReadAhead {
    files: Receiver<Receiver<Chunk>>,
}

/// The files that are still to be read. A thread takes the next one and hands on the end of its chunks while it holds the
/// lock, so that the ends come in the order of the files.
struct Queue {
    pieces: std::vec::IntoIter<(PathBuf, Piece)>,
    files: SyncSender<Receiver<Chunk>>,
}

impl ReadAhead {
    /// Starts the threads, which read these pieces of the files at these paths.
    ///
    /// # Errors
    /// `Internal` when a thread cannot be started.
    pub(super) fn start(
        pieces: Vec<(PathBuf, Piece)>,
        options: &ReaderOptions,
        workers: usize,
    ) -> Result<Self, Failure> {
        let threads = workers.min(pieces.len());
        let (sender, files) = sync_channel(workers);
        let queue = Arc::new(Mutex::new(Queue { pieces: pieces.into_iter(), files: sender }));
        for index in 0..threads {
            let (queue, options) = (queue.clone(), options.clone());
            // Nobody waits for the threads. They end with the files, or when nobody takes their chunks any more; one that
            // hangs in the system must not hold up the end of a run.
            let thread = thread::Builder::new().name(format!("read-{index}"));
            thread
                .spawn(move || read(&queue, &options))
                .map_err(|e| Failure::internal(format!("cannot start {workers} threads that read: {e}")))?;
        }
        Ok(Self { files })
    }

    /// The next file.
    ///
    /// # Errors
    /// `Internal` when a thread has ended early.
    pub(super) fn next_file(&mut self) -> Result<FileAhead, Failure> {
        let chunks = self.files.recv().map_err(|_| ended_early())?;
        Ok(FileAhead { chunks, chunk: Vec::new().into_iter() })
    }
}

/// A file that is being read.
pub(super) struct FileAhead {
    chunks: Receiver<Chunk>,
    chunk: std::vec::IntoIter<Read>,
}

impl FileAhead {
    /// What comes next in the file. `None` at its end.
    ///
    /// # Errors
    /// `Internal` when the thread has ended early.
    pub(super) fn next(&mut self) -> Result<Option<Read>, Failure> {
        loop {
            if let Some(read) = self.chunk.next() {
                return Ok(Some(read));
            }
            match self.chunks.recv().map_err(|_| ended_early())? {
                Chunk::Some(chunk) => self.chunk = chunk.into_iter(),
                Chunk::End => return Ok(None),
            }
        }
    }
}

fn ended_early() -> Failure {
    Failure::internal("a thread that reads files has ended before its file")
}

/// Reads files until there are no more, or until nobody takes what was read.
fn read(queue: &Mutex<Queue>, options: &ReaderOptions) {
    loop {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((path, piece)) = queue.pieces.next() else { return };
        let (sender, chunks) = sync_channel(WAITING);
        if queue.files.send(chunks).is_err() {
            return;
        }
        drop(queue);
        let read = match PieceReader::open(&path, options.clone(), piece) {
            Ok(reader) => read_file(reader, &sender),
            Err(error) => sender.send(Chunk::Some(vec![Read { next: Err(error), stored_position: 0 }])),
        };
        if read.and_then(|()| sender.send(Chunk::End)).is_err() {
            return;
        }
    }
}

fn read_file(mut reader: PieceReader, sender: &SyncSender<Chunk>) -> Result<(), SendError<Chunk>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while let Some(next) = reader.next() {
        bytes += next.as_ref().map_or(0, |record| record.data.len());
        chunk.push(Read { next, stored_position: reader.stored_position() });
        if bytes >= CHUNK_BYTES {
            sender.send(Chunk::Some(std::mem::take(&mut chunk)))?;
            bytes = 0;
        }
    }
    if chunk.is_empty() { Ok(()) } else { sender.send(Chunk::Some(chunk)) }
}
