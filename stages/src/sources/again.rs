//! Records that are read only when they are wanted, or again.

use std::sync::Arc;

use framewise_pipeline::Failure;

use crate::failure::{data_changed, read_failure};
use crate::payload::{Deferred, Loader, Origin, Record};
use crate::tfrecord::{ReadError, ReaderOptions, RecordReader};

/// Wraps a record that is at hand and is decoded when it is wanted.
pub(super) fn in_memory(record: Record) -> Deferred<Record> {
    let Record { origin, data } = record;
    let bytes = data.len();
    let load: Loader<Record> =
        Arc::new(move |origin| Ok(Record { origin: origin.clone(), data: data.clone() }));
    Deferred { origin, load, bytes }
}

/// Reads a record that was passed over.
pub(super) fn load(origin: &Origin, options: &ReaderOptions) -> Result<Record, Failure> {
    let mut reader = RecordReader::at(origin, options.clone()).map_err(changed)?;
    match reader.next() {
        Some(record) => record.map_err(changed),
        None => Err(data_changed(format!("{origin} is missing"))),
    }
}

/// The failure of reading again what was read before.
pub(super) fn changed(error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => data_changed(error),
    }
}
