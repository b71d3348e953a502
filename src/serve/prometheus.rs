//! The metrics of a run in the text format of Prometheus.

use std::time::Duration;

use metrics::{SetRecorderError, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// The time between two upkeeps of the recorder.
const UPKEEP: Duration = Duration::from_secs(5);

/// Counts, which only grow.
const COUNTERS: [(&str, &str); 7] = [
    ("framewise_train_examples_total", "Videos that this process has trained with."),
    (
        "framewise_device_taken_bytes_total",
        "Bytes that the devices of a stage have taken from each other. CPU devices read them where they lie.",
    ),
    ("framewise_stage_received_items_total", "Items that a stage has received on all its inputs."),
    (
        "framewise_stage_sent_items_total",
        "Items that a stage has sent, counted once whatever the number of consumers.",
    ),
    ("framewise_stage_received_bytes_total", "Payload bytes that a stage has received."),
    ("framewise_stage_sent_bytes_total", "Payload bytes that a stage has sent."),
    ("framewise_stage_rejected_records_total", "Records that a stage has rejected, by reason."),
];

/// Seconds, which only grow. The recorder's counters hold whole numbers only, so these are gauges there.
const SECONDS: [(&str, &str); 7] = [
    (
        "framewise_rank_waited_seconds_total",
        "Seconds for which the stages of a rank have waited for other ranks. The slowest rank waits least.",
    ),
    ("framewise_stage_busy_seconds_total", "Seconds for which a stage was busy."),
    ("framewise_stage_input_wait_seconds_total", "Seconds for which a stage has waited for input."),
    (
        "framewise_stage_output_wait_seconds_total",
        "Seconds for which a stage has waited for room in an output.",
    ),
    ("framewise_stage_ended_seconds_total", "Seconds since a stage has ended."),
    (
        "framewise_edge_input_wait_seconds_total",
        "Seconds for which the consumer has waited for an item of an edge.",
    ),
    (
        "framewise_edge_output_wait_seconds_total",
        "Seconds for which the producer has waited for room in an edge.",
    ),
];

/// Values that come and go.
const GAUGES: [(&str, &str); 14] = [
    ("framewise_rank_steps", "Steps that a rank has done."),
    ("framewise_rank_slowest", "1 for the rank for which the others wait, 0 for the others."),
    ("framewise_stage_utilization_ratio", "Share of the run's time for which a stage was busy."),
    ("framewise_stage_workers", "Value of a stage's key workers, or 1."),
    ("framewise_stage_limiting", "1 for the stage that limits the run, 0 for the others."),
    (
        "framewise_bottleneck_at_most_ratio",
        "How many times as fast the run is at most if the diagnosis is followed.",
    ),
    ("framewise_edge_capacity_items", "Packets that an edge holds at most."),
    ("framewise_edge_depth_items", "Packets that are in an edge."),
    ("framewise_edge_depth_bytes", "Payload bytes that are in an edge."),
    ("framewise_train_loss", "Loss of the last step that was reported."),
    ("framewise_train_gap", "Global average precision of the last step that was reported."),
    ("framewise_train_learning_rate", "Learning rate of the last step that was reported."),
    ("framewise_checkpoint_duration_seconds", "Seconds that the last checkpoint took."),
    (
        "framewise_checkpoint_last_success_timestamp_seconds",
        "When the last checkpoint was complete, in Unix time.",
    ),
];

/// Makes the recorder of this process, which takes the readings of the run from the `metrics` facade.
///
/// # Errors
/// The process has a recorder already.
pub(super) fn install() -> Result<PrometheusHandle, SetRecorderError<PrometheusRecorder>> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for (name, help) in SECONDS.into_iter().chain(GAUGES) {
        describe_gauge!(name, help);
    }
    Ok(handle)
}

/// Keeps the recorder small for ever: without upkeep, what it collects grows until somebody asks for it.
pub(super) async fn keep_up(metrics: &PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// The metrics as text. Sums of seconds are declared to be what they are, counters.
pub(super) fn text(metrics: &PrometheusHandle) -> String {
    let mut text = String::new();
    for line in metrics.render().lines() {
        let declared = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" gauge"));
        match declared.filter(|name| SECONDS.iter().any(|(seconds, _)| seconds == name)) {
            Some(name) => text += &format!("# TYPE {name} counter"),
            None => text += line,
        }
        text.push('\n');
    }
    text
}
