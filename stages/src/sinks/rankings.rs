//! `csv_writer` and `jsonl_writer`: write predictions to files, in input order.
//!
//! Laws: the file appears under its name complete or not at all. It is renamed into place at the end of the input. Where
//! ranks divide the records, it has the bytes that one process would write.

use std::io::Write;
use std::path::PathBuf;

use framewise_pipeline::prelude::*;

use super::divided::{Place, refuse_reordered};
use crate::failure::write_failure;
use crate::model_kit::weights_file::WrittenAfter;
use crate::payload::Ranked;
use crate::run_state::metrics_log::{Kind, RunLog};
use crate::score::output::{self, OutputError};
use crate::words::plural;

/// The stage type `csv_writer`.
pub(crate) struct CsvWriter;

/// The stage type `jsonl_writer`.
pub(crate) struct JsonlWriter;

/// The form in which a video's best classes are written.
#[derive(Clone, Copy)]
enum Form {
    Csv { decimals: Option<usize> },
    JsonLines,
}

struct Writing {
    place: Place,
    form: Form,
    input: Input<Ranked>,
    context: StageContext,
}

/// The key of the file that a writer of rankings writes.
#[derive(Keys)]
pub(crate) struct Config {
    /// The file to write. A relative path written in a graph lies in the run directory; one from --set in the working
    /// directory. `-` is standard output.
    #[key(output, required, free)]
    path: PathBuf,
}

#[derive(Keys)]
pub(crate) struct CsvConfig {
    #[key(flatten)]
    file: Config,
    /// The number of digits behind the point of each score. Without this key, a score has the fewest digits that read
    /// back to the same f32, so that metrics which are computed from the file equal those of the run.
    #[key(range = 0..=45, unit = "digits", free)]
    decimals: Option<usize>,
}

impl Form {
    fn header(self) -> Option<&'static str> {
        match self {
            Form::Csv { .. } => Some(output::CSV_HEADER),
            Form::JsonLines => None,
        }
    }

    fn append(self, text: &mut String, id: &str, ranked: &[(u32, f32)]) -> Result<(), OutputError> {
        match self {
            Form::Csv { decimals } => output::csv_row(text, id, ranked, decimals),
            Form::JsonLines => output::json_line(text, id, ranked),
        }
    }
}

impl Writing {
    fn ports() -> Ports {
        Ports { inputs: vec![InputPort::of::<Ranked>("rankings")], outputs: vec![] }
    }

    fn boxed(
        config: &Config,
        wiring: &mut Wiring,
        context: &StageContext,
        form: Form,
    ) -> Result<Box<dyn Stage>, Failure> {
        let place = Place::of(&config.path, context)?;
        let input = wiring.input("rankings")?;
        Ok(Box::new(Self { place, form, input, context: context.clone() }))
    }
}

impl StageType for CsvWriter {
    const NAME: &'static str = "csv_writer";
    const DOC: &'static str = "Writes predictions as the YouTube-8M challenge wants them: `VideoId,LabelConfidencePairs`, then \
                               for each video `class score class score …`, best first. The file appears when it is complete.";
    type Config = CsvConfig;

    fn ports(_config: &CsvConfig) -> Ports {
        Writing::ports()
    }

    fn divides(_config: &CsvConfig, site: &Site<'_>) -> Result<(), String> {
        refuse_reordered(site)
    }

    fn build(
        config: CsvConfig,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        Writing::boxed(&config.file, wiring, context, Form::Csv { decimals: config.decimals })
    }
}

impl StageType for JsonlWriter {
    const NAME: &'static str = "jsonl_writer";
    const DOC: &'static str = "Writes predictions as JSON lines `{\"id\": …, \"classes\": […], \"scores\": […]}`, best class \
                               first. The file appears when it is complete.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Writing::ports()
    }

    fn divides(_config: &Config, site: &Site<'_>) -> Result<(), String> {
        refuse_reordered(site)
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        Writing::boxed(&config, wiring, context, Form::JsonLines)
    }
}

impl Stage for Writing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let (path, is_first) = (self.place.path().to_owned(), self.place.is_first());
        let mut file = self.place.open()?;
        let mut text = String::new();
        if let Some(header) = self.form.header().filter(|_| is_first) {
            text.push_str(header);
            text.push('\n');
        }
        let mut videos = 0u64;
        loop {
            match self.input.recv()? {
                Packet::Item(ranked) => {
                    for (id, classes) in ranked.videos.iter() {
                        self.form.append(&mut text, id, classes).map_err(Failure::data)?;
                        videos += 1;
                    }
                    file.write_all(text.as_bytes()).map_err(|e| write_failure(file.path(), &e))?;
                    text.clear();
                }
                Packet::Mark(_) => {}
                Packet::End => break,
            }
        }
        file.write_all(text.as_bytes()).map_err(|e| write_failure(file.path(), &e))?;
        let WrittenAfter { step, epoch } = WrittenAfter::in_run(&self.context);
        let Some(videos) = file.finish(videos, Some((step, epoch)))? else { return Ok(()) };
        let written = [("videos", videos as f64)];
        RunLog::of(&self.context).write(&self.context, Kind::Prediction, step, epoch, &written)?;
        self.context.results.set("videos", videos as f64);
        self.context
            .message(Level::Info, format!("{} written to {}", plural(videos, "video"), path.display()));
        Ok(())
    }
}
