//! The trace of a run as a file: JSON in the Trace Event Format, which Perfetto (<https://ui.perfetto.dev>) opens.
//!
//! Laws: each stage is a track with its name, on which spans follow one another and never overlap. Arrows come in pairs,
//! one end in the stage that sent a packet and one in the stage that received it. Times are microseconds since the run
//! began, with three decimals.

use std::io::{self, Write};

use framewise_pipeline::edge::meter::Activity;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::trace::{Span, Trace, Unrecorded};
use serde::Serialize;

use crate::text::count;

/// The number of the process in the file, which has only this one.
const PROCESS: u64 = 1;
/// The number of the first track. The number of the process is left out, because viewers take that track for the main
/// thread of the process.
const FIRST_TRACK: u64 = 2;

/// How much of a run is in its trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Extent {
    pub(crate) spans: u64,
    pub(crate) arrows: u64,
    /// The spans for which there was no room.
    pub(crate) spans_left_out: u64,
    /// The arrows for which there was no room.
    pub(crate) arrows_left_out: u64,
    /// The most spans that there was room for in each stage.
    pub(crate) most_spans_a_stage: u64,
    /// The most arrows that there was room for in each edge.
    pub(crate) most_arrows_an_edge: u64,
}

/// What the head of the file says about it.
#[derive(Serialize)]
struct About<'a> {
    program: &'static str,
    version: &'static str,
    graph: &'a str,
    #[serde(flatten)]
    extent: Extent,
}

/// An event of the format, in the order of its usual keys.
#[derive(Serialize)]
struct Event<'a, A> {
    ph: &'static str,
    pid: u64,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'a str>,
    /// Where an arrow ends: `e` for the span in which it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<A>,
}

impl<'a, A> Event<'a, A> {
    /// An event that says something about a track.
    fn about(track: u64, name: &'a str, args: A) -> Self {
        let args = Some(args);
        Self {
            ph: "M",
            pid: PROCESS,
            tid: track,
            ts: None,
            dur: None,
            id: None,
            name,
            cat: None,
            bp: None,
            args,
        }
    }

    /// A span from `begin` to `end`, in nanoseconds.
    fn span(track: u64, (begin, end): (u64, u64), name: &'a str, category: &'a str, args: A) -> Self {
        Self {
            ph: "X",
            ts: Some(microseconds(begin)),
            dur: Some(microseconds(end - begin)),
            cat: Some(category),
            ..Self::about(track, name, args)
        }
    }
}

/// A name, as the format wants it.
#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

/// The place of a track, as the format wants it.
#[derive(Serialize)]
struct Place {
    sort_index: u64,
}

/// What is known of a span.
#[derive(Serialize)]
struct SpanArgs {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
}

/// What is known of the time for whose spans there was no room.
#[derive(Serialize)]
struct UnrecordedArgs {
    spans: u64,
    busy_seconds: f64,
    input_wait_seconds: f64,
    output_wait_seconds: f64,
}

impl Extent {
    /// How much of a run is in this trace.
    pub(crate) fn of(trace: &Trace) -> Self {
        Self {
            spans: trace.stages.iter().map(|stage| stage.spans.len() as u64).sum(),
            arrows: trace.edges.iter().map(|edge| edge.packets.len() as u64).sum(),
            spans_left_out: trace.stages.iter().map(|stage| stage.unrecorded.spans).sum(),
            arrows_left_out: trace.edges.iter().map(|edge| edge.unrecorded).sum(),
            most_spans_a_stage: trace.most_spans as u64,
            most_arrows_an_edge: trace.most_packets as u64,
        }
    }

    /// The extent in words, such as `1,200 spans, 90 arrows`.
    pub(crate) fn words(&self) -> String {
        format!("{} spans, {} arrows", count(self.spans), count(self.arrows))
    }

    /// A sentence about what is left out. `None` if nothing is.
    pub(crate) fn left_out(&self) -> Option<String> {
        let Self { spans, arrows, spans_left_out, arrows_left_out, .. } = *self;
        (spans_left_out > 0 || arrows_left_out > 0).then(|| {
            format!(
                "left out: {} of {} spans, {} of {} arrows; there was room for the first {} spans of each stage and the \
                 first {} arrows of each edge",
                count(spans_left_out),
                count(spans + spans_left_out),
                count(arrows_left_out),
                count(arrows + arrows_left_out),
                count(self.most_spans_a_stage),
                count(self.most_arrows_an_edge)
            )
        })
    }
}

/// Writes the trace of the run that `monitor` watched.
///
/// # Errors
/// The errors of `out`.
pub(crate) fn write(trace: &Trace, monitor: &Monitor, out: impl Write) -> io::Result<()> {
    let about = About {
        program: "framewise",
        version: env!("CARGO_PKG_VERSION"),
        graph: monitor.graph(),
        extent: Extent::of(trace),
    };
    // A stream is not buffered by itself.
    let mut out = io::BufWriter::with_capacity(1 << 16, out);
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":")?;
    serde_json::to_writer(&mut out, &about)?;
    write!(out, ",\"traceEvents\":[")?;
    let mut events = Events { out, any: false };
    let process = format!("framewise: {}", monitor.graph());
    events.write(&Event::about(FIRST_TRACK, "process_name", Name { name: &process }))?;
    for (track, stage) in (FIRST_TRACK..).zip(monitor.stages()) {
        events.write(&Event::about(track, "thread_name", Name { name: &stage.name }))?;
        events.write(&Event::about(track, "thread_sort_index", Place { sort_index: track }))?;
    }
    for (track, stage) in (FIRST_TRACK..).zip(&trace.stages) {
        for span in &stage.spans {
            let (name, category) = words(span);
            let args = SpanArgs { port: span.port, step: span.step };
            events.write(&Event::span(track, (span.begin, span.end), name, category, args))?;
        }
        events.unrecorded(track, &stage.unrecorded)?;
    }
    events.arrows(trace, monitor)?;
    write!(events.out, "\n]}}\n")?;
    events.out.flush()
}

/// The name and the category of a span.
fn words(span: &Span) -> (&'static str, &'static str) {
    match span.activity {
        Activity::InputWait => ("waiting in", "input_wait"),
        Activity::OutputWait => ("waiting out", "output_wait"),
        Activity::Busy | Activity::Idle | Activity::Done => ("busy", "busy"),
    }
}

/// Microseconds, of which the third decimal is a nanosecond.
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The writer of a list of events, one a line.
struct Events<W: Write> {
    out: W,
    any: bool,
}

impl<W: Write> Events<W> {
    fn write<A: Serialize>(&mut self, event: &Event<'_, A>) -> io::Result<()> {
        let begin: &[u8] = if self.any { b",\n" } else { b"\n" };
        self.any = true;
        self.out.write_all(begin)?;
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }

    /// A span in the place of those for which there was no room.
    fn unrecorded(&mut self, track: u64, of: &Unrecorded) -> io::Result<()> {
        if of.spans == 0 {
            return Ok(());
        }
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let args = UnrecordedArgs {
            spans: of.spans,
            busy_seconds: seconds(of.busy),
            input_wait_seconds: seconds(of.input_wait),
            output_wait_seconds: seconds(of.output_wait),
        };
        self.write(&Event::span(track, (of.begin, of.end), "not recorded", "not_recorded", args))
    }

    fn arrows(&mut self, trace: &Trace, monitor: &Monitor) -> io::Result<()> {
        let mut id = 0;
        for (edge, ends) in trace.edges.iter().zip(monitor.edges()) {
            let name = |stage: usize, port: &str| format!("{}.{port}", monitor.stages()[stage].name);
            let name = format!("{} → {}", name(ends.from, ends.output), name(ends.to, ends.input));
            let track = |stage: usize| FIRST_TRACK + stage as u64;
            for &(sent, received) in &edge.packets {
                id += 1;
                let end = |ph, stage, at, bp| Event::<()> {
                    ph,
                    ts: Some(microseconds(at)),
                    id: Some(id),
                    cat: Some("packet"),
                    bp,
                    args: None,
                    ..Event::about(track(stage), &name, ())
                };
                self.write(&end("s", ends.from, sent, None))?;
                self.write(&end("f", ends.to, received, Some("e")))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use framewise_pipeline::engine::trace::TraceLimits;
    use framewise_pipeline::engine::{Pipeline, RunOptions};
    use framewise_pipeline::testing::{GraphBuilder, items};
    use serde_json::Value;

    use super::*;

    /// The trace of source → sink with three items, and with room for so much.
    fn traced(limits: TraceLimits) -> (Extent, Value) {
        let mut graph = GraphBuilder::new();
        graph.counting_source("source", 3);
        graph.collect("sink \"\u{7}\"");
        graph.edge("source.output", "sink \"\u{7}\".input", items(4));
        let options = RunOptions { trace: Some(limits), ..RunOptions::default() };
        let outcome = graph.build(&options).map(Pipeline::run).unwrap();
        let trace = outcome.monitor.take_trace().unwrap();
        let mut text = Vec::new();
        write(&trace, &outcome.monitor, &mut text).unwrap();
        (Extent::of(&trace), serde_json::from_slice(&text).unwrap())
    }

    #[test]
    fn what_is_left_out_stands_in_its_place_and_is_counted() {
        // Each of two stages has room for one span, and the edge for one packet.
        let (extent, file) = traced(TraceLimits { spans: 2, packets: 1 });
        let left_out = Value::from(extent.spans_left_out);
        assert_eq!((extent.spans, extent.arrows, extent.arrows_left_out), (2, 1, 2));
        assert_eq!(
            (&file["otherData"]["spans_left_out"], &file["otherData"]["arrows_left_out"]),
            (&left_out, &2.into())
        );
        let events = file["traceEvents"].as_array().unwrap();
        let unrecorded: Vec<&Value> = events.iter().filter(|event| event["cat"] == "not_recorded").collect();
        let spans = unrecorded.iter().map(|event| event["args"]["spans"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(spans, extent.spans_left_out);
        for event in unrecorded {
            let before = events.iter().find(|span| span["ph"] == "X" && span["tid"] == event["tid"]).unwrap();
            let end = before["ts"].as_f64().unwrap() + before["dur"].as_f64().unwrap();
            assert!((end - event["ts"].as_f64().unwrap()).abs() < 1e-3, "{before} and {event}");
            let seconds = |name| event["args"][name].as_f64().unwrap();
            let sum =
                seconds("busy_seconds") + seconds("input_wait_seconds") + seconds("output_wait_seconds");
            assert!((sum - event["dur"].as_f64().unwrap() / 1e6).abs() < 1e-9, "{event}");
        }
        let text = extent.left_out().unwrap();
        assert!(text.ends_with("2 of 3 arrows; there was room for the first 1 spans of each stage and the first 1 arrows of each edge"), "{text}");
    }

    #[test]
    fn a_whole_trace_leaves_nothing_out_and_keeps_odd_names() {
        let (extent, file) = traced(TraceLimits::default());
        assert_eq!((extent.arrows, extent.left_out()), (3, None));
        let events = file["traceEvents"].as_array().unwrap();
        assert!(events.iter().all(|event| event["cat"] != "not_recorded"));
        assert!(events.iter().any(|event| event["args"]["name"] == "sink \"\u{7}\""));
    }
}
