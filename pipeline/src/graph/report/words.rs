//! The words of messages. This module quotes what users wrote, says what is wanted, and finds the name that was meant.

use crate::stage::key::{KeyKind, KeySpec};

/// The most characters of a text that a message quotes. A longer text is cut.
const LONGEST_QUOTE: usize = 48;
/// The most bytes of a word that may be a typing mistake.
const LONGEST_WORD: usize = 64;

/// The name that `word` was most likely meant to be; `None` if no name is near.
pub(crate) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if word.is_empty() || word.len() > LONGEST_WORD {
        return None;
    }
    let distance = |name: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &name.to_lowercase());
    let allowed = (word.chars().count() / 3).max(1);
    let extends = |name: &str| word.len() >= 3 && (name.starts_with(word) || word.starts_with(name));
    names
        .into_iter()
        .filter(|name| !name.is_empty() && name.len() <= LONGEST_WORD)
        .map(|name| (distance(name), name))
        .filter(|(d, name)| *d <= allowed || (extends(name) && name.len() >= 3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// The text in quotes. A long text is cut.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// The name in backticks. A long name is cut.
pub(crate) fn name(text: &str) -> String {
    format!("`{}`", cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What [`list`] gives for no names.
pub(crate) const NONE: &str = "none";

/// The ways as one sentence: `do this, or do that`. `None` if there is no way.
pub(crate) fn alternatives(ways: &[String]) -> Option<String> {
    (!ways.is_empty()).then(|| ways.join(", or "))
}

/// The names as `` `a`, `b` and `c` ``, where `last` is the word before the last name. At most twelve names are listed.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>, last: &str) -> String {
    let names: Vec<String> = names.into_iter().map(name).collect();
    match names.as_slice() {
        [] => NONE.to_owned(),
        [one] => one.clone(),
        [first @ .., end] if names.len() <= 12 => format!("{} {last} {end}", first.join(", ")),
        _ => format!("{}, … ({} in all)", names[..11].join(", "), names.len()),
    }
}

/// What a key takes, such as `a whole number from 1 to 4096 videos`.
pub(crate) fn wanted(spec: &KeySpec) -> String {
    let unit = if spec.unit.is_empty() { String::new() } else { format!(" {}", spec.unit) };
    match &spec.kind {
        KeyKind::Bool => "`true` or `false`".to_owned(),
        KeyKind::Integer(_) => with_bounds("a whole number", &spec.kind, &unit),
        KeyKind::Float(_) => with_bounds("a number", &spec.kind, &unit),
        KeyKind::Text => "a text".to_owned(),
        KeyKind::OneOf(words) => format!("one of {}", list(words.iter().copied(), "or")),
        KeyKind::Path | KeyKind::OutputPath | KeyKind::OutputDirectory => "a path".to_owned(),
        KeyKind::Paths => "a path or a list of paths".to_owned(),
        KeyKind::Texts => "a text or a list of texts".to_owned(),
        KeyKind::Integers(_) => with_bounds("a list of whole numbers", &spec.kind, &unit),
        KeyKind::Floats(_) => with_bounds("a list of numbers", &spec.kind, &unit),
    }
}

fn with_bounds(what: &str, kind: &KeyKind, unit: &str) -> String {
    match bounds(kind) {
        Some(bounds) => format!("{what} {bounds}{unit}"),
        None if unit.is_empty() => what.to_owned(),
        None => format!("{what} of{unit}"),
    }
}

/// The bounds of a key in words, such as `from 1 to 4096` or `of at least 1`. `None` where there are no bounds.
pub(crate) fn bounds(kind: &KeyKind) -> Option<String> {
    let (min, max) = match kind {
        KeyKind::Integer(range) | KeyKind::Integers(range) => {
            let (min, max) = (*range.start(), *range.end());
            ((min != i64::MIN).then(|| min.to_string()), (max != i64::MAX).then(|| max.to_string()))
        }
        KeyKind::Float(range) | KeyKind::Floats(range) => {
            let (min, max) = (*range.start(), *range.end());
            ((min > f64::MIN).then(|| min.to_string()), (max < f64::MAX).then(|| max.to_string()))
        }
        _ => return None,
    };
    match (min, max) {
        (Some(min), Some(max)) => Some(format!("from {min} to {max}")),
        (Some(min), None) => Some(format!("of at least {min}")),
        (None, Some(max)) => Some(format!("of at most {max}")),
        (None, None) => None,
    }
}

/// The text with escapes in place of the characters that move the cursor or hide what is there.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// The text with the same characters replaced as in [`printable`], but by replacements of the same length in bytes, so
/// that places stay right. Line breaks and tabs stay.
pub(crate) fn printable_same_length(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let keep = !is_hidden(c) || c == '\n' || c == '\t' || (c == '\r' && chars.peek() == Some(&'\n'));
        match c.len_utf8() {
            _ if keep => out.push(c),
            1 => out.push('?'),
            2 => out.push('¿'),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["size", "shuffle", "seed", "weights"];
        assert_eq!(nearest("sise", names), Some("size"));
        assert_eq!(nearest("shufle", names), Some("shuffle"));
        assert_eq!(nearest("weight", names), Some("weights"));
        assert_eq!(nearest("SEED", names), Some("seed"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), names), None);
    }

    #[test]
    fn hides_control_characters() {
        assert_eq!(printable("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        let text = "a\u{1b}b\u{85}c\u{202e}d\r\ne\rf\tg";
        let clean = printable_same_length(text);
        assert_eq!(clean, "a?b¿c\u{fffd}d\r\ne?f\tg");
        assert_eq!(clean.len(), text.len());
    }

    #[test]
    fn names_bounds() {
        assert_eq!(bounds(&KeyKind::Integer(1..=8)), Some("from 1 to 8".into()));
        assert_eq!(bounds(&KeyKind::at_least(1)), Some("of at least 1".into()));
        assert_eq!(bounds(&KeyKind::Float(f64::MIN..=f64::MAX)), None);
        assert_eq!(bounds(&KeyKind::Float(0.0..=1.0)), Some("from 0 to 1".into()));
    }
}
