//! Law: features from which nothing can be learned are warned of once, with how many videos have them and the first
//! record.

use crate::support::cli::{Desk, Said, copy_graph};
use crate::support::records::{Place, Records};

/// Copies frame-level records, three times over.
fn copied(desk: &Desk, records: &Records) -> Said {
    records.write(&desk.path("videos.tfrecord"));
    desk.write("copy.toml", &copy_graph("videos.tfrecord", 16, 4, 10));
    desk.framewise(&["run", "copy.toml", "--set", "stages.videos.epochs=3"]).expect(0)
}

/// Decodes video-level records.
fn decoded(desk: &Desk, records: &Records) -> Said {
    records.write(&desk.path("means.tfrecord"));
    desk.write(
        "means.toml",
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [\"means.tfrecord\"]\n\
         [stages.decode]\ntype = \"yt8m_video_decode\"\nfrom = \"videos\"\nrgb_size = 16\naudio_size = 4\nclasses = 10\n\
         [stages.files]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = \"out.tfrecord\"\n",
    );
    desk.framewise(&["run", "means.toml"]).expect(0)
}

fn varied(Place { video, frame, column }: Place) -> f32 {
    ((7 * video + 5 * frame + 3 * column) % 256) as f32
}

#[test]
fn constant_features_are_counted_and_the_first_record_is_named() {
    let desk = Desk::new();
    let said = copied(&desk, &Records::frame_level(6));
    assert!(!said.err.contains("nothing can be learned"), "{}", said.err);
    // The audio of videos 2 and 5 is silent.
    let silent = |place: Place| if place.column >= 16 && place.video % 3 == 2 { 0.0 } else { varied(place) };
    let said = copied(&desk, &Records::frame_level(6).features(silent));
    let told = "warning: decode: 2 of the 6 videos have audio features that are all 0, the first is ";
    assert_eq!(said.err.matches(told).count(), 1, "{}", said.err);
    assert!(said.err.contains("videos.tfrecord: record 2 at byte "), "{}", said.err);
    assert!(said.err.contains("(id \"video-2\"): nothing can be learned"), "{}", said.err);
    assert!(!said.err.contains("visual"), "{}", said.err);
}

#[test]
fn features_that_are_the_same_in_every_video_are_told() {
    let desk = Desk::new();
    let same = |place: Place| if place.column < 16 { place.column as f32 } else { varied(place) };
    let said = copied(&desk, &Records::frame_level(6).features(same));
    let told = "all 6 videos have the same visual features in every frame";
    assert_eq!(said.err.matches(told).count(), 1, "{}", said.err);
    assert!(!said.err.contains("audio features"), "{}", said.err);
    let said = decoded(&desk, &Records::video_level(3).features(same));
    assert!(said.err.contains("all 3 videos have the same visual features"), "{}", said.err);
    assert!(!said.err.contains("audio features"), "{}", said.err);
}

#[test]
fn features_whose_squares_overflow_are_told() {
    let desk = Desk::new();
    let said = decoded(&desk, &Records::video_level(3));
    assert!(!said.err.contains("overflow"), "{}", said.err);
    let large = |place: Place| if place.video == 1 && place.column == 18 { -3e30 } else { varied(place) };
    let said = decoded(&desk, &Records::video_level(3).features(large));
    assert!(said.err.contains("1 of the 3 videos have features whose squares overflow"), "{}", said.err);
    assert!(said.err.contains("record 1 at byte ") && said.err.contains("a feature of 3e30"), "{}", said.err);
}
