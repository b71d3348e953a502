//! The sinks: stages without outputs, which write checkpoints, reports, predictions and records.

pub(crate) mod checkpoint;
mod divided;
mod output_path;
pub(crate) mod rankings;
pub(crate) mod report;
pub(crate) mod tap;
pub(crate) mod tfrecord_writer;
