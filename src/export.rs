//! `framewise export`, which writes the weights of a run for evaluation in a narrower precision.
//!
//! Laws: the file appears whole or not at all, and what is there already is replaced on request only.

use std::path::{Path, PathBuf};

use framewise_pipeline::{Failure, KeyWord as _};
use framewise_stages::io;
use framewise_stages::{Exported, export as make, store};
use serde_json::json;

use crate::cli::{ExportArgs, Format};
use crate::exit::{self, UsageError};
use crate::import::configuration;
use crate::terminal::{self, printable};
use crate::text::{Align, bytes, count, plural, table};

/// Reads the weights at `args.from` and writes them in `args.precision`.
///
/// # Errors
/// A usage error when the output is no name for weights, or is there already. The errors of the files. Standard output
/// cannot be written.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<u8> {
    let to = args.output.clone().unwrap_or_else(|| name_beside(&args.from, args.precision.stored().word()));
    if to.is_dir() || to.extension().is_none_or(|extension| extension != "safetensors") {
        let why = format!("{}: the weights go to a file that is named *.safetensors", to.display());
        return Err(UsageError(why).into());
    }
    if to.symlink_metadata().is_ok() && !args.force {
        let why =
            format!("{} is there already: name another file by -o, or replace it by --force", to.display());
        return Err(Failure::cannot_write(why).into());
    }
    // What cannot be written is told before the weights are read.
    io::way_to(&to).map_err(store::StoreError::from).map_err(Failure::from)?;
    let config = configuration(&args.model)?;
    let exported = make(&args.from, args.precision.stored(), config.as_ref())?;
    let written = store::save_export(&to, &exported.export, &exported.arrays).map_err(Failure::from)?;
    let shown = match args.format {
        Format::Text => report(args, &to, &exported, written),
        Format::Json => format!("{}\n", object(args, &to, &exported, written)),
    };
    terminal::print(&printable(&shown))?;
    Ok(exit::OK)
}

/// The file that is written if no other is named: `NAME-PRECISION.safetensors` in the working directory.
fn name_beside(from: &Path, precision: &str) -> PathBuf {
    let name = from.file_stem().map_or_else(|| "weights".into(), |name| name.to_string_lossy().into_owned());
    PathBuf::from(format!("{name}-{precision}.safetensors"))
}

fn report(args: &ExportArgs, to: &Path, exported: &Exported, written: u64) -> String {
    let Exported { export, arrays, read } = exported;
    let mut facts = vec![
        ("from", args.from.display().to_string()),
        ("to", format!("{}: {}", to.display(), plural(arrays.len() as u64, "tensor"))),
        ("precision", export.precision.clone()),
        ("size", format!("{}, where the weights in f32 are {}", bytes(written), bytes(*read))),
    ];
    if let Some(source) = &export.source {
        facts.push((
            "checkpoint",
            format!("step {}, {}", count(source.step), plural(source.samples, "sample")),
        ));
    }
    let use_it = format!(
        "stages.NAME.path of load_weights, with precision = \"{}\" of the forward stage",
        export.precision
    );
    facts.push(("to use it", use_it));
    let facts: Vec<_> = facts.into_iter().map(|(name, value)| vec![format!("  {name}"), value]).collect();
    table(&[Align::Left, Align::Left], &facts)
}

fn object(args: &ExportArgs, to: &Path, exported: &Exported, written: u64) -> serde_json::Value {
    let Exported { export, arrays, read } = exported;
    json!({
        "from": args.from,
        "to": to,
        "precision": export.precision,
        "bytes": written,
        "bytes_in_f32": read,
        "tensors": arrays.len(),
        "model": export.model,
        "source": export.source,
    })
}
