//! What lasts: files written whole or not at all, checkpoints, weights, TensorBoard events.
//!
//! The one law: a file or directory under its final name is complete. It is written under a temporary name
//! beside it, flushed to the disk and renamed; a crash leaves only temporary names, which nothing reads.

mod atomic;
mod catalog;
mod checkpoint;
mod describe;
mod error;
mod hashed;
mod manifest;
mod sealed;
mod tensorboard;
mod tensors;

#[cfg(test)]
mod tests;

pub use atomic::{AtomicFile, remove_unfinished, write_file};
pub use catalog::{
    BEST, Entry, Found, directory_name, find, list, mark_best, prune, record_metrics, set_aside,
};
pub use checkpoint::{Checkpoint, load, recover, save, verify};
pub use describe::{CheckpointInfo, Description, describe};
pub use error::StoreError;
pub use manifest::FileInfo;
pub use tensorboard::TensorBoardWriter;
pub use tensors::{TensorInfo, load_weights, save_weights};
