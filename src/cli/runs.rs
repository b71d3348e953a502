//! The arguments of the verbs that show runs: `top`, `runs` and `diff`.

use std::path::PathBuf;

use clap::Args;

use super::shared::Format;

/// `framewise top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise top
  framewise top quickstart-1
  framewise top 127.0.0.1:9600
  framewise top --once --format json > reading.json

A run is served while it lives if it is started with `framewise run GRAPH --metrics 127.0.0.1:0`. The key ? \
explains the display.")]
pub(crate) struct TopArgs {
    /// A run directory or its name below runs/, or HOST:PORT [default: the newest run below runs/ that is served]
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Print one table since the run began, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// How --once prints: as text, or as the JSON of /api/reading
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "once")]
    pub(crate) format: Format,
}

/// `framewise runs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise runs
  framewise runs /data/experiments --format json

The run that was written to last stands at the end. The status `killed` is that of a run whose process \
ended before it could say how.")]
pub(crate) struct RunsArgs {
    /// The directory whose run directories are listed
    #[arg(value_name = "DIR", default_value = "runs")]
    pub(crate) directory: PathBuf,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise diff quickstart-1 quickstart-2
  framewise diff runs/nextvlad-train-3 /backup/nextvlad-train-1 --format json")]
pub(crate) struct DiffArgs {
    /// The directory of a run, or its name below runs/
    #[arg(value_name = "RUN")]
    pub(crate) first: PathBuf,
    /// The run with which it is compared
    #[arg(value_name = "RUN")]
    pub(crate) second: PathBuf,
    /// How the differences are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}
