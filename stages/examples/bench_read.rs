//! Measures how fast records are read, compared with the `tfrecord` crate: on the same file, with a warm page cache and
//! one thread.
//!
//!     cargo run --release -p framewise-stages --example bench_read [videos] [rounds]
//!
//! The file holds synthetic full-size videos. Each way to read is timed once in each round, in turn. The program prints
//! the medians, and their ratios to the crate with its CRC check. On a shared machine, only the ratios can be trusted.

use std::{error::Error, hint::black_box, path::Path, time::Instant};

use framewise_stages::{
    synthetic::{SyntheticConfig, SyntheticVideos},
    tfrecord::{
        Compression, DecodeOptions, ReaderOptions, RecordReader, RecordWriter, decode_frames, encode_frames,
    },
};
use prost::Message;

type Outcome = Result<usize, Box<dyn Error>>;
type Way = fn(&Path) -> Outcome;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let videos: u64 = arguments.next().map_or(Ok(800), |n| n.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(7), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.tfrecord");

    let start = Instant::now();
    let world = SyntheticVideos::new(SyntheticConfig::default())?;
    println!("world made in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    for index in 0..videos {
        black_box(world.video(index));
    }
    println!("synthetic videos: {:.0} a second", videos as f64 / start.elapsed().as_secs_f64());
    let mut writer = RecordWriter::create(&file, Compression::None)?;
    for index in 0..videos {
        writer.write(&encode_frames(&world.video(index)))?;
    }
    writer.finish()?;
    let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
    println!("{videos} videos, {megabytes:.0} MB, median of {rounds} rounds\n");

    let ways: [(&str, Way); 8] = [
        ("tfrecord crate + prost, CRC", |file| theirs(file, true, true)),
        ("tfrecord crate + prost, no CRC", |file| theirs(file, false, true)),
        ("tfrecord crate, records only, no CRC", |file| theirs(file, false, false)),
        ("ours: read and decode, CRC", |file| ours(file, true, true)),
        ("ours: read and decode, no CRC", |file| ours(file, false, true)),
        ("ours: records only, CRC", |file| ours(file, true, false)),
        ("ours: records only, no CRC", |file| ours(file, false, false)),
        ("ours: headers only", skip),
    ];
    let mut seconds = vec![Vec::new(); ways.len()];
    // The first round warms the page cache and the allocator.
    for round in 0..=rounds {
        for ((_, way), seconds) in ways.iter().zip(&mut seconds) {
            let start = Instant::now();
            let read = way(&file)?;
            assert_eq!(read as u64, videos);
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let medians: Vec<f64> = seconds.iter_mut().map(|seconds| median(seconds)).collect();
    println!("{:40}{:>12}{:>10}{:>10}", "", "videos/s", "MB/s", "ratio");
    for ((name, _), median) in ways.iter().zip(&medians) {
        let (rate, ratio) = (videos as f64 / median, medians[0] / median);
        println!("{name:40}{rate:12.0}{:10.0}{ratio:10.1}", megabytes / median);
    }
    Ok(())
}

fn ours(file: &Path, verify_data_crc: bool, decode: bool) -> Outcome {
    let options = DecodeOptions::default();
    let mut reader = RecordReader::open(file, ReaderOptions { verify_data_crc, ..ReaderOptions::default() })?;
    let mut read = 0;
    while let Some(record) = reader.next() {
        let record = record?;
        if decode {
            black_box(decode_frames(&record, &options)?);
        } else {
            black_box(record);
        }
        read += 1;
    }
    Ok(read)
}

fn skip(file: &Path) -> Outcome {
    Ok(RecordReader::open(file, ReaderOptions::default())?.skip(u64::MAX)? as usize)
}

fn theirs(file: &Path, check_integrity: bool, decode: bool) -> Outcome {
    let config = tfrecord::RecordReaderConfig { check_integrity };
    let mut read = 0;
    for record in tfrecord::BytesIter::<std::io::BufReader<std::fs::File>>::open(file, config)? {
        let record = record?;
        if decode {
            black_box(tfrecord::protobuf::SequenceExample::decode(record.as_slice())?);
        } else {
            black_box(record);
        }
        read += 1;
    }
    Ok(read)
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
