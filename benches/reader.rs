//! Reading: full-size videos from files in the page cache into batches, by graphs of `tfrecord_reader`, `yt8m_decode` and
//! `batch` with one and with two threads, and the floor, which is reading the same records with their CRCs and no more.
//!
//! `cargo bench --bench reader -- [--videos N] [--runs N] [--folder DIR]` measures all ways in turns and prints one JSON line for
//! each, with the median rate and its ratio to the floor on one thread. With `--folder`, the files stay there, so that a peer
//! can read them.

mod common;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::drop::Drop;
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::load_str;
use framewise_stages::synthetic::{SyntheticConfig, SyntheticVideos};
use framewise_stages::tfrecord::{Compression, ReaderOptions, RecordReader, RecordWriter, encode_frames};

/// The files over which the videos are spread.
const FILES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    common::keep_memory();
    let (mut videos, mut runs, mut kept) = (1600, 7, None);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--videos" => videos = value.parse()?,
            "--runs" => runs = value.parse()?,
            "--folder" => kept = Some(PathBuf::from(value)),
            other => {
                return Err(format!("unknown argument `{other}`: --videos N, --runs N, --folder DIR").into());
            }
        }
    }
    let temporary = tempfile::tempdir()?;
    let folder = kept.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    let plain = write(folder, "plain", videos, Compression::None)?;
    let packed = write(folder, "packed", videos, Compression::Gzip)?;
    let graph = |name: &str, workers: usize| {
        let text = format!(
            "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [\"{name}-*\"]\nworkers = {workers}\n\
             [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\n\
             [stages.batch]\ntype = \"batch\"\nfrom = \"decode\"\nsize = 40\n\
             [stages.drop]\ntype = \"drop\"\nfrom = \"batch\"\n"
        );
        run(&text, folder)
    };
    type Way<'w> = (&'w str, usize, Box<dyn Fn() -> Result<(), Box<dyn Error>> + 'w>);
    let ways: Vec<Way<'_>> = vec![
        ("floor, plain", 1, Box::new(|| floor(&plain, 1))),
        ("floor, plain", 2, Box::new(|| floor(&plain, 2))),
        ("graph, plain", 1, Box::new(|| graph("plain", 1))),
        ("graph, plain", 2, Box::new(|| graph("plain", 2))),
        ("floor, gzip", 1, Box::new(|| floor(&packed, 1))),
        ("floor, gzip", 2, Box::new(|| floor(&packed, 2))),
        ("graph, gzip", 1, Box::new(|| graph("packed", 1))),
        ("graph, gzip", 2, Box::new(|| graph("packed", 2))),
    ];
    let mut seconds = vec![Vec::new(); ways.len()];
    // The first round warms the page cache and the allocator.
    for round in 0..=runs {
        for ((_, _, way), seconds) in ways.iter().zip(&mut seconds) {
            let start = Instant::now();
            way()?;
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let medians: Vec<f64> = seconds.iter_mut().map(|seconds| median(seconds)).collect();
    for ((name, workers, _), median) in ways.iter().zip(&medians) {
        let line = serde_json::json!({
            "program": "framewise",
            "mode": "read",
            "way": name,
            "workers": workers,
            "threads": std::thread::available_parallelism().map_or(0, usize::from),
            "videos_per_second": videos as f64 / median,
            "ratio_to_floor": medians[0] / median,
        });
        println!("{line}");
    }
    Ok(())
}

/// Writes the videos to files and returns their paths.
fn write(
    folder: &Path,
    name: &str,
    videos: usize,
    compression: Compression,
) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let world = SyntheticVideos::new(SyntheticConfig::default())?;
    let mut paths = Vec::new();
    for file in 0..FILES {
        let path = folder.join(format!("{name}-{file}"));
        let mut writer = RecordWriter::create(&path, compression)?;
        for index in (file..videos).step_by(FILES) {
            writer.write(&encode_frames(&world.video(index as u64)))?;
        }
        writer.finish()?;
        paths.push(path);
    }
    Ok(paths)
}

/// Reads every record of the files and checks its CRC, on so many threads.
fn floor(files: &[PathBuf], threads: usize) -> Result<(), Box<dyn Error>> {
    let read = |files: &[PathBuf]| {
        for file in files {
            let mut reader = RecordReader::open(file, ReaderOptions::default())?;
            while let Some(record) = reader.next() {
                std::hint::black_box(record?);
            }
        }
        Ok::<_, framewise_stages::tfrecord::ReadError>(())
    };
    std::thread::scope(|scope| {
        let parts = files.chunks(files.len().div_ceil(threads));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("reading does not panic"))
    })?;
    Ok(())
}

fn run(text: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let registry = framewise_stages::registry().stage::<Drop>();
    let loaded = load_str(&folder.join("graph.toml"), text, &registry, &[])?;
    let outcome = Pipeline::build(&loaded.graph, &registry, &RunOptions::default())?.run();
    match outcome.status {
        Status::Done => Ok(()),
        other => Err(format!("the graph ended with {other:?}").into()),
    }
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
