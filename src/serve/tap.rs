//! `/api/tap/STAGE.PORT/COUNT`: what passes an output of the run from now on.
//!
//! Law: the run does not wait for the look. What passes meanwhile is left out and counted.

use std::time::Duration;

use axum::http::StatusCode;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::probes::{Look, ProbeError, Seen};
use framewise_stages as stages;
use tokio::time::{Instant, sleep};

use crate::observe::packets::{PATIENCE, PacketsView};

/// The most items of an answer.
const MOST: u64 = 1000;
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The answer as JSON, or the status and the text of a refusal.
pub(super) async fn look(monitor: &Monitor, port: &str, count: u64) -> Result<String, (StatusCode, String)> {
    let (stage, output) = port.split_once('.').map_or((port, None), |(stage, output)| (stage, Some(output)));
    let (probe, name, payload) = monitor.probe(stage, output).map_err(|error| {
        let status = match error {
            ProbeError::Taken(_) => StatusCode::CONFLICT,
            ProbeError::NoStage { .. } | ProbeError::NoOutput { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        (status, format!("{error}\n"))
    })?;
    let mut view = PacketsView::new(&name, &payload, count.clamp(1, MOST));
    let begin = Instant::now();
    let mut waited = false;
    while !view.is_complete() && !waited {
        match probe.look() {
            Look::Seen(Seen::Mark(mark)) => view.push(stages::Seen::Mark(stages::mark_in_words(mark))),
            Look::Seen(Seen::Item(item, bytes)) => {
                let description = stages::described(payload.name, &*item).ok_or_else(|| {
                    let what =
                        format!("{name} carries `{}`, which this program cannot describe\n", payload.name);
                    (StatusCode::UNPROCESSABLE_ENTITY, what)
                })?;
                let description = description
                    .map_err(|failure| (StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n")))?;
                view.push(stages::Seen::Item(description, bytes));
            }
            Look::Ended => break,
            Look::Nothing if begin.elapsed() >= PATIENCE => waited = true,
            Look::Nothing => sleep(PAUSE).await,
        }
    }
    view.of_a_live_run(probe.left_out(), waited);
    Ok(view.json())
}
