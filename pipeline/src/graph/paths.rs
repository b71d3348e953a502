//! Paths that users write, made absolute without looking at the file system.
//!
//! Law: `.` and `..` are removed by their letters, symbolic links are not followed, and addresses
//! (`s3://…`) stay as they are.

use std::path::{Component, Path, PathBuf};

/// `path` below `base`, without `.` and `..`.
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

/// Whether a text is an address such as `s3://bucket/key`.
pub(crate) fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// A path as users write it, made absolute. `None` when the directory it is relative to is not UTF-8.
pub(crate) fn absolute(base: &Path, text: &str) -> Option<String> {
    if is_address(text) {
        return Some(text.to_owned());
    }
    normal(base, Path::new(text)).into_os_string().into_string().ok()
}

/// As [`absolute`] for an entry of a list of files: a path, a glob, or `@` and the path of a list.
pub(crate) fn absolute_entry(base: &Path, text: &str) -> Option<String> {
    match text.strip_prefix('@') {
        Some(list) => absolute(base, list).map(|path| format!("@{path}")),
        None => absolute(base, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
