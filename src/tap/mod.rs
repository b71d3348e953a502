//! `framewise tap`, which shows what passes an edge: of a graph, which it runs up to there for a few items, or of a run
//! that goes on.

mod cut;
pub(crate) mod live;

use std::time::Duration;

use framewise_pipeline::{Failure, Registry};
use framewise_stages::{Seen, Tapped, tapped};

use crate::cli::{Format, TapArgs};
use crate::exit::UsageError;
use crate::observe::packets::PacketsView;
use crate::trial::{Ended, Trial};
use crate::{exit, graphs, terminal};
use cut::Port;

/// How long the packets that are still on their way are waited for once the run has ended.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Prints what passes an edge.
///
/// # Errors
/// A port that is not there, the failure of the run, or standard output that cannot be written.
pub(crate) fn tap(args: &TapArgs, registry: &Registry) -> anyhow::Result<u8> {
    if live::is_run(&args.graph) {
        if !args.set.overrides.is_empty() {
            let why = "--set has no effect on a run that goes on; name a graph, or leave --set out";
            return Err(UsageError(why.to_owned()).into());
        }
        print(args, &live::packets(&args.graph, &args.port, args.count)?)?;
        return Ok(exit::OK);
    }
    let loaded = match graphs::load(&args.graph, registry, &args.set.overrides) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Ok(diagnostics.kind().exit_code()),
    };
    let port = Port::named(&args.port, &loaded.graph).map_err(UsageError)?;
    let payload = port.payload(&loaded.graph).clone();
    let Some(Tapped { registry: with_tap, ports, seen }) = tapped(registry, payload.name, args.count) else {
        return Err(Failure::config(format!(
            "{} carries `{}`, a payload of a stage type of your own, which this program cannot describe",
            args.port, payload.name
        ))
        .into());
    };
    let needed = cut::needed(&loaded.graph, port);
    let mut trial = Trial::of(&loaded, registry, |stage| needed[stage])?;
    let cut = cut::up_to(trial.graph(), port, ports);
    *trial.graph_mut() = cut;
    let mut view = PacketsView::new(&args.port, &payload, args.count);
    let (_, ended) = trial.run(&with_tap, |_| {
        view.extend(seen.try_iter());
        view.is_complete()
    })?;
    while let Ok(more) = seen.recv_timeout(LAST_LOOK) {
        view.extend([more]);
    }
    if ended == Ended::Interrupted && view.is_empty() {
        return Ok(exit::INTERRUPTED);
    }
    print(args, &view)?;
    Ok(if ended == Ended::Interrupted { exit::INTERRUPTED } else { exit::OK })
}

fn print(args: &TapArgs, view: &PacketsView) -> Result<(), Failure> {
    terminal::print(&match args.format {
        Format::Json => view.json(),
        Format::Text => view.text(terminal::width(&console::Term::stdout())),
    })
}

impl PacketsView {
    fn extend(&mut self, seen: impl IntoIterator<Item = Seen>) {
        seen.into_iter().for_each(|seen| self.push(seen));
    }
}
