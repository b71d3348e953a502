//! The publication of readings through the `metrics` facade.
//!
//! Law: what is published as a total never goes back while the process lives, also where a graph is run again.

use metrics::{counter, gauge};

use super::monitor::Monitor;
use super::reading::Reading;
use super::totals::Earlier;

impl Monitor {
    /// Publishes a reading of the run. `earlier` has the totals of earlier runs of the graph.
    pub(super) fn publish(&self, reading: &Reading, earlier: &Earlier) {
        let graph = self.graph().to_owned();
        let totals = earlier.and(reading);
        let bottleneck = self.bottleneck();
        if let Some(at_most) = bottleneck.at_most {
            gauge!("framewise_bottleneck_at_most_ratio", "graph" => graph.clone()).set(at_most);
        }
        for (index, (stage, total)) in self.stages().iter().zip(&totals.stages).enumerate() {
            let labels =
                [("graph", graph.clone()), ("stage", stage.name.clone()), ("type", stage.type_name.clone())];
            counter!("framewise_stage_received_items_total", &labels).absolute(total.items_in);
            counter!("framewise_stage_sent_items_total", &labels).absolute(total.items_out);
            counter!("framewise_stage_received_bytes_total", &labels).absolute(total.bytes_in);
            counter!("framewise_stage_sent_bytes_total", &labels).absolute(total.bytes_out);
            for (reason, count) in &total.rejected {
                let [graph, name, kind] = labels.clone();
                let labels = [graph, name, kind, ("reason", (*reason).to_owned())];
                counter!("framewise_stage_rejected_records_total", &labels).absolute(*count);
            }
            // Seconds have fractions, which the facade's counters cannot hold. So they are gauges, although they only
            // grow.
            gauge!("framewise_stage_busy_seconds_total", &labels).set(total.busy);
            gauge!("framewise_stage_input_wait_seconds_total", &labels).set(total.input_wait);
            gauge!("framewise_stage_output_wait_seconds_total", &labels).set(total.output_wait);
            gauge!("framewise_stage_ended_seconds_total", &labels).set(total.ended);
            gauge!("framewise_stage_utilization_ratio", &labels).set(reading.shares(index).busy);
            gauge!("framewise_stage_workers", &labels).set(stage.workers as f64);
            let limits = bottleneck.stage.as_deref() == Some(stage.name.as_str());
            gauge!("framewise_stage_limiting", &labels).set(f64::from(u8::from(limits)));
        }
        let edges = self.edges().iter().zip(&reading.edges).zip(&totals.edges);
        for ((edge, now), total) in edges {
            let labels = [
                ("graph", graph.clone()),
                ("from", format!("{}.{}", self.stages()[edge.from].name, edge.output)),
                ("to", format!("{}.{}", self.stages()[edge.to].name, edge.input)),
            ];
            gauge!("framewise_edge_capacity_items", &labels).set(now.limits.items as f64);
            gauge!("framewise_edge_depth_items", &labels).set(now.items as f64);
            gauge!("framewise_edge_depth_bytes", &labels).set(now.bytes as f64);
            gauge!("framewise_edge_input_wait_seconds_total", &labels).set(total.input_wait);
            gauge!("framewise_edge_output_wait_seconds_total", &labels).set(total.output_wait);
        }
    }
}
