//! Globs with `**`.
//!
//! Law: the search ends whatever links there are. A link that leads back to a folder in which it lies is not followed,
//! so no file is found again by way of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use framewise_pipeline::GLOB_CHARACTERS;
use walkdir::{DirEntry, WalkDir};

use super::{FilesError, NamedBy};

/// `*` does not match a `/`, as in other globs.
const OPTIONS: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The files that a glob matches, in no order. `whole` is the glob joined to `base_dir`.
///
/// # Errors
/// The errors of [`super::expand`].
pub(super) fn matches(
    pattern: &str,
    whole: &str,
    base_dir: &Path,
    by: &NamedBy,
) -> Result<Vec<PathBuf>, FilesError> {
    let glob = glob::Pattern::new(whole).map_err(|source| FilesError::BadPattern {
        pattern: pattern.to_owned(),
        by: by.clone(),
        source,
    })?;
    // The folder before the first folder or file that is not named literally.
    let literal = pattern.find(GLOB_CHARACTERS).map_or("", |first| &pattern[..first]);
    let folder = base_dir.join(literal.rfind('/').map_or("", |end| &literal[..=end]));
    let here = folder.as_os_str().is_empty();
    let mut files = Vec::new();
    let walk = WalkDir::new(if here { Path::new(".") } else { &folder }).follow_links(true);
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !leads_back(entry)) {
        let of_walk = |path: &Path| match path.strip_prefix(".") {
            Ok(path) if here => path.to_owned(),
            _ => path.to_owned(),
        };
        match entry {
            Ok(entry) => {
                let path = of_walk(entry.path());
                if !entry.file_type().is_dir() && glob.matches_path_with(&path, OPTIONS) {
                    files.push(path);
                }
            }
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => {
                let path = of_walk(error.path().unwrap_or(&folder));
                let source = error.into_io_error().unwrap_or_else(|| io::Error::other("it cannot be listed"));
                // What is gone, or a link that leads nowhere, only matters where the pattern names it.
                if source.kind() != io::ErrorKind::NotFound || glob.matches_path_with(&path, OPTIONS) {
                    return Err(FilesError::Unreadable { by: by.clone(), path, source });
                }
            }
        }
    }
    Ok(files)
}

/// Whether this is a link to a folder in which the link itself lies. The walk knows the folders that it came through, but
/// not those above its start.
fn leads_back(entry: &DirEntry) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let (true, true, Some(parent)) =
        (entry.path_is_symlink(), entry.file_type().is_dir(), entry.path().parent())
    else {
        return false;
    };
    matches!((real(entry.path()), real(parent)), (Some(target), Some(parent)) if parent.starts_with(&target))
}
