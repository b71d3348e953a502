//! `csv_writer` and `jsonl_writer`: predictions as files, in input order.
//!
//! Law: the file appears under its name complete or not at all: it is renamed into place at the end of the input.

use std::io::Write;
use std::path::PathBuf;

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Packet, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Wiring,
};

use crate::payload::Ranked;
use crate::rejects::write_failure;
use crate::score::output::{self, OutputError};
use crate::store::AtomicFile;

/// The stage type `csv_writer`.
pub(crate) struct CsvWriter;

/// The stage type `jsonl_writer`.
pub(crate) struct JsonlWriter;

type Format = fn(&mut String, &str, &[(u32, f32)]) -> Result<(), OutputError>;

struct Writing {
    path: PathBuf,
    header: Option<&'static str>,
    format: Format,
    input: Input<Ranked>,
    context: StageContext,
}

fn keys() -> Vec<KeySpec> {
    let doc = "The file to write. A relative path written in a graph lies in the run directory; one from --set in the working directory.";
    vec![KeySpec::new("path", KeyKind::OutputPath, doc).required().free()]
}

fn ports() -> Ports {
    Ports { inputs: vec![InputPort::new::<Ranked>("rankings", PayloadType::of::<Ranked>())], outputs: vec![] }
}

fn build(
    settings: &Settings,
    wiring: &mut Wiring,
    context: &StageContext,
    header: Option<&'static str>,
    format: Format,
) -> Result<Box<dyn Stage>, Failure> {
    let path = output_path(settings, context);
    Ok(Box::new(Writing { path, header, format, input: wiring.input("rankings")?, context: context.clone() }))
}

/// The `path` of a writer: a relative one lies in the run directory.
pub(crate) fn output_path(settings: &Settings, context: &StageContext) -> PathBuf {
    let path = PathBuf::from(settings.text("path"));
    match &context.run_dir {
        Some(dir) => dir.join(path),
        None => path,
    }
}

impl Component for CsvWriter {
    fn type_name(&self) -> &'static str {
        "csv_writer"
    }

    fn doc(&self) -> &'static str {
        "Writes predictions as the YouTube-8M challenge wants them: `VideoId,LabelConfidencePairs`, then for each video \
         `class score class score …`, best first. The file appears when it is complete."
    }

    fn keys(&self) -> Vec<KeySpec> {
        keys()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        ports()
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        build(settings, wiring, context, Some(output::CSV_HEADER), output::csv_row)
    }
}

impl Component for JsonlWriter {
    fn type_name(&self) -> &'static str {
        "jsonl_writer"
    }

    fn doc(&self) -> &'static str {
        "Writes predictions as JSON lines `{\"id\": …, \"classes\": […], \"scores\": […]}`, best class first. The file \
         appears when it is complete."
    }

    fn keys(&self) -> Vec<KeySpec> {
        keys()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        ports()
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        build(settings, wiring, context, None, output::json_line)
    }
}

impl Stage for Writing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let mut file = AtomicFile::create(&self.path).map_err(Failure::cannot_write)?;
        let mut text = String::new();
        if let Some(header) = self.header {
            text.push_str(header);
            text.push('\n');
        }
        let mut videos = 0u64;
        loop {
            match self.input.recv()? {
                Packet::Item(ranked) => {
                    for (id, classes) in ranked.videos.iter() {
                        (self.format)(&mut text, id, classes).map_err(Failure::data)?;
                        videos += 1;
                    }
                    file.write_all(text.as_bytes()).map_err(|e| write_failure(&self.path, &e))?;
                    text.clear();
                }
                Packet::Mark(_) => {}
                Packet::End => break,
            }
        }
        file.write_all(text.as_bytes()).map_err(|e| write_failure(&self.path, &e))?;
        file.commit().map_err(Failure::cannot_write)?;
        self.context.message(Level::Info, format!("{videos} videos written to {}", self.path.display()));
        Ok(())
    }
}
