//! `framewise plan`, which tells what a run will need before it begins.

mod calibrate;
mod memory;
mod report;
mod shown;
mod taken;
mod work;

use framewise_pipeline::Registry;

use crate::cli::{Format, PlanArgs};
use crate::trial::{Ended, Trial};
use crate::{exit, graphs, outside, terminal, text};
use calibrate::Calibration;
use report::Plan;

/// Prints what a run of a graph will need.
///
/// # Errors
/// With `--calibrate`, the failure of the trial run. Standard output cannot be written.
pub(crate) fn plan(args: &PlanArgs, registry: &Registry) -> anyhow::Result<u8> {
    let loaded = match graphs::load(&args.graph, registry, &args.set.overrides) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Ok(diagnostics.kind().exit_code()),
    };
    let outside = outside::survey(&loaded, registry, &std::env::temp_dir(), false);
    if outside.found.errors() > 0 {
        if args.calibrate {
            graphs::tell_errors(&args.graph, &outside.found);
            return Ok(outside.found.kind().exit_code());
        }
        let first = graphs::first_message(&outside.found);
        terminal::say(&terminal::printable(&format!(
            "warning: this graph cannot run yet: {first}. `framewise check --inputs` tells all; what depends on it is \
             not known"
        )));
    }
    let estimate = loaded.estimate(registry);
    let mut plan = Plan::of(&estimate);
    if args.calibrate {
        let trial = Trial::of(&loaded, registry, |_| true)?;
        terminal::say(&format!(
            "the graph runs for {} in a temporary directory",
            text::seconds(args.seconds)
        ));
        let (monitor, ended) = trial.run_for(registry, args.seconds)?;
        if ended == Ended::Interrupted {
            return Ok(exit::INTERRUPTED);
        }
        plan.calibration = Some(Calibration::of(&estimate, &plan.work, &monitor, ended));
    }
    terminal::print(&match args.format {
        Format::Json => text::json(&plan),
        Format::Text => shown::text(&plan, terminal::width(&console::Term::stdout())),
    })?;
    Ok(exit::OK)
}
