//! What passes an edge of a run that another process serves.

use std::path::Path;

use framewise_pipeline::{ErrorKind, Failure};

use crate::ask::client::Trouble;
use crate::ask::find::find;
use crate::exit::UsageError;
use crate::observe::packets::PacketsView;

/// Whether the argument names a run, by its directory or its address, and not the file of a graph.
pub(crate) fn is_run(argument: &Path) -> bool {
    let is_address = || {
        let text = argument.to_str()?.trim_start_matches("http://").trim_end_matches('/');
        let (host, port) = text.rsplit_once(':')?;
        Some(!host.is_empty() && port.parse::<u16>().is_ok())
    };
    argument.is_dir() || !argument.exists() && is_address().unwrap_or(false)
}

/// What passes an output of the run from now on.
///
/// # Errors
/// `Unavailable` if no run answers, and a usage error if the run has no such output.
pub(super) fn packets(run: &Path, port: &str, count: u64) -> anyhow::Result<PacketsView> {
    let found = find(Some(&run.to_string_lossy()))?;
    let view = found.client.packets(port, count).map_err(|trouble| match trouble {
        Trouble::Refused(why) => anyhow::Error::from(UsageError(why)),
        Trouble::Gone(why) => {
            Failure::new(ErrorKind::Unavailable, format!("the run has ended: {why}")).into()
        }
        Trouble::Odd(why) => Failure::new(ErrorKind::Unavailable, why).into(),
    })?;
    Ok(view.wanted(count))
}
