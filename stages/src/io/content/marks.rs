//! The marks by which files are known: fixed first bytes, the beginning of a protobuf message, and forms of text.

use super::kind::Content;
use crate::io::packing::Packing;

/// The kinds of binary files.
pub(super) fn binary(head: &[u8]) -> Option<Content> {
    if let Some(packing) = Packing::of(head) {
        return Some(Content::Packed(packing));
    }
    Some(match head {
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => Content::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Content::Xz,
        [0x04, 0x22, 0x4d, 0x18, ..] => Content::Lz4,
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Content::SevenZip,
        [b'P', b'K', 3, 4, ..] => archive(head),
        // This is an archive without entries.
        [b'P', b'K', 5, 6, ..] => Content::Zip,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Content::Npy,
        // This is the magic number of `torch.save` before PyTorch 1.6, pickled as a long of ten bytes.
        [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, ..] => {
            Content::PyTorch
        }
        // The bytes are PROTO, and an operation that begins a dict, a list, a tuple, a class or a frame.
        [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | 0x8c | 0x95, ..] => Content::Pickle,
        [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => Content::Hdf5,
        [b'P', b'A', b'R', b'1', ..] => Content::Parquet,
        _ if is_safetensors(head) => Content::Safetensors,
        _ if head.get(257..262) == Some(b"ustar") => Content::Tar,
        // This must not be the length of a record of 65,279 bytes, whose other bytes are zero.
        [0xff, 0xfe, a, b, ..] | [0xfe, 0xff, a, b, ..] if (*a, *b) != (0, 0) => Content::Utf16,
        _ if is_utf16_ascii(head) => Content::Utf16,
        _ => return None,
    })
}

/// The kind of a ZIP archive, by the name of its first entry.
fn archive(head: &[u8]) -> Content {
    // The local header has 26 bytes, the length of the name as u16, that of an extra field, and the name.
    let length = head.get(26..28).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    match head.get(30..30 + length) {
        Some(name) if name.ends_with(b".npy") => Content::Npz,
        Some(name) if name == b"data.pkl" || name.ends_with(b"/data.pkl") => Content::PyTorch,
        _ => Content::Zip,
    }
}

/// Whether the length of a JSON header stands first as a u64, and then a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    /// The limit of the format itself.
    const LONGEST_HEADER: u64 = 100_000_000;
    let Some((size, rest)) = head.split_first_chunk::<8>() else { return false };
    (2..=LONGEST_HEADER).contains(&u64::from_le_bytes(*size)) && rest.first() == Some(&b'{')
}

/// Whether every other byte is zero and the rest are ASCII, as in UTF-16 without a mark of its byte order.
fn is_utf16_ascii(head: &[u8]) -> bool {
    const ENOUGH: usize = 8;
    let (pairs, _) = head.as_chunks::<2>();
    let ascii = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    pairs.len() >= ENOUGH
        && (pairs.iter().all(|pair| ascii(pair[0]) && pair[1] == 0)
            || pairs.iter().all(|pair| ascii(pair[1]) && pair[0] == 0))
}

/// Tags of the first two fields of a message, both of them length-delimited.
const FIELD_1: u8 = 0x0a;
const FIELD_2: u8 = 0x12;

/// The kind of a message of `tf.train` that begins in the way in which its writers begin it: with a map of features,
/// whose first entry begins with the name of the feature.
pub(super) fn message(head: &[u8]) -> Option<Content> {
    let (tag, length, map) = delimited(head)?;
    let (FIELD_1, _, entry) = delimited(map)? else { return None };
    let (FIELD_1, name_length, name) = delimited(entry)? else { return None };
    let name = name.get(..name_length)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./: ".contains(byte);
    if name.is_empty() || !name.iter().all(plain) {
        return None;
    }
    match tag {
        // Both messages have their features in field 1; only the SequenceExample has a field 2.
        FIELD_1 if map.get(length) != Some(&FIELD_2) => Some(Content::Example),
        FIELD_1 | FIELD_2 => Some(Content::SequenceExample),
        _ => None,
    }
}

/// The tag and the length that a length-delimited field begins with, and what follows.
fn delimited(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let mut length = 0;
    // Four bytes of seven bits reach 256 MiB.
    for (at, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some((tag, length, &rest[at + 1..]));
        }
    }
    None
}

/// The forms of text.
pub(super) fn text(head: &[u8]) -> Option<Content> {
    let text = utf8(head)?.trim_start_matches('\u{feff}');
    let start = text.trim_start();
    let begins = |mark: &str| start.get(..mark.len()).is_some_and(|s| s.eq_ignore_ascii_case(mark));
    Some(if start.starts_with("version https://git-lfs.github.com/spec/") {
        Content::LfsPointer
    } else if begins("<!doctype html") || begins("<html") {
        Content::Html
    } else if begins("<?xml") {
        Content::Xml
    } else if is_json(start) {
        Content::Json
    } else if is_file_list(start) {
        Content::FileList
    } else if is_table(start) {
        Content::Table
    } else {
        Content::Text
    })
}

/// The bytes as text, if they are text. The last character may be cut in two.
pub(super) fn utf8(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = !text.is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    is_text.then_some(text)
}

/// Whether a text is an object with a quoted key, or a list of values. A TOML section begins with a bracket and a bare
/// word.
fn is_json(start: &str) -> bool {
    let mut marks = start.chars().filter(|c| !c.is_whitespace());
    match (marks.next(), marks.next()) {
        (Some('{'), Some('"' | '}')) => true,
        (Some('['), Some(next)) => next.is_ascii_digit() || "\"{-".contains(next),
        _ => false,
    }
}

/// Whether the first line that is neither blank nor a comment names a file of records.
fn is_file_list(text: &str) -> bool {
    const ENDINGS: [&str; 4] = [".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecord.zst"];
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(|line| ENDINGS.iter().any(|end| line.ends_with(end)))
}

/// Whether the first lines are all divided into equally many values, at least two.
fn is_table(text: &str) -> bool {
    const LOOKED_AT: usize = 10;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(LOOKED_AT).collect();
    // The last line may be cut.
    let whole = if lines.len() > 2 { &lines[..lines.len() - 1] } else { &lines[..] };
    [',', '\t', ';'].iter().any(|&mark| {
        let values = |line: &&str| line.matches(mark).count();
        whole.len() >= 2
            && values(&whole[0]) > 0
            && whole.iter().all(|line| values(line) == values(&whole[0]))
    })
}
