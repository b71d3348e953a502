//! Numbers and tables as text for people.

use console::measure_text_width;
pub(crate) use framewise_stages::words::{count, epoch, plural};
use serde::Serialize;

/// A struct of numbers, texts and maps keyed by text as JSON over many lines, with the end of the last line. Floats keep
/// every digit. NaN and infinities are null.
pub(crate) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("a struct of numbers, texts and maps keyed by text has a JSON form") + "\n"
}

/// A rate with about three digits, such as `0.123`, `12.3` or `1,235`.
pub(crate) fn rate(value: f64) -> String {
    if !value.is_finite() {
        "–".to_owned()
    } else if value >= 100.0 {
        // Rates are not negative, and they are far below 2^63.
        count(value.round() as u64)
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.2}")
    }
}

/// A result. A whole number is written without decimals, and any other number with six. A result that is not defined,
/// such as a metric over no label, is `n/a`.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return "n/a".to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value:.6}") }
}

/// A share as a whole percentage, such as `72%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A number of bytes with a unit in powers of ten, such as `512 B` or `4.19 MB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", units[unit])
}

/// A time in seconds, written as `0.42s`, `12.3s`, `4m05s` or `2h03m`.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        _ if value < 9.995 => format!("{value:.2}s"),
        _ if value < 59.95 => format!("{value:.1}s"),
        ..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// The side of its column to which a cell is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// The rows as lines of aligned columns that are two spaces apart. Lines have no trailing spaces.
pub(crate) fn table(columns: &[Align], rows: &[Vec<String>]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, align), width) in row.iter().zip(columns).zip(&widths) {
            match align {
                Align::Left => line += &format!("{cell:<width$}  "),
                Align::Right => line += &format!("{cell:>width$}  "),
            }
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// The text broken into lines, each of which begins with `indent` spaces. A line has at most `width` characters where
/// the words allow that.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = measure_text_width(word);
        if used > 0 && indent + used + 1 + length > width {
            out.push('\n');
            used = 0;
        }
        if used == 0 {
            out += &" ".repeat(indent);
        } else {
            out.push(' ');
            used += 1;
        }
        out += word;
        used += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([rate(0.0), rate(0.126), rate(12.34), rate(1234.5)], ["0", "0.13", "12.3", "1,235"]);
        assert_eq!([bytes(999), bytes(4_190_000), bytes(999_999)], ["999 B", "4.19 MB", "1.00 MB"]);
        assert_eq!(
            [seconds(0.421), seconds(12.34), seconds(245.0), seconds(7380.0)],
            ["0.42s", "12.3s", "4m05s", "2h03m"]
        );
        assert_eq!(percent(0.717), "72%");
        assert_eq!([number(370.0), number(0.25), number(f64::NAN)], ["370", "0.250000", "n/a"]);
    }

    #[test]
    fn columns_line_up_without_trailing_spaces() {
        let rows = [
            vec!["stage".into(), "in".into()],
            vec!["a".into(), "1,234".into()],
            vec!["é".into(), String::new()],
        ];
        assert_eq!(table(&[Align::Left, Align::Right], &rows), "stage     in\na      1,234\né\n");
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(wrap("one two three", 9, 2), "  one two\n  three\n");
        assert_eq!(wrap("incomprehensible", 4, 0), "incomprehensible\n");
    }
}
