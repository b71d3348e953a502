//! Directories that are written to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::local;
use super::target::{follow, in_words};

/// Makes a directory and those above it, and returns those that were not there, innermost first. Symbolic links are
/// followed. For a link to nothing, the directory that it names is made.
///
/// # Errors
/// A directory cannot be made, what is there is not a directory, or the path is an address.
pub fn create_directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let path = follow(local(path)?)?;
    match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_dir() => {
            let what = in_words(metadata.file_type());
            return Err(io::Error::other(format!("what is there is {what}, not a directory")));
        }
        _ => {}
    }
    let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
    let missing = missing.map(Path::to_owned).collect();
    fs::create_dir_all(&path)?;
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missing_is_made_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(create_directories(&at("a/b/c")).unwrap(), [at("a/b/c"), at("a/b"), at("a")]);
        assert_eq!(create_directories(&at("a/b/d")).unwrap(), [at("a/b/d")]);
        assert_eq!(create_directories(&at("a/b")).unwrap(), [] as [PathBuf; 0]);
        fs::write(at("file"), "mine").unwrap();
        let error = create_directories(&at("file")).unwrap_err().to_string();
        assert_eq!(error, "what is there is a file, not a directory");
        create_directories(&at("file/below")).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_whether_the_directory_is_there_or_not() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("there")).unwrap();
        symlink("there", at("link")).unwrap();
        symlink("new/deep", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        assert_eq!(create_directories(&at("link")).unwrap(), [] as [PathBuf; 0]);
        assert_eq!(create_directories(&at("dangling")).unwrap(), [at("new/deep"), at("new")]);
        assert!(at("new/deep").is_dir() && at("dangling").symlink_metadata().unwrap().is_symlink());
        assert!(create_directories(&at("circle")).unwrap_err().to_string().contains("in a circle"));
    }
}
