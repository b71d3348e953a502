//! Where bytes come from and where they go: the one seam between Framewise and the file system.
//!
//! Readers and writers of data, weights, checkpoints and logs name their files here. [`patterns`] and [`list`] find
//! files, and [`open`] and [`read_at`] read them. [`create`] writes a file that appears whole, or a stream. [`append`]
//! adds lines to a log. [`create_directories`] makes the directories for them.
//!
//! Every function takes the path as the user wrote it. The only place that this build reads and writes is the local
//! file system. Every function begins with `place::local`, which refuses an address such as `s3://bucket/key`. Support
//! for an object store starts there: `place` tells paths and addresses apart, and [`Reader`] becomes an enum.

mod append;
mod atomic;
pub mod content;
mod directory;
pub(crate) mod framing;
mod input;
mod list;
mod output;
pub mod packing;
pub mod patterns;
mod place;
mod room;
mod scratch;
mod target;

pub use append::{Appended, append, create_new, cut_half_line};
pub use atomic::{AtomicFile, WriteError, remove_unfinished, write_file};
pub(crate) use atomic::{hidden_name, sync_directory, sync_parent};
pub use directory::create_directories;
pub use input::{Input, Kind, Reader, kind_and_length, open, read, read_at, read_to_string};
pub use list::list;
pub use output::{Output, Way, create, is_standard_output, way_to};
pub use room::{Room, bytes_in, missing_directory, room_in};
pub(crate) use scratch::scratch;
