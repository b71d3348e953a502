//! The table of stages over the last seconds.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::parts::printable;
use crate::observe::stage_line::bar;
use crate::observe::view::{EdgeView, RunView};
use crate::observe::window::Live;
use crate::table::{Column, fitted};
use crate::text::{count, percent, rate};
use crate::top::state::State;

/// The columns. Where there is little room, those go first that say least about where the time goes.
const COLUMNS: [Column; 9] = [
    Column::names("  stage", 0),
    Column::names("type", 8),
    Column::numbers("items", 5),
    Column::numbers("items/s", 4),
    Column::names("█ busy ▒ out ░ in", 7),
    Column::numbers("busy", 0),
    Column::numbers("in", 1),
    Column::numbers("out", 2),
    Column::numbers("queue", 3),
];

/// Draws the table, so that the selected stage is in sight.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let shown = state.shown();
    let Some(view) = &shown.view else { return };
    let order = state.order();
    let rows: Vec<Vec<String>> = order.iter().map(|&stage| row(view, stage, &shown.live[stage])).collect();
    let text = fitted(&COLUMNS, &rows, area.width.into());
    let mut lines = text.lines();
    let head =
        Line::styled(lines.next().unwrap_or_default().to_owned(), Style::new().add_modifier(Modifier::DIM));
    let room = usize::from(area.height).saturating_sub(1);
    let place = order.iter().position(|stage| *stage == state.selected).unwrap_or(0);
    // The rows move only as far as the selected one needs.
    let first = (place + 1).saturating_sub(room);
    let rows = lines.zip(&order).skip(first).take(room).map(|(line, &stage)| {
        let mut style = Style::new();
        if limits(view, stage) {
            style = style.fg(Color::Yellow).add_modifier(Modifier::BOLD);
        }
        if stage == state.selected {
            style = style.add_modifier(Modifier::REVERSED);
        }
        Line::styled(line.to_owned(), style)
    });
    let lines: Vec<Line<'_>> = std::iter::once(head).chain(rows).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// Whether a stage limits the run.
pub(super) fn limits(view: &RunView, stage: usize) -> bool {
    view.stages.get(stage).is_some_and(|stage| view.bottleneck.stage.as_ref() == Some(&stage.name))
}

fn row(view: &RunView, stage: usize, live: &Live) -> Vec<String> {
    let mark = if limits(view, stage) { "▶" } else { " " };
    // A reading and its window have the same stages.
    let (name, kind) = view.stages.get(stage).map_or(("", ""), |stage| (&*stage.name, &*stage.type_name));
    let mut cells =
        vec![format!("{mark} {}", printable(name)), printable(kind).into_owned(), count(live.items)];
    if live.done {
        cells.push("ended".to_owned());
        return cells;
    }
    cells.extend([
        rate(live.rate),
        bar(live),
        percent(live.busy),
        percent(live.input_wait),
        percent(live.output_wait),
    ]);
    // The edge in front of the stage is the one of its main input, which comes first.
    let queue = view.edges.iter().find(|edge| view.port_of(stage, &edge.to).is_some());
    cells.push(queue.map_or(String::new(), depth));
    cells
}

/// The packets in an edge and its room, such as `3/64`.
pub(super) fn depth(edge: &EdgeView) -> String {
    format!("{}/{}", count(edge.items as u64), count(edge.capacity_items as u64))
}
