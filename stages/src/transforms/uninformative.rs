//! Features from which nothing can be learned: those that are the same everywhere, and those whose squares overflow.
//!
//! Law: a look at an ordinary video costs a comparison or two, because it ends at the first feature that differs.

use std::iter::once;

use crate::payload::{Origin, Video};

/// The videos of an epoch that were looked at.
#[derive(Default)]
pub(crate) struct Uninformative {
    videos: u64,
    rgb: Modality,
    audio: Modality,
    overflowing: Found,
}

/// What is known of the visual or the audio features.
#[derive(Default)]
struct Modality {
    /// The videos in which all features of all frames are one number.
    constant: Found,
    /// The first frame of the first video, until a frame differs from it.
    first: Option<Row>,
    varies: bool,
}

/// A count of videos, with the first of them.
#[derive(Default)]
struct Found {
    videos: u64,
    /// The record and the id of the first one, and its value where it has one value.
    first: Option<(Origin, String, String)>,
}

/// A row of features of either kind.
enum Row {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

impl Uninformative {
    /// Looks at a video.
    pub(crate) fn look(&mut self, video: &Video) {
        self.videos += 1;
        match video {
            Video::Frames(v) => {
                let name = || (v.origin.clone(), v.id.clone());
                self.rgb.look(v.rgb.iter(), name, |row| Row::Bytes(row.to_vec()), Row::bytes);
                self.audio.look(v.audio.iter(), name, |row| Row::Bytes(row.to_vec()), Row::bytes);
            }
            Video::Means(v) => {
                let name = || (v.origin.clone(), v.id.clone());
                self.rgb.look(once(&v.mean_rgb[..]), name, |row| Row::Floats(row.to_vec()), Row::floats);
                self.audio.look(once(&v.mean_audio[..]), name, |row| Row::Floats(row.to_vec()), Row::floats);
                let squares = |features: &[f32]| features.iter().map(|x| x * x).sum::<f32>();
                if !(squares(&v.mean_rgb) + squares(&v.mean_audio)).is_finite() {
                    let largest =
                        v.mean_rgb.iter().chain(&v.mean_audio).fold(0f32, |most, x| most.max(x.abs()));
                    self.overflowing.add(name(), format!("{largest:e}"));
                }
            }
        }
    }

    /// The warnings about what was seen, a sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, modality) in [("visual", &self.rgb), ("audio", &self.audio)] {
            let Found { videos, first } = &modality.constant;
            if let Some((origin, id, value)) = first {
                let (all, are) = (self.videos, if *videos == 1 { "video has" } else { "videos have" });
                warnings.push(format!(
                    "{videos} of the {all} {are} {name} features that are all {value}, the first is {origin} (id {id:?}): \
                     nothing can be learned from such features"
                ));
            } else if !modality.varies && self.videos > 1 {
                warnings.push(format!(
                    "all {} videos have the same {name} features in every frame: nothing can be learned from them",
                    self.videos
                ));
            }
        }
        if let Some((origin, id, largest)) = &self.overflowing.first {
            warnings.push(format!(
                "{} of the {} videos have features whose squares overflow, the first is {origin} (id {id:?}) with a \
                 feature of {largest}: a model that brings features to length one sees zeros there",
                self.overflowing.videos, self.videos
            ));
        }
        warnings
    }
}

impl Modality {
    /// Looks at the features of a video, a row for each frame.
    fn look<'v, T: PartialEq + std::fmt::Display + 'v>(
        &mut self,
        mut rows: impl Iterator<Item = &'v [T]> + Clone,
        name: impl Fn() -> (Origin, String),
        keep: impl Fn(&[T]) -> Row,
        kept: impl Fn(&Row) -> &[T],
    ) {
        let Some(row) = rows.clone().next() else { return };
        let [value, ..] = row else { return };
        // A single number is not called constant.
        let several = row.len() > 1 || rows.clone().nth(1).is_some();
        if several && rows.clone().flatten().all(|other| other == value) {
            self.constant.add(name(), value.to_string());
        }
        if self.varies {
            return;
        }
        let first = self.first.get_or_insert_with(|| keep(row));
        self.varies = !rows.all(|row| row == kept(first));
        if self.varies {
            self.first = None;
        }
    }
}

impl Found {
    fn add(&mut self, (origin, id): (Origin, String), value: String) {
        self.videos += 1;
        self.first.get_or_insert((origin, id, value));
    }
}

impl Row {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(row) => row,
            Self::Floats(_) => &[],
        }
    }

    fn floats(&self) -> &[f32] {
        match self {
            Self::Floats(row) => row,
            Self::Bytes(_) => &[],
        }
    }
}
