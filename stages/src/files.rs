//! Which files a run reads, and in which order.
//!
//! One law: the list is a pure function of the patterns and the folder, and an epoch's order of (how many, seed,
//! epoch): no hash order, no clock, no order of directory entries. A pattern that names nothing is an error.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

/// A pattern that cannot be turned into files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// No pattern was given.
    #[error("no files are named")]
    NoPatterns,
    /// A glob that matches no file.
    #[error("no file matches {}", base.join(pattern).display())]
    NoMatch {
        /// As it was written.
        pattern: String,
        /// The folder it is relative to.
        base: PathBuf,
    },
    /// A glob that is not well formed.
    #[error("{pattern:?} is not a valid pattern: {source}")]
    BadPattern {
        /// As it was written.
        pattern: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// A glob relative to a folder whose name is not UTF-8.
    #[error("{pattern:?} is relative to {}, whose name is not UTF-8", base.display())]
    NotUtf8 {
        /// As it was written.
        pattern: String,
        /// The folder.
        base: PathBuf,
    },
    /// A file list that names no file.
    #[error("{pattern:?}: the list {} names no file", list.display())]
    EmptyList {
        /// As it was written.
        pattern: String,
        /// The list.
        list: PathBuf,
    },
    /// A file that is missing or cannot be read.
    #[error("{}{}: {source}", path.display(), named_by(pattern, path))]
    Unreadable {
        /// The pattern that names it.
        pattern: String,
        /// The file, or the folder that cannot be listed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, or something else that is no file.
    #[error("{}{} is not a file", path.display(), named_by(pattern, path))]
    NotAFile {
        /// The pattern that names it.
        pattern: String,
        /// What it names.
        path: PathBuf,
    },
    /// A file that would be read twice in an epoch.
    #[error("{} is named twice: by {first:?} and by {second:?}", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The pattern that named it first.
        first: String,
        /// The other one, which may be the same.
        second: String,
    },
}

/// Says which pattern named a path, where that is not plain to see.
fn named_by(pattern: &str, path: &Path) -> String {
    if Path::new(pattern) == path { String::new() } else { format!(" (named by {pattern:?})") }
}

/// The files that `patterns` name, in the order of the patterns.
///
/// A pattern is a path, a glob (`*`, `?`, `[…]`, `**`; its files sorted by path), or `@list`: a text file with one path
/// a line, relative to the list; empty lines and lines that start with `#` are skipped. Other relative paths start at
/// `base_dir`. A path that exists is never taken as a glob.
///
/// # Errors
/// [`FilesError`] names the pattern: it is malformed, matches nothing, or names a file that is missing, no file, or
/// already named.
pub fn expand(patterns: &[String], base_dir: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let mut named: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut files = Vec::new();
    for pattern in patterns {
        let found = match pattern.strip_prefix('@') {
            Some(list) => read_list(pattern, &base_dir.join(list))?,
            None => match base_dir.join(pattern) {
                path if pattern.contains(['*', '?', '[']) && !path.exists() => matches(pattern, base_dir)?,
                path => vec![path],
            },
        };
        for path in found {
            let unreadable =
                |source| FilesError::Unreadable { pattern: pattern.clone(), path: path.clone(), source };
            if fs::metadata(&path).map_err(unreadable)?.is_dir() {
                return Err(FilesError::NotAFile { pattern: pattern.clone(), path });
            }
            if let Some(first) = named.insert(path.clone(), pattern) {
                return Err(FilesError::Twice { path, first: first.to_owned(), second: pattern.clone() });
            }
            files.push(path);
        }
    }
    if files.is_empty() { Err(FilesError::NoPatterns) } else { Ok(files) }
}

fn read_list(pattern: &str, list: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let text = fs::read_to_string(list).map_err(|source| FilesError::Unreadable {
        pattern: pattern.to_owned(),
        path: list.to_owned(),
        source,
    })?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let files: Vec<_> = lines.map(|line| folder.join(line)).collect();
    if files.is_empty() {
        return Err(FilesError::EmptyList { pattern: pattern.to_owned(), list: list.to_owned() });
    }
    Ok(files)
}

fn matches(pattern: &str, base_dir: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let base = base_dir
        .to_str()
        .ok_or_else(|| FilesError::NotUtf8 { pattern: pattern.to_owned(), base: base_dir.to_owned() })?;
    // An absolute pattern replaces the folder, as `join` does with paths.
    let whole = Path::new(&glob::Pattern::escape(base)).join(pattern);
    let whole = whole.to_string_lossy();
    let paths = glob::glob(&whole)
        .map_err(|source| FilesError::BadPattern { pattern: pattern.to_owned(), source })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| FilesError::Unreadable {
            pattern: pattern.to_owned(),
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(FilesError::NoMatch { pattern: pattern.to_owned(), base: base_dir.to_owned() });
    }
    Ok(files)
}

/// The order in which `epoch` reads `files`: their indices, permuted. A pure function of (how many, seed, epoch).
pub fn shuffled<T>(files: &[T], seed: u64, epoch: u64) -> Vec<usize> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..26].copy_from_slice(b"file order");
    let mut random = ChaCha8Rng::from_seed(key);
    let mut order: Vec<usize> = (0..files.len()).collect();
    // Fisher and Yates. Written out, so that no library's next version reorders a run that is to be resumed.
    for last in (1..order.len()).rev() {
        order.swap(last, below(&mut random, last as u64 + 1) as usize);
    }
    order
}

/// A uniform number below `bound`, which is not 0 (Lemire 2019, "Fast random integer generation in an interval").
pub(crate) fn below(random: &mut impl RngCore, bound: u64) -> u64 {
    let reject = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        if product as u64 >= reject {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    fn names(folder: &Path, patterns: &[&str]) -> Result<Vec<String>, String> {
        let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
        let files = expand(&patterns, folder).map_err(|e| e.to_string())?;
        Ok(files.iter().map(|f| f.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn paths_globs_and_lists_keep_their_order() {
        let folder = folder(&["b2", "b10", "b1", "a", "sub/c", "sub/deep/d", "odd[1]"]);
        let at = folder.path();
        assert_eq!(names(at, &["sub/c", "b*", "a"]).unwrap(), ["sub/c", "b1", "b10", "b2", "a"]);
        assert_eq!(names(at, &["**/[cd]"]).unwrap(), ["sub/c", "sub/deep/d"]);
        assert_eq!(names(at, &["sub/*"]).unwrap(), ["sub/c"], "folders are left out");
        assert_eq!(names(at, &["odd[1]"]).unwrap(), ["odd[1]"], "an existing path is no glob");
        fs::write(at.join("sub/list"), "# shards\nc\n\n  deep/d  \n../a\n").unwrap();
        assert_eq!(names(at, &["b1", "@sub/list"]).unwrap(), ["b1", "sub/c", "sub/deep/d", "sub/../a"]);
        let absolute = at.join("b?").to_str().unwrap().to_owned();
        assert_eq!(expand(&[absolute], Path::new("elsewhere")).unwrap(), [at.join("b1"), at.join("b2")]);
    }

    #[test]
    fn a_folder_with_pattern_characters_is_taken_literally() {
        let folder = folder(&["run[1]/a", "run1/a"]);
        assert_eq!(names(&folder.path().join("run[1]"), &["*"]).unwrap(), ["a"]);
    }

    #[test]
    fn errors_name_the_pattern() {
        let folder = folder(&["a", "sub/c", "empty"]);
        let at = folder.path();
        fs::write(at.join("empty"), "# none\n").unwrap();
        fs::write(at.join("gone"), "nowhere\n").unwrap();
        for (patterns, expected) in [
            (&["z*"][..], "no file matches "),
            (&["missing"], "missing (named by \"missing\"): "),
            (&["sub"], "is not a file"),
            (&["sub/"], "is not a file"),
            (&["[a"], "\"[a\" is not a valid pattern"),
            (&["@empty"], "names no file"),
            (&["@gone"], "nowhere (named by \"@gone\"): "),
            (&["@nolist"], "nolist (named by \"@nolist\"): "),
            (&["a", "?"], "is named twice: by \"a\" and by \"?\""),
            (&[], "no files are named"),
        ] {
            let error = names(at, patterns).unwrap_err();
            assert!(error.contains(expected), "{patterns:?}: {error}");
        }
    }

    #[test]
    fn an_epoch_order_is_a_permutation_that_seed_and_epoch_decide() {
        let files = [(); 50];
        let order = shuffled(&files, 7, 3);
        assert_eq!(order, shuffled(&files, 7, 3));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        for other in [shuffled(&files, 7, 4), shuffled(&files, 8, 3), shuffled(&files, 3, 7)] {
            assert_ne!(order, other);
        }
        assert!(shuffled::<()>(&[], 1, 1).is_empty());
    }

    #[test]
    fn every_permutation_of_four_is_about_equally_likely() {
        let mut counts = BTreeMap::new();
        for epoch in 0..24_000 {
            *counts.entry(shuffled(&[(); 4], 1, epoch)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected, standard deviation 31.
        assert!(counts.values().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
