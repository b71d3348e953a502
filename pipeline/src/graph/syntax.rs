//! TOML text as a tree with places.
//!
//! Law: a syntax error costs the value or the line it stands in, never the rest of the file. The parser does not
//! always recover that well, so the line at fault is repaired (`key = 0`, `[table]`, or blank) and the text is
//! parsed again until nothing but repeated keys is left; places are mapped back to what the user wrote.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Place, Report};
use super::repair::{LOST_TABLE, Lines, ends_as_it_begins, explain};
use super::repeated;

/// Errors that are told apart before the rest of the file is given up.
const MOST_REPAIRS: usize = 40;
/// Bytes parsed again and again for the sake of better messages.
const MOST_BYTES: usize = 2 << 20;
/// No graph nests values deeper.
const DEEPEST: usize = 12;

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
    repeated::explain(repaired, table, &spans, &place, report);
    let mut entries = entries_of(file, lines, table, 0, report);
    let lost_table = entries.iter().any(|e| e.key.starts_with(LOST_TABLE));
    entries.retain(|e| !e.key.starts_with(LOST_TABLE));
    Tree { entries, lost_lines: lines.lost_lines(), lost_table }
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

fn looks_like_toml(text: &str) -> bool {
    let between = |open: char, close: char| text.starts_with(open) && text.ends_with(close);
    between('[', ']') || between('{', '}') || text.starts_with(['"', '\''])
}
