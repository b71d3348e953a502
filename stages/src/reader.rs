//! `tfrecord_reader`: files of framed records, epoch after epoch.
//!
//! Law: the order of records is a function of the file list, and with `shuffle_files` of (seed, epoch).

use std::path::PathBuf;

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, KeyKind, KeySpec, Mark, Output, OutputPort, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Wiring,
};
use serde::Deserialize;

use crate::files;
use crate::payload::Record;
use crate::rejects::{Rejects, read_failure, reject_keys};
use crate::tfrecord::{ReadError, ReaderOptions, RecordReader};

/// The stage type.
pub(crate) struct TfrecordReader;

#[derive(Deserialize)]
struct Config {
    files: Vec<String>,
    epochs: u64,
    shuffle_files: bool,
    verify_crc: bool,
    max_record_bytes: u64,
}

struct Reader {
    files: Vec<PathBuf>,
    config: Config,
    seed: u64,
    rejects: Rejects,
    output: Output<Record>,
    context: StageContext,
}

impl Component for TfrecordReader {
    fn type_name(&self) -> &'static str {
        "tfrecord_reader"
    }

    fn doc(&self) -> &'static str {
        "Reads TFRecord files, plain or GZIP (told by content). Every record keeps its file, index and byte offset, so \
         that later errors can name them. Files are read one after another in the order listed, globs sorted."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = vec![
            KeySpec::new("files", KeyKind::Paths, "Files, globs, or `@list.txt` with one path a line.")
                .required(),
            KeySpec::new("epochs", KeyKind::at_least(1), "How often all files are read.")
                .default(1)
                .unit("epochs")
                .free(),
            KeySpec::new(
                "shuffle_files",
                KeyKind::Bool,
                "Reads the files of each epoch in an order drawn from (seed, epoch).",
            )
            .default(false),
            KeySpec::new(
                "verify_crc",
                KeyKind::Bool,
                "Checks the CRC of each record's data (its length's always).",
            )
            .default(true),
            KeySpec::new(
                "max_record_bytes",
                KeyKind::Integer(1..=1 << 31),
                "A longer record counts as damaged.",
            )
            .default(64 << 20)
            .unit("bytes"),
        ];
        keys.extend(reject_keys());
        keys
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        let records = OutputPort::new::<Record>("records", PayloadType::of::<Record>(), 64);
        Ports { inputs: vec![], outputs: vec![records] }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        // Patterns were made absolute when the graph was resolved, so the base directory has no say.
        let files = files::expand(&config.files, std::path::Path::new(""))
            .map_err(|e| Failure::new(framewise_pipeline::ErrorKind::NotFound, e))?;
        Ok(Box::new(Reader {
            files,
            config,
            seed: context.seed,
            rejects: Rejects::new(settings, context),
            output: wiring.output("records")?,
            context: context.clone(),
        }))
    }
}

impl Stage for Reader {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        for epoch in 0..self.config.epochs {
            let order = if self.config.shuffle_files {
                files::shuffled(&self.files, self.seed, epoch)
            } else {
                (0..self.files.len()).collect()
            };
            for file in order {
                let file = self.files[file].clone();
                self.read_file(&file)?;
            }
            self.output.mark(Mark::EpochEnd { epoch })?;
        }
        Ok(())
    }
}

impl Reader {
    fn read_file(&mut self, path: &std::path::Path) -> Result<(), StageError> {
        let options = ReaderOptions {
            max_record_bytes: self.config.max_record_bytes,
            verify_data_crc: self.config.verify_crc,
            ..ReaderOptions::default()
        };
        let mut reader = RecordReader::open(path, options).map_err(|e| open_failure(path, e))?;
        self.context.message(Level::Debug, format!("reading {}", path.display()));
        while let Some(next) = reader.next() {
            match next {
                Ok(record) => self.output.send(record)?,
                Err(ReadError::Bad(error)) => self.rejects.reject(error)?,
                Err(error) => return Err(open_failure(path, error).into()),
            }
        }
        Ok(())
    }
}

fn open_failure(path: &std::path::Path, error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => Failure::data(format!("{}: {error}", path.display())),
    }
}
