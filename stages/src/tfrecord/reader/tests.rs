//! Tests of the reader with whole, cut and damaged files, and of passing over records.

use std::io::{Cursor, Write};

use super::*;
use crate::tfrecord::{Compression, RecordWriter};

fn file(payloads: &[&[u8]]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RecordWriter::create(folder.path().join("file"), Compression::None).unwrap();
    payloads.iter().for_each(|payload| writer.write(payload).unwrap());
    let path = writer.path().to_owned();
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame with a checksum of its content.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Payloads as text, and the errors after the name.
fn read(bytes: Vec<u8>, options: ReaderOptions) -> Vec<String> {
    let mut reader = RecordReader::over("t", Cursor::new(bytes), options).unwrap();
    std::iter::from_fn(|| reader.next())
        .map(|item| match item {
            Ok(record) => String::from_utf8(record.data.to_vec()).unwrap(),
            Err(error) => error.to_string(),
        })
        .collect()
}

fn default(bytes: Vec<u8>) -> Vec<String> {
    read(bytes, ReaderOptions::default())
}

#[test]
fn gzip_members_are_one_stream() {
    let whole = file(&[b"one", b"two", b""]);
    let members = [gzip(&whole[..20]), gzip(&whole[20..])].concat();
    assert_eq!(default(members), ["one", "two", ""]);
}

#[test]
fn a_damaged_stream_ends_the_file_where_it_is_damaged() {
    let mut packed = gzip(&file(&[b"one", b"two"]));
    let end = packed.len();
    packed[end - 8] ^= 1; // GZIP's own CRC of the contents
    let read = default(packed);
    assert_eq!(read[..2], ["one", "two"]);
    assert!(
        read[2].starts_with("t: record 2 at byte 38: truncated: the gzip stream is damaged: "),
        "{read:?}"
    );
    assert_eq!(read.len(), 3);
    let read = default(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x07 is no kind of block".to_vec());
    assert!(read[0].starts_with("t: record 0 at byte 0: not a TFRecord file: the gzip stream"), "{read:?}");
    let read = default(b"x^7 + 1 is no zlib stream".to_vec());
    assert!(read[0].starts_with("t: record 0 at byte 0: not a TFRecord file: the zlib stream"), "{read:?}");
}

#[test]
fn every_cut_is_told_from_a_whole_file() {
    let whole = file(&[b"one", b"three"]);
    let ends = [0, 12 + 3 + 4, whole.len()];
    for cut in 0..=whole.len() {
        let read = default(whole[..cut].to_vec());
        let good = ends.iter().filter(|&&end| end <= cut).count() - 1;
        assert_eq!(read[..good], ["one", "three"][..good]);
        match ends.contains(&cut) {
            true => assert_eq!(read.len(), good),
            false => {
                let place =
                    format!("t: record {good} at byte {}: truncated: the file ends after", ends[good]);
                assert!(read[good].starts_with(&place), "{cut}: {read:?}");
                assert_eq!(read.len(), good + 1);
            }
        }
    }
}

#[test]
fn a_record_longer_than_allowed_is_left_out_alone() {
    let options = ReaderOptions { max_record_bytes: 4, ..ReaderOptions::default() };
    let whole = file(&[b"four", b"fiver", b"x"]);
    let told = "t: record 1 at byte 20: the record has 5 bytes; max_record_bytes allows 4";
    for bytes in [whole.clone(), gzip(&whole), zstd(&whole)] {
        assert_eq!(read(bytes.clone(), options.clone()), ["four", told, "x"]);
        // Passing over records finds the error too, and continues behind the record.
        let mut reader = RecordReader::over("t", Cursor::new(bytes), options.clone()).unwrap();
        assert_eq!(reader.skip(1).unwrap(), 1);
        let ReadError::Bad(error) = reader.pass().unwrap().unwrap_err() else { panic!("no I/O fails") };
        assert_eq!(
            (error.reason, error.ends_file(), error.to_string().as_str()),
            (Reason::TooLong, false, told)
        );
        let place = reader.pass().unwrap().unwrap();
        assert_eq!((place.record, place.byte), (2, 41));
        assert!(reader.pass().is_none());
    }
    // A file on the disk is the same case, where the reader seeks.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    std::fs::write(&path, &whole).unwrap();
    let mut reader = RecordReader::open(&path, options.clone()).unwrap();
    let read_back: Vec<bool> = std::iter::from_fn(|| reader.next()).map(|item| item.is_ok()).collect();
    assert_eq!(read_back, [true, false, true]);
    // A length that the file does not have is a cut, however long it is.
    let cut = read(whole[..whole.len() - 22].to_vec(), options);
    assert_eq!(cut[1], "t: record 1 at byte 20: truncated: the file ends after 4 of 5 bytes");
    assert_eq!(cut.len(), 2);
}

#[test]
fn what_follows_a_whole_stream_is_padding_or_told() {
    let whole = file(&[b"one", b"two"]);
    for (name, packed) in [("gzip", gzip(&whole)), ("zlib", zlib(&whole)), ("zstd", zstd(&whole))] {
        let padded = [&packed[..], &[0; 300_000]].concat();
        assert_eq!(default(padded), ["one", "two"], "{name}");
        let tails =
            [&b"no member"[..], b"\0\0x", &[&[0; 200_000][..], b"x"].concat(), b"\x1f\x8c345678901234567"];
        for tail in tails {
            let told = default([&packed[..], tail].concat());
            assert_eq!(told[..2], ["one", "two"], "{name}");
            let expected = format!(
                "t: record 2 at byte 38: the {name} stream is whole, but bytes that are neither a part of it nor zero \
                 padding follow it"
            );
            assert_eq!(told[2..], [expected], "{name}");
        }
    }
    let mut reader =
        RecordReader::over("t", Cursor::new([&gzip(&whole)[..], b"x"].concat()), ReaderOptions::default())
            .unwrap();
    let error = std::iter::from_fn(|| reader.next()).last().unwrap().unwrap_err();
    assert!(matches!(error, ReadError::Bad(error) if error.reason == Reason::TrailingGarbage));
}

#[test]
fn zstandard_is_read_like_gzip() {
    let whole = file(&[b"one", b"two", b""]);
    // Frames end anywhere, and parallel compressors put skippable ones before them.
    let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), b"skip"].concat();
    let frames = [&skippable[..], &zstd(&whole[..20]), &skippable, &zstd(&whole[20..])].concat();
    assert_eq!(default(frames), ["one", "two", ""]);
    let packed = zstd(&whole);
    for cut in 4..packed.len() {
        let told = default(packed[..cut].to_vec());
        let last = told.last().unwrap();
        assert!(last.ends_with("truncated: unexpected end of the zstd stream"), "{cut}: {told:?}");
    }
    // The frame has its own checksum of its content.
    let mut damaged = packed;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let told = default(damaged);
    assert!(told.last().unwrap().contains("the zstd stream is damaged: "), "{told:?}");
}

#[test]
fn files_of_something_else_are_told_for_what_they_are() {
    let told = |bytes: &[u8]| {
        let told = default(bytes.to_vec());
        assert_eq!(told.len(), 1);
        let place = "t: record 0 at byte 0: not a TFRecord file: ";
        told[0].strip_prefix(place).unwrap_or_else(|| panic!("{told:?}")).to_owned()
    };
    assert_eq!(
        told(b"BZh91AY&SY0123"),
        "it is a bzip2 file; unpack it first; of compressed files, those of GZIP, ZLIB and Zstandard are read as they are"
    );
    assert_eq!(told(b"hello, everybody"), "it is a text");
    assert_eq!(told(b"short text"), "it is a text");
    assert_eq!(
        told(&gzip(b"<!DOCTYPE html><p>404</p>")),
        "the gzip stream holds an HTML page; a download that failed leaves such a page; fetch the file again"
    );
    assert_eq!(
        told(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01"),
        "the length CRC of its first record does not match; it begins with the bytes \
         89 50 4e 47 0d 0a 1a 0a 00 00 00 0d 49 48 44 52 (\".PNG........IHDR\" as text)"
    );
}

#[test]
fn records_are_passed_over_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    // Short and long ones in turn: the buffer is used and passed by.
    let payload = |n: u8| vec![n; [3, 20_000, 0, 9_000, 8_191, 8_192, 70_000, 5][usize::from(n) % 8]];
    let mut writer = RecordWriter::create(&path, Compression::None).unwrap();
    (0..40).for_each(|n| writer.write(&payload(n)).unwrap());
    writer.finish().unwrap();

    let mut reader = RecordReader::open(&path, ReaderOptions::default()).unwrap();
    assert!(reader.can_seek());
    let mut places = Vec::new();
    for n in 0..40u8 {
        // Every fifth is read, so that both ways follow each other in every order of sizes.
        let origin = if n % 5 == 0 {
            let record = reader.next().unwrap().unwrap();
            assert_eq!(record.data, payload(n));
            record.origin
        } else {
            reader.pass().unwrap().unwrap()
        };
        assert_eq!(origin.record, u64::from(n));
        places.push(origin);
    }
    assert!(reader.pass().is_none() && reader.next().is_none());
    for (n, origin) in (0..40).zip(&places).rev() {
        let mut reader = RecordReader::at(origin, ReaderOptions::default()).unwrap();
        let record = reader.next().unwrap().unwrap();
        assert_eq!((&record.origin, &*record.data), (origin, &*payload(n)));
    }
    // Where there is nothing any more, there is nothing; within a record there is no header.
    let behind = Origin { byte: 1 << 40, ..places[39].clone() };
    assert!(RecordReader::at(&behind, ReaderOptions::default()).unwrap().next().is_none());
    let within = Origin { byte: places[39].byte + 1, ..places[39].clone() };
    let bad = RecordReader::at(&within, ReaderOptions::default()).unwrap().next().unwrap().unwrap_err();
    assert!(bad.to_string().contains("record 39 at byte "), "{bad}");
}

#[test]
fn the_messages_are_those_of_the_specification() {
    let origin = Origin { file: Path::new("train03.tfrecord").into(), record: 17, byte: 4_410_982 };
    let error = RecordError {
        origin,
        id: Some("aB3d".into()),
        reason: Reason::DataCrc,
        detail: "data CRC mismatch".into(),
    };
    assert_eq!(
        error.to_string(),
        "train03.tfrecord: record 17 at byte 4410982 (id \"aB3d\"): data CRC mismatch"
    );
    let names = "truncated length_crc data_crc not_tfrecord trailing_garbage too_long bad_proto missing_feature \
                 frame_size frame_count_mismatch no_frames label_out_of_range id_missing id_not_utf8";
    assert_eq!(Reason::ALL.map(Reason::as_str).join(" "), names);
}
