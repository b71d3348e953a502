//! Repairs of a TOML text, line by line, so that the parser gets past an error.
//!
//! Law: every place in the repaired text can be mapped back to what was written, and it is known which lines were
//! repaired.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::graph::report::collect::Report;
use crate::graph::report::diagnostic::{Diagnostic, Place};

/// The name that stands in for the name of a table whose header cannot be read.
pub(crate) const LOST_TABLE: &str = "__unreadable__";

/// Whether a list, inline table or long text has its closing brackets or quotes.
pub(crate) fn ends_as_it_begins(value: &str) -> bool {
    let pairs = [("[", "]"), ("{", "}"), ("\"\"\"", "\"\"\""), ("'''", "'''")];
    let pair = pairs.into_iter().find(|(open, _)| value.starts_with(open));
    pair.is_none_or(|(open, close)| value.len() >= open.len() + close.len() && value.ends_with(close))
}

/// The lines of a text, with their repairs.
pub(crate) struct Lines<'t> {
    lines: Vec<Line<'t>>,
    /// Where each line starts in the text with repairs.
    starts: Vec<usize>,
}

struct Line<'t> {
    start: usize,
    written: &'t str,
    repair: Option<Repair>,
}

enum Repair {
    /// The line reads `key = 0`, because its value is broken.
    Value(String),
    /// The line reads `[table]`, because its header is broken.
    Header(String),
    /// The line is left out, because it belongs to a broken value above it.
    Covered,
    /// The line is left out, because it cannot be read.
    Lost,
}

impl Line<'_> {
    fn text(&self) -> &str {
        match &self.repair {
            None => self.written,
            Some(Repair::Value(text) | Repair::Header(text)) => text,
            Some(Repair::Covered | Repair::Lost) => "\n",
        }
    }
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let mut start = 0;
        let mut lines: Vec<Line<'t>> = Vec::new();
        for written in text.split_inclusive('\n') {
            lines.push(Line { start, written, repair: None });
            start += written.len();
        }
        Self { lines, starts: Vec::new() }
    }

    pub(crate) fn joined(&mut self) -> String {
        let mut text = String::new();
        self.starts.clear();
        for line in &self.lines {
            self.starts.push(text.len());
            text.push_str(line.text());
        }
        text
    }

    fn line_at(&self, position: usize) -> usize {
        self.starts.partition_point(|&start| start <= position).saturating_sub(1)
    }

    /// The position in what was written that belongs to a position in the repaired text.
    fn written_at(&self, position: usize) -> usize {
        let index = self.line_at(position);
        let (Some(line), Some(start)) = (self.lines.get(index), self.starts.get(index)) else { return 0 };
        // What a repair added belongs to the end of what was written.
        let longest = if line.repair.is_some() { line.written.trim_end().len() } else { line.written.len() };
        line.start + (position - start).min(longest)
    }

    pub(crate) fn place(&self, file: usize, range: &Range<usize>) -> Place {
        let start = self.written_at(range.start);
        let end = if range.end > range.start { self.written_at(range.end - 1) + 1 } else { start };
        Place { file, start, end }
    }

    pub(crate) fn is_broken(&self, position: usize) -> bool {
        self.lines.get(self.line_at(position)).is_some_and(|l| matches!(l.repair, Some(Repair::Value(_))))
    }

    /// Reports the first error and repairs the text around it. Returns false when no repair is left.
    pub(crate) fn repair(
        &mut self,
        file: usize,
        error: &toml::de::Error,
        is_open: impl Fn(&Range<usize>) -> bool,
        table: &DeTable<'_>,
        report: &mut Report,
    ) -> bool {
        let range = error.span().unwrap_or(0..0);
        let at = self.line_at(range.start);
        let long = outermost(table, range.start)
            .map(|(key, value)| (self.line_at(key), self.line_at(value.end.saturating_sub(1)), value))
            .filter(|(first, last, _)| first < last);
        let Some((first, last, value)) = long else {
            report.push(explain(self.place(file, &range), error.message()));
            return self.repair_line(at);
        };
        if is_open(&value) {
            let opening = self.place(file, &(value.start..value.start + 1));
            report.push(
                Diagnostic::error(opening, "this is not TOML: what opens here is never closed")
                    .label("opened here"),
            );
            let next = (first + 1..self.lines.len()).find(|&i| self.begins_something(i));
            self.cover(first + 1..next.unwrap_or(self.lines.len()));
        } else {
            report.push(explain(self.place(file, &range), error.message()));
            self.cover(first + 1..last + 1);
        }
        self.repair_line(first)
    }

    fn cover(&mut self, range: Range<usize>) {
        for line in self.lines.get_mut(range).unwrap_or_default() {
            line.repair = Some(Repair::Covered);
        }
    }

    fn begins_something(&self, line: usize) -> bool {
        let text = self.lines[line].written;
        value_prefix(text).is_some()
            || header(text).is_some_and(|h| text.trim_end().ends_with(']') && h.len() > 2)
    }

    /// Repairs one line. Each further repair of the same line is rougher than the one before.
    fn repair_line(&mut self, index: usize) -> bool {
        let Some(line) = self.lines.get_mut(index) else { return false };
        let is_header = line.written.trim_start().starts_with('[');
        line.repair = match &line.repair {
            None => match (value_prefix(line.written), header(line.written)) {
                (Some(prefix), _) => Some(Repair::Value(format!("{prefix} 0\n"))),
                (None, Some(header)) => Some(Repair::Header(format!("{header}\n"))),
                (None, None) if is_header => Some(Repair::Header(format!("[{LOST_TABLE}{index}]\n"))),
                (None, None) => Some(Repair::Lost),
            },
            Some(Repair::Value(_)) => Some(Repair::Lost),
            Some(Repair::Header(_)) => Some(Repair::Header(format!("[{LOST_TABLE}{index}]\n"))),
            Some(Repair::Covered | Repair::Lost) => return false,
        };
        true
    }

    /// The starts of the lines that could not be read at all.
    pub(crate) fn lost_lines(&self) -> Vec<usize> {
        let lost = self.lines.iter().filter(|l| matches!(l.repair, Some(Repair::Lost)));
        lost.map(|l| l.start).collect()
    }

    /// Moves the text, so that it begins at byte `start` of the file.
    pub(crate) fn shift(&mut self, start: usize) {
        for line in &mut self.lines {
            line.start += start;
        }
    }
}

/// A diagnostic for a syntax error, in the words of the parser. Some of these words are explained.
pub(crate) fn explain(place: Place, message: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(place, format!("this is not TOML: {message}"));
    if message.starts_with("string values must be quoted") && place.start == place.end {
        Diagnostic::error(place, "this is not TOML: a value is missing").label("a value is missing")
    } else if message.starts_with("string values must be quoted") {
        diagnostic.label("a text stands in quotes: \"…\"")
    } else if message.starts_with("invalid unquoted key") {
        diagnostic.label("a line is `key = value`")
    } else if message.starts_with("key with no value") {
        diagnostic.label("`=` and a value are missing")
    } else {
        diagnostic
    }
}

/// The outermost `key = value` that a position lies in, or that ends at the position. Returns where its key starts, and
/// the range of its value.
fn outermost(table: &DeTable<'_>, position: usize) -> Option<(usize, Range<usize>)> {
    table.iter().find_map(|(key, value)| {
        let (key, span) = (key.span(), value.span());
        if span.start >= key.end && key.start <= position && position <= span.end {
            return Some((key.start, span));
        }
        // The value is a table under its own header or under dotted keys, so its place says nothing about its contents.
        match value.get_ref() {
            DeValue::Table(inner) if span.start < key.end => outermost(inner, position),
            DeValue::Array(tables) if span.start < key.end => tables.iter().find_map(|t| match t.get_ref() {
                DeValue::Table(inner) => outermost(inner, position),
                _ => None,
            }),
            _ => None,
        }
    })
}

/// The part `key =` of a line `key = …`.
fn value_prefix(line: &str) -> Option<&str> {
    let end = key_end(line, 0)?;
    let equals = end + line[end..].len() - line[end..].trim_start_matches([' ', '\t']).len();
    line[equals..].starts_with('=').then(|| &line[..=equals])
}

/// The header `[table]` or `[[table]]` of a line that begins like one.
fn header(line: &str) -> Option<String> {
    let trimmed = line.trim_start_matches([' ', '\t']);
    let brackets = trimmed.len() - trimmed.trim_start_matches('[').len();
    if brackets == 0 || brackets > 2 {
        return None;
    }
    let end = key_end(trimmed, brackets)?;
    let rest = trimmed[end..].trim_start();
    if !(rest.is_empty() || rest.starts_with([']', '#'])) {
        return None; // The name continues with something that cannot be read.
    }
    Some(format!("{}{}", &trimmed[..end], if brackets == 2 { "]]" } else { "]" }))
}

/// The position at which a bare, quoted or dotted key ends that begins at `from`.
fn key_end(line: &str, from: usize) -> Option<usize> {
    let bytes = line.as_bytes();
    let blank = |mut at: usize| {
        while matches!(bytes.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    };
    let mut at = blank(from);
    loop {
        match bytes.get(at)? {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while bytes.get(at)? != quote {
                    at += if *quote == b'"' && bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            _ => {
                let start = at;
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
                    at += 1;
                }
                if at == start {
                    return None;
                }
            }
        }
        let dot = blank(at);
        if bytes.get(dot) != Some(&b'.') {
            return Some(at);
        }
        at = blank(dot + 1);
    }
}
