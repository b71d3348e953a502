//! NeXtVLAD (Lin, Xiao, Fan, ECCV 2018 YouTube-8M workshop).
//!
//! [`NextVladConfig`] is its shape, `layout` the order and the names of its tensors, `network` puts it together from the
//! clustering of each modality (`vlad`) and the head behind both (`head`), and `model` is what the crate asks of a model.

mod config;
#[cfg(test)]
mod cuda_tests;
mod exported;
mod head;
mod intermediates;
mod layout;
mod memory;
mod merged;
mod model;
mod network;
mod running;
mod vlad;
mod vlad_plain;

pub(crate) use config::MAX_SIZE;
pub use config::{CentersFanIn, DropoutMode, GateVariance, NextVladConfig, RunningStatistics};
pub use network::NextVlad;
