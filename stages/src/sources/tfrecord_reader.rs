//! `tfrecord_reader`: files of framed records, epoch after epoch.
//!
//! Laws: the order of records is a function of the file list, and with `shuffle_files` of (seed, epoch). Of several ranks that
//! divide the records, each reads its pieces of each epoch, as [`pieces`] says. An epoch in which there is no record to send
//! is an error, except for one of several ranks.
//!
//! A resumed run sends the records that its epoch has used up unread, together with the means to read them. A shuffle
//! behind needs all of them for its order, and some may still be in the shuffle's buffer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewise_pipeline::prelude::*;

use crate::failure::data_changed;
use crate::failure::read_failure;
use crate::io::{self, patterns};
use crate::payload::{Deferred, Lazy, Loader, Record};
use crate::ranks::Share;
use crate::run_state::ledger::{Known, Ledger};
use crate::run_state::parts::{self, Note};
use crate::run_state::rejects::{RejectKeys, Rejects};
use crate::run_state::resume::{Resume, Start};
use crate::run_state::spread;
use crate::sources::again::{changed, in_memory, load};
use crate::sources::agreed;
use crate::sources::input_files;
use crate::sources::pieces::{Piece, PieceReader, pieces};
use crate::sources::read_ahead::{self, ReadAhead};
use crate::tfrecord::{ReadError, ReaderOptions, RecordReader};
use crate::words::{count, plural};

/// The bytes of the buffers through which a file is read; those of a compressed file are the largest.
const READ_BUFFER: u64 = 256 << 10;

/// The stage type `tfrecord_reader`.
pub(crate) struct TfrecordReader;

#[derive(Keys)]
pub(crate) struct Config {
    /// Files, globs, or `@list.txt` with one path a line.
    #[key(paths, required)]
    files: Vec<String>,
    /// The number of times that all files are read.
    #[key(range = 1.., default = 1, unit = "epochs", free)]
    epochs: u64,
    /// Reads the files of each epoch in an order drawn from (seed, epoch).
    #[key(default = false)]
    shuffle_files: bool,
    /// The number of files that are read and unpacked side by side, each by a thread of its own. The order of the records
    /// is kept whatever their number, so what is read ahead waits in memory: at most 64 MB for each file and one file more.
    #[key(range = 1..=256, default = 1, unit = "threads", free)]
    workers: usize,
    #[key(flatten)]
    options: ReaderOptions,
    #[key(flatten)]
    rejects: RejectKeys,
}

struct Reader {
    files: Vec<PathBuf>,
    /// The bytes of each file as it is stored. Empty if one of them is a stream, whose end nobody knows.
    lengths: Vec<u64>,
    /// The part of the records that this process reads.
    share: Share,
    /// The bytes of the epoch's pieces, and of those of them that are through.
    epoch_bytes: u64,
    read: u64,
    config: Config,
    seed: u64,
    rejects: Rejects,
    ledger: Arc<Ledger>,
    output: Output<Lazy<Record>>,
    context: StageContext,
    start: Start,
    epoch: u64,
    /// The number of records of the epoch passed so far, bad ones included.
    position: u64,
    /// Whether a record of the epoch was sent.
    sent: bool,
    /// The number of good records of the epoch that are still to be sent unread.
    unread: u64,
    /// The records that the stages behind this one reject.
    rejected_behind: Known,
}

impl StageType for TfrecordReader {
    const NAME: &'static str = "tfrecord_reader";
    const DOC: &'static str = "Reads TFRecord files, plain or compressed by GZIP, ZLIB or Zstandard (told by \
                               content). Every record keeps its file, index and byte offset, so that later errors can \
                               name them. Files are sent one after another in the order listed, globs sorted; `workers` reads \
                               them side by side.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Ports { inputs: vec![], outputs: vec![OutputPort::of::<Lazy<Record>>("records", 64)] }
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let problem = || ("files", "the list names no file, so there is nothing to read".to_owned());
        config.files.is_empty().then(problem).into_iter().collect()
    }

    fn survey(config: &Config, _site: &Site<'_>) -> Survey {
        input_files::survey("files", &config.files, config.rejects.skips())
    }

    fn estimate(config: &Config, _site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        let counted = input_files::count(&config.files, &config.options);
        let items = counted.as_ref().map(|counted| counted.records);
        let exact = counted.as_ref().is_some_and(|counted| counted.exact);
        let bytes = counted.map(|counted| counted.mean_bytes);
        let flow = Flow { items, exact, bytes, epochs: Some(config.epochs), ..Flow::default() };
        let estimate = match config.workers as u64 {
            1 => Estimate::default()
                .holds("a record and the read buffer", bytes.map(|bytes| bytes + READ_BUFFER)),
            workers => {
                let held = |bytes| read_ahead::held(workers, bytes) + workers * READ_BUFFER;
                Estimate::default().holds("records read ahead and the read buffers", bytes.map(held))
            }
        };
        Some(estimate.sends("records", flow))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        // Patterns were made absolute when the graph was resolved, so the base directory does not matter.
        let files = patterns::expand(&config.files, std::path::Path::new(""))
            .map_err(|e| Failure::new(framewise_pipeline::ErrorKind::NotFound, e))?;
        // A file that cannot be looked at is reported when it is opened.
        let kinds: Vec<_> = files.iter().map(|path| io::kind_and_length(path).ok()).collect();
        let share = parts::share(context);
        check_streams(&files, &kinds, config.epochs, share, context)?;
        let ledger = Ledger::of(context)?;
        ledger.add_source(context, &files)?;
        context.meter.limit_useful_workers(files.len() as u64);
        let lengths = lengths(&kinds).unwrap_or_default();
        Ok(Box::new(Reader {
            epoch_bytes: 0,
            lengths,
            share,
            read: 0,
            files,
            seed: context.seed,
            rejects: Rejects::new(&config.rejects, context)?,
            config,
            ledger,
            output: wiring.output("records")?,
            context: context.clone(),
            start: Start::of(context)?,
            epoch: 0,
            position: 0,
            sent: false,
            unread: 0,
            rejected_behind: Known::new(),
        }))
    }
}

impl Stage for Reader {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        if let Some(part) = parts::Part::of(&self.context)? {
            let files = self.files.iter().cloned().zip(self.lengths.iter().copied());
            part.note(&Note::Files { files: files.collect() })?;
        }
        agreed::agree_on_files(&self.context, &self.files, &self.lengths)?;
        self.rejects.start()?;
        self.rejected_behind = self.ledger.known_to_others(&self.context.stage)?;
        self.unread = self.start.epoch_samples;
        for epoch in self.start.epoch..self.config.epochs {
            (self.epoch, self.position, self.read, self.sent) = (epoch, 0, 0, false);
            let order = if self.config.shuffle_files {
                patterns::shuffled(&self.files, self.seed, epoch)
            } else {
                (0..self.files.len()).collect()
            };
            self.read_pieces(&pieces(self.share, &order, &self.lengths))?;
            self.unread = 0;
            // That no rank has a record shows where their results are put together.
            if !self.sent && self.share.is_whole() {
                return Err(self.nothing().into());
            }
            self.output.mark(Mark::EpochEnd { epoch })?;
        }
        Ok(())
    }
}

impl Reader {
    /// The failure of an epoch without a record to send.
    fn nothing(&self) -> Failure {
        let files = match self.files.as_slice() {
            [only] => only.display().to_string(),
            [first, ..] => {
                format!("{}, the first of them {}", plural(self.files.len() as u64, "file"), first.display())
            }
            [] => "no file".to_owned(),
        };
        Failure::data(match self.position {
            0 => format!("there is no record to read in {files}"),
            1 => format!("the one record in {files} was rejected, so there is nothing to read"),
            rejected => {
                format!(
                    "all {} records in {files} were rejected, so there is nothing to read",
                    count(rejected)
                )
            }
        })
    }

    /// Reads the pieces of an epoch.
    fn read_pieces(&mut self, pieces: &[Piece]) -> Result<(), StageError> {
        self.epoch_bytes = pieces.iter().map(|piece| piece.bytes(self.length(*piece))).sum();
        let mut pieces = pieces.iter().copied();
        // What is sent unread is passed over in order, so the threads begin behind it.
        let in_order = self.config.workers == 1 || spread::reads_own(&self.context);
        while in_order || self.unread > 0 {
            let Some(piece) = pieces.next() else { return Ok(()) };
            self.read_piece(piece)?;
            self.piece_is_over(piece);
        }
        let paths = pieces.clone().map(|piece| (self.files[piece.file].clone(), piece));
        let mut ahead = ReadAhead::start(paths.collect(), &self.config.options, self.config.workers)?;
        for piece in pieces {
            let path = self.files[piece.file].clone();
            let mut file = ahead.next_file()?;
            self.context.message(Level::Debug, format!("reading {}", path.display()));
            while let Some(read) = file.next()? {
                self.take(read.next, &path)?;
                self.tell_progress(piece, read.stored_position);
            }
            self.piece_is_over(piece);
        }
        Ok(())
    }

    /// The bytes of the file of a piece, or 0 where they are not known.
    fn length(&self, piece: Piece) -> u64 {
        self.lengths.get(piece.file).copied().unwrap_or_default()
    }

    fn piece_is_over(&mut self, piece: Piece) {
        self.read += piece.bytes(self.length(piece));
    }

    fn read_piece(&mut self, piece: Piece) -> Result<(), StageError> {
        let path = self.files[piece.file].clone();
        let options = self.config.options.clone();
        let mut reader = PieceReader::open(&path, options, piece).map_err(|e| open_failure(&path, e))?;
        self.context.message(Level::Debug, format!("reading {}", path.display()));
        if self.unread > 0 {
            self.replay(reader.reader(), piece)?;
        }
        if spread::reads_own(&self.context) && reader.reader().can_seek() {
            return self.pass_over(reader.reader(), piece);
        }
        while let Some(next) = reader.next() {
            self.take(next, &path)?;
            self.tell_progress(piece, reader.stored_position());
        }
        Ok(())
    }

    /// Sends the rest of a file unread: this rank reads those of its records that its shards need, when they need them.
    fn pass_over(&mut self, reader: &mut RecordReader, piece: Piece) -> Result<(), StageError> {
        let path = self.files[piece.file].clone();
        let options = self.config.options.clone();
        let load: Loader<Record> = Arc::new(move |origin| {
            let path = &origin.file;
            let mut reader = RecordReader::at(origin, options.clone()).map_err(|e| open_failure(path, e))?;
            let missing = || Failure::data(format!("{origin} is not there any more"));
            reader.next().ok_or_else(missing)?.map_err(|e| open_failure(path, e))
        });
        while let Some(passed) = reader.pass() {
            let position = self.position;
            self.position += 1;
            match passed {
                Ok(origin) => {
                    let deferred = Deferred { origin, load: load.clone(), bytes: 0 };
                    self.output.send(Lazy::deferred(position, deferred))?;
                    self.sent = true;
                }
                Err(ReadError::Bad(error)) => self.rejects.reject(error, self.epoch, position)?,
                Err(error) => return Err(open_failure(&path, error).into()),
            }
            self.tell_progress(piece, reader.stored_position());
        }
        Ok(())
    }

    /// Sends a record on, or treats the error in its place.
    fn take(&mut self, next: Result<Record, ReadError>, path: &Path) -> Result<(), StageError> {
        let position = self.position;
        self.position += 1;
        match next {
            Ok(record) => {
                self.output.send(Lazy::ready(position, record))?;
                self.sent = true;
            }
            Err(ReadError::Bad(error)) => self.rejects.reject(error, self.epoch, position)?,
            Err(error) => return Err(open_failure(path, error).into()),
        }
        Ok(())
    }

    /// Says how far the stage is, in bytes of all its pieces over all epochs.
    fn tell_progress(&self, piece: Piece, stored_position: u64) {
        if self.epoch_bytes > 0 {
            let read = self.read + piece.read(stored_position, self.length(piece));
            let read = read as f64 / self.epoch_bytes as f64;
            let epochs = self.epoch as f64 + read.min(1.0);
            self.context.meter.progressed(epochs / self.config.epochs as f64);
        }
    }

    /// Sends records unread until enough were sent, or the file is over.
    fn replay(&mut self, reader: &mut RecordReader, piece: Piece) -> Result<(), StageError> {
        let options = self.config.options.clone();
        let load: Loader<Record> = Arc::new(move |origin| load(origin, &options));
        while self.unread > 0 {
            let origin = reader.origin();
            self.tell_progress(piece, reader.stored_position());
            if let Some(reason) = self.rejects.known(&origin) {
                self.rejects.reject_again(reason);
                self.position += 1;
                match reader.pass() {
                    // Whatever the file holds there, it was over in the interrupted run.
                    _ if reason.ends_file() => {
                        reader.finish();
                        return Ok(());
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(ReadError::Bad(error))) if error.reason == reason => continue,
                    Some(Err(error)) => return Err(changed(error).into()),
                    None => return Err(data_changed(format!("{origin} is missing")).into()),
                }
            }
            let deferred = if reader.can_seek() {
                reader
                    .pass()
                    .map(|passed| passed.map(|origin| Deferred { origin, load: load.clone(), bytes: 0 }))
            } else {
                // There is no way back to the record, so it is read but not decoded.
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
            self.sent = true;
            self.position += 1;
        }
        Ok(())
    }
}

/// What a path leads to, and its length in bytes; `None` if it cannot be looked at.
type Looked = Option<(io::Kind, u64)>;

/// The length of each file. `None` if one of them is a stream. A file that cannot be looked at counts as empty.
fn lengths(kinds: &[Looked]) -> Option<Vec<u64>> {
    let length = |looked: &Looked| match looked {
        Some((io::Kind::Stream, _)) => None,
        Some((_, length)) => Some(*length),
        None => Some(0),
    };
    kinds.iter().map(length).collect()
}

/// Refuses to read twice, or in parts, what can be read only once: pipes, sockets and devices, such as standard input.
///
/// # Errors
/// `Config` (exit code 78) where the epochs, a checkpoint or several ranks want that.
fn check_streams(
    files: &[PathBuf],
    kinds: &[Looked],
    epochs: u64,
    share: Share,
    context: &StageContext,
) -> Result<(), Failure> {
    let is_stream = |looked: &Looked| matches!(looked, Some((io::Kind::Stream, _)));
    for (path, _) in files.iter().zip(kinds).filter(|(_, looked)| is_stream(looked)) {
        let refuse = |why: String| {
            let path = path.display();
            let advice = "store its bytes in a file and name that";
            Err(Failure::config(format!(
                "{path} is a stream (a pipe or a device), which can be read only once: {why}, or {advice}"
            )))
        };
        if !share.is_whole() {
            return refuse(format!(
                "{} processes cannot each read a part of it; run a single one",
                share.ranks
            ));
        }
        if epochs > 1 {
            return refuse(format!("set `epochs = 1` in place of {epochs}"));
        }
        if context.resources.get::<Resume>().is_some() {
            return refuse("the run cannot go on from its checkpoint; start a new run".to_owned());
        }
    }
    Ok(())
}

fn open_failure(path: &Path, error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => Failure::data(format!("{}: {error}", path.display())),
    }
}
