//! What was seen of an edge, as text and as JSON.

use std::time::Duration;

use framewise_pipeline::PayloadType;
use framewise_stages::Seen;
use framewise_stages::payload::Description;
use serde::{Deserialize, Serialize};

use crate::table::{Column, fitted};
use crate::terminal::printable;
use crate::text::{self, bytes, count, plural, wrap};

/// How long a run is watched for packets that do not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What was seen of an edge.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PacketsView {
    port: String,
    payload: String,
    packets: Vec<Shown>,
    /// Of a run that goes on: the packets that passed meanwhile and were not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
    /// Whether the run goes on and no more packets came within [`PATIENCE`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    waited: bool,
    #[serde(skip)]
    wanted: u64,
}

/// A packet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Shown {
    Item {
        bytes: usize,
        #[serde(flatten)]
        description: Description,
    },
    Mark {
        mark: String,
    },
}

impl PacketsView {
    pub(crate) fn new(port: &str, payload: &PayloadType, wanted: u64) -> Self {
        let (port, payload) = (port.to_owned(), payload.to_string());
        Self { port, payload, packets: Vec::new(), left_out: None, waited: false, wanted }
    }

    /// Says what became of a look at a run that goes on: how many packets were left out, and whether no more came in time.
    pub(crate) fn of_a_live_run(&mut self, left_out: u64, waited: bool) {
        (self.left_out, self.waited) = (Some(left_out), waited);
    }

    /// Sets how many items were wanted, for a view that came as JSON.
    pub(crate) fn wanted(self, wanted: u64) -> Self {
        Self { wanted, ..self }
    }

    pub(crate) fn push(&mut self, seen: Seen) {
        self.packets.push(match seen {
            Seen::Item(description, bytes) => Shown::Item { bytes, description },
            Seen::Mark(mark) => Shown::Mark { mark },
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    fn items(&self) -> u64 {
        self.packets.iter().filter(|packet| matches!(packet, Shown::Item { .. })).count() as u64
    }

    /// Whether as many items were seen as are wanted.
    pub(crate) fn is_complete(&self) -> bool {
        self.items() >= self.wanted
    }

    pub(crate) fn json(&self) -> String {
        text::json(self)
    }

    pub(crate) fn text(&self, width: usize) -> String {
        let mut out = format!("{}: {}\n", self.port, self.payload);
        let mut number = 0;
        for packet in &self.packets {
            match packet {
                Shown::Mark { mark } => out += &format!("\n{mark}\n"),
                Shown::Item { bytes, description } => {
                    number += 1;
                    out += &item(number, *bytes as u64, description, width);
                }
            }
        }
        if let Some(left_out @ 1..) = self.left_out {
            let text =
                format!("{} passed meanwhile and were not looked at", plural(left_out, "other packet"));
            out += &format!("\n{}", wrap(&text, width, 0));
        }
        if self.waited {
            let seconds = PATIENCE.as_secs();
            out +=
                &format!("\nno more came within {seconds} seconds, after {}\n", plural(self.items(), "item"));
        } else if !self.is_complete() {
            out += &format!("\nthe end, after {}\n", plural(self.items(), "item"));
        }
        out
    }
}

fn item(number: u64, size: u64, description: &Description, width: usize) -> String {
    let Description { item, ids, videos, arrays } = description;
    let of = if item.is_empty() { String::new() } else { format!(": {item}") };
    let mut out = format!("\n{}{of}, {}\n", count(number), bytes(size));
    if !ids.is_empty() {
        let more = videos.saturating_sub(ids.len());
        let more = if more > 0 { format!(", … {} more", count(more as u64)) } else { String::new() };
        out += &wrap(&format!("ids: {}{more}", ids.join(", ")), width, 2);
    }
    let columns = [
        Column::names("  array", 0),
        Column::names("type", 2),
        Column::names("shape", 0),
        Column::numbers("min", 0),
        Column::numbers("mean", 0),
        Column::numbers("max", 0),
        Column::numbers("not finite", 1),
        Column::names("first", 3),
    ];
    let rows = arrays.iter().map(|array| {
        let shape: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
        let first: Vec<String> = array.first.iter().map(|value| number_of(*value)).collect();
        vec![
            format!("  {}", array.name),
            array.dtype.clone(),
            format!("[{}]", shape.join(", ")),
            number_of(array.min),
            number_of(array.mean),
            number_of(array.max),
            count(array.non_finite as u64),
            first.join(" "),
        ]
    });
    out += &fitted(&columns, &rows.collect::<Vec<_>>(), width);
    printable(&out).into_owned()
}

/// A value with about four digits.
fn number_of(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value == value.trunc() && value.abs() < 1e6 => format!("{value:.0}"),
        Some(value) if (1e-3..1e6).contains(&value.abs()) => format!("{value:.4}"),
        Some(value) => format!("{value:.3e}"),
    }
}
