//! What a file is, told by its first bytes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::import::Format;
use framewise_stages::tfrecord::{ReaderOptions, RecordReader};

use super::read_failure;

/// Bytes that are looked at.
const HEAD: u64 = 4096;

/// The kinds of files that can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TFRecord, plain or compressed; also what is nothing else, for framing to refuse.
    Records,
    /// A `.safetensors` file, a checkpoint or a run directory.
    Weights,
    /// Arrays of another system, which `framewise import` reads.
    Foreign,
    /// A text: a graph or a configuration.
    Settings,
}

impl Kind {
    /// Looks at the file.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let metadata = fs::metadata(path).map_err(|e| read_failure(path, &e))?;
        if metadata.is_dir() {
            return Ok(Kind::Weights);
        }
        let mut head = Vec::new();
        let file = File::open(path).map_err(|e| read_failure(path, &e))?;
        file.take(HEAD).read_to_end(&mut head).map_err(|e| read_failure(path, &e))?;
        Ok(if is_safetensors(&head, metadata.len()) {
            Kind::Weights
        } else if matches!(Format::of(&head), Some(Format::Pickle | Format::Npz)) && !has_record(path) {
            Kind::Foreign
        } else if !has_record(path) && is_text(&head) {
            Kind::Settings
        } else {
            Kind::Records
        })
    }
}

/// Length of the JSON header as u64, then the header.
fn is_safetensors(head: &[u8], length: u64) -> bool {
    let Some((size, rest)) = head.split_first_chunk::<8>() else { return false };
    let size = u64::from_le_bytes(*size);
    rest.first() == Some(&b'{') && size.checked_add(8).is_some_and(|end| end <= length)
}

fn has_record(path: &Path) -> bool {
    let reader = RecordReader::open(path, ReaderOptions::default());
    reader.is_ok_and(|mut reader| reader.skip(1).is_ok_and(|skipped| skipped == 1))
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut in two.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let golden = root.join("tests/data/golden/tfrecord");
        let kind = |path: &Path| Kind::of(path).unwrap();
        for name in [
            "plain.tfrecord",
            "gzip.tfrecord.gz",
            "zlib.tfrecord.z",
            "empty.tfrecord",
            "bad_length_crc.tfrecord",
        ] {
            assert_eq!(kind(&golden.join(name)), Kind::Records, "{name}");
        }
        assert_eq!(kind(&root.join("Cargo.toml")), Kind::Settings);
        assert_eq!(kind(&golden), Kind::Weights);
        assert_eq!(kind(&root.join("tests/data/import/arrays.npz")), Kind::Foreign);
        for protocol in [2, 3, 4, 5] {
            let name = format!("tests/data/import/arrays_protocol{protocol}.pickle");
            assert_eq!(kind(&root.join(name)), Kind::Foreign, "{protocol}");
        }
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data.tfrecord");
        fs::write(&path, [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
        assert_eq!(kind(&path), Kind::Weights);
        assert_eq!(Kind::of(&temp.path().join("no")).unwrap_err().kind.exit_code(), 66);
    }

    #[test]
    fn text_is_text() {
        assert!(is_text("[graph]\nname = \"é\"\n".as_bytes()));
        assert!(is_text(&"é".as_bytes()[..1]) || "é".len() == 2);
        assert!(!is_text(b"a\0b"));
        assert!(!is_text(b""));
        assert!(!is_text(&[0xff, 0xfe]));
    }
}
