//! Our reader agrees with the `tfrecord` crate on files that either of them writes, and with prost on what a message
//! means, damaged messages included.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::BufReader,
    path::Path,
    sync::Arc,
};

use crate::common::Damage;
use framewise_stages::{
    payload::{Example, Origin, Record, Rows, VideoExample},
    synthetic::{SyntheticConfig, SyntheticVideos},
    tfrecord::{
        Compression, DecodeOptions, ReaderOptions, Reason, RecordReader, RecordWriter, decode_frames,
        decode_video, encode_frames, encode_video,
    },
};
use prost::Message;
use tfrecord::protobuf::{
    BytesList, Feature, FeatureList, FeatureLists, Features, FloatList, Int64List, SequenceExample,
    feature::Kind,
};

const RGB: usize = 4;
const AUDIO: usize = 2;

fn options() -> DecodeOptions {
    DecodeOptions {
        rgb_size: RGB,
        audio_size: AUDIO,
        max_frames: 6,
        classes: Some(10),
        ..DecodeOptions::default()
    }
}

fn examples(count: u64) -> Vec<Example> {
    let world = SyntheticVideos::new(SyntheticConfig {
        classes: 10,
        rgb_size: RGB,
        audio_size: AUDIO,
        min_frames: 1,
        max_frames: 6,
        latent: 2,
        ..SyntheticConfig::default()
    })
    .unwrap();
    (0..count).map(|index| world.video(index)).collect()
}

fn record(data: Vec<u8>) -> Record {
    Record { origin: Origin { file: Arc::from(Path::new("oracle")), record: 3, byte: 99 }, data: data.into() }
}

fn feature(kind: Kind) -> Feature {
    Feature { kind: Some(kind) }
}

fn bytes(values: &[&[u8]]) -> Feature {
    feature(Kind::BytesList(BytesList { value: values.iter().map(|v| v.to_vec()).collect() }))
}

fn integers(values: &[i64]) -> Feature {
    feature(Kind::Int64List(Int64List { value: values.to_vec() }))
}

fn features(map: Vec<(&str, Feature)>) -> Option<Features> {
    Some(Features { feature: map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() })
}

/// The message that an example makes, written by hand.
fn message(example: &Example) -> SequenceExample {
    let labels: Vec<i64> = example.labels.iter().map(|&label| label.into()).collect();
    let list = |rows: &Rows| FeatureList { feature: rows.iter().map(|frame| bytes(&[frame])).collect() };
    let lists = [("rgb", list(&example.rgb)), ("audio", list(&example.audio))];
    SequenceExample {
        context: features(vec![("id", bytes(&[example.id.as_bytes()])), ("labels", integers(&labels))]),
        feature_lists: Some(FeatureLists {
            feature_list: lists.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        }),
    }
}

#[test]
fn prost_reads_what_we_encode_and_the_reverse() {
    for mut example in examples(300) {
        let ours = encode_frames(&example);
        assert_eq!(SequenceExample::decode(ours.as_slice()).unwrap(), message(&example));
        // Prost writes maps in hash order, so every order occurs.
        let theirs = record(message(&example).encode_to_vec());
        example.origin = theirs.origin.clone();
        assert_eq!(decode_frames(&theirs, &options()).unwrap(), example);
    }
}

#[test]
fn prost_reads_video_level_examples_that_we_encode_and_the_reverse() {
    let mut example = VideoExample {
        id: "mean".to_owned(),
        labels: vec![0, 7, 9],
        mean_rgb: vec![0.25, -1.5, 3.0e-20, 2.0],
        mean_audio: vec![-0.0, 1.0e10],
        origin: record(Vec::new()).origin,
    };
    let floats = |values: &[f32]| feature(Kind::FloatList(FloatList { value: values.to_vec() }));
    let message = tfrecord::Example {
        features: features(vec![
            ("id", bytes(&[b"mean"])),
            ("labels", integers(&[0, 7, 9])),
            ("mean_rgb", floats(&example.mean_rgb)),
            ("mean_audio", floats(&example.mean_audio)),
        ]),
    };
    assert_eq!(tfrecord::Example::decode(encode_video(&example).as_slice()).unwrap(), message);
    let theirs = decode_video(&record(message.encode_to_vec()), &options()).unwrap();
    assert_eq!(theirs, example);
    example.mean_rgb[2] = f32::NAN;
    let error = decode_video(&record(encode_video(&example)), &options()).unwrap_err();
    assert_eq!((error.reason, error.detail.as_str()), (Reason::BadProto, "mean_rgb[2] is NaN"));
    example.mean_rgb.pop();
    let error = decode_video(&record(encode_video(&example)), &options()).unwrap_err();
    assert_eq!((error.reason, error.detail.as_str()), (Reason::FrameSize, "mean_rgb: 3 floats, expected 4"));
}

#[test]
fn the_tfrecord_crate_reads_what_we_write_and_the_reverse() {
    let folder = tempfile::tempdir().unwrap();
    let mut payloads: Vec<Vec<u8>> = examples(50).iter().map(encode_frames).collect();
    payloads.push(Vec::new());
    payloads.push(Damage::new(5).bytes(3 << 20));

    let ours = folder.path().join("ours");
    for compression in [Compression::None, Compression::Gzip] {
        let mut writer = RecordWriter::create(&ours, compression).unwrap();
        payloads.iter().for_each(|payload| writer.write(payload).unwrap());
        writer.finish().unwrap();
        let file = BufReader::new(File::open(&ours).unwrap());
        let file: Box<dyn std::io::Read> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(file)),
        };
        let config = tfrecord::RecordReaderConfig { check_integrity: true };
        let read: Vec<Vec<u8>> =
            tfrecord::BytesIter::from_reader(file, config).collect::<Result<_, _>>().unwrap();
        assert!(read == payloads);
        assert!(read_all(&ours) == payloads);
    }

    let theirs = folder.path().join("theirs");
    let mut writer = tfrecord::BytesWriter::create(&theirs).unwrap();
    payloads.iter().for_each(|payload| writer.send(payload.clone()).unwrap());
    writer.flush().unwrap();
    drop(writer);
    assert!(read_all(&theirs) == payloads);
}

fn read_all(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
    std::iter::from_fn(|| reader.next()).map(|record| record.unwrap().data.to_vec()).collect()
}

type Parts = (String, Vec<u32>, usize, Vec<u8>, Vec<u8>);

/// The meaning of a message, found by plain look-ups in prost's maps.
fn meaning(message: &SequenceExample, options: &DecodeOptions) -> Result<Parts, Reason> {
    let empty = HashMap::new();
    let context = message.context.as_ref().map_or(&empty, |context| &context.feature);
    let id = options.id_keys.iter().find_map(|key| context.get(key)).ok_or(Reason::IdMissing)?;
    let Some(Kind::BytesList(id)) = &id.kind else { return Err(Reason::IdMissing) };
    let [id] = id.value.as_slice() else { return Err(Reason::IdMissing) };
    let id = String::from_utf8(id.clone()).map_err(|_| Reason::IdNotUtf8)?;
    if id.is_empty() {
        return Err(Reason::IdMissing);
    }
    let empty = HashMap::new();
    let lists = message.feature_lists.as_ref().map_or(&empty, |lists| &lists.feature_list);
    let rgb = lists.get("rgb").ok_or(Reason::MissingFeature)?;
    let audio = lists.get("audio").ok_or(Reason::MissingFeature)?;
    let frames = |list: &FeatureList, size: usize| -> Result<Vec<Vec<u8>>, Reason> {
        let one = |feature: &Feature| match &feature.kind {
            Some(Kind::BytesList(list)) if list.value.len() == 1 && list.value[0].len() == size => {
                Ok(list.value[0].clone())
            }
            _ => Err(Reason::FrameSize),
        };
        list.feature.iter().map(one).collect()
    };
    let (rgb, audio) = (frames(rgb, options.rgb_size)?, frames(audio, options.audio_size)?);
    if rgb.len() != audio.len() {
        return Err(Reason::FrameCountMismatch);
    }
    if rgb.is_empty() {
        return Err(Reason::NoFrames);
    }
    let labels = match context.get("labels").and_then(|labels| labels.kind.as_ref()) {
        None => Vec::new(),
        Some(Kind::Int64List(labels)) => labels.value.clone(),
        Some(_) => return Err(Reason::MissingFeature),
    };
    if labels.iter().any(|&label| label < 0 || label >= options.classes.unwrap() as i64) {
        return Err(Reason::LabelOutOfRange);
    }
    let labels: BTreeSet<u32> = labels.into_iter().map(|label| label as u32).collect();
    let kept = rgb.len().min(options.max_frames);
    Ok((id, labels.into_iter().collect(), kept, rgb[..kept].concat(), audio[..kept].concat()))
}

/// A valid message that need not be a valid video. Every kind of feature may stand under every key that matters.
fn arbitrary(damage: &mut Damage) -> SequenceExample {
    let mut feature = |keys: usize| match damage.below(keys) {
        0 => Feature { kind: None },
        1 => feature(Kind::FloatList(FloatList { value: vec![0.5; damage.below(3)] })),
        2 => integers(&[-1, 1 << 40, 10][..damage.below(4)]),
        3 => bytes(&[[b"abcd", "é\u{0}".as_bytes(), &[0xff], b""][damage.below(4)]]),
        4 => bytes(&[b"ab", b"cd"]),
        5 => integers(&vec![damage.below(10) as i64; damage.below(4)]),
        6 => bytes(&[b"ab"]),
        _ => bytes(&[b"abcd"]),
    };
    let context =
        ["id", "video_id", "labels", "other"].map(|key| (key, feature(if key == "labels" { 6 } else { 30 })));
    let rgb = [0; 7].map(|_: u8| feature(200));
    let audio = [0; 7].map(|_: u8| bytes(&[b"au"]));
    let lists =
        [("rgb", rgb), ("audio", audio), ("other", [0; 7].map(|_: u8| feature(9)))].map(|(key, list)| {
            (key.to_owned(), FeatureList { feature: list[..damage.below(20).min(7)].to_vec() })
        });
    let mut kept = || damage.below(12) > 0;
    SequenceExample {
        context: features(context.into_iter().filter(|_| kept()).collect()),
        feature_lists: Some(FeatureLists { feature_list: lists.into_iter().filter(|_| kept()).collect() }),
    }
}

/// The outline of a message in which the wire type of map entries is checked. Prost's maps take any wire type as a
/// length.
#[derive(Clone, PartialEq, Message)]
struct Outline {
    #[prost(message, repeated, tag = "1")]
    contexts: Vec<Entries>,
    #[prost(message, repeated, tag = "2")]
    lists: Vec<Entries>,
}

#[derive(Clone, PartialEq, Message)]
struct Entries {
    #[prost(bytes = "vec", repeated, tag = "1")]
    entries: Vec<Vec<u8>>,
}

#[test]
fn damaged_and_merged_messages_mean_to_us_what_they_mean_to_prost() {
    let options = options();
    let payloads: Vec<Vec<u8>> = examples(40).iter().map(encode_frames).collect();
    let mut damage = Damage::new(2);
    let (mut valid, mut refused, mut both_good) = (0, 0, 0);
    let mut reasons: BTreeMap<Reason, u32> = BTreeMap::new();
    for round in 0..200_000 {
        let mut data = match round % 4 {
            0 => arbitrary(&mut damage).encode_to_vec(),
            _ => payloads[damage.below(payloads.len())].clone(),
        };
        let other = match damage.below(2) {
            0 => arbitrary(&mut damage).encode_to_vec(),
            _ => payloads[damage.below(payloads.len())].clone(),
        };
        // Two messages one after the other mean the two merged.
        if damage.below(4) == 0 {
            data.extend_from_slice(&other);
        }
        if damage.below(2) == 0 {
            damage.mutate(&mut data, &other);
        }
        let record = record(data);
        let ours = decode_frames(&record, &options);
        let theirs = SequenceExample::decode(&*record.data)
            .and_then(|message| Outline::decode(&*record.data).map(|_| message));
        match theirs {
            Ok(message) => {
                valid += 1;
                let expected = meaning(&message, &options);
                both_good += u32::from(expected.is_ok());
                if let Err(reason) = expected {
                    *reasons.entry(reason).or_default() += 1;
                }
                let ours = ours
                    .map(|e| (e.id, e.labels, e.frames, e.rgb.to_vec(), e.audio.to_vec()))
                    .map_err(|e| e.reason);
                assert_eq!(ours, expected, "{:02x?}", record.data);
            }
            // Prost also looks into fields that nobody asked for, so it may refuse what our reader can use.
            Err(_) => refused += u32::from(ours.is_err_and(|error| error.reason == Reason::BadProto)),
        }
    }
    assert!(valid > 80_000 && both_good > 20_000 && refused > 20_000, "{valid} {both_good} {refused}");
    for reason in [
        Reason::IdMissing,
        Reason::IdNotUtf8,
        Reason::MissingFeature,
        Reason::FrameSize,
        Reason::FrameCountMismatch,
        Reason::NoFrames,
        Reason::LabelOutOfRange,
    ] {
        assert!(reasons.get(&reason).is_some_and(|&n| n > 20), "{reason} hardly occurred: {reasons:?}");
    }
}
