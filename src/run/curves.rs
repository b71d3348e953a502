//! The shares of the stages over the time of a run, as curves for TensorBoard.
//!
//! Law: the curves are drawn from the readings that the engine keeps, at the end of the run. The run itself is the same with
//! and without them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use framewise_pipeline::Failure;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::reading::Reading;
use framewise_stages::store::{StoreError, TensorBoardWriter};

/// The folder of the run directory that holds the events. TensorBoard shows it as a run of its own.
const FOLDER: &str = "stages";
/// The least number of seconds from one point of a curve to the next.
const APART: f64 = 1.0;
/// The most points of a curve.
const MOST: f64 = 200.0;

/// Writes the curves of a run that has just ended.
///
/// # Errors
/// `CannotWrite`, which names the file.
pub(crate) fn write(run_dir: &Path, monitor: &Monitor) -> Result<(), Failure> {
    let windows = windows(&monitor.history(), &monitor.read());
    draw(run_dir, monitor, &windows).map_err(Failure::cannot_write)
}

/// The windows between readings that are far enough apart, each with the second at which it ends. The first one begins with
/// the run, and the last one ends with it.
fn windows(history: &[Arc<Reading>], last: &Reading) -> Vec<(f64, Reading)> {
    let apart = APART.max(last.seconds / MOST);
    let mut windows: Vec<(f64, Reading)> = Vec::new();
    let mut before: Option<&Reading> = None;
    let kept = history.iter().map(|reading| &**reading);
    for reading in kept.filter(|reading| reading.seconds + apart <= last.seconds).chain([last]) {
        let begin = before.map_or(0.0, |before| before.seconds);
        if reading.seconds < begin + apart && !std::ptr::eq(reading, last) {
            continue;
        }
        let window = before.map_or_else(|| reading.clone(), |before| reading.since(before));
        windows.push((reading.seconds, window));
        before = Some(reading);
    }
    windows
}

fn draw(run_dir: &Path, monitor: &Monitor, windows: &[(f64, Reading)]) -> Result<(), StoreError> {
    let ended = SystemTime::now();
    let last = windows.last().map_or(0.0, |(second, _)| *second);
    let folder = run_dir.join(FOLDER);
    let is_again = folder.is_dir();
    let mut writer = TensorBoardWriter::create(&folder)?;
    if is_again {
        // The seconds of a run that was resumed begin anew.
        writer.restart(0)?;
    }
    for (second, window) in windows {
        let before_end = Duration::try_from_secs_f64(last - second).unwrap_or_default();
        let at = ended.checked_sub(before_end).unwrap_or(ended);
        for (index, stage) in monitor.stages().iter().enumerate() {
            let shares = window.shares(index);
            let curves = [
                ("busy", shares.busy),
                ("waiting_in", shares.input_wait),
                ("waiting_out", shares.output_wait),
                ("ended", shares.ended),
            ];
            for (name, share) in curves {
                writer.scalar_at(&format!("{name}/{}", stage.name), second.round() as u64, at, share)?;
            }
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seconds: f64) -> Arc<Reading> {
        Arc::new(Reading {
            seconds,
            cpu: None,
            queued: None,
            stages: Vec::new(),
            states: Vec::new(),
            edges: Vec::new(),
            units: Vec::new(),
        })
    }

    #[test]
    fn windows_follow_each_other_from_the_beginning_to_the_end() {
        for (every, total) in [(0.05, 0.4), (0.05, 3.0), (0.2, 100.0), (7.0, 3600.0)] {
            let readings = (1..).map(|tick| f64::from(tick) * every).take_while(|second| *second < total);
            let history: Vec<_> = readings.map(reading).collect();
            let windows = windows(&history, &reading(total));
            let lengths: f64 = windows.iter().map(|(_, window)| window.seconds).sum();
            assert!((lengths - total).abs() < 1e-6, "{every} {total}: {lengths}");
            assert_eq!(windows.last().unwrap().0, total);
            assert!(windows.is_sorted_by(|a, b| a.0 + 0.99 <= b.0), "{every} {total}");
            assert!(windows.len() <= 201);
        }
    }
}
