//! TOML text as a tree with places.
//!
//! Law: a syntax error costs the value or the line it stands in, never the rest of the file. The parser does not
//! always recover that well, so the line at fault is repaired (`key = 0`, `[table]`, or blank) and the text is
//! parsed again until nothing but repeated keys is left; places are mapped back to what the user wrote.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Place, Report};
use super::repeated;

/// Errors that are told apart before the rest of the file is given up.
const MOST_REPAIRS: usize = 40;
/// Bytes parsed again and again for the sake of better messages.
const MOST_BYTES: usize = 2 << 20;
/// No graph nests values deeper.
const DEEPEST: usize = 12;
/// Stands in for the name of a table whose header cannot be read.
const LOST_TABLE: &str = "__unreadable__";

/// A value and where it stands; a table's place is its header `[stages.batch]` where it has one.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) data: Data,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// Not expanded yet: see [`super::variables`].
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Something is wrong with it and was reported.
    Broken,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// A file's contents, in the order of the text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) entries: Vec<Entry>,
    /// Where lines stand that could not be read at all: something may be missing there.
    pub(crate) lost_lines: Vec<usize>,
    /// Whether the header of a table could not be read: any table may be missing.
    pub(crate) lost_table: bool,
}

impl Data {
    /// The value in words: `the text "abc"`.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Data::Text(text) => format!("the text {}", super::words::quoted(text)),
            Data::Integer(n) => format!("the number {n}"),
            Data::Float(x) => format!("the number {x:?}"),
            Data::Bool(b) => format!("`{b}`"),
            Data::Date => "a date".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Table(_) => "a table".to_owned(),
            Data::Broken => "this".to_owned(),
        }
    }
}

/// Reads a text, reporting everything in it that is not TOML.
pub(crate) fn parse(file: usize, text: &str, report: &mut Report) -> Tree {
    let mut lines = Lines::new(text);
    for pass in 0..MOST_REPAIRS {
        if pass * text.len() > MOST_BYTES {
            break;
        }
        let repaired = lines.joined();
        let (table, errors) = DeTable::parse_recoverable(&repaired);
        let first = errors.iter().filter(|e| !is_repetition(e.message())).min_by_key(|e| start_of(e));
        let Some(first) = first else {
            return finish(file, &lines, &repaired, table.get_ref(), &errors, report);
        };
        let unclosed = errors.iter().filter(|e| is_unclosed(e.message())).map(start_of).collect::<Vec<_>>();
        let is_open = |value: &Range<usize>| {
            let open = unclosed.iter().any(|at| (value.start..=value.end).contains(at));
            open || !ends_as_it_begins(repaired.get(value.clone()).unwrap_or(""))
        };
        if !lines.repair(file, first, is_open, table.get_ref(), report) {
            break;
        }
    }
    // So much is wrong that what could be read would mislead.
    lines.lost_table = true;
    lines.tree(file, Vec::new())
}

fn finish(
    file: usize,
    lines: &Lines<'_>,
    repaired: &str,
    table: &DeTable<'_>,
    errors: &[toml::de::Error],
    report: &mut Report,
) -> Tree {
    let place = |range: Range<usize>| lines.place(file, &range);
    let spans = errors.iter().filter_map(toml::de::Error::span).collect::<Vec<_>>();
    repeated::explain(repaired, table, &spans, &place, report);
    let entries = entries_of(file, lines, table, 0, report);
    lines.tree(file, entries)
}

fn start_of(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// Errors after which the tree is complete but for the repeated key itself.
fn is_repetition(message: &str) -> bool {
    message.starts_with("duplicate key") || message.starts_with("cannot extend value")
}

fn is_unclosed(message: &str) -> bool {
    message.starts_with("unclosed ") || message.starts_with("invalid multi-line")
}

/// Whether a list, inline table or long text has its closing brackets or quotes.
fn ends_as_it_begins(value: &str) -> bool {
    let pairs = [("[", "]"), ("{", "}"), ("\"\"\"", "\"\"\""), ("'''", "'''")];
    let pair = pairs.into_iter().find(|(open, _)| value.starts_with(open));
    pair.is_none_or(|(open, close)| value.len() >= open.len() + close.len() && value.ends_with(close))
}

/// The text line by line, with repairs.
struct Lines<'t> {
    lines: Vec<Line<'t>>,
    /// Where each line starts in the text with repairs.
    starts: Vec<usize>,
    lost_table: bool,
}

struct Line<'t> {
    start: usize,
    written: &'t str,
    repair: Option<Repair>,
}

enum Repair {
    /// `key = 0`: the value is broken.
    Value(String),
    /// `[table]`.
    Header(String),
    /// A line that belongs to a broken value above it.
    Covered,
    /// A line that cannot be read.
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
    fn new(text: &'t str) -> Self {
        let mut start = 0;
        let mut lines: Vec<Line<'t>> = Vec::new();
        for written in text.split_inclusive('\n') {
            lines.push(Line { start, written, repair: None });
            start += written.len();
        }
        Self { lines, starts: Vec::new(), lost_table: false }
    }

    fn joined(&mut self) -> String {
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

    /// A position of the repaired text in what was written.
    fn written_at(&self, position: usize) -> usize {
        let index = self.line_at(position);
        let (Some(line), Some(start)) = (self.lines.get(index), self.starts.get(index)) else { return 0 };
        // What a repair added lies past the end of what was written.
        let longest = if line.repair.is_some() { line.written.trim_end().len() } else { line.written.len() };
        line.start + (position - start).min(longest)
    }

    fn place(&self, file: usize, range: &Range<usize>) -> Place {
        let start = self.written_at(range.start);
        let end = if range.end > range.start { self.written_at(range.end - 1) + 1 } else { start };
        Place { file, start, end }
    }

    fn is_broken(&self, position: usize) -> bool {
        self.lines.get(self.line_at(position)).is_some_and(|l| matches!(l.repair, Some(Repair::Value(_))))
    }

    /// Reports the first error and repairs the text around it; false when that does not help.
    fn repair(
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

    /// Repairs one line, more roughly each time.
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

    fn tree(&self, _file: usize, mut entries: Vec<Entry>) -> Tree {
        let lost_header = entries.iter().any(|e| e.key.starts_with(LOST_TABLE));
        entries.retain(|e| !e.key.starts_with(LOST_TABLE));
        let lost = self.lines.iter().filter(|l| matches!(l.repair, Some(Repair::Lost)));
        Tree {
            entries,
            lost_lines: lost.map(|l| l.start).collect(),
            lost_table: self.lost_table || lost_header,
        }
    }
}

/// A syntax error in the parser's words, some of them explained.
fn explain(place: Place, message: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(place, format!("this is not TOML: {message}"));
    if message.starts_with("string values must be quoted") && place.start == place.end {
        Diagnostic::error(place, "this is not TOML: a value is missing").label("a value is missing")
    } else if message.starts_with("string values must be quoted") {
        diagnostic.label("a text stands in quotes: \"…\"")
    } else if message.starts_with("key with no value") {
        diagnostic.label("`=` and a value are missing")
    } else {
        diagnostic
    }
}

/// The outermost `key = value` around or before a position that the value reaches: where its key starts, and
/// the value.
fn outermost(table: &DeTable<'_>, position: usize) -> Option<(usize, Range<usize>)> {
    table.iter().find_map(|(key, value)| {
        let (key, span) = (key.span(), value.span());
        if span.start >= key.end && key.start <= position && position <= span.end {
            return Some((key.start, span));
        }
        // A table under its own header or under dotted keys: its place says nothing of its contents.
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

/// `key =` of a line `key = …`.
fn value_prefix(line: &str) -> Option<&str> {
    let end = key_end(line, 0)?;
    let equals = end + line[end..].len() - line[end..].trim_start_matches([' ', '\t']).len();
    line[equals..].starts_with('=').then(|| &line[..=equals])
}

/// `[table]` or `[[table]]` of a line that begins like one.
fn header(line: &str) -> Option<String> {
    let trimmed = line.trim_start_matches([' ', '\t']);
    let brackets = trimmed.len() - trimmed.trim_start_matches('[').len();
    if brackets == 0 || brackets > 2 {
        return None;
    }
    let end = key_end(trimmed, brackets)?;
    let rest = trimmed[end..].trim_start();
    if !(rest.is_empty() || rest.starts_with([']', '#'])) {
        return None; // The name goes on with something that cannot be read.
    }
    Some(format!("{}{}", &trimmed[..end], if brackets == 2 { "]]" } else { "]" }))
}

/// Where a bare, quoted or dotted key that begins at `from` ends.
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

fn entries_of(
    file: usize,
    lines: &Lines<'_>,
    table: &DeTable<'_>,
    depth: usize,
    report: &mut Report,
) -> Vec<Entry> {
    let mut sorted = table.iter().collect::<Vec<_>>();
    sorted.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
        key: String::from(AsRef::<str>::as_ref(key.get_ref())),
        place: lines.place(file, &key.span()),
        node: node_of(file, lines, value, depth + 1, report),
    };
    sorted.into_iter().map(entry).collect()
}

fn node_of(
    file: usize,
    lines: &Lines<'_>,
    value: &Spanned<DeValue<'_>>,
    depth: usize,
    report: &mut Report,
) -> Node {
    let place = lines.place(file, &value.span());
    let mut broken = |message: &str| {
        report.push(Diagnostic::error(place, message));
        Data::Broken
    };
    let data = match value.get_ref() {
        // A header on a repaired line is sound; a value is not.
        DeValue::Integer(_) if lines.is_broken(value.span().start) => Data::Broken,
        DeValue::Array(_) | DeValue::Table(_) if depth > DEEPEST => {
            broken("values are nested too deeply here")
        }
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
            .map_or_else(|_| broken("this number does not fit into 64 bits"), Data::Integer),
        DeValue::Float(x) => match x.as_str().parse::<f64>() {
            Ok(parsed) if parsed.is_finite() || !x.as_str().contains(|c: char| c.is_ascii_digit()) => {
                Data::Float(parsed)
            }
            _ => broken("this number does not fit into 64 bits"),
        },
        DeValue::Boolean(b) => Data::Bool(*b),
        DeValue::Datetime(_) => Data::Date,
        DeValue::Array(list) => {
            Data::List(list.iter().map(|v| node_of(file, lines, v, depth + 1, report)).collect())
        }
        DeValue::Table(table) => Data::Table(entries_of(file, lines, table, depth, report)),
    };
    Node { place, data }
}

/// A value given on the command line: TOML, or else a bare text.
pub(crate) fn parse_value(file: usize, text: &str, offset: usize, report: &mut Report) -> Node {
    let start = offset + text.len() - text.trim_start().len();
    let text = text.trim();
    let place = Place { file, start, end: start + text.len() };
    // The parser reads places from 0; a line that starts at `start` moves them.
    let mut lines = Lines::new(text);
    for line in &mut lines.lines {
        line.start += start;
    }
    lines.joined();
    match DeValue::parse(text) {
        Ok(value) => node_of(file, &lines, &value, 0, report),
        Err(error) if looks_like_toml(text) => {
            report.push(explain(lines.place(file, &error.span().unwrap_or(0..0)), error.message()));
            Node { place, data: Data::Broken }
        }
        Err(_) => Node { place, data: Data::Text(text.to_owned()) },
    }
}

fn looks_like_toml(text: &str) -> bool {
    let between = |open: char, close: char| text.starts_with(open) && text.ends_with(close);
    between('[', ']') || between('{', '}') || text.starts_with(['"', '\''])
}
