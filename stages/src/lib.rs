//! The stages of Framewise and the plain functions under them.

pub mod files;
pub mod payload;
pub mod synthetic;
pub mod tfrecord;
