//! The files that a run reads, and the order in which it reads them.
//!
//! Laws: the list is a pure function of the patterns and the folder. The order of an epoch is a pure function of the
//! number of files, the seed and the epoch. No hash order, no clock and no order of directory entries enters. A pattern
//! that names nothing is an error.

mod error;
mod file_list;
mod recursive;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use framewise_pipeline::is_glob;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

pub use error::{FilesError, Name, NamedBy};

use super::input::{Kind, kind_and_length};
use crate::random::below;

/// The files that `patterns` name, in the order of the patterns.
///
/// A pattern is one of three things:
///
/// - a path;
/// - a glob (`*`, `?`, `[…]`), whose files are sorted by path. `**` stands for any number of folders, links to folders
///   included, except a link that leads back to a folder that it lies in;
/// - `@list`, a text file with a path or a glob on each line. In it, paths are relative to the list, empty lines and
///   lines that start with `#` are skipped, and `~/` is the home directory.
///
/// Relative paths outside of lists start at `base_dir`. A path that exists is never taken as a glob.
///
/// # Errors
/// [`FilesError`] names the pattern, or the line of the list. Such a pattern is malformed, matches nothing, is an
/// address, or names something that is missing, is not a file, or was already named. The earlier name may be another
/// path of the same file.
pub fn expand(patterns: &[String], base_dir: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let mut found = look_up(patterns, base_dir);
    match found.problems.is_empty() {
        true => Ok(found.files.into_iter().map(|file| file.path).collect()),
        false => Err(found.problems.swap_remove(0).1),
    }
}

/// What patterns name, as far as it is there, and everything that is wrong with them.
#[derive(Debug, Default)]
pub struct Found {
    /// The files, in the order of the patterns.
    pub files: Vec<FoundFile>,
    /// The problems, in the order of the patterns. Each comes with the index of its pattern.
    pub problems: Vec<(usize, FilesError)>,
}

/// A file that a pattern names.
#[derive(Debug)]
pub struct FoundFile {
    /// The path.
    pub path: PathBuf,
    /// The index of the pattern.
    pub pattern: usize,
    /// What is there.
    pub kind: Kind,
    /// The length in bytes of a regular file; 0 for a stream.
    pub length: u64,
}

/// Looks up the files that `patterns` name, as [`expand`] does, and goes on behind a problem. Nothing is opened except
/// lists.
pub fn look_up(patterns: &[String], base_dir: &Path) -> Found {
    let mut files = Files::default();
    for (index, pattern) in patterns.iter().enumerate() {
        files.pattern = index;
        let Some(list) = pattern.strip_prefix('@') else {
            files.add(pattern, base_dir, &NamedBy::Pattern(pattern.clone()));
            continue;
        };
        let list = base_dir.join(list);
        match file_list::read(&list) {
            Ok(lines) if lines.is_empty() => {
                files.problem(FilesError::EmptyList { pattern: pattern.clone(), list });
            }
            Ok(lines) => {
                let folder = list.parent().unwrap_or(Path::new(""));
                for line in lines {
                    let by = NamedBy::Line { list: list.clone(), line: line.number };
                    files.add(&line.text, folder, &by);
                }
            }
            Err(source) => {
                let by = NamedBy::Pattern(pattern.clone());
                files.problem(FilesError::Unreadable { by, path: list, source });
            }
        }
    }
    if patterns.is_empty() {
        files.problem(FilesError::NoPatterns);
    }
    files.found
}

/// The files found so far.
#[derive(Default)]
struct Files {
    found: Found,
    /// The index of the pattern that is being looked up.
    pattern: usize,
    /// The name of each file by its path without links.
    real: BTreeMap<PathBuf, Name>,
}

impl Files {
    /// Adds what a path or a glob names.
    fn add(&mut self, text: &str, base: &Path, by: &NamedBy) {
        // An address is not a path below the folder. Opening it fails with the reason.
        let is_address = super::place::local(Path::new(text)).is_err();
        let path = if is_address { PathBuf::from(text) } else { base.join(text) };
        if is_glob(text) && !is_address && !path.exists() {
            match matches(text, base, by) {
                Ok(paths) => paths.into_iter().for_each(|path| self.add_path(path, by)),
                Err(problem) => self.problem(problem),
            }
        } else {
            self.add_path(path, by);
        }
    }

    fn add_path(&mut self, path: PathBuf, by: &NamedBy) {
        let (kind, length) = match kind_and_length(&path) {
            Ok((Kind::Directory, _)) => return self.problem(FilesError::NotAFile { by: by.clone(), path }),
            Ok(found) => found,
            Err(source) => return self.problem(FilesError::Unreadable { by: by.clone(), path, source }),
        };
        // A pipe has no path of its own, so `/dev/fd/3` does not lead to a path.
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let name = Name { by: by.clone(), path: path.clone() };
        if let Some(first) = self.real.insert(real.clone(), name.clone()) {
            return self.problem(FilesError::Twice { path: real, names: Box::new([first, name]) });
        }
        self.found.files.push(FoundFile { path, pattern: self.pattern, kind, length });
    }

    fn problem(&mut self, problem: FilesError) {
        self.found.problems.push((self.pattern, problem));
    }
}

fn matches(pattern: &str, base_dir: &Path, by: &NamedBy) -> Result<Vec<PathBuf>, FilesError> {
    let base = base_dir
        .to_str()
        .ok_or_else(|| FilesError::NotUtf8 { pattern: pattern.to_owned(), base: base_dir.to_owned() })?;
    // An absolute pattern replaces the folder, as `join` does with paths.
    let whole = Path::new(&glob::Pattern::escape(base)).join(pattern);
    let whole = whole.to_string_lossy();
    if pattern.contains("**") {
        return sorted(recursive::matches(pattern, &whole, base_dir, by)?, pattern, base_dir, by);
    }
    let paths = glob::glob(&whole).map_err(|source| FilesError::BadPattern {
        pattern: pattern.to_owned(),
        by: by.clone(),
        source,
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| FilesError::Unreadable {
            by: by.clone(),
            path: error.path().to_owned(),
            source: error.into(),
        })?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    sorted(files, pattern, base_dir, by)
}

/// The files that a glob matches, sorted by path.
fn sorted(
    mut files: Vec<PathBuf>,
    pattern: &str,
    base_dir: &Path,
    by: &NamedBy,
) -> Result<Vec<PathBuf>, FilesError> {
    files.sort();
    if files.is_empty() {
        let (pattern, base) = (pattern.to_owned(), base_dir.to_owned());
        return Err(FilesError::NoMatch { pattern, by: by.clone(), base });
    }
    Ok(files)
}

/// The order in which `epoch` reads `files`, as a permutation of their indices. It is a pure function of the number of
/// files, the seed and the epoch.
pub fn shuffled<T>(files: &[T], seed: u64, epoch: u64) -> Vec<usize> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..26].copy_from_slice(b"file order");
    let mut random = ChaCha8Rng::from_seed(key);
    let mut order: Vec<usize> = (0..files.len()).collect();
    // This is the shuffle of Fisher and Yates. It is written out here, so that no later version of a library reorders a
    // run that is to be resumed.
    for last in (1..order.len()).rev() {
        order.swap(last, below(&mut random, last as u64 + 1) as usize);
    }
    order
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
    fn a_list_may_come_from_another_system_and_hold_patterns() {
        let folder = folder(&["data/b1", "data/b2", "data/c", "lists/x"]);
        let at = folder.path();
        let list = "\u{feff}# shards\r\n\r\n../data/b*\r\n  ../data/c \r\n";
        fs::write(at.join("lists/all.txt"), list).unwrap();
        assert_eq!(
            names(at, &["@lists/all.txt"]).unwrap(),
            ["lists/../data/b1", "lists/../data/b2", "lists/../data/c"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_two_paths_lead_to_is_found_and_both_are_told() {
        let folder = folder(&["a", "sub/b"]);
        let at = folder.path();
        std::os::unix::fs::symlink("a", at.join("link")).unwrap();
        std::os::unix::fs::symlink("sub", at.join("folder")).unwrap();
        fs::write(at.join("list"), "# one\nsub/../a\n").unwrap();
        for (patterns, first, second) in [
            (["a", "sub/../a"], "by \"a\"", "by \"sub/../a\""),
            (["a", "link"], "by \"a\"", "by \"link\""),
            (["sub/b", "folder/*"], "by \"sub/b\"", "by \"folder/*\""),
            (["link", "@list"], "by \"link\"", &*format!("by line 2 of {}", at.join("list").display())),
        ] {
            let error = names(at, &patterns).unwrap_err();
            assert!(error.contains("is named twice") && error.contains("are one file"), "{error}");
            assert!(error.contains(first) && error.contains(second), "{error}");
        }
        // Two files with the same content count as two files.
        fs::write(at.join("copy"), "a").unwrap();
        assert_eq!(names(at, &["a", "copy"]).unwrap(), ["a", "copy"]);
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
        fs::write(at.join("unmatched"), "a\n\nq*\n").unwrap();
        fs::write(at.join("address"), "s3://bucket/a\n").unwrap();
        for (patterns, expected) in [
            (&["z*"][..], "no file matches "),
            (&["missing"], "missing (named by \"missing\"): "),
            (&["sub"], "is not a file"),
            (&["sub/"], "is not a file"),
            (&["[a"], "\"[a\" is not a valid pattern"),
            (&["@empty"], "names no file"),
            (&["@gone"], &*format!("nowhere (named by line 1 of {}): ", at.join("gone").display())),
            (&["@unmatched"], &*format!("no file matches {}", at.join("q*").display())),
            (&["@unmatched"], "(named by line 3 of "),
            (&["@address"], "s3://bucket/a (named by line 1 of "),
            (&["@address"], "no `s3://` addresses"),
            (&["gs://bucket/*.tfrecord"], "gs://bucket/*.tfrecord: this build reads and writes local files"),
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
        // 1000 are expected, with a standard deviation of 31.
        assert!(counts.values().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_back_are_not_followed() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir_all(at.join("a/deep")).unwrap();
        for name in ["top.t", "a/one.t", "a/deep/two.t", "a/deep/other"] {
            fs::write(at.join(name), name).unwrap();
        }
        // Two such links in each folder would give a number of paths that doubles with each level.
        for (target, link) in [
            (".", "loop"),
            (".", "again"),
            ("..", "a/up"),
            ("../..", "a/deep/top"),
            ("../../a", "a/deep/a"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, at.join(link)).unwrap();
        }
        let names = |pattern: &str| {
            let files = expand(&[pattern.to_owned()], at).map_err(|error| error.to_string())?;
            Ok(files.iter().map(|f| f.strip_prefix(at).unwrap().display().to_string()).collect::<Vec<_>>())
        };
        let all = ["a/deep/two.t", "a/one.t", "top.t"].map(str::to_owned).to_vec();
        assert_eq!(names("**/*.t"), Ok::<_, String>(all));
        assert_eq!(names("a/**/*.t").unwrap(), ["a/deep/two.t", "a/one.t"]);
        assert_eq!(names("./a/*/**/t*").unwrap(), ["a/deep/two.t"]);
        assert_eq!(names("a/**").unwrap(), ["a/deep/other", "a/deep/two.t", "a/one.t"]);
        assert!(names("**/*.x").unwrap_err().contains("no file matches"));
        assert!(names("elsewhere/**/*.t").unwrap_err().contains("no file matches"));
        assert!(names("**/dang*").unwrap_err().contains("dangling"));
        assert!(names("a**/x").unwrap_err().contains("is not a valid pattern"));
        // A link to a folder elsewhere is followed.
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("three.t"), "").unwrap();
        symlink(elsewhere.path(), at.join("a/linked")).unwrap();
        assert_eq!(names("**/three.t").unwrap(), ["a/linked/three.t"]);
        // A file that is reached by two links is named twice.
        symlink(elsewhere.path(), at.join("linked")).unwrap();
        assert!(names("**/three.t").unwrap_err().contains("are one file"));
    }
}
