//! The newest messages of the run, the last one at the bottom.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::parts::printable;
use crate::ask::log::Message;
use crate::text::{seconds, wrap};
use crate::top::state::State;

/// Draws the messages. Scrolling counts lines from the end.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let width = usize::from(area.width).max(1);
    let lines: Vec<Line<'static>> =
        state.shown().log.iter().flat_map(|message| lines(message, width)).collect();
    let room = usize::from(area.height);
    state.scroll = state.scroll.min(lines.len().saturating_sub(room));
    let end = lines.len() - state.scroll;
    let lines = lines[end.saturating_sub(room)..end].to_vec();
    frame.render_widget(Paragraph::new(lines), area);
}

/// The lines of a message.
fn lines(message: &Message, width: usize) -> Vec<Line<'static>> {
    let Message { seconds: at, level, stage, text } = message;
    let color = match level.as_str() {
        "error" => Some(Color::Red),
        "warning" => Some(Color::Yellow),
        "debug" => Some(Color::DarkGray),
        _ => None,
    };
    let stage = stage.as_ref().map_or(String::new(), |stage| format!("{stage}: "));
    let text = format!("{} {stage}{text}", seconds(*at));
    let text: String = text.lines().map(|line| wrap(&printable(line), width, 0)).collect();
    let style = color.map_or(Style::new(), |color| Style::new().fg(color));
    text.lines().map(|line| Line::styled(line.to_owned(), style)).collect()
}
