//! The sources: stages without inputs, which read files or make data.

mod again;
mod agreed;
mod input_files;
mod pieces;
mod read_ahead;
pub(crate) mod synthetic_videos;
pub(crate) mod tfrecord_reader;
