//! Scalars for TensorBoard: event files as the `tfrecord` crate writes them.
//!
//! Each event carries the wall-clock time, which TensorBoard shows; nothing reads it back.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tfrecord::protobuf::event::What;
use tfrecord::protobuf::{SessionLog, session_log::SessionStatus};
use tfrecord::{Event, EventMeta, EventWriter, EventWriterConfig};

use super::error::StoreError;

/// Format of event files that TensorFlow has written since 2015: names the version that TensorBoard goes by.
const FILE_VERSION: &str = "brain.Event:2";

/// Appends scalars to one event file. Dropping it writes what is buffered, but only [`flush`](Self::flush) says
/// whether that went well.
#[derive(Debug)]
pub struct TensorBoardWriter {
    path: PathBuf,
    events: EventWriter<BufWriter<File>>,
}

impl TensorBoardWriter {
    /// Opens a new file `events.out.tfevents.SECONDS.PID.N` in `directory` (created if need be). A run that is
    /// resumed opens another one beside the old: TensorBoard reads them in the order of their names.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(directory).map_err(StoreError::write(directory))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(format!("events.out.tfevents.{:010}.{process}.{number}", now.as_secs()));
        let file = File::create_new(&path).map_err(StoreError::write(&path))?;
        let config = EventWriterConfig { auto_flush: false };
        let events = EventWriter::from_writer(BufWriter::new(file), config).map_err(failed(&path))?;
        let mut writer = Self { path, events };
        writer.event(0, What::FileVersion(FILE_VERSION.to_owned()))?;
        writer.flush()?;
        Ok(writer)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the run goes on at `step`: TensorBoard drops what an interrupted run had written from there on.
    pub fn restart(&mut self, step: u64) -> Result<(), StoreError> {
        let start = SessionLog { status: SessionStatus::Start as i32, ..SessionLog::default() };
        self.event(step, What::SessionLog(start))
    }

    /// Writes one point of the curve `tag` (`loss`, `eval/gap`). TensorBoard keeps f32.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), StoreError> {
        let step = self.step(step)?;
        self.events.write_scalar(tag, step, value as f32).map_err(failed(&self.path))
    }

    /// Hands everything written so far to the system, where TensorBoard sees it.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.events.flush().map_err(failed(&self.path))
    }

    fn event(&mut self, step: u64, what: What) -> Result<(), StoreError> {
        let event = EventMeta::with_step(self.step(step)?).build_empty();
        self.events.write_event(Event { what: Some(what), ..event }).map_err(failed(&self.path))
    }

    fn step(&self, step: u64) -> Result<i64, StoreError> {
        i64::try_from(step)
            .map_err(|_| StoreError::format(&self.path, format!("step {step} is out of range")))
    }
}

fn failed(path: &Path) -> impl FnOnce(tfrecord::Error) -> StoreError + '_ {
    move |error| {
        let source = match error {
            tfrecord::Error::IoError(source) => source,
            other => std::io::Error::other(other),
        };
        StoreError::Write { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use tfrecord::protobuf::summary::value::Value;
    use tfrecord::{RecordIter, RecordReaderConfig};

    use super::*;

    fn read(path: &Path) -> Vec<Event> {
        let config = RecordReaderConfig { check_integrity: true };
        RecordIter::<Event, _>::open(path, config).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn scalars_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path().join("run/events");
        let mut writer = TensorBoardWriter::create(&runs).unwrap();
        let mut other = TensorBoardWriter::create(&runs).unwrap();
        assert_ne!(writer.path(), other.path());
        let name = writer.path().file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
        let points =
            [("loss", 1u64, 2.5f64), ("eval/gap", 1, 0.125), ("loss", 2, f64::NAN), ("loss", 1 << 40, -1e30)];
        writer.restart(1).unwrap();
        for (tag, step, value) in points {
            writer.scalar(tag, step, value).unwrap();
        }
        writer.flush().unwrap();
        let events = read(writer.path());
        assert_eq!(events.len(), 2 + points.len());
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".to_owned())));
        let Some(What::SessionLog(log)) = &events[1].what else { panic!("{:?}", events[1]) };
        assert_eq!((log.status, events[1].step), (SessionStatus::Start as i32, 1));
        for (event, (tag, step, value)) in events[2..].iter().zip(points) {
            let Some(What::Summary(summary)) = &event.what else { panic!("{event:?}") };
            assert_eq!((event.step, summary.value.len()), (step as i64, 1));
            assert_eq!(summary.value[0].tag, tag);
            let Some(Value::SimpleValue(read)) = summary.value[0].value else { panic!("{summary:?}") };
            assert_eq!(read.to_bits(), (value as f32).to_bits());
            assert!(event.wall_time > 1.5e9 && event.wall_time < 1e11);
        }
        other.scalar("a", u64::MAX, 0.0).unwrap_err();
        drop(other);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_a_write_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(TensorBoardWriter::create(&file).unwrap_err().is_write_failure());
    }
}
