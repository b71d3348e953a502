//! The kit that stages need in order to work with any model: the table of models and their keys, weights files, batches
//! on a device, predictions, and the search for a number that is not finite.
//!
//! This module stands between [`crate::model`], which knows nothing of stages, and the stages.

pub(crate) mod configured;
pub(crate) mod culprit;
pub(crate) mod device_batch;
pub(crate) mod division;
pub(crate) mod estimates;
pub(crate) mod export;
pub(crate) mod keys;
pub(crate) mod kind;
pub(crate) mod not_weights;
pub(crate) mod predictions;
pub(crate) mod scoring;
pub(crate) mod weights_file;
