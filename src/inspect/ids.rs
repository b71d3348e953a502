//! Finding videos whose id another video has already, in the same file or in another.
//!
//! Law: the report depends on nothing but the order of the files.
//!
//! A set of YouTube-8M has millions of ids. So the ids themselves are not kept. Of each, 16 bytes are remembered.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::path::Path;

use serde_json::{Value, json};

use crate::text::{count, plural};

/// The most duplicates that are named for people, and for programs.
const SHOWN: usize = 5;
const LISTED: usize = 1000;

/// The ids seen so far.
#[derive(Default)]
pub(super) struct Ids {
    /// Maps the hash of an id to the number of the first file that has it, and to the record there. The map is never
    /// iterated.
    seen: HashMap<u128, (usize, u64)>,
    files: Vec<String>,
    duplicates: u64,
    listed: Vec<Duplicate>,
}

/// A record with an id that an earlier one has.
struct Duplicate {
    id: String,
    first: (usize, u64),
    again: (usize, u64),
}

impl Ids {
    /// Adds the records of a file. Files are added in the order in which they are reported.
    pub(super) fn add(&mut self, path: &Path, ids: Vec<(u64, String)>) {
        let file = self.files.len();
        self.files.push(path.display().to_string());
        for (record, id) in ids {
            match self.seen.entry(hash(&id)) {
                Entry::Vacant(place) => {
                    place.insert((file, record));
                }
                Entry::Occupied(first) => {
                    self.duplicates += 1;
                    if self.listed.len() < LISTED {
                        self.listed.push(Duplicate { id, first: *first.get(), again: (file, record) });
                    }
                }
            }
        }
    }

    /// The duplicates for people. The text is empty where no two videos have the same id.
    pub(super) fn text(&self) -> String {
        if self.duplicates == 0 {
            return String::new();
        }
        let verb = if self.duplicates == 1 { "has" } else { "have" };
        let mut out =
            format!("{} {verb} an id that an earlier record has:\n", plural(self.duplicates, "record"));
        let place = |(file, record): (usize, u64)| format!("{} record {record}", self.files[file]);
        for duplicate in self.listed.iter().take(SHOWN) {
            let (first, again) = (place(duplicate.first), place(duplicate.again));
            out += &format!("  id {:?}: {first}, {again}\n", duplicate.id);
        }
        if self.duplicates > SHOWN as u64 {
            out += &format!("  … and {} more\n", count(self.duplicates - SHOWN as u64));
        }
        out
    }

    /// The duplicates for programs: their number, and the first thousand.
    pub(super) fn to_json(&self) -> Value {
        let place = |(file, record): (usize, u64)| json!({"path": self.files[file], "record": record});
        let listed = self.listed.iter().map(|duplicate| {
            let (first, again) = (place(duplicate.first), place(duplicate.again));
            json!({"id": duplicate.id, "first": first, "again": again})
        });
        json!({"records": self.duplicates, "listed": listed.collect::<Vec<_>>()})
    }
}

/// Hashes an id to 128 bits, so that even among millions of ids no two have the same hash.
fn hash(id: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
