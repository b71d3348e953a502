//! The messages `Features`, `FeatureLists` and `Feature` of `tensorflow/core/example/feature.proto`, read from the
//! wire.
//!
//! Laws: protobuf's own rules decide what a message means. The last entry of a key wins, messages that occur twice are
//! merged, the last kind of a oneof wins, scalars may be packed or not, fields may come in any order, and unknown
//! fields are skipped. What is not asked for is not looked into.

use super::wire::{Fields, Value, WireError};

/// The context keys that hold a video's id, in order of preference. Some releases use `video_id`.
pub const DEFAULT_ID_KEYS: [&str; 2] = ["id", "video_id"];

/// Calls `visit` with the key and the bytes of each entry of a map in field 1. Both `Features` and `FeatureLists` are
/// such maps.
pub(super) fn each_entry<'a>(
    map: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]),
) -> Result<(), WireError> {
    let mut fields = Fields::of(map);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            let entry = value.bytes()?;
            visit(entry_key(entry)?, entry);
        }
    }
    Ok(())
}

/// Calls `visit` with each message that an entry holds as its value. Several messages are to be merged.
pub(super) fn each_value<'a, E: From<WireError>>(
    entry: &'a [u8],
    mut visit: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Fields::of(entry);
    while let Some((number, value)) = fields.next()? {
        if number == 2 {
            visit(value.bytes()?)?;
        }
    }
    Ok(())
}

/// The key of a map entry. It need not be its first field, and may be left out for the empty string.
fn entry_key(entry: &[u8]) -> Result<&[u8], WireError> {
    let mut fields = Fields::of(entry);
    let mut key = &[][..];
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            key = value.bytes()?;
        }
    }
    Ok(key)
}

/// The member of the oneof that a `Feature` holds. The numbers are those of the fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Kind {
    #[default]
    Unset,
    Bytes,
    Floats,
    Integers,
}

impl Kind {
    fn of_field(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Bytes),
            2 => Some(Self::Floats),
            3 => Some(Self::Integers),
            _ => None,
        }
    }

    /// The kind that a message says the feature holds.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unset => "nothing",
            Self::Bytes => "bytes",
            Self::Floats => "floats",
            Self::Integers => "integers",
        }
    }
}

/// The byte strings of a `Feature`: their number, and the last of them. A frame or an id should have one.
#[derive(Clone, Copy, Default)]
pub(super) struct ByteStrings<'a> {
    pub(super) kind: Kind,
    pub(super) count: usize,
    pub(super) last: &'a [u8],
}

impl<'a> ByteStrings<'a> {
    #[inline]
    pub(super) fn merge(&mut self, feature: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(feature);
        while let Some((number, value)) = fields.next()? {
            let Some(kind) = Kind::of_field(number) else { continue };
            let mut list = Fields::of(value.bytes()?);
            if kind != self.kind {
                *self = Self { kind, ..Self::default() };
            }
            if kind == Kind::Bytes {
                while let Some((number, value)) = list.next()? {
                    if number == 1 {
                        self.last = value.bytes()?;
                        self.count += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The class indices of a `Feature`. They are ascending and distinct once [`Labels::finish`] was called.
pub(super) struct Labels {
    pub(super) kind: Kind,
    /// The first label that is not below `limit`.
    pub(super) out_of_range: Option<i64>,
    /// The number of integers seen, with repeats and integers out of range.
    pub(super) count: usize,
    limit: u64,
    labels: Vec<u32>,
    compact_at: usize,
}

impl Labels {
    /// Accepts labels below `classes`, or any `u32` where the number of classes is not known.
    pub(super) fn below(classes: Option<usize>) -> Self {
        let most = 1 << 32;
        let limit = classes.map_or(most, |classes| most.min(classes as u64));
        Self { kind: Kind::Unset, out_of_range: None, count: 0, limit, labels: Vec::new(), compact_at: 1024 }
    }

    pub(super) fn merge(&mut self, feature: &[u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(feature);
        while let Some((number, value)) = fields.next()? {
            let Some(kind) = Kind::of_field(number) else { continue };
            let mut list = Fields::of(value.bytes()?);
            if kind != self.kind {
                self.kind = kind;
                self.out_of_range = None;
                self.count = 0;
                self.labels.clear();
            }
            if kind == Kind::Integers {
                while let Some((number, value)) = list.next()? {
                    match value {
                        _ if number != 1 => {}
                        Value::Varint(label) => self.push(label),
                        Value::Bytes(packed) => {
                            let mut packed = Fields::of(packed);
                            while let Some(label) = packed.next_packed()? {
                                self.push(label);
                            }
                        }
                        _ => return Err(WireError::Kind),
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, label: u64) {
        self.count += 1;
        match u32::try_from(label) {
            Ok(small) if label < self.limit => {
                // Repeats must not cost more memory than the record that holds them.
                if self.labels.len() >= self.compact_at {
                    self.compact();
                    self.compact_at = self.compact_at.max(2 * self.labels.len());
                }
                self.labels.push(small);
            }
            // An int64 travels as the two's complement of 64 bits.
            _ => {
                self.out_of_range.get_or_insert(label.cast_signed());
            }
        }
    }

    fn compact(&mut self) {
        self.labels.sort_unstable();
        self.labels.dedup();
    }

    pub(super) fn finish(mut self) -> Vec<u32> {
        self.compact();
        self.labels
    }
}

/// The floats of a `Feature`.
#[derive(Default)]
pub(super) struct Floats {
    pub(super) kind: Kind,
    pub(super) values: Vec<f32>,
}

impl Floats {
    pub(super) fn merge(&mut self, feature: &[u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(feature);
        while let Some((number, value)) = fields.next()? {
            let Some(kind) = Kind::of_field(number) else { continue };
            let mut list = Fields::of(value.bytes()?);
            if kind != self.kind {
                *self = Self { kind, values: Vec::new() };
            }
            if kind == Kind::Floats {
                while let Some((number, value)) = list.next()? {
                    match value {
                        _ if number != 1 => {}
                        Value::Fixed32(bits) => self.values.push(f32::from_le_bytes(bits)),
                        Value::Bytes(packed) => {
                            let (floats, rest) = packed.as_chunks();
                            if !rest.is_empty() {
                                return Err(WireError::Short);
                            }
                            self.values.extend(floats.iter().map(|bits| f32::from_le_bytes(*bits)));
                        }
                        _ => return Err(WireError::Kind),
                    }
                }
            }
        }
        Ok(())
    }
}

/// The id of a video whose record is refused, read as far as the damage allows. It is only for messages.
///
/// `keys` stand in order of preference. Returns `None` unless the text looks like an id: 1 to 128 bytes of printable
/// text.
pub fn peek_id<K: AsRef<str>>(data: &[u8], keys: &[K]) -> Option<String> {
    let mut found: Option<(usize, &[u8])> = None;
    let mut fields = Fields::of(data);
    // Both kinds of messages hold their `Features` in field 1. What was found before an error counts.
    while let Ok(Some((number, value))) = fields.next() {
        if let (1, Value::Bytes(context)) = (number, value) {
            let _damage = each_entry(context, |key, entry| {
                let rank = keys.iter().position(|k| k.as_ref().as_bytes() == key);
                if let Some(rank) = rank
                    && found.is_none_or(|(best, _)| rank <= best)
                {
                    found = Some((rank, entry));
                }
            });
        }
    }
    let mut strings = ByteStrings::default();
    let _damage = each_value(found?.1, |feature| strings.merge(feature));
    let id = std::str::from_utf8(strings.last).ok()?;
    let plausible = (1..=128).contains(&id.len()) && !id.chars().any(char::is_control);
    (strings.count == 1 && plausible).then(|| id.to_owned())
}
