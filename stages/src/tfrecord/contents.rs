//! The contents of a payload in words, for the errors of records that lack what a decoder looks for.
//!
//! Laws: a payload is read as far as its damage allows. The words are short, however many features there are.

use super::features::{ByteStrings, Floats, Kind, Labels, each_entry, each_value};
use super::wire::{Fields, Value, WireError};

/// The most features of a record that are named. The rest are counted.
const NAMED: usize = 8;
/// The most characters of a feature's name that are shown.
const NAME_LENGTH: usize = 40;

/// The features of a record, such as `the record has the features id (7 bytes), mean_rgb (16 floats), and the feature
/// lists none`.
pub(super) fn contents(data: &[u8]) -> String {
    let (mut features, mut lists) = (Listed::default(), Listed::default());
    let mut fields = Fields::of(data);
    // The features that were found before an error count.
    while let Ok(Some((number, value))) = fields.next() {
        if let Value::Bytes(map) = value {
            let _damage = match number {
                1 => each_entry(map, |key, entry| features.add(key, || feature(entry))),
                2 => each_entry(map, |key, entry| lists.add(key, || list(entry))),
                _ => Ok(()),
            };
        }
    }
    format!("the record has the features {features}, and the feature lists {lists}")
}

/// Whether the payload is an `Event` of TensorBoard. Its first field is the time, a double. The messages with videos
/// have a map there.
pub fn is_event(data: &[u8]) -> bool {
    matches!(Fields::of(data).next(), Ok(Some((1, Value::Fixed64))))
}

/// The names of features with what they hold, in words and in the order of the names. The order of the entries of a map
/// means nothing.
#[derive(Default)]
struct Listed {
    named: Vec<String>,
    count: usize,
}

impl Listed {
    fn add(&mut self, key: &[u8], describe: impl FnOnce() -> Result<String, WireError>) {
        self.count += 1;
        if self.named.len() == NAMED {
            return;
        }
        let name: String = String::from_utf8_lossy(&key[..key.len().min(4 * NAME_LENGTH)])
            .chars()
            .take(NAME_LENGTH)
            .flat_map(char::escape_debug)
            .collect();
        let what = describe().unwrap_or_else(|_| "damaged".to_owned());
        let named = format!("{name} ({what})");
        let place = self.named.partition_point(|other| *other < named);
        self.named.insert(place, named);
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.named.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&self.named.join(", "))?;
        match self.count - self.named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn feature(entry: &[u8]) -> Result<String, WireError> {
    let mut strings = ByteStrings::default();
    each_value(entry, |feature| strings.merge(feature))?;
    Ok(match strings.kind {
        Kind::Unset => "nothing".to_owned(),
        Kind::Bytes if strings.count == 1 => format!("{} bytes", strings.last.len()),
        Kind::Bytes => format!("{} byte strings", strings.count),
        Kind::Floats => {
            let mut floats = Floats::default();
            each_value(entry, |feature| floats.merge(feature))?;
            format!("{} floats", floats.values.len())
        }
        Kind::Integers => {
            let mut integers = Labels::below(None);
            each_value(entry, |feature| integers.merge(feature))?;
            format!("{} integers", integers.count)
        }
    })
}

fn list(entry: &[u8]) -> Result<String, WireError> {
    let (mut count, mut first) = (0_usize, None);
    each_value(entry, |list| {
        let mut fields = Fields::of(list);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                let feature = value.bytes()?;
                count += 1;
                first.get_or_insert(feature);
            }
        }
        Ok::<_, WireError>(())
    })?;
    let Some(first) = first else { return Ok("empty".to_owned()) };
    let mut strings = ByteStrings::default();
    strings.merge(first)?;
    let of = match strings.kind {
        Kind::Bytes if strings.count == 1 => format!("{} bytes", strings.last.len()),
        kind => kind.name().to_owned(),
    };
    Ok(format!("{count} entries, the first of {of}"))
}
