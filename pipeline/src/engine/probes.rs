//! Probes at the outputs of a run that goes on.

use super::monitor::Monitor;
use crate::edge::payload::PayloadType;
pub use crate::edge::probe::{Look, Probe, Seen};

/// The reason why a probe cannot be put to an output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The graph has no stage of this name.
    #[error("there is no stage `{stage}`; the stages are {}", listed(.stages))]
    NoStage {
        /// The name.
        stage: String,
        /// The names of the stages that there are.
        stages: Vec<String>,
    },
    /// The stage has no such output.
    #[error("{}", no_output(.stage, .output, .outputs))]
    NoOutput {
        /// The stage.
        stage: String,
        /// The name that was asked for.
        output: String,
        /// The names of the outputs that there are.
        outputs: Vec<String>,
    },
    /// A probe is there already.
    #[error("somebody else looks at `{0}` at the moment; try again later")]
    Taken(String),
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn no_output(stage: &str, output: &str, outputs: &[String]) -> String {
    match outputs {
        [] => format!("stage `{stage}` has no output; look at a stage before it"),
        [only] => format!("stage `{stage}` has no output `{output}`; its output is `{only}`"),
        all => format!("stage `{stage}` has no output `{output}`; its outputs are {}", listed(all)),
    }
}

impl Monitor {
    /// Puts a probe to an output of the run: to the port `output` of a stage, or to its first one. Returns the probe with
    /// the name of the output, as `stage.port`, and with what passes there.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub fn probe(
        &self,
        stage: &str,
        output: Option<&str>,
    ) -> Result<(Probe, String, PayloadType), ProbeError> {
        let stages = || self.stages().iter().map(|stage| stage.name.clone());
        let Some(index) = stages().position(|name| name == stage) else {
            return Err(ProbeError::NoStage { stage: stage.to_owned(), stages: stages().collect() });
        };
        let mut outputs = self.probes().iter().filter(|probe| probe.stage == index);
        let found = outputs.clone().find(|probe| output.is_none_or(|name| probe.output == name));
        let Some(found) = found else {
            let (stage, output) = (stage.to_owned(), output.unwrap_or_default().to_owned());
            let outputs = outputs.by_ref().map(|probe| probe.output.to_owned()).collect();
            return Err(ProbeError::NoOutput { stage, output, outputs });
        };
        let name = format!("{stage}.{}", found.output);
        let probe = Probe::at(&found.point).ok_or_else(|| ProbeError::Taken(name.clone()))?;
        Ok((probe, name, found.payload.clone()))
    }
}
