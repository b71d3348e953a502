//! What the types of the stages find wrong with settings taken together.
//!
//! Law: stages that share a mistake, because they apply one config or have the same defaults, are named in one message.

use super::diagnostic::{Diagnostic, Place, Severity};
use super::words;

/// Everything that was found, in the order of the stages.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

#[derive(Debug)]
struct Finding {
    key: &'static str,
    place: Place,
    /// Whether the value of the key is written at `place`. Otherwise it is a default, and `place` is that of the stage.
    is_written: bool,
    message: String,
    stages: Vec<String>,
}

impl Findings {
    /// Adds what the type of `stage` says about `key`. `written` is the place of the key's value, unless the value is a
    /// default, and `header` is the place of the stage.
    pub(crate) fn add(
        &mut self,
        stage: &str,
        key: &'static str,
        message: String,
        written: Option<Place>,
        header: Place,
    ) {
        let (place, is_written) = (written.unwrap_or(header), written.is_some());
        let same = |finding: &&mut Finding| {
            let one_place = finding.place == place || !(finding.is_written && is_written);
            finding.key == key && finding.message == message && one_place
        };
        match self.0.iter_mut().find(same) {
            Some(finding) => {
                finding.stages.push(stage.to_owned());
                if is_written && !finding.is_written {
                    (finding.place, finding.is_written) = (place, true);
                }
            }
            None => {
                self.0.push(Finding { key, place, is_written, message, stages: vec![stage.to_owned()] });
            }
        }
    }

    /// A diagnostic for each finding.
    pub(crate) fn diagnostics(self) -> impl Iterator<Item = Diagnostic> {
        self.0.into_iter().map(|finding| {
            let stages: Vec<&str> = finding.stages.iter().map(String::as_str).collect();
            told_of(Severity::Error, finding.place, &stages, &finding.message)
        })
    }
}

/// Makes a diagnostic of what a stage type says about a stage. Lines behind the first one become a note.
pub(crate) fn told(severity: Severity, place: Place, stage: &str, message: &str) -> Diagnostic {
    told_of(severity, place, &[stage], message)
}

/// Makes a diagnostic of what stage types say about several stages in the same words, as [`told`] does for one.
pub(crate) fn told_of(severity: Severity, place: Place, stages: &[&str], message: &str) -> Diagnostic {
    let (message, details) = message.split_once('\n').unwrap_or((message, ""));
    let noun = if stages.len() == 1 { "stage" } else { "stages" };
    let message = format!("{noun} {}: {message}", words::list(stages.iter().copied(), "and"));
    let diagnostic = match severity {
        Severity::Error => Diagnostic::error(place, message),
        Severity::Warning => Diagnostic::warning(place, message),
    };
    match details.trim_end() {
        "" => diagnostic,
        details => diagnostic.note(details),
    }
}
