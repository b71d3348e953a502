//! `tfrecord_reader`: files of framed records, epoch after epoch.
//!
//! Law: the order of records is a function of the file list, and with `shuffle_files` of (seed, epoch).
//!
//! A run that goes on from a checkpoint sends the records that its epoch has used up unread, with the means to read them:
//! a shuffle behind needs all of them for its order, and some may still be in its buffer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, KeyKind, KeySpec, Mark, Output, OutputPort, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Wiring,
};
use serde::Deserialize;

use crate::files;
use crate::ledger::{Known, Ledger};
use crate::payload::{Deferred, Lazy, Loader, Origin, Record};
use crate::rejects::{Rejects, read_failure, reject_keys};
use crate::resume::{Start, data_changed};
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
    options: ReaderOptions,
    seed: u64,
    rejects: Rejects,
    ledger: Arc<Ledger>,
    output: Output<Lazy<Record>>,
    context: StageContext,
    start: Start,
    epoch: u64,
    /// Records of the epoch passed so far, bad ones included.
    position: u64,
    /// Good records of the epoch that are still to be sent unread.
    unread: u64,
    /// Records that the stages behind reject.
    rejected_behind: Known,
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
        let records = OutputPort::new::<Lazy<Record>>("records", PayloadType::of::<Record>(), 64);
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
        let ledger = Ledger::of(context)?;
        ledger.add_source(context, &files)?;
        Ok(Box::new(Reader {
            files,
            options: ReaderOptions {
                max_record_bytes: config.max_record_bytes,
                verify_data_crc: config.verify_crc,
                ..ReaderOptions::default()
            },
            config,
            seed: context.seed,
            rejects: Rejects::new(settings, context)?,
            ledger,
            output: wiring.output("records")?,
            context: context.clone(),
            start: Start::of(context)?,
            epoch: 0,
            position: 0,
            unread: 0,
            rejected_behind: Known::new(),
        }))
    }
}

impl Stage for Reader {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        self.rejects.start()?;
        self.rejected_behind = self.ledger.known_to_others(&self.context.stage)?;
        self.unread = self.start.epoch_samples;
        for epoch in self.start.epoch..self.config.epochs {
            (self.epoch, self.position) = (epoch, 0);
            let order = if self.config.shuffle_files {
                files::shuffled(&self.files, self.seed, epoch)
            } else {
                (0..self.files.len()).collect()
            };
            for file in order {
                let file = self.files[file].clone();
                self.read_file(&file)?;
            }
            self.unread = 0;
            self.output.mark(Mark::EpochEnd { epoch })?;
        }
        Ok(())
    }
}

impl Reader {
    fn read_file(&mut self, path: &Path) -> Result<(), StageError> {
        let mut reader = RecordReader::open(path, self.options.clone()).map_err(|e| open_failure(path, e))?;
        self.context.message(Level::Debug, format!("reading {}", path.display()));
        if self.unread > 0 {
            self.replay(&mut reader)?;
        }
        while let Some(next) = reader.next() {
            let position = self.position;
            self.position += 1;
            match next {
                Ok(record) => self.output.send(Lazy::ready(position, record))?,
                Err(ReadError::Bad(error)) => self.rejects.reject(error, self.epoch, position)?,
                Err(error) => return Err(open_failure(path, error).into()),
            }
        }
        Ok(())
    }

    /// Sends records unread until there are enough, or the file is over.
    fn replay(&mut self, reader: &mut RecordReader) -> Result<(), StageError> {
        let options = self.options.clone();
        let load: Loader<Record> = Arc::new(move |origin| load(origin, &options));
        while self.unread > 0 {
            let origin = reader.origin();
            if let Some(reason) = self.rejects.known(&origin) {
                self.rejects.reject_again(&origin, reason)?;
                self.position += 1;
                match reader.pass() {
                    // Whatever the file holds there, it was over.
                    _ if reason.ends_file() => {
                        reader.finish();
                        return Ok(());
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Err(changed(error).into()),
                    None => return Err(data_changed(format!("{origin} is missing")).into()),
                }
            }
            let deferred = if reader.can_seek() {
                reader
                    .pass()
                    .map(|passed| passed.map(|origin| Deferred { origin, load: load.clone(), bytes: 0 }))
            } else {
                // There is no way back to it, so it is read, though not decoded.
                reader.next().map(|next| next.map(in_memory))
            };
            let Some(deferred) = deferred else { return Ok(()) };
            let deferred = deferred.map_err(changed)?;
            let is_bad =
                |known: &Known| known.get(&*origin.file).is_some_and(|f| f.contains_key(&origin.record));
            if !is_bad(&self.rejected_behind) {
                self.unread -= 1;
            }
            self.output.send(Lazy::deferred(self.position, deferred))?;
            self.position += 1;
        }
        Ok(())
    }
}

/// A record that is at hand, to be decoded when it is wanted.
fn in_memory(record: Record) -> Deferred<Record> {
    let Record { origin, data } = record;
    let bytes = data.len();
    let load: Loader<Record> =
        Arc::new(move |origin| Ok(Record { origin: origin.clone(), data: data.clone() }));
    Deferred { origin, load, bytes }
}

/// Reads a record that was passed over.
fn load(origin: &Origin, options: &ReaderOptions) -> Result<Record, Failure> {
    let mut reader = RecordReader::at(origin, options.clone()).map_err(changed)?;
    match reader.next() {
        Some(record) => record.map_err(changed),
        None => Err(data_changed(format!("{origin} is missing"))),
    }
}

/// The failure of reading again what was read before.
fn changed(error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => data_changed(error),
    }
}

fn open_failure(path: &Path, error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => Failure::data(format!("{}: {error}", path.display())),
    }
}
