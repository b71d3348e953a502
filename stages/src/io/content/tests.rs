//! Laws: every kind of file is recognised by its mark. A file without a mark is not taken for any kind.

use std::io::Write;

use super::*;
use crate::payload::{Example, Origin, Rows, VideoExample};
use crate::tfrecord::{Compression, Packing, RecordWriter, encode_frames, encode_video};

/// A frame-level video of these many bytes of features, as a record's payload.
fn frames(size: usize) -> Vec<u8> {
    let origin = Origin { file: Path::new("").into(), record: 0, byte: 0 };
    let [rgb, audio] = [7, 9].map(|byte| Rows::packed(vec![byte; 3 * size], 3));
    encode_frames(&Example { id: "a".into(), labels: vec![3], frames: 3, rgb, audio, origin })
}

fn means(size: usize) -> Vec<u8> {
    let origin = Origin { file: Path::new("").into(), record: 0, byte: 0 };
    let (mean_rgb, mean_audio) = (vec![0.5; size], vec![0.25; size]);
    encode_video(&VideoExample { id: "a".into(), labels: vec![3], mean_rgb, mean_audio, origin })
}

/// The first bytes, as a reader takes them.
fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(HEAD_BYTES)]
}

fn archive(entry: &str) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file(entry, options).unwrap();
    zip.write_all(b"content").unwrap();
    zip.finish().unwrap().into_inner()
}

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn every_kind_is_told_by_its_mark() {
    let mut records = Vec::new();
    let mut writer = RecordWriter::new("memory", &mut records, Compression::None);
    writer.write(&frames(16)).unwrap();
    writer.finish().unwrap();
    let mut tar = vec![0; 1024];
    tar[..9].copy_from_slice(b"train.csv");
    tar[257..265].copy_from_slice(b"ustar\0\x30\x30");
    let tensors = [&16_u64.to_le_bytes()[..], b"{\"__metadata__\":{", b"}}"].concat();
    let (long_frames, long_means) = (frames(6000), means(6000));
    let cases: [(&[u8], Content); 38] = [
        (&records, Content::Records),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", Content::Packed(Packing::Gzip)),
        (b"\x78\x9c\x01", Content::Packed(Packing::Zlib)),
        (b"\x28\xb5\x2f\xfd\x24", Content::Packed(Packing::Zstd)),
        (b"BZh91AY&SY\x01", Content::Bzip2),
        (b"\xfd7zXZ\0\0\x04", Content::Xz),
        (b"\x04\x22\x4d\x18\x64", Content::Lz4),
        (b"7z\xbc\xaf\x27\x1c\0\x04", Content::SevenZip),
        (&archive("notes.txt"), Content::Zip),
        (b"PK\x05\x06\0\0\0\0\0\0", Content::Zip),
        (&archive("fc.weight.npy"), Content::Npz),
        (&archive("model/data.pkl"), Content::PyTorch),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", Content::PyTorch),
        (b"\x80\x04\x95\x10\0\0\0", Content::Pickle),
        (b"\x80\x02}q\0", Content::Pickle),
        (b"\x93NUMPY\x01\0v\0", Content::Npy),
        (&tensors, Content::Safetensors),
        (b"\x89HDF\r\n\x1a\n\0", Content::Hdf5),
        (b"PAR1\x15", Content::Parquet),
        (&tar, Content::Tar),
        (&frames(16), Content::SequenceExample),
        // The map of lists, or the map of features, is longer than what is looked at.
        (head(&long_frames), Content::SequenceExample),
        (&means(4), Content::Example),
        (head(&long_means), Content::Example),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n", Content::LfsPointer),
        (&utf16("id,labels\nab,3\n", true), Content::Utf16),
        (&utf16("id,labels\nab,3\n", false), Content::Utf16),
        (b"\n<!doctype HTML>\n<html>", Content::Html),
        (b"<html lang=\"en\">", Content::Html),
        (b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", Content::Xml),
        (b"{\n  \"id\": 3\n}", Content::Json),
        (b"[{\"id\": 3}]", Content::Json),
        (b"# lists\ntrain/a.tfrecord\ntrain/b.tfrecord\n", Content::FileList),
        (b"id,label\nab,3\ncd,4\nef", Content::Table),
        (b"id\tlabel\nab\t3\n", Content::Table),
        (b"\xef\xbb\xbfid;label\r\nab;3\r\n", Content::Table),
        (b"[stages.videos]\nfiles = [\"a\"]\n", Content::Text),
        ("C\u{2019}est".as_bytes(), Content::Text),
    ];
    for (bytes, kind) in cases {
        assert_eq!(Content::of(bytes), Some(kind), "{}", begins_with(bytes));
        assert!(!kind.what().is_empty());
    }
}

#[test]
fn a_good_length_comes_before_every_mark() {
    // Lengths whose eight bytes begin like a GZIP, a bzip2 and a JSON file.
    for length in [0x0008_8b1f_u64, 0x3168_5a42, 0x227b] {
        let mut writer = Vec::new();
        writer.extend(length.to_le_bytes());
        writer.extend(framing::masked_crc(&length.to_le_bytes()).to_le_bytes());
        assert_eq!(Content::of(&writer), Some(Content::Records));
        writer[11] ^= 1;
        assert_ne!(Content::of(&writer), Some(Content::Records));
    }
}

#[test]
fn other_bytes_have_no_kind_and_are_shown() {
    for bytes in
        [&b""[..], b"\0", b"\x89PNG\r\n\x1a\n\0\0", b"\x0a\xff\xff", b"\x0a\x04\x0a\x02\x0a\x00", &[0; 600]]
    {
        assert_eq!(Content::of(bytes), None, "{}", begins_with(bytes));
    }
    assert_eq!(begins_with(b"\x00a\"z"), "it begins with the bytes 00 61 22 7a (\".a\\\"z\" as text)");
}

#[test]
fn the_first_bytes_of_a_file_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.tfrecord");
    std::fs::write(&path, "id,label\n".repeat(10_000)).unwrap();
    assert_eq!(Content::of_file(&path).unwrap(), Some(Content::Table));
    assert_eq!(Content::of_file(folder.path()).unwrap(), None);
    assert!(Content::of_file(&folder.path().join("no")).is_err());
}
