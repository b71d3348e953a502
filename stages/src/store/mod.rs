//! The files that last: checkpoints, weights, and TensorBoard events.
//!
//! Law: a file or directory under its final name is complete. It is written under a temporary name beside the final
//! one, flushed to the disk, and renamed. A crash leaves only temporary names, which nothing reads.

mod catalog;
mod checkpoint;
mod describe;
mod error;
mod exported;
mod hashed;
mod histogram;
mod manifest;
mod sealed;
mod tensorboard;
mod tensors;
mod weights;

#[cfg(test)]
mod tests;

pub use catalog::{
    BEST, Entry, Found, directory_name, find, is_checkpoint, list, mark_best, marked_best, prune,
    record_metrics, set_aside,
};
pub use checkpoint::{Checkpoint, load, recover, save, verify};
pub use describe::{CheckpointInfo, Description, describe};
pub use error::StoreError;
pub use exported::{Export, ExportSource, load_export, save_export};
pub use manifest::FileInfo;
pub use tensorboard::TensorBoardWriter;
pub use tensors::TensorInfo;
pub(crate) use weights::weights_of;
pub use weights::{load_weights, save_weights};
