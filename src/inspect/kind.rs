//! The kind of a file, which its first bytes tell.

use std::io::Read;
use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::import::Format;
use framewise_stages::io;
use framewise_stages::io::content::Content;
use framewise_stages::read_failure;
use framewise_stages::tfrecord::{ReaderOptions, RecordReader};

/// The number of bytes that are looked at.
const HEAD: u64 = 4096;

/// The kinds of files that can be described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TFRecord file, plain or compressed. A file of no other kind counts as one too, so that framing refuses it.
    Records,
    /// A `.safetensors` file, a checkpoint or a run directory.
    Weights,
    /// A file with arrays of another system, which `framewise import` reads.
    Foreign,
    /// A text: a graph or a configuration.
    Settings,
}

impl Kind {
    /// Finds the kind of a file.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let (kind, length) = io::kind_and_length(path).map_err(|e| read_failure(path, &e))?;
        if kind == io::Kind::Directory {
            return Ok(Kind::Weights);
        }
        if kind != io::Kind::File {
            // A description reads the file more than once, and a pipe without a writer never ends.
            return Err(Failure::data(format!(
                "{}: a stream (a pipe or a device), which can be read only once; store its bytes in a file and inspect that",
                path.display()
            )));
        }
        let mut head = Vec::new();
        let file = io::open(path).map_err(|e| read_failure(path, &e))?.reader;
        file.take(HEAD).read_to_end(&mut head).map_err(|e| read_failure(path, &e))?;
        // A file of tensors that was cut short is described as one, so that its damage is named.
        let is_cut = || Content::of(&head) == Some(Content::Safetensors) && !has_record(path);
        Ok(if is_safetensors(&head, length) || is_cut() {
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

/// Whether the bytes begin with the length of a JSON header as u64, and then the header.
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
        // The last character may have been cut in two.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
