//! A TOML text as a tree whose values know their places.
//!
//! Law: a syntax error costs the value or the line in which it stands, but never the rest of the file. The parser does
//! not always recover that well. So the line at fault is repaired (`key = 0`, `[table]`, or blank) and the text is
//! parsed again, until nothing but repeated keys is left. Places are mapped back to what the user wrote.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::repair::{LOST_TABLE, Lines, ends_as_it_begins, explain};
use super::{repeated, variables};
use crate::graph::report::collect::Report;
use crate::graph::report::diagnostic::{Diagnostic, Place};

/// The most errors that are repaired before the rest of the file is given up.
const MOST_REPAIRS: usize = 40;
/// The most bytes that are parsed again for the sake of better messages.
const MOST_BYTES: usize = 2 << 20;
/// The depth to which values may be nested. No graph nests them deeper.
const DEEPEST: usize = 12;

/// A value and its place. The place of a table is its header, such as `[stages.batch]`, where it has one.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) data: Data,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// A text whose variables are not yet expanded: see [`super::variables`].
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// A value with a mistake that was already reported.
    Broken,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// The contents of a file, in the order of the text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) entries: Vec<Entry>,
    /// The starts of the lines that could not be read at all. Something may be missing there.
    pub(crate) lost_lines: Vec<usize>,
    /// Whether the header of a table could not be read. Any table may then be missing.
    pub(crate) lost_table: bool,
}

impl Data {
    /// The value in words, such as `the text "abc"`.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Data::Text(text) => format!("the text {}", crate::graph::report::words::quoted(text)),
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

/// Reads a text, and reports everything in it that is not TOML.
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
    // So much is wrong that the parts that could be read would mislead.
    Tree { lost_table: true, ..Tree::default() }
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
    let copies = repeated::explain(repaired, table, &spans, &place, report);
    let mut entries = entries_of(file, lines, table, 0, report);
    if !copies.is_empty() {
        remove_within(&copies, &mut entries);
    }
    let lost_table = entries.iter().any(|e| e.key.starts_with(LOST_TABLE));
    entries.retain(|e| !e.key.starts_with(LOST_TABLE));
    Tree { entries, lost_lines: lines.lost_lines(), lost_table }
}

/// Removes the keys that stand in one of these places, at every depth.
fn remove_within(places: &[Place], entries: &mut Vec<Entry>) {
    entries.retain(|entry| !places.iter().any(|place| (place.start..place.end).contains(&entry.place.start)));
    for entry in entries {
        if let Data::Table(inner) = &mut entry.node.data {
            remove_within(places, inner);
        }
    }
}

fn start_of(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// Whether the tree is complete after this error, except for the repeated key itself.
fn is_repetition(message: &str) -> bool {
    message.starts_with("duplicate key") || message.starts_with("cannot extend value")
}

fn is_unclosed(message: &str) -> bool {
    message.starts_with("unclosed ") || message.starts_with("invalid multi-line")
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
        // On a repaired line, a header is sound, but a value is not.
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

/// Reads a value that was given on the command line. It is TOML, or otherwise a bare text.
pub(crate) fn parse_value(file: usize, text: &str, offset: usize, report: &mut Report) -> Node {
    let start = offset + text.len() - text.trim_start().len();
    let text = text.trim();
    let place = Place { file, start, end: start + text.len() };
    // The parser counts places from 0. A line that starts at `start` moves them.
    let mut lines = Lines::new(text);
    lines.shift(start);
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

/// The value that a text is in TOML, such as `32`, `true` or `[1, 2]`, with `place` as the place of all its parts. `None`
/// for everything else, and for a value with mistakes.
pub(crate) fn literal(text: &str, place: Place) -> Option<Node> {
    let text = text.trim();
    let value = DeValue::parse(text).ok()?;
    let mut mistakes = Report::new();
    let mut lines = Lines::new(text);
    lines.joined();
    let node = node_of(0, &lines, &value, 0, &mut mistakes);
    (!mistakes.has_errors()).then(|| node.at(place))
}

impl Node {
    /// This value, moved to another place. A text in it stands for itself: it has no variables.
    fn at(self, place: Place) -> Self {
        let data = match self.data {
            Data::Text(text) => Data::Text(variables::escape(&text)),
            Data::List(list) => Data::List(list.into_iter().map(|item| item.at(place)).collect()),
            Data::Table(entries) => {
                let moved = entries.into_iter().map(|e| Entry { place, node: e.node.at(place), ..e });
                Data::Table(moved.collect())
            }
            other => other,
        };
        Self { place, data }
    }
}

fn looks_like_toml(text: &str) -> bool {
    let between = |open: char, close: char| text.starts_with(open) && text.ends_with(close);
    between('[', ']') || between('{', '}') || text.starts_with(['"', '\''])
}
