//! `tfrecord_writer`: videos as YouTube-8M TFRecords.
//!
//! Laws: each file appears complete or not at all; video i goes to file i mod `shards`.

use std::path::PathBuf;

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Packet, Ports, Settings, Stage, StageContext,
    StageError, Wiring,
};

use crate::payload::{Lazy, Video, any_of};
use crate::store::AtomicFile;
use crate::tfrecord::{Compression, RecordWriter, encode_frames, encode_video};
use crate::writers::output_path;

/// The stage type.
pub(crate) struct TfrecordWriter;

struct Writing {
    files: Vec<PathBuf>,
    compression: Compression,
    input: Input<Lazy<Video>>,
    context: StageContext,
}

impl Component for TfrecordWriter {
    fn type_name(&self) -> &'static str {
        "tfrecord_writer"
    }

    fn doc(&self) -> &'static str {
        "Writes videos as YouTube-8M TFRecords, in turn to one file or several: frame-level ones as \
         tf.train.SequenceExample, video-level ones (of `mean_pool`, say) as tf.train.Example. The files appear when all \
         are complete."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new(
                "path",
                KeyKind::OutputPath,
                "The file to write; with several shards `NAME.EXT` becomes `NAME-00000-of-00004.EXT` and so on. A relative \
                 path written in a graph lies in the run directory; one from --set in the working directory.",
            )
            .required()
            .free(),
            KeySpec::new("shards", KeyKind::Integer(1..=99_999), "Files to spread the videos over.").default(1).unit("files").free(),
            KeySpec::new("gzip", KeyKind::Bool, "Compresses the files whole.").default(false).free(),
        ]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports { inputs: vec![InputPort::new::<Lazy<Video>>("examples", any_of::<Video>())], outputs: vec![] }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let path = output_path(settings, context);
        let shards = settings.integer("shards");
        let files = match shards {
            1 => vec![path],
            n => (0..n).map(|shard| shard_name(&path, shard, n)).collect(),
        };
        let compression = if settings.flag("gzip") { Compression::Gzip } else { Compression::None };
        Ok(Box::new(Writing {
            files,
            compression,
            input: wiring.input("examples")?,
            context: context.clone(),
        }))
    }
}

fn shard_name(path: &std::path::Path, shard: u64, shards: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{shard:05}-of-{shards:05}{extension}"))
}

impl Stage for Writing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let mut writers = Vec::with_capacity(self.files.len());
        for path in &self.files {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|e| Failure::cannot_write(format!("{}: {e}", parent.display())))?;
            }
            let file = AtomicFile::create(path).map_err(Failure::cannot_write)?;
            writers.push(RecordWriter::new(path, file, self.compression));
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
                    writer.write(&record).map_err(Failure::cannot_write)?;
                    videos += 1;
                }
                Packet::Mark(_) => {}
                Packet::End => break,
            }
        }
        // All are written out before the first appears under its name.
        let finished = writers.into_iter().map(RecordWriter::finish).collect::<Result<Vec<_>, _>>();
        for file in finished.map_err(Failure::cannot_write)? {
            file.commit().map_err(Failure::cannot_write)?;
        }
        let files = self.files.len();
        let first = self.files[0].display();
        self.context.message(Level::Info, format!("{videos} videos written to {files} files: {first}"));
        Ok(())
    }
}
