//! The pictures of `framewise top`, each a function of the state.
//!
//! Law: every size of a terminal and every name of a stage can be drawn.

mod details;
mod edges;
mod help;
mod messages;
mod parts;
mod stages;

#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

use self::parts::printable;
use super::state::{Screen, State};
use crate::observe::ranks;
use crate::observe::view::LimitView;
use crate::text::{seconds, wrap};

/// The fewest rows with which the limit has lines of its own.
const ROWS_FOR_LIMIT: u16 = 10;
/// The most lines for the limit, and for the sentence on the ranks.
const LIMIT_LINES: u16 = 3;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    let limit = limit(state, area);
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(u16::try_from(limit.lines.len()).unwrap_or(LIMIT_LINES)),
        Constraint::Length(1),
    ]);
    let [head, body, below, foot] = rows.areas(area);
    frame.render_widget(Paragraph::new(self::head(state)), head);
    state.page = usize::from(body.height.saturating_sub(1)).max(1);
    match state.screen {
        Screen::Stages => stages::draw(frame, body, state),
        Screen::Details => details::draw(frame, body, state),
        Screen::Edges => edges::draw(frame, body, state),
        Screen::Log => messages::draw(frame, body, state),
        Screen::Help => help::draw(frame, body, state),
    }
    frame.render_widget(Paragraph::new(limit), below);
    frame.render_widget(Paragraph::new(self::foot(state)), foot);
}

/// The first line: the graph, its time, where it is asked, and what is out of the ordinary.
fn head(state: &State) -> Line<'static> {
    let shown = state.shown();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut line = match &shown.view {
        Some(view) => Line::styled(format!("{}  {}", printable(&view.graph), seconds(view.seconds)), bold),
        None => Line::styled("waiting for the first reading", bold),
    };
    // What is out of the ordinary comes before the address, which may be cut off.
    let remarks = [
        state.is_frozen().then(|| ("  FROZEN".to_owned(), Color::Cyan)),
        state.ended.as_ref().map(|how| (format!("  {}", printable(how)), Color::Yellow)),
        state.trouble.as_ref().map(|why| (format!("  {}", printable(why)), Color::Red)),
    ];
    for (text, color) in remarks.into_iter().flatten() {
        line.push_span(ratatui::text::Span::styled(text, Style::new().fg(color)));
    }
    line.push_span(format!("  {}", printable(&state.source)));
    line
}

/// The last line: the keys.
fn foot(state: &State) -> Line<'static> {
    let keys = match state.screen {
        Screen::Stages => format!(
            "q quit  ? help  ↑↓ select  ⏎ details  e edges  l log  f freeze  s sort: {}",
            state.sort.words()
        ),
        Screen::Details => "q quit  ? help  esc back  ↑↓ other stage  e edges  l log  f freeze".to_owned(),
        Screen::Edges | Screen::Log | Screen::Help => {
            "q quit  ? help  esc back  ↑↓ scroll  f freeze".to_owned()
        }
    };
    Line::styled(keys, Style::new().add_modifier(Modifier::DIM))
}

/// The lines about what limits the run and about its ranks, if there is room for them.
fn limit(state: &State, area: Rect) -> Text<'static> {
    let Some(limit) = state.shown().view.as_ref().map(|view| &view.bottleneck) else {
        return Text::default();
    };
    if area.height < ROWS_FOR_LIMIT || matches!(state.screen, Screen::Log | Screen::Help) {
        return Text::default();
    }
    let ranks = state.shown().view.as_ref().and_then(|view| ranks::sentence(&view.ranks));
    let sentences = [Some(sentence(limit)), ranks.map(|text| printable(&text).into_owned())];
    let lines = sentences.iter().flatten().flat_map(|text| {
        let text = wrap(text, usize::from(area.width).max(1), 0);
        let lines = text.lines().take(usize::from(LIMIT_LINES)).map(|line| Line::from(line.to_owned()));
        lines.collect::<Vec<_>>()
    });
    Text::from_iter(lines).style(Style::new().fg(Color::Yellow))
}

/// The diagnosis in a sentence or two.
fn sentence(limit: &LimitView) -> String {
    let text = match &limit.stage {
        Some(stage) => format!("▶ {stage} {}: {}", limit.reason.replace('_', " "), limit.advice),
        None => format!("{} {}", limit.why, limit.advice),
    };
    printable(text.trim()).into_owned()
}
