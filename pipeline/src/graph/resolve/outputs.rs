//! The check of the files that stages name. Two stages must not write to one file, and none may write to a file that is
//! read. An address needs a registry that opens its scheme.
//!
//! Laws: two keys meet when their paths lead to one file, whatever links lie on the way. Nothing is opened.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use toml::Value;

use super::draft::Draft;
use crate::graph::read::loading::Loading;
use crate::graph::read::paths::{self, address_scheme};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;
use crate::stage::key::{KeyKind, KeySpec};

/// The path that asks for standard output as an output.
pub(crate) const STANDARD_OUTPUT: &str = "-";

/// A path that a key of a stage holds.
struct Named<'d> {
    stage: &'d str,
    key: &'static str,
    place: Place,
    path: PathBuf,
    /// The path with all links followed, as far as it exists.
    real: PathBuf,
}

/// Reports addresses of a scheme that the registry does not open, and outputs that would overwrite each other or an
/// input.
pub(crate) fn check(stages: &[Draft<'_>], loading: &mut Loading<'_>) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for stage in stages {
        for spec in stage.component.iter().flat_map(|component| component.keys()) {
            let place = stage.origins.get(spec.name).copied().unwrap_or(stage.header);
            for text in values(stage, &spec) {
                let path = match text.strip_prefix('@') {
                    Some(list) if spec.kind == KeyKind::Paths => list,
                    _ => text,
                };
                if let Some(scheme) = address_scheme(path) {
                    report_address(stage, &spec, place, path, scheme, loading);
                    continue;
                }
                let path = PathBuf::from(path);
                let named = Named { stage: &stage.name, key: spec.name, place, path, real: PathBuf::new() };
                match spec.kind {
                    KeyKind::OutputPath | KeyKind::OutputDirectory => writes.push(named),
                    _ => reads.push(named),
                }
            }
        }
    }
    // Most graphs name no output. For them the file system is not asked.
    writes.iter_mut().for_each(|named| named.real = real(&named.path));
    let mut writers: BTreeMap<&Path, &Named<'_>> = BTreeMap::new();
    for later in writes.iter().filter(|named| !is_device(&named.real)) {
        match writers.entry(&later.real) {
            Entry::Occupied(earlier) => report_two_writers(earlier.get(), later, loading),
            Entry::Vacant(place) => {
                place.insert(later);
            }
        }
    }
    if writers.is_empty() {
        return;
    }
    for read in reads {
        if let Some(write) = writers.get(&*real(&read.path)) {
            report_overwritten(write, &read, loading);
        }
    }
}

/// The texts of a key that names files.
fn values<'d>(stage: &'d Draft<'_>, spec: &KeySpec) -> Vec<&'d str> {
    match (&spec.kind, stage.settings.get(spec.name)) {
        (KeyKind::Path | KeyKind::OutputPath | KeyKind::OutputDirectory, Some(Value::String(text)))
            if !text.is_empty() =>
        {
            vec![text]
        }
        (KeyKind::Paths, Some(Value::Array(entries))) => entries.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The path by which two keys are compared. A path in the run directory, whose name is not known yet, is relative.
fn real(path: &Path) -> PathBuf {
    if path.is_relative() { paths::normal(Path::new(""), path) } else { paths::real_path(path) }
}

/// Whether a path is a character device such as `/dev/null`. Several stages may write to it.
fn is_device(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        path.is_absolute() && path.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn key_of(named: &Named<'_>) -> String {
    format!("`{}` of stage {}", named.key, words::name(named.stage))
}

fn report_two_writers(earlier: &Named<'_>, later: &Named<'_>, loading: &mut Loading<'_>) {
    let what = if later.path == Path::new(STANDARD_OUTPUT) {
        "standard output".to_owned()
    } else {
        words::quoted(&later.path.to_string_lossy())
    };
    let message = format!("{} and {} both write to {what}", key_of(earlier), key_of(later));
    let diagnostic = Diagnostic::error(later.place, message).label("what is written first would be lost");
    let diagnostic = diagnostic.also(earlier.place, "the other one is given here");
    loading.report.push(diagnostic.help("give each its own file"));
}

fn report_overwritten(write: &Named<'_>, read: &Named<'_>, loading: &mut Loading<'_>) {
    let path = words::quoted(&read.path.to_string_lossy());
    let message = format!("{} would overwrite {path}, which {} reads", key_of(write), key_of(read));
    let diagnostic = Diagnostic::error(write.place, message).also(read.place, "it is read here");
    loading.report.push(diagnostic.help("write to another file"));
}

fn report_address(
    stage: &Draft<'_>,
    spec: &KeySpec,
    place: Place,
    address: &str,
    scheme: &str,
    loading: &mut Loading<'_>,
) {
    if loading.registry.opens(scheme) {
        return;
    }
    let (address, scheme, key) = (words::quoted(address), words::printable(scheme), spec.name);
    let stage = words::name(&stage.name);
    let message =
        format!("`{key}` of stage {stage} is {address}: this build does not open `{scheme}://` addresses");
    let help = "name a local file: copy what is there, or mount it as a directory";
    loading.report.push(Diagnostic::error(place, message).help(help));
}
