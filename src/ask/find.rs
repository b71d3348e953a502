//! Which run is asked: the one that the user names, or the newest that is served.
//!
//! Law: a run whose process is gone is never shown as one that lives, whatever its directory says.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use framewise_pipeline::{ErrorKind, Failure};
use framewise_stages::io as files;
use serde::Deserialize;

use super::client::{Client, Trouble};
use crate::observe::view::RunView;
use crate::run::{RUNS, is_locked};
use crate::serve::LIVE;
use crate::shell::short;

/// A run that answers.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) client: Client,
    /// The directory of the run, if it is known.
    pub(crate) directory: Option<PathBuf>,
    /// The first reading, as JSON and as data.
    pub(crate) first: (String, RunView),
}

/// What `live.json` says.
#[derive(Debug, Deserialize)]
struct Live {
    graph: String,
    address: String,
    process: u32,
}

/// Finds the run that `wanted` names: a run directory, the name of one below `runs/`, or an address. Without a name, the
/// newest run below `runs/` that answers.
///
/// # Errors
/// `Unavailable` if no run answers, and `NotFound` for a name that is neither a directory nor an address.
pub(crate) fn find(wanted: Option<&str>) -> Result<Found, Failure> {
    let Some(wanted) = wanted else { return newest() };
    for directory in [PathBuf::from(wanted), Path::new(RUNS).join(wanted)] {
        if directory.is_dir() {
            return in_directory(directory);
        }
    }
    let address = wanted.strip_prefix("http://").unwrap_or(wanted).trim_end_matches('/');
    let port = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    if port.is_none_or(|(host, _)| host.is_empty() || host.contains('/')) {
        return Err(Failure::new(
            ErrorKind::NotFound,
            format!(
                "there is no run directory {wanted} (or {RUNS}/{wanted}), and it is no address; name a directory, or HOST:PORT \
                 as in `live.json`"
            ),
        ));
    }
    let client = client(address)?;
    match client.reading() {
        Ok(first) => Ok(Found { client, directory: None, first }),
        Err(trouble) => Err(unavailable(format!(
            "{trouble}; a run is served while it lives if it is started with `--metrics {address}`"
        ))),
    }
}

/// The run in a directory.
fn in_directory(directory: PathBuf) -> Result<Found, Failure> {
    let shown = short(&directory).display().to_string();
    let start = "a run is served while it lives if it is started with `--metrics 127.0.0.1:0`";
    let Some((live, _)) = live(&directory) else {
        let text = if is_locked(&directory) {
            format!("the run in {shown} is not served; {start}")
        } else {
            format!("no run lives in {shown}; `framewise runs` shows how it ended, and {start}")
        };
        return Err(unavailable(text));
    };
    match answer(&live) {
        Ok((client, first)) => Ok(Found { client, directory: Some(directory), first }),
        Err(trouble) => Err(unavailable(format!(
            "the run that {shown}/{LIVE} tells of (process {}) is gone: {trouble}; {start}",
            live.process
        ))),
    }
}

/// The newest run below `runs/` that answers. What a dead process left is passed over.
fn newest() -> Result<Found, Failure> {
    let mut runs: Vec<_> = files::list(Path::new(RUNS)).unwrap_or_default();
    let mut lives: Vec<(SystemTime, PathBuf, Live)> = runs
        .drain(..)
        .filter_map(|directory| live(&directory).map(|(live, written)| (written, directory, live)))
        .collect();
    // Among files of the same time, the one with the last name is asked first.
    lives.sort_by(|one, other| (other.0, &other.1).cmp(&(one.0, &one.1)));
    let dead = lives.len();
    for (_, directory, live) in lives {
        if let Ok((client, first)) = answer(&live) {
            return Ok(Found { client, directory: Some(directory), first });
        }
    }
    let left = match dead {
        0 => String::new(),
        _ => format!(" (the {LIVE} that is there was left by a process that is gone)"),
    };
    Err(unavailable(format!(
        "no run below {RUNS}/ is served{left}; start one with `framewise run GRAPH --metrics 127.0.0.1:0`, or name a run \
         directory or an address"
    )))
}

/// What the `live.json` of a directory says, and when it was written. `None` if there is none, or none that is whole.
fn live(directory: &Path) -> Option<(Live, SystemTime)> {
    let path = directory.join(LIVE);
    // Opening anything but a regular file could wait for ever.
    let metadata = path.symlink_metadata().ok().filter(|metadata| metadata.is_file())?;
    let live = serde_json::from_str(&files::read_to_string(&path).ok()?).ok()?;
    Some((live, metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
}

/// Asks the run of a `live.json`.
fn answer(live: &Live) -> Result<(Client, (String, RunView)), Trouble> {
    // The address of a process that is gone may be that of another program by now.
    if !lives(live.process) {
        return Err(Trouble::Gone("there is no such process".to_owned()));
    }
    let client = Client::new(&live.address).map_err(|error| Trouble::Odd(error.to_string()))?;
    let first = client.reading()?;
    // The system gives a port to the next process that asks for one.
    if first.1.graph != live.graph {
        let text = format!("{} now serves the graph {}", live.address, first.1.graph);
        return Err(Trouble::Odd(text));
    }
    Ok((client, first))
}

/// Whether there is a process with this number. Where the system does not tell, asking its address has to.
fn lives(process: u32) -> bool {
    !cfg!(target_os = "linux") || Path::new("/proc").join(process.to_string()).exists()
}

fn client(address: &str) -> Result<Client, Failure> {
    Client::new(address).map_err(|error| unavailable(format!("cannot ask {address}: {error}")))
}

fn unavailable(text: String) -> Failure {
    Failure::new(ErrorKind::Unavailable, text)
}
