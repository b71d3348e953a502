//! The keys, and what the words of the tables mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::parts::scrolled;
use crate::text::wrap;
use crate::top::state::State;

/// The text. Indented lines are keys.
const TEXT: [&str; 22] = [
    "  q             quit; the run goes on",
    "  ↑ ↓ k j       select a stage, or scroll",
    "  PgUp PgDn     a page",
    "  Home End g G  the first, the last",
    "  Enter d       everything about the selected stage",
    "  Esc t         back to the table of stages",
    "  e             the edges",
    "  l             the log",
    "  s             sort by another column",
    "  f Space       freeze what is shown, and go on",
    "  h ?           this page",
    "",
    "The table shows the last seconds of each stage. Three shares tell what its thread did:",
    "  busy  it works",
    "  in    it waits for an item: the stages before it are slower",
    "  out   it waits for room: the stages behind it are slower",
    "",
    "▶ marks the stage that limits the run. The yellow lines say what to change, and what that brings at most.",
    "",
    "queue is what lies in the edge before a stage, of the room there.",
    "",
    "docs/which-stage-is-slow.md explains all of it.",
];

/// Draws the text.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let width = usize::from(area.width).max(1);
    let lines = TEXT.iter().flat_map(|text| {
        let indent = text.len() - text.trim_start().len();
        let wrapped =
            if indent == 0 && !text.is_empty() { wrap(text, width, 0) } else { format!("{text}\n") };
        wrapped.lines().map(|line| Line::from(line.to_owned())).collect::<Vec<_>>()
    });
    let lines = lines.collect();
    scrolled(frame, area, lines, &mut state.scroll);
}
