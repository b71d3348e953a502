//! The stages of Framewise: readers, NeXtVLAD on candle, the optimiser, metrics, checkpoints and writers.
//!
//! Each stage is one file that holds its configuration keys, its ports and its loop; [`registry`] is the hand-kept
//! table of them. What a stage computes lies in modules that know nothing of stages: [`model`], [`optim`],
//! [`score`], [`store`], [`tfrecord`], [`synthetic`], [`import`].

pub mod device;
pub mod files;
pub mod import;
pub mod model;
pub mod optim;
pub mod payload;
pub mod random;
pub mod score;
pub mod store;
pub mod synthetic;
pub mod tfrecord;

mod all_reduce;
mod backward;
mod batch;
mod checkpoint;
mod decode;
mod eigenvalues;
mod evaluate;
mod forward;
mod init_from;
mod ledger;
mod load_weights;
mod loss;
mod mean_pool;
mod metrics;
mod model_keys;
mod model_kind;
mod nonfinite;
mod optimizer;
mod parallel;
mod predict;
mod reader;
mod registry;
mod rejects;
mod report;
mod resume;
mod run_log;
mod shard;
mod shuffle;
mod synthetic_source;
mod tfrecord_writer;
mod top_k;
mod video_decode;
mod writers;

pub use eigenvalues::apply as apply_eigenvalues;
pub use load_weights::InjectedWeights;
pub use registry::registry;
pub use resume::{Cursor, Measured, RejectedRecords, Resume};
