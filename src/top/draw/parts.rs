//! What several pictures are made of: names that can be shown, and lines that can be scrolled.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use crate::terminal;

/// The text without anything that moves the cursor.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    match terminal::printable(text) {
        printable if printable.contains('\n') => printable.replace('\n', "\\n").into(),
        printable => printable,
    }
}

/// Draws lines from the one at `scroll` on. If there are fewer, the last ones stay in sight.
pub(super) fn scrolled(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, scroll: &mut usize) {
    let most = lines.len().saturating_sub(usize::from(area.height));
    *scroll = (*scroll).min(most);
    let lines = lines.into_iter().skip(*scroll).take(usize::from(area.height));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}
