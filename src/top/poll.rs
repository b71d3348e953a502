//! The thread that asks the run again and again, so that an answer that takes its time holds up no key.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use framewise_stages::io as files;

use crate::ask::client::{Client, Trouble};
use crate::ask::find::Found;
use crate::ask::log::Message;
use crate::observe::view::{HistoryView, RunView};
use crate::run::{RESULTS, STAGES};
use crate::text::seconds;

/// The time between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// How long the files of a run that has ended are waited for.
const FILES: Duration = Duration::from_secs(5);
/// The largest file of a run that is read, in bytes.
const LARGEST: u64 = 32 << 20;

/// What is new about the run.
#[derive(Debug)]
pub(super) enum News {
    /// The readings from the beginning of the run to the moment at which it was first asked.
    History(HistoryView),
    Reading(RunView),
    Log(Vec<Message>),
    /// The run does not answer as it should. It is asked again.
    Trouble(String),
    /// The run has ended, in these words. Nothing more comes.
    Ended(String),
}

/// Nobody listens to the news any more.
struct UserLeft;

/// Asks the run until it has ended or nobody listens any more. The returned sender ends the questions when it is dropped.
///
/// # Errors
/// The system has no thread left.
pub(super) fn start(found: Found) -> std::io::Result<(Receiver<News>, Sender<()>)> {
    let (sender, news) = mpsc::channel();
    let (quit, quitted) = mpsc::channel();
    thread::Builder::new().name("questions".into()).spawn(move || {
        let Found { client, directory, first } = found;
        // A receiver that is gone is no error: the user has left.
        let tell = |news| sender.send(news).map_err(|_| UserLeft);
        let _ = watch(&client, directory.as_deref(), first.1, tell, &quitted);
    })?;
    Ok((news, quit))
}

fn watch(
    client: &Client,
    directory: Option<&Path>,
    first: RunView,
    tell: impl Fn(News) -> Result<(), UserLeft>,
    quitted: &Receiver<()>,
) -> Result<(), UserLeft> {
    let mut last = first.seconds;
    if let Ok(history) = client.history() {
        tell(News::History(history))?;
    }
    tell(News::Reading(first))?;
    loop {
        match client.log() {
            Ok(lines) => tell(News::Log(lines))?,
            Err(Trouble::Gone(_)) => break,
            Err(Trouble::Odd(why) | Trouble::Refused(why)) => tell(News::Trouble(why))?,
        }
        if quitted.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        match client.reading() {
            // A run that began anew at the same address is another one.
            Ok((_, view)) if view.seconds < last => break,
            Ok((_, view)) => {
                last = view.seconds;
                tell(News::Reading(view))?;
            }
            Err(Trouble::Gone(_)) => break,
            Err(Trouble::Odd(why) | Trouble::Refused(why)) => tell(News::Trouble(why))?,
        }
    }
    let mut told = format!("the run has ended: nothing answers at {} any more", client.address());
    if let Some(directory) = directory
        && let Some((status, table)) = left(directory, last, quitted)
    {
        told = format!("the run has ended: {status}");
        if let Some(view) = table {
            told += &format!(" after {}", seconds(view.seconds));
            tell(News::Reading(view))?;
        }
    }
    tell(News::Ended(told))
}

/// The status of a run that has ended and its last reading, from the files that it leaves, which come a moment after its
/// end. A failed run leaves no reading. `None` if nothing comes, as for a process that was killed.
fn left(directory: &Path, last: f64, quitted: &Receiver<()>) -> Option<(String, Option<RunView>)> {
    let step = Duration::from_millis(100);
    for _ in 0..FILES.as_millis() / step.as_millis() {
        // The result of an earlier run in the directory goes when a run begins there.
        if let Some(result) = read::<serde_json::Value>(&directory.join(RESULTS)) {
            let status = result["status"].as_str().unwrap_or("with an unknown status").to_owned();
            let table = read::<RunView>(&directory.join(STAGES)).filter(|view| view.seconds >= last);
            return Some((status, table));
        }
        if quitted.recv_timeout(step) != Err(RecvTimeoutError::Timeout) {
            return None;
        }
    }
    None
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let is_small =
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST);
    is_small
        .then(|| files::read_to_string(path).ok())
        .flatten()
        .and_then(|text| serde_json::from_str(&text).ok())
}
