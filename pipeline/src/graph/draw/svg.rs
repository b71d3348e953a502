//! The drawing of a graph as an SVG. It needs no scripts and loads no fonts, and it can be read on light and dark
//! pages.

use std::fmt::Write;

use super::layers::{Layout, Problem, lay_out};
use super::{ResolvedGraph, is_loop, label};

/// The width of a character in the larger font size. Characters of monospace fonts are 0.6 of the font size wide.
const NAME_CHAR: f64 = 14.0 * 0.61;
/// The width of a character in the smaller font size.
const SMALL_CHAR: f64 = 11.0 * 0.61;
const LINE: f64 = 14.0;
const BOX_HEIGHT: f64 = 44.0;

/// The graph as a self-contained SVG, with rows from sources to sinks. Delayed edges are dashed, and lead upwards where
/// they close a cycle. Programs find a stage by its name in `data-stage`, and an edge by its ends, `stage.port`, in
/// `data-from` and `data-to`.
pub fn svg(graph: &ResolvedGraph) -> String {
    let upward = upward_edges(graph);
    let labels: Vec<Vec<String>> = graph.edges.iter().map(|e| label(&e.payload)).collect();
    let label_size = |lines: &[String]| {
        let width = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0) as f64 * SMALL_CHAR + 8.0;
        (width, lines.len() as f64 * LINE + 4.0)
    };
    // A loop from a stage to itself is drawn inside the stage's slot.
    let loops = |stage: usize| {
        let edges = graph.edges.iter().zip(&labels).enumerate();
        edges.filter(move |(_, (e, _))| is_loop(e) && e.from.0 == stage).map(|(i, (_, l))| (i, l))
    };
    let box_width = |stage: usize| {
        let stage = &graph.stages[stage];
        let name = stage.name.chars().count() as f64 * NAME_CHAR;
        name.max(stage.type_name.chars().count() as f64 * SMALL_CHAR) + 24.0
    };
    let slot = |stage: usize| {
        let beside = loops(stage).map(|(_, l)| label_size(l).0 + 36.0).fold(0.0, f64::max);
        (box_width(stage) + 2.0 * beside, BOX_HEIGHT)
    };
    let drawn: Vec<usize> = (0..graph.edges.len()).filter(|&i| !is_loop(&graph.edges[i])).collect();
    let edges = drawn.iter().map(|&i| {
        let (from, to) = (graph.edges[i].from.0, graph.edges[i].to.0);
        let (width, height) = label_size(&labels[i]);
        if upward[i] { (to, from, width, height) } else { (from, to, width, height) }
    });
    let problem = Problem { boxes: (0..graph.stages.len()).map(slot).collect(), edges: edges.collect() };
    let layout = lay_out(&problem);

    let mut out = head(&graph.name, &layout);
    for (at, &edge) in drawn.iter().enumerate() {
        way(&mut out, &layout, &problem, at, upward[edge], graph.edges[edge].delayed, &ends(graph, edge));
    }
    for (at, &edge) in drawn.iter().enumerate() {
        let (x, y) = layout.labels[at];
        let (width, height) = label_size(&labels[edge]);
        text_box(&mut out, x, y, width, height, &labels[edge]);
    }
    for stage in 0..graph.stages.len() {
        let (x, y) = layout.boxes[stage];
        let width = box_width(stage);
        for (edge, lines) in loops(stage) {
            let (label_width, label_height) = label_size(lines);
            self_loop(&mut out, x + width / 2.0, y, &ends(graph, edge));
            text_box(
                &mut out,
                x + width / 2.0 + 32.0 + label_width / 2.0,
                y,
                label_width,
                label_height,
                lines,
            );
        }
        stage_box(&mut out, x, y, width, &graph.stages[stage].name, &graph.stages[stage].type_name);
    }
    out.push_str("</svg>\n");
    out
}

/// For each edge, whether its consumer stands above its producer. That is so for the delayed edges that close a cycle.
fn upward_edges(graph: &ResolvedGraph) -> Vec<bool> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); graph.stages.len()];
    for edge in graph.edges.iter().filter(|e| !e.delayed) {
        after[edge.from.0].push(edge.to.0);
    }
    let mut upward = vec![false; graph.edges.len()];
    for (index, edge) in graph.edges.iter().enumerate().filter(|(_, e)| e.delayed && !is_loop(e)) {
        upward[index] = reaches(&after, edge.to.0, edge.from.0);
        let (from, to) = if upward[index] { (edge.to.0, edge.from.0) } else { (edge.from.0, edge.to.0) };
        after[from].push(to);
    }
    upward
}

/// The attributes that name the ends of an edge.
fn ends(graph: &ResolvedGraph, edge: usize) -> String {
    let edge = &graph.edges[edge];
    let (from, to) = (&graph.stages[edge.from.0], &graph.stages[edge.to.0]);
    let output = format!("{}.{}", from.name, from.ports.outputs[edge.from.1].name);
    let input = format!("{}.{}", to.name, to.ports.inputs[edge.to.1].name);
    format!("data-from=\"{}\" data-to=\"{}\"", escape(&output), escape(&input))
}

fn reaches(after: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; after.len()];
    let mut open = vec![from];
    while let Some(stage) = open.pop() {
        if stage == to {
            return true;
        }
        if !std::mem::replace(&mut seen[stage], true) {
            open.extend(&after[stage]);
        }
    }
    false
}

fn head(name: &str, layout: &Layout) -> String {
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" role=\"img\">"
    );
    let _ = writeln!(out, "<title>{}</title>", escape(name));
    out.push_str(concat!(
        "<style>\n",
        ".page { fill: #ffffff } .stage { fill: #eef3fb; stroke: #34568b } .label { fill: #ffffff }\n",
        ".edge { fill: none; stroke: #555e6b; stroke-width: 1.3 } .delayed { stroke-dasharray: 6 4 }\n",
        ".name { fill: #14213d; font-size: 14px; font-weight: 600 } .type { fill: #4a5568; font-size: 11px }\n",
        ".what { fill: #2d3748; font-size: 11px } text { text-anchor: middle }\n",
        "</style>\n",
        "<defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" ",
        "markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0 L10 5 L0 10 z\" fill=\"#555e6b\"/>",
        "</marker></defs>\n",
    ));
    let _ = writeln!(out, "<rect class=\"page\" width=\"{width}\" height=\"{height}\"/>");
    out
}

/// Draws an edge from the bottom of one box, through the slots of the edge, to the top of the other box.
fn way(
    out: &mut String,
    layout: &Layout,
    problem: &Problem,
    at: usize,
    upward: bool,
    delayed: bool,
    ends: &str,
) {
    let (from, to, ..) = problem.edges[at];
    let half = BOX_HEIGHT / 2.0;
    let port = |stage: usize, is_top: bool| {
        // The edges of a stage leave it side by side, in the order of the places to which they go.
        let ends =
            |i: &usize| if is_top { problem.edges[*i].1 == stage } else { problem.edges[*i].0 == stage };
        let near = |i: &usize| {
            let way = &layout.ways[*i];
            if is_top { way.last() } else { way.first() }.map_or(0.0, |p| p.0)
        };
        let mut mine: Vec<usize> = (0..problem.edges.len()).filter(ends).collect();
        mine.sort_by(|a, b| near(a).total_cmp(&near(b)));
        let index = mine.iter().position(|&i| i == at).unwrap_or(0) as f64;
        let (x, y) = layout.boxes[stage];
        let shift = (index - (mine.len() as f64 - 1.0) / 2.0) * 12.0;
        (x + shift, if is_top { y - half } else { y + half })
    };
    let (start, end) = (port(from, false), port(to, true));
    let mut path = format!("M{:.1} {:.1}", start.0, start.1);
    let mut last = start;
    let ways = layout.ways[at].iter().map(|&(x, top, bottom)| ((x, top), (x, bottom)));
    for (top, bottom) in ways.chain([(end, end)]) {
        let bend = (last.1 + top.1) / 2.0;
        let _ = write!(path, " C{:.1} {bend:.1} {:.1} {bend:.1} {:.1} {:.1}", last.0, top.0, top.0, top.1);
        if bottom != top {
            let _ = write!(path, " L{:.1} {:.1}", bottom.0, bottom.1);
        }
        last = bottom;
    }
    let class = if delayed { "edge delayed" } else { "edge" };
    let marker = if upward { "marker-start" } else { "marker-end" };
    let _ = writeln!(out, "<path class=\"{class}\" {ends} {marker}=\"url(#arrow)\" d=\"{path}\"/>");
}

fn self_loop(out: &mut String, right: f64, y: f64, ends: &str) {
    let far = right + 30.0;
    let (low, high) = (y + 12.0, y - 12.0);
    let _ = writeln!(
        out,
        "<path class=\"edge delayed\" {ends} marker-end=\"url(#arrow)\" \
         d=\"M{right:.1} {low:.1} C{far:.1} {low:.1} {far:.1} {high:.1} {right:.1} {high:.1}\"/>"
    );
}

fn text_box(out: &mut String, x: f64, y: f64, width: f64, height: f64, lines: &[String]) {
    let _ = writeln!(
        out,
        "<rect class=\"label\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"3\"/>",
        x - width / 2.0,
        y - height / 2.0
    );
    for (index, line) in lines.iter().enumerate() {
        let baseline = y - height / 2.0 + 2.0 + LINE * (index as f64 + 0.75);
        let _ =
            writeln!(out, "<text class=\"what\" x=\"{x:.1}\" y=\"{baseline:.1}\">{}</text>", escape(line));
    }
}

fn stage_box(out: &mut String, x: f64, y: f64, width: f64, name: &str, type_name: &str) {
    let _ = writeln!(
        out,
        "<rect class=\"stage\" data-stage=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
         height=\"{BOX_HEIGHT:.1}\" rx=\"6\"/>",
        escape(name),
        x - width / 2.0,
        y - BOX_HEIGHT / 2.0
    );
    let _ = writeln!(out, "<text class=\"name\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y - 3.0, escape(name));
    let _ =
        writeln!(out, "<text class=\"type\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y + 14.0, escape(type_name));
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML allows no other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
