//! Name maps, which say which tensor of a file becomes which tensor of the model.
//!
//! Law: a map says everything that is done to a tensor. Nothing is guessed from shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::error::ImportError;
use super::source::Source;
use crate::io;

/// The line of a name map for one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The tensor's name in the file.
    pub theirs: String,
    /// The tensor's name in the model.
    pub ours: String,
    /// Whether the axes are reversed: `[in, out]` in the file becomes `[out, in]` in the model.
    pub transpose: bool,
    /// Whether axes of size 1 are dropped first.
    pub squeeze: bool,
}

/// A name map, in the order of `theirs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameMap {
    /// The entries of the map.
    pub entries: Vec<Mapping>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Name(String),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default)]
    transpose: bool,
    #[serde(default)]
    squeeze: bool,
}

impl NameMap {
    /// Reads a map: TOML lines `"theirs" = "ours"` or `"theirs" = { name = "ours", transpose = true, squeeze = true }`.
    ///
    /// # Errors
    /// The file cannot be read or is not such a map, or the map makes a tensor of the model twice.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let text = io::read_to_string(path).map_err(ImportError::read(path))?;
        Self::parse(&text).map_err(|why| ImportError::map(path, why))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        let mut ours = BTreeSet::new();
        let mut entries = Vec::new();
        for (theirs, value) in table {
            let entry: Entry = value.try_into().map_err(|_| {
                format!("`{theirs}`: expected \"our name\" or {{ name = \"our name\", transpose = true, squeeze = true }}")
            })?;
            let entry = match entry {
                Entry::Name(name) => Table { name, transpose: false, squeeze: false },
                Entry::Table(table) => table,
            };
            if !ours.insert(entry.name.clone()) {
                return Err(format!("two tensors become `{}`", entry.name));
            }
            let Table { name, transpose, squeeze } = entry;
            entries.push(Mapping { theirs, ours: name, transpose, squeeze });
        }
        entries.sort_by(|a, b| a.theirs.cmp(&b.theirs));
        Ok(Self { entries })
    }

    /// The map for a file whose tensors have the names and shapes of the model.
    pub fn identity(source: &Source) -> Self {
        let same = |name: &String| Mapping {
            theirs: name.clone(),
            ours: name.clone(),
            transpose: false,
            squeeze: false,
        };
        Self { entries: source.tensors.iter().map(|tensor| same(&tensor.name)).collect() }
    }

    /// The map for PaddlePaddle's names in `PaddleCV/video`, whose matrices are [in, out]. The six batch norms of that
    /// network have only numbers, in the order in which the program makes them. The numbers depend on what the program
    /// made before.
    ///
    /// # Errors
    /// The file does not have six batch norms.
    pub fn paddle(source: &Source) -> Result<Self, ImportError> {
        const NORMS: [&str; 6] = [
            "rgb.assign_norm",
            "rgb.vlad_norm",
            "audio.assign_norm",
            "audio.vlad_norm",
            "hidden_norm",
            "gate1_norm",
        ];
        let mut entries = Vec::new();
        let mut map = |theirs: String, ours: String, transpose: bool| {
            entries.push(Mapping { theirs, ours, transpose, squeeze: false });
        };
        for (theirs, ours) in [("video", "rgb"), ("audio", "audio")] {
            map(format!("{theirs}_fc_expansion_w"), format!("{ours}.expand.weight"), true);
            map(format!("{theirs}_fc_expansion_b"), format!("{ours}.expand.bias"), false);
            map(format!("{theirs}_fc_group_attention_w"), format!("{ours}.attention.weight"), true);
            map(format!("{theirs}_fc_group_attention_b"), format!("{ours}.attention.bias"), false);
            map(format!("{theirs}_cluster_weights"), format!("{ours}.assign.weight"), true);
            // [K, D] on both sides.
            map(format!("{theirs}_cluster_weights2"), format!("{ours}.centers"), false);
        }
        for (theirs, ours, transpose) in [
            ("hidden1_fc_weights", "hidden.weight", true),
            ("gating_fc1_weights", "gate1.weight", true),
            ("gating_fc2_weights", "gate2.weight", true),
            ("logits_clf_weights", "classifier.weight", true),
            ("logits_clf_bias", "classifier.bias", false),
            ("eigen_param", "input.rgb_scale", false),
        ] {
            map(theirs.to_owned(), ours.to_owned(), transpose);
        }
        let numbers = norm_numbers(source);
        if numbers.len() != NORMS.len() {
            return Err(ImportError::content(
                &source.path,
                format!(
                    "the file has {} batch norms (batch_norm_N.w_0), but PaddlePaddle's NeXtVLAD has {}",
                    numbers.len(),
                    NORMS.len()
                ),
            ));
        }
        for (number, ours) in numbers.into_values().zip(NORMS) {
            for (theirs, part) in
                [("w_0", "weight"), ("b_0", "bias"), ("w_1", "running_mean"), ("w_2", "running_var")]
            {
                map(format!("batch_norm_{number}.{theirs}"), format!("{ours}.{part}"), false);
            }
        }
        Ok(Self { entries })
    }
}

/// The numbers of the batch norms as they are written, in ascending order.
fn norm_numbers(source: &Source) -> BTreeMap<u64, String> {
    let names = source.tensors.iter().map(|tensor| tensor.parameter.as_ref().unwrap_or(&tensor.name));
    let number = |name: &String| {
        let digits = name.strip_prefix("batch_norm_")?.strip_suffix(".w_0")?;
        Some((digits.parse().ok()?, digits.to_owned()))
    };
    names.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_in_both_forms() {
        let map = NameMap::parse(
            "\"b/w\" = { name = \"hidden.weight\", transpose = true }\n'a/b' = \"classifier.bias\"\n\
             \"c\" = { name = \"rgb.centers\", squeeze = true, transpose = true }\n",
        );
        let entry = |theirs: &str, ours: &str, transpose, squeeze| Mapping {
            theirs: theirs.into(),
            ours: ours.into(),
            transpose,
            squeeze,
        };
        let expected = vec![
            entry("a/b", "classifier.bias", false, false),
            entry("b/w", "hidden.weight", true, false),
            entry("c", "rgb.centers", true, true),
        ];
        assert_eq!(map.unwrap().entries, expected);
    }

    #[test]
    fn mistakes_in_a_map_are_told() {
        for (text, says) in [
            ("\"a\" = \"x\"\n\"b\" = \"x\"\n", "two tensors become `x`"),
            ("\"a\" = \"x\"\n\"b\" = = \n", "line 2: "),
            ("\"a\" = 3", "`a`: expected"),
            ("\"a\" = { name = \"x\", reshape = true }", "`a`: expected"),
            ("[tensors]\n\"a\" = \"x\"", "`tensors`: expected"),
        ] {
            let why = NameMap::parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
