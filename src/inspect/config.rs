//! The configuration of data: the keys that a graph needs to read files of records, as TOML.

use std::collections::BTreeSet;
use std::path::Path;

use framewise_pipeline::Failure;

use super::records::Records;
use crate::text::{count, plural};

/// The most classes that are named because no record has them.
const NAMED: usize = 20;

/// What the records of all files have in common.
#[derive(Default)]
pub(super) struct DataConfig {
    /// The first file, with its level and the sizes of its features.
    first: Option<(String, &'static str, (usize, usize))>,
    files: u64,
    good: u64,
    bad: u64,
    /// The frames of the longest video.
    longest: u64,
    labels: BTreeSet<u32>,
}

impl DataConfig {
    /// Adds a file.
    ///
    /// # Errors
    /// `Data` when the records have another level or other sizes than those of the first file. One graph cannot read
    /// both.
    pub(super) fn add(&mut self, path: &Path, records: &Records) -> Result<(), Failure> {
        self.files += 1;
        self.good += records.good;
        self.bad += records.bad;
        self.longest = self.longest.max(records.longest_video.unwrap_or(0));
        self.labels.extend(&records.labels_seen);
        let Some((level, sizes)) = records.level.zip(records.rgb_size.zip(records.audio_size)) else {
            return Ok(());
        };
        let (first, first_level, first_sizes) =
            self.first.get_or_insert_with(|| (path.display().to_string(), level, sizes));
        if (*first_level, *first_sizes) == (level, sizes) {
            return Ok(());
        }
        Err(Failure::data(format!(
            "{}: {}, but {first}: {}; one graph reads records of one kind",
            path.display(),
            in_words(level, sizes),
            in_words(first_level, *first_sizes)
        )))
    }

    /// The keys, with what is known about them in comments.
    ///
    /// # Errors
    /// `Data` when no file has a good record.
    pub(super) fn to_toml(&self) -> Result<String, Failure> {
        let Some((_, level, (rgb, audio))) = &self.first else {
            return Err(Failure::data(
                "no record tells its sizes, so there is no configuration to print; `framewise inspect` without \
                 --as-config says what the files hold",
            ));
        };
        let (of_frames, unit) =
            (*level == "frame", if *level == "frame" { "bytes a frame" } else { "floats" });
        let features = if of_frames { ["rgb", "audio"] } else { ["mean_rgb", "mean_audio"] };
        let mut out = format!(
            "# {} at {level} level, in {}.\n# The features are `{}` ({rgb} {unit}) and `{}` ({audio} {unit}).\n",
            plural(self.good, "record"),
            plural(self.files, "file"),
            features[0],
            features[1]
        );
        if self.bad > 0 {
            out += &format!("# Bad records, which do not count here: {}.\n", count(self.bad));
        }
        out += &format!("rgb_size = {rgb}\naudio_size = {audio}\n");
        if of_frames {
            out += &format!(
                "# The longest video has {}. Of a longer one, the first max_frames frames would be kept.\nmax_frames = {}\n",
                plural(self.longest, "frame"),
                self.longest
            );
        }
        out += &self.classes();
        Ok(out)
    }

    fn classes(&self) -> String {
        let Some(largest) = self.labels.last() else {
            return "# No record has a label, so the number of classes is not known.\n# classes =\n"
                .to_owned();
        };
        let classes = u64::from(*largest) + 1;
        let unseen = classes - self.labels.len() as u64;
        let seen = if unseen == 0 {
            format!("all {} classes are seen", count(classes))
        } else {
            let named = (0..=*largest).filter(|label| !self.labels.contains(label)).take(NAMED);
            let named: Vec<_> = named.map(|label| label.to_string()).collect();
            let more = unseen - named.len() as u64;
            let more = if more > 0 { format!(" and {} more", count(more)) } else { String::new() };
            format!("no record has class {}{more}", named.join(", "))
        };
        format!(
            "# The labels go from {} to {largest}; {seen}.\nclasses = {classes}\n",
            self.labels.first().unwrap_or(&0)
        )
    }
}

fn in_words(level: &str, (rgb, audio): (usize, usize)) -> String {
    format!("records at {level} level with rgb {rgb}, audio {audio}")
}
