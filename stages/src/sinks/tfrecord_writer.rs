//! `tfrecord_writer`: writes videos as YouTube-8M TFRecords.
//!
//! Laws: each file appears complete or not at all. Video i goes to file i mod `shards`. Where ranks divide the records, the
//! one file has the records that one process would write.

use std::path::{Path, PathBuf};

use framewise_pipeline::Write;
use framewise_pipeline::prelude::*;

use super::divided::{Place, refuse_reordered};
use super::output_path::output_path;
use crate::failure::write_failure;
use crate::io::{self, Way};
use crate::payload::{Lazy, Video};
use crate::tfrecord::{Compression, RecordWriter, encode_frames, encode_video};
use crate::words::plural;

/// The stage type `tfrecord_writer`.
pub(crate) struct TfrecordWriter;

const SHARDS_TO_STREAM: &str =
    "several shards cannot be written to a stream; name a file, or leave `shards` at 1";

struct Writing {
    files: Vec<Place>,
    compression: Compression,
    input: Input<Lazy<Video>>,
    context: StageContext,
}

#[derive(Keys)]
#[key(free)]
pub(crate) struct Config {
    /// The file to write; with several shards `NAME.EXT` becomes `NAME-00000-of-00004.EXT` and so on. A relative
    /// path written in a graph lies in the run directory; one from --set in the working directory. `-` is standard
    /// output.
    #[key(output, required)]
    path: PathBuf,
    /// The number of files over which the videos are spread.
    #[key(range = 1..=99_999, default = 1, unit = "files")]
    shards: u64,
    /// The compression of the files, each as a whole.
    #[key(default = false)]
    gzip: bool,
}

impl StageType for TfrecordWriter {
    const NAME: &'static str = "tfrecord_writer";
    const DOC: &'static str = "Writes videos as YouTube-8M TFRecords, in turn to one file or several: frame-level ones as \
                               tf.train.SequenceExample, video-level ones (of `mean_pool`, say) as tf.train.Example. The \
                               files appear when all are complete.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Ports { inputs: vec![InputPort::of::<Lazy<Video>>("examples")], outputs: vec![] }
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let wrong = io::is_standard_output(&config.path) && config.shards > 1;
        wrong.then(|| ("shards", SHARDS_TO_STREAM.to_owned())).into_iter().collect()
    }

    fn survey(config: &Config, _site: &Site<'_>) -> Survey {
        let mut survey = Survey::default();
        let write = |path| Write { key: "path", path, is_directory: false, bytes: 0, least: 0 };
        let stream = io::is_standard_output(&config.path);
        survey.writes = match config.shards {
            n if n > 1 && !stream => (0..n).map(|shard| write(shard_name(&config.path, shard, n))).collect(),
            _ => vec![write(config.path.clone())],
        };
        survey
    }

    fn divides(config: &Config, site: &Site<'_>) -> Result<(), String> {
        if config.shards > 1 {
            return Err("every rank would begin with the first of its files: leave `shards` at 1".to_owned());
        }
        refuse_reordered(site)
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let files = match config.shards {
            1 => vec![config.path],
            n => {
                refuse_stream(&output_path(&config.path, context))?;
                (0..n).map(|shard| shard_name(&config.path, shard, n)).collect()
            }
        };
        let files = files.iter().map(|file| Place::of(file, context)).collect::<Result<Vec<_>, _>>()?;
        let compression = if config.gzip { Compression::Gzip } else { Compression::None };
        Ok(Box::new(Writing {
            files,
            compression,
            input: wiring.input("examples")?,
            context: context.clone(),
        }))
    }
}

/// The paths of the shards. Each shard is a file of its own, and the files lie beside each other.
fn refuse_stream(path: &Path) -> Result<(), Failure> {
    // Anything else at this path is not in the way, because no file is written there.
    match io::way_to(path) {
        Ok(Way::Stream | Way::StandardOutput) => {
            Err(Failure::config(format!("{}: {SHARDS_TO_STREAM}", path.display())))
        }
        _ => Ok(()),
    }
}

fn shard_name(path: &Path, shard: u64, shards: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{shard:05}-of-{shards:05}{extension}"))
}

impl Stage for Writing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let mut writers = Vec::with_capacity(self.files.len());
        let first = self.files[0].path().to_owned();
        for place in std::mem::take(&mut self.files) {
            if let Some(parent) = place.path().parent() {
                io::create_directories(parent)
                    .map_err(|e| Failure::cannot_write(format!("{}: {e}", parent.display())))?;
            }
            let file = place.open()?;
            writers.push(RecordWriter::new(file.path().to_owned(), file, self.compression));
        }
        let mut videos = 0;
        loop {
            match self.input.recv()? {
                Packet::Item(video) => {
                    let video = video.load()?;
                    let count = writers.len();
                    let writer = &mut writers[videos % count];
                    let record = match &video {
                        Video::Frames(example) => encode_frames(example),
                        Video::Means(example) => encode_video(example),
                    };
                    writer.write(&record).map_err(|e| write_failure(&e.path, &e.source))?;
                    videos += 1;
                }
                Packet::Mark(_) => {}
                Packet::End => break,
            }
        }
        // All files are written out before the first one appears under its name.
        let finished = writers.into_iter().map(RecordWriter::finish).collect::<Result<Vec<_>, _>>();
        let finished = finished.map_err(|e| write_failure(&e.path, &e.source))?;
        let files = finished.len();
        let mut all = Some(videos as u64);
        for file in finished {
            all = file.finish(videos as u64, None)?;
        }
        let Some(videos) = all else { return Ok(()) };
        let (videos, first) = (plural(videos, "video"), first.display());
        let text = match files {
            1 => format!("{videos} written to {first}"),
            files => {
                format!("{videos} written to {}, the first of them {first}", plural(files as u64, "file"))
            }
        };
        self.context.message(Level::Info, text);
        Ok(())
    }
}
