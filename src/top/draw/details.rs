//! Everything about one stage: its counts, its shares, its ports, and its curves.

use std::sync::Arc;

use framewise_pipeline::engine::reading::Reading;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};

use super::parts::printable;
use super::stages::{depth, limits};
use crate::observe::view::{RunView, StageView};
use crate::observe::window::Live;
use crate::text::{bytes, count, percent, plural, rate};
use crate::top::state::State;

/// The rows of a curve with its title.
const CURVE: u16 = 3;

/// Draws the selected stage.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let shown = state.shown();
    let index = state.selected;
    let Some((view, stage)) = shown.view.as_ref().and_then(|view| Some((view, view.stages.get(index)?)))
    else {
        return;
    };
    let live = shown.live.get(index).copied().unwrap_or_default();
    let lines = lines(view, index, stage, &live);
    let text = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    // Curves are drawn in the rows that the text leaves.
    let curves = (area.height.saturating_sub(text) / CURVE).min(2);
    let [above, first, second] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(CURVE * curves.min(1)),
        Constraint::Length(CURVE * u16::from(curves == 2)),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(lines), above);
    let sends = view.sends(index);
    let rates = windows(&shown.readings, |window| window.stages[index].passed(sends) as f64 / window.seconds);
    let busy = windows(&shown.readings, |window| window.shares(index).busy);
    curve(frame, first, "items/s", &rates, None);
    curve(frame, second, "busy", &busy, Some(1.0));
}

fn lines(view: &RunView, index: usize, stage: &StageView, live: &Live) -> Vec<Line<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut head = format!("{} ({})", printable(&stage.name), printable(&stage.type_name));
    if stage.workers > 1 {
        head += &format!(", {}", plural(stage.workers, "worker"));
    }
    if limits(view, index) {
        head += "  ▶ limits the run";
    }
    if live.done {
        head += "  ended";
    }
    let shares = |busy, input, output| {
        format!("busy {}  waiting in {}  waiting out {}", percent(busy), percent(input), percent(output))
    };
    let mut lines = vec![
        Line::styled(head, bold),
        Line::from(format!("in   {} items, {}", count(stage.items_in), bytes(stage.bytes_in))),
        Line::from(format!("out  {} items, {}", count(stage.items_out), bytes(stage.bytes_out))),
        Line::from(format!(
            "run  {}/s  {}  ended {}",
            rate(stage.items_per_second),
            shares(stage.busy, stage.input_wait, stage.output_wait),
            percent(stage.ended)
        )),
    ];
    if !live.done {
        let text = shares(live.busy, live.input_wait, live.output_wait);
        lines.push(Line::from(format!("now  {}/s  {text}", rate(live.rate))));
    }
    for edge in &view.edges {
        let ends = [
            (view.port_of(index, &edge.to), "◀", &edge.from, edge.input_wait),
            (view.port_of(index, &edge.from), "▶", &edge.to, edge.output_wait),
        ];
        for (port, arrow, other, wait) in ends {
            let Some(port) = port else { continue };
            let fill =
                edge.mean_fill.map_or(String::new(), |fill| format!(", {} full on average", percent(fill)));
            lines.push(Line::from(format!(
                "{arrow} {}  {}  queue {}{fill}  waited {} of the run",
                printable(port),
                printable(other),
                depth(edge),
                percent(wait)
            )));
        }
    }
    for (reason, n) in &stage.rejected {
        lines.push(Line::styled(
            format!("rejected {}: {}", printable(reason), count(*n)),
            Style::new().fg(Color::Red),
        ));
    }
    for (name, n) in &stage.counts {
        lines.push(Line::from(format!("{}: {}", printable(name), count(*n))));
    }
    lines
}

/// A figure of each window between two readings that follow one another, the oldest first.
fn windows(readings: &[Arc<Reading>], figure: impl Fn(&Reading) -> f64) -> Vec<f64> {
    let windows = readings.windows(2).map(|pair| pair[1].since(&pair[0]));
    windows.filter(|window| window.seconds > 0.0).map(|window| figure(&window)).collect()
}

/// Draws a curve with its title and its newest value. Without `most`, its highest value fills the height.
fn curve(frame: &mut Frame<'_>, area: Rect, title: &str, values: &[f64], most: Option<f64>) {
    if area.height < 2 || values.is_empty() {
        return;
    }
    let [above, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    // A cell is as many windows wide as it takes for all of them to fit, and shows their mean.
    let width = usize::from(area.width).max(1);
    let each = values.len().div_ceil(width).max(1);
    let means: Vec<f64> =
        values.chunks(each).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let highest = means.iter().copied().fold(0.0, f64::max);
    let scale = most.unwrap_or(highest);
    let said = if most.is_some() { percent(highest) } else { rate(highest) };
    frame.render_widget(Paragraph::new(format!("{title}, at most {said}")), above);
    // Eighths of a row are the finest that the characters show.
    let levels = f64::from(below.height) * 8.0;
    let level = |value: f64| if scale > 0.0 { (value / scale * levels).round() as u64 } else { 0 };
    let data: Vec<u64> = means.iter().map(|mean| level(*mean)).collect();
    frame.render_widget(
        Sparkline::default().data(data).max(levels as u64).style(Style::new().fg(Color::Green)),
        below,
    );
}
