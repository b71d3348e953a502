//! `framewise runs` and `framewise diff`: what run directories say about runs of the past.
//!
//! Law: nothing in a directory is trusted. Files that are missing, cut short or of something else leave gaps, and never
//! stop the program.

mod diff;
mod list;
mod past;

pub(crate) use diff::diff;
pub(crate) use list::runs;
