//! Places: a path names a local file, or an address that needs a reader of its own.

use std::io;
use std::path::Path;

use framewise_pipeline::graph::address_scheme;

/// The path itself, if it names something local.
///
/// # Errors
/// `Unsupported` for an address such as `s3://bucket/key`, because this build reads and writes only local files.
pub(super) fn local(path: &Path) -> io::Result<&Path> {
    match path.to_str().and_then(address_scheme) {
        None => Ok(path),
        Some(scheme) => {
            let why = format!("this build reads and writes local files, and no `{scheme}://` addresses");
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        for path in ["a", "/a/b", "s3:/bucket", "c:\\x", "a/b://c", "://x", "3s://x", "@s3://x"] {
            assert_eq!(local(Path::new(path)).unwrap(), Path::new(path));
        }
        for (path, scheme) in [("s3://bucket/key", "s3"), ("gs://b", "gs"), ("https://host/a", "https")] {
            let error = local(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().contains(&format!("`{scheme}://`")), "{error}");
        }
    }
}
