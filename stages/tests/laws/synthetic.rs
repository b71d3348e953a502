//! Synthetic videos are a pure function of configuration and index, they are valid records, and a model can learn from
//! them.

use std::collections::BTreeSet;

use framewise_stages::{
    payload::{Example, Record},
    synthetic::{SyntheticConfig, SyntheticVideos},
    tfrecord::{DecodeOptions, decode_frames, encode_frames},
};

fn small() -> SyntheticConfig {
    SyntheticConfig {
        classes: 10,
        rgb_size: 32,
        audio_size: 8,
        min_frames: 10,
        max_frames: 40,
        latent: 16,
        ..SyntheticConfig::default()
    }
}

fn videos(config: SyntheticConfig) -> SyntheticVideos {
    SyntheticVideos::new(config).unwrap()
}

#[test]
fn a_video_depends_on_seeds_and_index_alone() {
    let (one, two) = (videos(small()), videos(small()));
    let forward: Vec<Example> = (0..50).map(|i| one.video(i)).collect();
    let backward: Vec<Example> = (0..50).rev().map(|i| two.video(i)).rev().collect();
    assert_eq!(forward, backward);
    for other in [SyntheticConfig { seed: 2, ..small() }, SyntheticConfig { world_seed: 8, ..small() }] {
        let other = videos(other);
        assert!((0..50).all(|i| other.video(i).rgb != forward[i as usize].rgb));
    }
    let far = videos(small()).video(u64::MAX);
    assert_eq!(far, videos(small()).video(u64::MAX));
}

#[test]
fn videos_keep_to_the_configuration_and_survive_encoding() {
    let config = SyntheticConfig { min_frames: 1, max_frames: 30, mean_labels: 5.0, ..small() };
    let all = videos(config.clone());
    let options = DecodeOptions {
        rgb_size: 32,
        audio_size: 8,
        max_frames: 30,
        classes: Some(10),
        ..DecodeOptions::default()
    };
    let mut ids = BTreeSet::new();
    let mut lengths = BTreeSet::new();
    for index in 0..2000 {
        let video = all.video(index);
        assert!((1..=30).contains(&video.frames));
        assert_eq!((video.rgb.len(), video.rgb.width()), (video.frames, 32));
        assert_eq!((video.audio.len(), video.audio.width()), (video.frames, 8));
        assert!(!video.labels.is_empty() && video.labels.len() <= video.frames);
        assert!(video.labels.is_sorted_by(|a, b| a < b) && video.labels.iter().all(|&l| l < 10));
        assert!(ids.insert(video.id.clone()));
        lengths.insert(video.frames);
        let record = Record { origin: video.origin.clone(), data: encode_frames(&video).into() };
        assert_eq!(decode_frames(&record, &options).unwrap(), video);
    }
    assert_eq!(lengths.len(), 30, "every length occurs");
}

#[test]
fn the_number_of_labels_is_as_asked() {
    // With many classes of nearly equal weight, few labels coincide.
    let config = SyntheticConfig {
        classes: 3862,
        rgb_size: 1,
        audio_size: 1,
        latent: 2,
        ..SyntheticConfig::default()
    };
    let all = videos(config);
    let counts: Vec<f64> = (0..4000).map(|i| all.video(i).labels.len() as f64).collect();
    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
    assert!((2.75..3.05).contains(&mean), "{mean}");
    let single = videos(SyntheticConfig { mean_labels: 1.0, ..small() });
    assert!((0..500).all(|i| single.video(i).labels.len() == 1));
}

/// The mean features of a video: first the visual ones, then those of the audio.
fn mean(video: &Example) -> Vec<f64> {
    let mut sums = vec![0.0; 40];
    for frame in 0..video.frames {
        let row = video.rgb.row(frame).iter().chain(video.audio.row(frame));
        sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += f64::from(byte) / video.frames as f64);
    }
    sums
}

fn accuracy(train: &SyntheticVideos, test: &SyntheticVideos) -> f64 {
    let mut prototypes = vec![(vec![0.0; 40], 0.0); 10];
    for index in 0..1000 {
        let video = train.video(index);
        let (sums, count) = &mut prototypes[video.labels[0] as usize];
        sums.iter_mut().zip(mean(&video)).for_each(|(sum, x)| *sum += x);
        *count += 1.0;
    }
    let right = (0..400).filter(|&index| {
        let video = test.video(index);
        let features = mean(&video);
        let distance = |class: usize| -> f64 {
            let (sums, count) = &prototypes[class];
            sums.iter().zip(&features).map(|(sum, x)| (sum / count - x).powi(2)).sum()
        };
        let nearest = (0..10).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap();
        nearest == video.labels[0] as usize
    });
    right.count() as f64 / 400.0
}

#[test]
fn the_nearest_class_mean_tells_the_classes_of_another_split() {
    let single = SyntheticConfig { mean_labels: 1.0, ..small() };
    let train = videos(single.clone());
    let test = videos(SyntheticConfig { seed: 2, ..single.clone() });
    let elsewhere = videos(SyntheticConfig { seed: 2, world_seed: 8, ..single });
    // The most frequent class has a share of 0.28.
    let (same, other) = (accuracy(&train, &test), accuracy(&train, &elsewhere));
    assert!(same > 0.9, "{same}");
    assert!(other < 0.4, "{other}");
}

#[test]
fn every_problem_is_told_at_once() {
    let config = SyntheticConfig {
        classes: 0,
        min_frames: 9,
        max_frames: 8,
        noise: f64::NAN,
        background: 1.5,
        mean_labels: 0.0,
        latent: 0,
        ..small()
    };
    let problems = SyntheticVideos::new(config).err().unwrap().problems;
    assert_eq!(problems.len(), 6, "{problems:#?}");
    let huge =
        SyntheticConfig { rgb_size: usize::MAX, audio_size: usize::MAX, max_frames: usize::MAX, ..small() };
    assert_eq!(huge.check().len(), 2);
    assert!(SyntheticConfig::default().check().is_empty());
}
