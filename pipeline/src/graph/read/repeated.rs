//! Keys and tables that stand twice. The parser says where the second one is; this module finds the first one.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::graph::report::collect::Report;
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;

/// The most repetitions that are explained one by one.
const MOST: usize = 50;

/// Explains the repetitions at `spans` of `text`, whose tree is `table`. Returns the places of the keys of tables that are
/// second copies. The parser adds these keys to those of the first table, where they say nothing about what the user meant.
pub(crate) fn explain(
    text: &str,
    table: &DeTable<'_>,
    spans: &[Range<usize>],
    place: &dyn Fn(Range<usize>) -> Place,
    report: &mut Report,
) -> Vec<Place> {
    if spans.is_empty() {
        return Vec::new();
    }
    let mut keys = Vec::new();
    collect(table, &mut keys);
    keys.sort_by_key(|key| key.span.start);
    let mut headers: Vec<(usize, bool)> =
        keys.iter().filter(|k| k.is_header).map(|k| (k.span.start, false)).collect();
    let in_header = |span: &Range<usize>| header_line(text, span.start).is_some();
    headers.extend(spans.iter().filter(|span| in_header(span)).map(|span| (span.start, true)));
    headers.sort_unstable();
    for span in spans.iter().take(MOST) {
        if let Some(line) = header_line(text, span.start) {
            report.push(second_table(text, line, span, place));
            continue;
        }
        let section = headers.partition_point(|(start, _)| *start <= span.start);
        if section.checked_sub(1).and_then(|i| headers.get(i)).is_some_and(|(_, repeated)| *repeated) {
            continue; // The whole table is a second copy, which was reported at its header.
        }
        report.push(second_key(text, &keys, span, place));
    }
    let body = |index: usize| {
        let (header, is_copy) = headers[index];
        let start = header_line(text, header).map_or(header, |line| line.end);
        let end = headers[index + 1..].iter().map(|next| next.0).find(|next| *next > header);
        is_copy.then(|| place(start..end.unwrap_or(text.len())))
    };
    (0..headers.len()).filter_map(body).collect()
}

struct Key {
    name: String,
    span: Range<usize>,
    value: Range<usize>,
    is_header: bool,
}

fn collect(table: &DeTable<'_>, keys: &mut Vec<Key>) {
    for (key, value) in table {
        let (span, value_span) = (key.span(), value.span());
        let is_header = value_span.start < span.start;
        keys.push(Key { name: key.get_ref().to_string(), span, value: value_span, is_header });
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, keys),
            DeValue::Array(values) => {
                for value in values {
                    if let DeValue::Table(inner) = value.get_ref() {
                        collect(inner, keys);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The line around a position, if that line is the header of a table.
fn header_line(text: &str, at: usize) -> Option<Range<usize>> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |i| i + 1);
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    let before = text[start..at].trim_start();
    (before.starts_with('[') && !before.contains(['=', ','])).then_some(start..end)
}

fn second_table(
    text: &str,
    line: Range<usize>,
    span: &Range<usize>,
    place: &dyn Fn(Range<usize>) -> Place,
) -> Diagnostic {
    let path = path_of(&text[line.clone()]);
    let first = path.as_ref().and_then(|path| find(&text[..line.start], path));
    let here = place(span.clone());
    let diagnostic = match path.as_deref() {
        Some([stages, name]) if stages == "stages" => {
            Diagnostic::error(here, format!("there are two stages named {}", words::name(name)))
                .help("a stage is named once; give one of them another name")
        }
        Some(path) => {
            Diagnostic::error(here, format!("the table {} stands twice", words::name(&path.join("."))))
        }
        None => Diagnostic::error(here, "this table stands twice"),
    };
    let diagnostic = diagnostic.label("the second");
    match first {
        Some(first) => diagnostic.also(place(first), "the first"),
        None => diagnostic,
    }
}

fn second_key(
    text: &str,
    keys: &[Key],
    span: &Range<usize>,
    place: &dyn Fn(Range<usize>) -> Place,
) -> Diagnostic {
    let written = text.get(span.clone()).unwrap_or("");
    let name = path_of(&format!("[{written}]")).and_then(|p| p.into_iter().next()).unwrap_or_default();
    let before = &keys[..keys.partition_point(|k| k.span.start < span.start)];
    let first = before.iter().rev().find(|k| k.name == name);
    let in_from = before.iter().rev().any(|k| k.name == "from" && k.value.contains(&span.start));
    let message = if in_from {
        format!("the input port {} is connected twice", words::name(&name))
    } else {
        format!("{} is given twice", words::name(&name))
    };
    let diagnostic = Diagnostic::error(place(span.clone()), message).label("the second");
    match first {
        Some(first) => diagnostic.also(place(first.span.clone()), "the first"),
        None => diagnostic,
    }
}

/// The names in a header line, outermost first.
fn path_of(line: &str) -> Option<Vec<String>> {
    let parsed = DeTable::parse(line).ok()?;
    let mut table = parsed.get_ref();
    let mut path = Vec::new();
    while let Some((key, value)) = table.iter().next() {
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Array(_) => break,
            _ => return None,
        }
    }
    Some(path)
}

/// The place in a text at which a table is defined.
fn find(text: &str, path: &[String]) -> Option<Range<usize>> {
    let (parsed, _) = DeTable::parse_recoverable(text);
    let mut table = parsed.get_ref();
    let mut span = None;
    for name in path {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name.as_str())?;
        span = Some(key.span());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    span
}
