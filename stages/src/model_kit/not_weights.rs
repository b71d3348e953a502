//! The errors for files of another kind where weights were expected.

use std::path::Path;

use framewise_pipeline::Failure;

use crate::io::content::{self, Content};

/// Refuses a file that is neither a weights file nor anything that `framewise import` reads, and says what it is.
///
/// A directory, and a path that cannot be looked at, are left to the reader of weights.
///
/// # Errors
/// `Data` (65) with the kind of the file and what to do with it.
pub(crate) fn refuse(path: &Path) -> Result<(), Failure> {
    if !path.is_file() {
        return Ok(());
    }
    let Ok(head) = content::read_head(path) else { return Ok(()) };
    let why = match Content::of(&head) {
        Some(Content::Safetensors | Content::Pickle | Content::Npz) => return Ok(()),
        Some(other) => match other.advice_for_weights() {
            Some(advice) => format!("{}, not weights; {advice}", other.what()),
            None => format!("{}, not weights", other.what()),
        },
        None if head.is_empty() => "an empty file, not weights".to_owned(),
        None => format!("not a file of weights (safetensors); {}", content::begins_with(&head)),
    };
    Err(Failure::data(format!("{}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_told_for_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let told = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = refuse(&path).unwrap_err();
            assert_eq!(error.kind.exit_code(), 65);
            error.to_string().strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
        };
        // The old form of `torch.save`.
        assert_eq!(
            told(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."),
            "a PyTorch checkpoint (.pt), not weights; save its state_dict with safetensors.torch.save_file, and \
             `framewise import` reads that file"
        );
        assert_eq!(told(b"learning rate 0.1\n"), "a text, not weights");
        assert_eq!(told(b""), "an empty file, not weights");
        let unknown = told(b"\x01\x02\x03");
        assert!(unknown.ends_with("it begins with the bytes 01 02 03 (\"...\" as text)"), "{unknown}");
        let mut writer =
            crate::tfrecord::RecordWriter::new("memory", Vec::new(), crate::tfrecord::Compression::None);
        writer.write(b"payload").unwrap();
        let records = writer.finish().unwrap();
        assert_eq!(
            told(&records),
            "a TFRecord file, not weights; records of videos are read by the stage type tfrecord_reader"
        );
        for good in [&b"\x02\0\0\0\0\0\0\0{}"[..], b"\x80\x02}q\0"] {
            std::fs::write(&path, good).unwrap();
            refuse(&path).unwrap();
        }
        refuse(folder.path()).unwrap();
        refuse(&folder.path().join("nothing")).unwrap();
    }
}
