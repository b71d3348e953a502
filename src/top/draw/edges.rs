//! The table of edges.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::parts::{printable, scrolled};
use super::stages::depth;
use crate::observe::view::EdgeView;
use crate::table::{Column, fitted};
use crate::text::{bytes, percent};
use crate::top::state::State;

/// The columns. The waits are shares of the run's time.
const COLUMNS: [Column; 7] = [
    Column::names("from", 0),
    Column::names("to", 0),
    Column::numbers("queue", 0),
    Column::numbers("bytes", 4),
    Column::numbers("mean fill", 3),
    Column::numbers("sender waits", 2),
    Column::numbers("receiver waits", 1),
];

/// Draws the table.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let Some(view) = &state.shown().view else { return };
    let rows: Vec<Vec<String>> = view.edges.iter().map(row).collect();
    let text = fitted(&COLUMNS, &rows, area.width.into());
    let mut lines = text.lines().map(|line| Line::from(line.to_owned()));
    let head = lines.next().unwrap_or_default().style(Style::new().add_modifier(Modifier::DIM));
    let lines = lines.collect();
    let top = Rect { height: area.height.min(1), ..area };
    frame.render_widget(Paragraph::new(head), top);
    let rest = Rect { y: area.y + top.height, height: area.height - top.height, ..area };
    scrolled(frame, rest, lines, &mut state.scroll);
}

fn row(edge: &EdgeView) -> Vec<String> {
    vec![
        printable(&edge.from).into_owned(),
        printable(&edge.to).into_owned(),
        depth(edge),
        bytes(edge.bytes as u64),
        edge.mean_fill.map_or_else(|| "–".to_owned(), percent),
        percent(edge.output_wait),
        percent(edge.input_wait),
    ]
}
