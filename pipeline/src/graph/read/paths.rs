//! Paths that users write, made absolute without looking at the file system.
//!
//! Only [`real_path`] looks at the file system. It serves to tell whether two paths lead to one file.
//!
//! Law: `.` and `..` are removed by their letters, symbolic links are not followed, and addresses
//! (`s3://…`) stay as they are.

use std::path::{Component, Path, PathBuf};

/// Resolves `path` against `base` and removes `.` and `..`.
pub(crate) fn normal(base: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir | Component::Prefix(_)) => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// Follows all symbolic links of an absolute path, as far as the path exists. The rest of the path stays as it is
/// written.
pub fn real_path(path: &Path) -> PathBuf {
    let real =
        |there: &Path| Some(normal(&std::fs::canonicalize(there).ok()?, path.strip_prefix(there).ok()?));
    path.ancestors().find_map(real).unwrap_or_else(|| path.to_owned())
}

/// The scheme of an address such as `s3://bucket/key`. It is `None` for a path.
pub fn address_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some(scheme)
}

/// Makes a path absolute as users write it. Returns `None` when the directory to which it is relative is not UTF-8.
pub(crate) fn absolute(base: &Path, text: &str) -> Option<String> {
    if address_scheme(text).is_some() {
        return Some(text.to_owned());
    }
    normal(base, Path::new(text)).into_os_string().into_string().ok()
}

/// Makes an entry of a list of files absolute, as [`absolute`] does. The entry is a path, a glob, or `@` and the path
/// of a list.
pub(crate) fn absolute_entry(base: &Path, text: &str) -> Option<String> {
    match text.strip_prefix('@') {
        Some(list) => absolute(base, list).map(|path| format!("@{path}")),
        None => absolute(base, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_real_path_has_no_links_and_no_dots() {
        let folder = tempfile::tempdir().expect("a directory");
        let at = |name: &str| folder.path().join(name);
        let real = |name: &str| std::fs::canonicalize(folder.path()).expect("it is there").join(name);
        std::fs::create_dir_all(at("a/b")).expect("a directory");
        std::os::unix::fs::symlink("a/b", at("link")).expect("a link");
        for (path, wanted) in [
            ("a/b", "a/b"),
            ("link", "a/b"),
            ("link/new/file", "a/b/new/file"),
            // `..` behind a link leads through the link, as in the operating system.
            ("link/../c", "a/c"),
            ("none/../x", "x"),
            ("a/./new", "a/new"),
        ] {
            assert_eq!(real_path(&at(path)), real(wanted), "{path}");
        }
        assert_eq!(real_path(Path::new("/none/a/../../x")), Path::new("/x"));
    }

    #[test]
    fn by_letters() {
        let base = Path::new("/data/graphs");
        let cases = [
            ("a.toml", "/data/graphs/a.toml"),
            ("./x/../a", "/data/graphs/a"),
            ("../../../../a", "/a"),
            ("/b//c/.", "/b/c"),
            ("train*.tfrecord", "/data/graphs/train*.tfrecord"),
            ("s3://bucket/../key", "s3://bucket/../key"),
        ];
        for (written, wanted) in cases {
            assert_eq!(absolute(base, written).as_deref(), Some(wanted));
        }
        assert_eq!(absolute_entry(base, "@../list.txt").as_deref(), Some("@/data/list.txt"));
        assert_eq!(absolute_entry(base, "@https://x/y").as_deref(), Some("@https://x/y"));
        assert_eq!(normal(Path::new("graphs"), Path::new("../configs/m.toml")), Path::new("configs/m.toml"));
        assert_eq!(normal(Path::new(""), Path::new("../x")), Path::new("../x"));
        assert_eq!(normal(Path::new(""), Path::new("a/..")), Path::new("."));
    }
}
