//! From a video to the payload of a record. This is the inverse of decoding, for tests, tools and synthetic files.
//!
//! Law: equal videos give equal bytes. Entries come in one fixed order, and labels are packed.

use crate::payload::{Example, VideoExample};

/// Encodes a frame-level video as a `tf.train.SequenceExample`.
///
/// A video without labels gets an empty list.
pub fn encode_frames(example: &Example) -> Vec<u8> {
    let context = context(&example.id, &example.labels, &[]);
    let mut lists = Vec::with_capacity(example.byte_len() + 32 * example.frames + 64);
    for (name, rows) in [("rgb", &example.rgb), ("audio", &example.audio)] {
        let mut list = Vec::with_capacity(rows.len() * (rows.width() + 16));
        for frame in rows.iter() {
            field(&mut list, 1, &feature_of_bytes(frame));
        }
        field(&mut lists, 1, &entry(name, &list));
    }
    let mut message = Vec::with_capacity(context.len() + lists.len() + 16);
    field(&mut message, 1, &context);
    field(&mut message, 2, &lists);
    message
}

/// Encodes a video-level video as a `tf.train.Example`.
pub fn encode_video(example: &VideoExample) -> Vec<u8> {
    let means = [("mean_rgb", example.mean_rgb.as_slice()), ("mean_audio", &example.mean_audio)];
    let mut message = Vec::new();
    field(&mut message, 1, &context(&example.id, &example.labels, &means));
    message
}

/// The bytes that stand before each frame of `size` bytes in a feature list: the tags and lengths of a `Feature`, of
/// its `BytesList`, and of its one value. Every common writer puts them in this way, and so does this one.
pub(super) fn frame_prefix(size: usize) -> Vec<u8> {
    let mut prefix = Vec::new();
    for _ in 0..3 {
        let mut outer = vec![1 << 3 | 2];
        varint(&mut outer, (size as u64).saturating_add(prefix.len() as u64));
        outer.append(&mut prefix);
        prefix = outer;
    }
    prefix
}

fn context(id: &str, labels: &[u32], means: &[(&str, &[f32])]) -> Vec<u8> {
    let mut map = Vec::new();
    field(&mut map, 1, &entry("id", &feature_of_bytes(id.as_bytes())));
    let mut packed = Vec::new();
    for &label in labels {
        varint(&mut packed, u64::from(label));
    }
    field(&mut map, 1, &entry("labels", &nested(3, &nested(1, &packed))));
    for (name, values) in means {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        field(&mut map, 1, &entry(name, &nested(2, &nested(1, &packed))));
    }
    map
}

fn feature_of_bytes(value: &[u8]) -> Vec<u8> {
    nested(1, &nested(1, value))
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(key.len() + value.len() + 16);
    field(&mut entry, 1, key.as_bytes());
    field(&mut entry, 2, value);
    entry
}

fn nested(number: u64, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 8);
    field(&mut message, number, body);
    message
}

fn field(out: &mut Vec<u8>, number: u64, body: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, body.len() as u64);
    out.extend_from_slice(body);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
