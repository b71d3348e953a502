//! Graphs whose limiting stage is the same on any machine, however many others share it: one stage takes many times as
//! long as all others together.

use crate::support::cli::{Desk, copy_graph};
use crate::support::records::{Place, Records};

/// Videos of 100 frames of 1024 + 128 features below 16, about 115 kB each.
pub(crate) fn videos(count: usize) -> Records {
    // Mixed bits, so that a packed file is half as long as a plain one and inflating has work to do.
    let features = |place: Place| {
        let number = (place.video * 1_000_003 + place.frame * 1152 + place.column) as u64;
        let mixed = (number ^ number >> 7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 60) as f32
    };
    Records::frame_level(count).sizes(1024, 128).frames(|_| 100).features(features)
}

/// The text of the graph that copies [`videos`].
pub(crate) fn copying(files: &str) -> String {
    copy_graph(files, 1024, 128, 10)
}

/// The text of a graph that is limited by its reader, `videos`: inflating takes many times as long as copying the first
/// frame of each video.
pub(crate) fn inflating(desk: &Desk, epochs: u64) -> String {
    let input = videos(200).gzip().write(&desk.path("in.tfrecord.gz"));
    copying(&input)
        .replace("files = ", &format!("epochs = {epochs}\nfiles = "))
        .replace("rgb_size = ", "max_frames = 1\nrgb_size = ")
}
