//! What the stages of a graph touch outside of it, and the messages about what is missing, with their places.

use std::collections::BTreeMap;

use super::loaded::Loaded;
use super::read::variables;
use super::report::diagnostic::{Diagnostic, Place, Severity};
use super::report::diagnostics::Diagnostics;
use super::report::findings::told_of;
use super::resolve::upstream::before;
use crate::edge::error::ErrorKind;
use crate::stage::component::{CheckContext, Registry, Site};
use crate::stage::survey::{InnerGraph, Write};
use crate::stage::upstream::Remark;

/// What the stages of a graph touch outside of it.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GraphSurvey {
    /// The number of files that are read.
    pub files: u64,
    /// The bytes of these files.
    pub bytes: u64,
    /// What is written. Each comes with the index of its stage.
    pub writes: Vec<(usize, Write)>,
    /// What is missing or unfit. Each comes with the index of its stage.
    pub remarks: Vec<(usize, Remark)>,
    /// What is wrong with the graphs that stages run: the index of the stage, the key that names the graph, and the
    /// messages.
    pub graphs: Vec<(usize, &'static str, Diagnostics)>,
}

impl GraphSurvey {
    /// Adds what the stages of a graph touch that stage `index` runs.
    fn inner(&mut self, index: usize, inner: &InnerGraph, registry: &Registry, resumes: bool) {
        let Some(loaded) = inner.load(registry) else { return };
        let mut survey = loaded.survey(registry, resumes);
        self.files += survey.files;
        self.bytes += survey.bytes;
        let mut own = Vec::new();
        for (stage, remark) in std::mem::take(&mut survey.remarks) {
            let name = &loaded.graph.stages[stage].name;
            match inner.changes.iter().find(|c| c.stage == *name && c.key == remark.key) {
                Some(change) => self.remarks.push((index, Remark { key: change.by, ..remark })),
                None => own.push((stage, remark)),
            }
        }
        survey.remarks = own;
        let found = loaded.told(&survey);
        if !found.is_empty() {
            self.graphs.push((index, inner.key, found));
        }
    }
}

impl Loaded {
    /// Asks every stage what it touches outside of the graph. Files are looked up, and a bounded part of them is read.
    /// Nothing is written. `resumes` says whether the run goes on from a checkpoint.
    pub fn survey(&self, registry: &Registry, resumes: bool) -> GraphSurvey {
        let mut all = GraphSurvey::default();
        let mut check = CheckContext::new(registry);
        check.is_inner = self.sources.is_inner;
        for (index, stage) in self.graph.stages.iter().enumerate() {
            let Some(component) = registry.get(&stage.type_name) else { continue };
            let upstream = before(&self.graph, index);
            let site = Site { settings: &stage.settings, upstream: &upstream, check, resumes };
            let survey = component.survey(&site);
            all.files += survey.files;
            all.bytes += survey.bytes;
            all.writes.extend(survey.writes.into_iter().map(|write| (index, write)));
            all.remarks.extend(survey.remarks.into_iter().map(|remark| (index, remark)));
            for inner in survey.graphs {
                all.inner(index, &inner, registry, resumes);
            }
        }
        all
    }

    /// The messages about what a survey found, at their places in the graph.
    pub fn told(&self, survey: &GraphSurvey) -> Diagnostics {
        let mut report = self.sources.report.clone();
        // Stages that apply one config have one reason to complain at one place.
        let mut stages: BTreeMap<(Place, &str), Vec<&str>> = BTreeMap::new();
        let place = |index: usize, remark: &Remark| self.sources.stages[index].place(remark);
        for (index, remark) in &survey.remarks {
            let names = stages.entry((place(*index, remark), &remark.message)).or_default();
            let name = self.graph.stages[*index].name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for (index, remark) in &survey.remarks {
            let place = place(*index, remark);
            // The second of two stages finds nothing left.
            let Some(names) = stages.remove(&(place, remark.message.as_str())) else { continue };
            let severity = if remark.is_error { Severity::Error } else { Severity::Warning };
            let diagnostic = told_of(severity, place, &names, &remark.message).of_kind(remark.kind);
            let diagnostic = remark.hints.iter().fold(diagnostic, Diagnostic::help);
            report.push(by_default(diagnostic, report.text_at(place), remark.kind));
        }
        for (index, key, found) in &survey.graphs {
            let stage = &self.graph.stages[*index];
            let place = self.sources.stages[*index].place(&Remark::error(key, ""));
            report.absorb(found, place, &stage.name);
        }
        report.finish()
    }
}

/// Names the variables that are not set, where the default of one of them led to a path that is not there.
fn by_default(diagnostic: Diagnostic, written: &str, kind: ErrorKind) -> Diagnostic {
    if kind != ErrorKind::NotFound {
        return diagnostic;
    }
    let lookup = |name: &str| std::env::var_os(name);
    variables::defaulted(written, &lookup).into_iter().fold(diagnostic, |diagnostic, (name, default)| {
        diagnostic.help(format!(
            "`{name}` is not set, so its default `{default}` counts: set {name} to use another path"
        ))
    })
}
