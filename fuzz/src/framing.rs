//! The laws of framing for any bytes: the checks that the fuzz targets `records`, `gzip` and `zstd` share.

use std::io::Cursor;

use framewise_stages::tfrecord::{ReadError, ReaderOptions, RecordReader};

use crate::counting::peak;

/// The most bytes that deflate packs into one byte, rounded up: about 1032.
pub(crate) const EXPANSION: usize = 1100;
/// A block of Zstandard repeats one byte up to 128 KiB, and takes four bytes itself.
pub(crate) const ZSTD_EXPANSION: usize = 33_000;

/// Reads all records, then passes over them without reading. At most `content` bytes come out of `data` once it is
/// unpacked.
pub(crate) fn read(data: &[u8], verify_data_crc: bool, content: usize) {
    let options = ReaderOptions { verify_data_crc, ..ReaderOptions::default() };
    let open = || RecordReader::over("fuzz", Cursor::new(data.to_vec()), options.clone());
    let used = peak(|| {
        let mut reader = open().expect("memory can be read");
        let (mut records, mut payloads, mut ended) = (0, 0, false);
        while let Some(item) = reader.next() {
            assert!(!ended, "nothing follows what ends the file");
            match item {
                Ok(record) => {
                    assert_eq!(record.origin.record, records);
                    payloads += record.data.len();
                }
                Err(ReadError::Bad(error)) => {
                    assert_eq!(error.origin.record, records);
                    assert!(error.to_string().starts_with("fuzz: record "), "{error}");
                    ended = error.ends_file();
                }
                Err(error) => panic!("{error}"),
            }
            records += 1;
        }
        assert!(reader.next().is_none());
        assert!(payloads <= content, "{payloads} bytes of payload out of {content}");
        let (mut passing, mut passed, mut stopped) = (open().expect("memory can be read"), 0, false);
        while let Some(item) = passing.pass() {
            assert!(!stopped, "nothing follows what ends the file");
            passed += 1;
            match item {
                Ok(_) => {}
                Err(ReadError::Bad(error)) => stopped = error.ends_file(),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((passed, stopped), (records, ended), "what is passed over is what is read");
    });
    // The reader reserves a mebibyte before the first byte of a record. Buffers and a decompressor take less.
    assert!(used <= (2 << 20) + 3 * data.len() + 2 * content, "{used} bytes for {}", data.len());
}
