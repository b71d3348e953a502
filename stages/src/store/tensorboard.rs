//! Scalars, texts and histograms for TensorBoard: event files as the `tfrecord` crate writes them.
//!
//! Each event carries the wall-clock time, which TensorBoard shows. Framewise never reads it back.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tfrecord::protobuf::event::What;
use tfrecord::protobuf::summary_metadata::PluginData;
use tfrecord::protobuf::{
    DataClass, DataType, SessionLog, Summary, SummaryMetadata, TensorProto, TensorShapeProto,
    session_log::SessionStatus, summary,
};
use tfrecord::{Event, EventMeta, EventWriter, EventWriterConfig};

use super::error::StoreError;
use super::histogram;
use crate::io::{self, Appended};

/// The version of the format of event files, which TensorFlow has written since 2015 and by which TensorBoard reads
/// them.
const FILE_VERSION: &str = "brain.Event:2";

/// The name of the part of TensorBoard that shows texts.
const TEXTS: &str = "text";

/// A writer that appends scalars to one event file. Dropping it writes what is buffered, but only
/// [`flush`](Self::flush) says whether that succeeded.
#[derive(Debug)]
pub struct TensorBoardWriter {
    path: PathBuf,
    events: EventWriter<BufWriter<Appended>>,
}

impl TensorBoardWriter {
    /// Opens a new file `events.out.tfevents.SECONDS.PID.N` in `directory`, which is created if need be. A resumed run
    /// opens another file beside the old one, and TensorBoard reads them in the order of their names.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        io::create_directories(directory).map_err(StoreError::write(directory))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = directory.join(format!("events.out.tfevents.{:010}.{process}.{number}", now.as_secs()));
        let file = io::create_new(&path).map_err(StoreError::write(&path))?;
        let config = EventWriterConfig { auto_flush: false };
        let events = EventWriter::from_writer(BufWriter::new(file), config).map_err(failed(&path))?;
        let mut writer = Self { path, events };
        writer.event(0, What::FileVersion(FILE_VERSION.to_owned()))?;
        writer.flush()?;
        Ok(writer)
    }

    /// The path of the event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the run continues at `step`. TensorBoard then drops what an interrupted run had written from there on.
    pub fn restart(&mut self, step: u64) -> Result<(), StoreError> {
        let start = SessionLog { status: SessionStatus::Start as i32, ..SessionLog::default() };
        self.event(step, What::SessionLog(start))
    }

    /// Writes one point of the curve `tag`, such as `loss` or `eval/gap`. TensorBoard keeps the value as f32.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), StoreError> {
        let step = self.step(step)?;
        self.events.write_scalar(tag, step, value as f32).map_err(failed(&self.path))
    }

    /// Writes one point of the curve `tag` that belongs to the moment `at`, which may be over.
    pub fn scalar_at(&mut self, tag: &str, step: u64, at: SystemTime, value: f64) -> Result<(), StoreError> {
        let step = self.step(step)?;
        self.events.write_scalar(tag, (step, at), value as f32).map_err(failed(&self.path))
    }

    /// Writes the histogram of the finite values under `tag`. If no value is finite, nothing is written.
    pub fn histogram(&mut self, tag: &str, step: u64, values: &[f32]) -> Result<(), StoreError> {
        let Some(histogram) = histogram::of(values) else { return Ok(()) };
        let value = summary::Value {
            tag: tag.to_owned(),
            value: Some(summary::value::Value::Histo(histogram)),
            ..summary::Value::default()
        };
        self.event(step, What::Summary(Summary { value: vec![value] }))
    }

    /// Writes a text in Markdown under `tag`, which TensorBoard shows among its texts.
    pub fn text(&mut self, tag: &str, step: u64, markdown: &str) -> Result<(), StoreError> {
        let plugin = PluginData { plugin_name: TEXTS.to_owned(), content: Vec::new() };
        let metadata = SummaryMetadata {
            plugin_data: Some(plugin),
            data_class: DataClass::Tensor as i32,
            ..SummaryMetadata::default()
        };
        let tensor = TensorProto {
            dtype: DataType::DtString as i32,
            tensor_shape: Some(TensorShapeProto::default()),
            string_val: vec![markdown.as_bytes().to_vec()],
            ..TensorProto::default()
        };
        let value = summary::Value {
            tag: tag.to_owned(),
            metadata: Some(metadata),
            value: Some(summary::value::Value::Tensor(tensor)),
            ..summary::Value::default()
        };
        self.event(step, What::Summary(Summary { value: vec![value] }))
    }

    /// Hands everything that was written so far to the operating system, where TensorBoard sees it.
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
    use std::fs;

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
    fn texts_read_back_with_the_name_of_the_part_that_shows_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = TensorBoardWriter::create(directory.path()).unwrap();
        writer.text("graph", 3, "# title").unwrap();
        writer.flush().unwrap();
        let events = read(writer.path());
        let Some(What::Summary(summary)) = &events[1].what else { panic!("{events:?}") };
        let value = &summary.value[0];
        assert_eq!((events[1].step, value.tag.as_str()), (3, "graph"));
        let metadata = value.metadata.as_ref().unwrap();
        assert_eq!(metadata.plugin_data.as_ref().unwrap().plugin_name, "text");
        let Some(Value::Tensor(tensor)) = &value.value else { panic!("{value:?}") };
        assert_eq!(
            (tensor.dtype, tensor.string_val.as_slice()),
            (DataType::DtString as i32, &[b"# title".to_vec()][..])
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_a_write_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(TensorBoardWriter::create(&file).unwrap_err().is_write_failure());
    }
}
