//! The stages of Framewise: readers, NeXtVLAD on candle, the optimizer, metrics, checkpoints and writers.
//!
//! Each stage is one file, which holds the stage's configuration keys, its ports and its loop. [`registry`] is the
//! table of all stages and is kept by hand. Stages lie in folders by what they do, and no stage imports another. What
//! several stages need lies below them. What a stage computes lies in modules that know nothing of stages: [`model`],
//! [`collective`], [`ranks`], [`optim`], [`score`], [`store`], [`tfrecord`], [`synthetic`] and [`import`].

pub mod collective;
pub mod device;
pub mod import;
pub mod io;
pub mod model;
pub mod optim;
pub mod payload;
pub mod random;
pub mod ranks;
pub mod score;
pub mod store;
pub mod synthetic;
pub mod tfrecord;
pub mod words;
pub mod yt8m;

mod evaluation;
mod failure;
mod kernels;
mod model_kit;
mod registry;
mod run_state;
mod sinks;
mod sources;
mod training;
mod transforms;

pub use failure::{read_failure, read_kind};
pub use model_kit::configured::Configured;
pub use model_kit::export::{Exported, export};
pub use model_kit::kind::configuration;
pub use model_kit::scoring::lower_is_better;
pub use model_kit::weights_file::InjectedWeights;
pub use payload::Measured;
pub use registry::registry;
pub use run_state::parts::{Merged, merge as merge_parts};
pub use run_state::resume::{Cursor, RejectedRecords, Resume};
pub use sinks::tap::{Seen, TAP, Tapped, described, mark_in_words, tapped};
pub use training::eigenvalues::apply as apply_eigenvalues;
