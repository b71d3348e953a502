//! `framewise import`, which writes the weights of another system to a `.safetensors` file.
//!
//! Laws: the file appears whole or not at all. The report says for every tensor of the model where it comes from.

use std::path::Path;

use framewise_pipeline::{ErrorKind, Failure};
use framewise_stages::import::{self, ImportError, Imported, Options, Origin, Row};
use framewise_stages::model::NextVladConfig;
use framewise_stages::read_kind;
use framewise_stages::store;

use crate::cli::ImportArgs;
use crate::exit::{self, UsageError};
use crate::terminal::{self, printable};
use crate::text::{Align, count, plural, table};

/// Reads `args.from`, writes `args.to`, and reports what became of each tensor.
///
/// # Errors
/// A usage error when `args.to` is not a name for weights. The errors of the files. Standard output cannot be written.
pub(crate) fn import(args: &ImportArgs) -> anyhow::Result<u8> {
    if args.to.is_dir() || args.to.extension().is_none_or(|extension| extension != "safetensors") {
        let why = format!("{}: the weights go to a file that is named *.safetensors", args.to.display());
        return Err(UsageError(why).into());
    }
    let options = Options { map: args.map.clone(), config: configuration(&args.model)? };
    let mut imported = import::import(&args.from, &options).map_err(failure)?;
    if let Some(path) = &args.eigenvalues {
        scale(&mut imported, path, &args.from)?;
    }
    store::save_weights(&args.to, &imported.weights.named_tensors()).map_err(Failure::from)?;
    terminal::print(&printable(&report(args, &imported)))?;
    if imported.rows.iter().any(|row| row.from.is_none()) && args.eigenvalues.is_none() {
        terminal::say(&format!(
            "{} the visual features are not scaled: the file brings no eigenvalues, and --eigenvalues names none",
            terminal::paint("warning:", terminal::YELLOW)
        ));
    }
    Ok(exit::OK)
}

/// The configuration that the files make together, where a later file beats an earlier one. `None` without files.
pub(crate) fn configuration(paths: &[std::path::PathBuf]) -> Result<Option<NextVladConfig>, Failure> {
    let mut merged = toml::Table::new();
    for path in paths {
        let wrong = |why: &str| Failure::config(format!("{}: {why}", path.display()));
        let text = framewise_stages::io::read_to_string(path)
            .map_err(|e| Failure::new(read_kind(&e), format!("{}: {e}", path.display())))?;
        let table = text.parse::<toml::Table>().map_err(|e| wrong(e.message()))?;
        // Each file is read by itself, so that a mistake is reported with its file.
        table.clone().try_into::<NextVladConfig>().map_err(|e| wrong(e.message()))?;
        merged.extend(table);
    }
    if paths.is_empty() {
        return Ok(None);
    }
    let config: NextVladConfig = merged.try_into().map_err(|e| Failure::config(e.message().to_owned()))?;
    match config.check() {
        problems if problems.is_empty() => Ok(Some(config)),
        problems => Err(Failure::config(format!(
            "there is no model with this configuration: {}",
            problems.join("; ")
        ))),
    }
}

fn scale(imported: &mut Imported, path: &Path, from: &Path) -> anyhow::Result<()> {
    if imported.rows.iter().all(|row| row.from.is_some()) {
        let why =
            format!("{} brings factors for the visual features; leave --eigenvalues out", from.display());
        return Err(UsageError(why).into());
    }
    Ok(framewise_stages::apply_eigenvalues(path, &mut imported.weights)?)
}

fn report(args: &ImportArgs, imported: &Imported) -> String {
    let Imported { config, rows, .. } = imported;
    let taken = rows.iter().filter(|row| row.from.is_some()).count();
    let facts = [
        ("from", format!("{}: {}", args.from.display(), imported.format.what())),
        ("to", format!("{}: {}", args.to.display(), plural(rows.len() as u64, "tensor"))),
        ("parameters", format!("{} trainable", count(imported.weights.parameter_count() as u64))),
        ("data", format!("rgb {}, audio {}, {} classes", config.rgb_size, config.audio_size, config.classes)),
        (
            "model",
            format!(
                "clusters {} and {}, groups {} and {}, hidden {}, expansion {}, gating_reduction {}",
                config.clusters,
                config.audio_clusters,
                config.groups,
                config.audio_groups,
                config.hidden,
                config.expansion,
                config.gating_reduction
            ),
        ),
        ("taken over", plural(taken as u64, "tensor")),
    ];
    let facts = facts.map(|(name, value)| vec![format!("  {name}"), value]);
    let mut out = table(&[Align::Left, Align::Left], &facts);
    let rows: Vec<_> = rows.iter().map(|row| cells(row, args)).collect();
    out += &table(&[Align::Left; 6], &rows);
    out += &format!("  not used: {}\n", if imported.unused.is_empty() { "nothing" } else { "" });
    imported.unused.iter().for_each(|name| out += &format!("    {name}\n"));
    out
}

fn cells(row: &Row, args: &ImportArgs) -> Vec<String> {
    let shape = format!("{:?}", row.shape);
    let ours = format!("    {}", row.ours);
    match &row.from {
        Some(Origin { name, dtype, shape: there, transposed }) => {
            let how = if *transposed { "transposed" } else { "" };
            vec![ours, shape, "from".into(), name.clone(), format!("{dtype} {there:?}"), how.into()]
        }
        None => {
            let from = args.eigenvalues.as_ref().map_or("not in the file: 1 everywhere".to_owned(), |path| {
                format!("not in the file: sqrt(eigenvalue) + 1e-4 of {}", path.display())
            });
            vec![ours, shape, "–".into(), from]
        }
    }
}

/// The failure of an import.
pub(crate) fn failure(error: ImportError) -> Failure {
    let kind = match &error {
        ImportError::Read { source, .. } => read_kind(source),
        ImportError::Content { .. } => ErrorKind::Data,
        ImportError::Map { .. } => ErrorKind::Config,
    };
    Failure::new(kind, error)
}
