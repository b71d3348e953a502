//! Measures how fast the used-up part of an epoch is replayed, compared with reading it. The stages are reader, decode,
//! shuffle and batch, as in training.
//!
//!     cargo run --release -p framewise-stages --example bench_resume FOLDER [megabytes] [frames] [rounds] [cold]
//!
//! The program makes TFRecord files of random videos of `frames` frames each in FOLDER, and removes them afterwards. It
//! lets the data path run to the first batch of a run that is resumed near the end of the epoch, and to the end of a
//! run that reads everything. The page cache is as warm as memory allows. With `cold`, it is emptied before each
//! measurement (on Linux, as root). On a shared machine, only the ratios can be trusted.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph;
use framewise_pipeline::{
    Component, Failure, InputPort, KeySpec, Packet, PayloadType, Ports, Resources, Settings, Stage,
    StageContext, Wiring,
};
use framewise_stages::payload::{Example, Origin, Rows, Step};
use framewise_stages::random;
use framewise_stages::store::Checkpoint;
use framewise_stages::tfrecord::{Compression, ReaderOptions, RecordReader, RecordWriter, encode_frames};
use framewise_stages::{Cursor, Resume, registry};
use rand_chacha::rand_core::RngCore;

// The program framewise uses the same allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILES: u64 = 8;
const BATCH: u64 = 160;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments.next().ok_or("usage: bench_resume FOLDER [megabytes] [frames] [rounds] [cold]")?,
    );
    let megabytes: u64 = arguments.next().map_or(Ok(512), |n| n.parse())?;
    let frames: usize = arguments.next().map_or(Ok(225), |n| n.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |n| n.parse())?;
    let cold = match arguments.next().as_deref() {
        None => false,
        Some("cold") => true,
        Some(other) => return Err(format!("`{other}`: only `cold` may stand there").into()),
    };
    std::fs::create_dir_all(&folder)?;
    let paths: Vec<_> = (0..FILES).map(|i| folder.join(format!("bench-{i}.tfrecord"))).collect();
    let videos = make(&paths, megabytes << 20, frames)?;
    let bytes: u64 = paths.iter().map(|p| Ok(p.metadata()?.len())).sum::<std::io::Result<u64>>()?;
    println!("{videos} videos of {frames} frames, {} MB, in {FILES} files", bytes >> 20);

    let used_up = (videos - 1) / BATCH * BATCH;
    for round in 1..=rounds {
        empty_cache(cold)?;
        let start = Instant::now();
        let mut passed = 0;
        for path in &paths {
            let mut reader = RecordReader::open(path, ReaderOptions::default())?;
            passed += reader.skip(u64::MAX)?;
        }
        let walk = start.elapsed().as_secs_f64();
        assert_eq!(passed, videos);
        empty_cache(cold)?;
        let replay = first_batch(&folder, &paths, used_up)?;
        empty_cache(cold)?;
        let read = first_batch(&folder, &paths, 0)?;
        println!(
            "round {round}: headers alone {:.0} records/s; replay {:.0} records/s ({replay:.2} s to the first batch after \
             {used_up} videos); reading {:.0} records/s ({read:.2} s); replay is {:.1} times as fast",
            videos as f64 / walk,
            used_up as f64 / replay,
            videos as f64 / read,
            (used_up as f64 / replay) / (videos as f64 / read),
        );
    }
    paths.iter().try_for_each(std::fs::remove_file)?;
    Ok(())
}

/// If asked to, makes the kernel forget what it holds of files. Written pages are flushed first, because dirty pages
/// would stay.
fn empty_cache(cold: bool) -> Result<(), Box<dyn Error>> {
    if cold {
        if !std::process::Command::new("sync").status()?.success() {
            return Err("sync failed".into());
        }
        std::fs::write("/proc/sys/vm/drop_caches", "3")
            .map_err(|e| format!("cannot empty the page cache (Linux, as root): {e}"))?;
    }
    Ok(())
}

/// Writes random videos until there are `bytes` bytes. Returns the number of videos.
fn make(paths: &[PathBuf], bytes: u64, frames: usize) -> Result<u64, Box<dyn Error>> {
    let mut random = random::stream(1, "bench_resume", &[]);
    let mut noise = vec![0; frames * (1024 + 128)];
    random.fill_bytes(&mut noise);
    let mut videos = 0;
    for path in paths {
        let mut writer = RecordWriter::create(path, Compression::None)?;
        let mut written = 0;
        while written < bytes / FILES {
            let (rgb, audio) = noise.split_at(frames * 1024);
            let payload = encode_frames(&Example {
                id: format!("v{videos:09}"),
                labels: vec![1, 20, 300],
                frames,
                rgb: Rows::packed(rgb.to_vec(), frames),
                audio: Rows::packed(audio.to_vec(), frames),
                origin: Origin { file: Path::new("bench").into(), record: videos, byte: 0 },
            });
            writer.write(&payload)?;
            written += payload.len() as u64 + 16;
            videos += 1;
        }
        writer.finish()?;
    }
    Ok(videos)
}

/// The seconds that the data path takes to the first batch after `used_up` videos, or through everything if that is 0.
fn first_batch(folder: &Path, paths: &[PathBuf], used_up: u64) -> Result<f64, Box<dyn Error>> {
    let text = format!(
        "[graph]\nname = \"bench\"\nseed = 1\n[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [\"{}/bench-*.tfrecord\"]\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nworkers = 2\n[stages.shuffle]\ntype = \"shuffle\"\n\
         from = \"decode\"\nbuffer = 1024\n[stages.batch]\ntype = \"batch\"\nfrom = \"shuffle\"\nsize = {BATCH}\n\
         [stages.discard]\ntype = \"discard\"\nfrom = \"batch\"\n",
        folder.canonicalize()?.display()
    );
    let registry = registry().with(Discard);
    let loaded = graph::load_str(&folder.join("bench.toml"), &text, &registry, &[]);
    let graph = loaded.map_err(|errors| errors.render(false))?.graph;
    let resources = Resources::default();
    if used_up > 0 {
        let file = |path: &PathBuf| {
            Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path.metadata()?.len()))
        };
        let files = paths.iter().map(file).collect::<std::io::Result<Vec<_>>>()?;
        let cursor = Cursor {
            step: used_up / BATCH,
            epoch: 0,
            epoch_done: false,
            epoch_steps: used_up / BATCH,
            epoch_samples: used_up,
            furthest: used_up,
            measured: None,
            sources: BTreeMap::from([("videos".to_owned(), files)]),
            rejected: Vec::new(),
        };
        let checkpoint = Checkpoint {
            step: used_up / BATCH,
            epoch: 0,
            samples: used_up,
            updates: 0,
            seed: 1,
            cursor: serde_json::to_value(cursor)?,
            model: serde_json::Value::Null,
            graph: String::new(),
            weights: Vec::new(),
            moments: Vec::new(),
            metrics: BTreeMap::new(),
        };
        resources.insert(Resume { checkpoint, directory: folder.to_owned() });
    }
    let options = RunOptions { resources: Arc::new(resources), ..RunOptions::default() };
    let pipeline = Pipeline::build(&graph, &registry, &options).map_err(|error| error.to_string())?;
    let outcome = pipeline.run();
    match outcome.status {
        Status::Done if used_up > 0 => Ok(outcome.results["first_batch_seconds"]),
        Status::Done => Ok(outcome.wall_seconds),
        other => Err(format!("{other:?}").into()),
    }
}

/// A sink that takes batches and notes when the first one came.
struct Discard;

impl Component for Discard {
    fn type_name(&self) -> &'static str {
        "discard"
    }

    fn doc(&self) -> &'static str {
        "Takes batches and does nothing with them."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports { inputs: vec![InputPort::new::<Step>("batches", PayloadType::of::<Step>())], outputs: vec![] }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let (mut input, results) = (wiring.input::<Step>("batches")?, context.results.clone());
        Ok(framewise_pipeline::testing::stage_fn(move || {
            let start = Instant::now();
            loop {
                match input.recv()? {
                    Packet::Item(_) if results.get("first_batch_seconds").is_none() => {
                        results.set("first_batch_seconds", start.elapsed().as_secs_f64());
                    }
                    Packet::Item(_) | Packet::Mark(_) => {}
                    Packet::End => return Ok(()),
                }
            }
        }))
    }
}
