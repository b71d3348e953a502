//! Directories that are made beforehand and can be removed again.

use std::fs;
use std::path::PathBuf;

pub(crate) use framewise_stages::io::create_directories as create_all;

/// Removes what [`create_all`] made, up to the first directory that is not empty.
pub(crate) fn remove_created(created: &[PathBuf]) {
    for directory in created {
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
}
