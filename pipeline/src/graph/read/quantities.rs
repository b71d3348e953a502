//! Times and sizes with a unit: the keys `stall_timeout` and `memory` of `[graph]`.
//!
//! Law: a value that is written out is read as the same value.

use std::time::Duration;

use super::loading::Loading;
use super::syntax::{Data, Node};
use crate::graph::report::diagnostic::Diagnostic;

const SECONDS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];
const BYTES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// The longest timeout in seconds: a year, which is longer than any run.
const LONGEST: u64 = 366 * 24 * 3600;

/// The value of `stall_timeout`. `Some(None)` stands for `off`. `None` if the value is wrong, which was then reported.
pub(crate) fn timeout(node: &Node, loading: &mut Loading<'_>) -> Option<Option<Duration>> {
    let node = &loading.typed(node)?;
    let seconds = match &node.data {
        Data::Broken => return None,
        Data::Integer(n) => u64::try_from(*n).ok(),
        Data::Text(text) => {
            let text = loading.expand(node.place, text)?;
            if text == "off" { Some(0) } else { quantity(&text, &SECONDS) }
        }
        _ => None,
    };
    match seconds.filter(|seconds| *seconds <= LONGEST) {
        Some(0) => Some(None),
        Some(seconds) => Some(Some(Duration::from_secs(seconds))),
        None => {
            let message = format!("`stall_timeout` must be a time, not {}", node.data.in_words());
            let help = "write seconds or a whole number with a unit, s, m or h, up to a year: \"10m\"; \"off\" waits for ever";
            loading.report.push(Diagnostic::error(node.place, message).help(help));
            None
        }
    }
}

/// The value of `memory` in bytes. `None` for `off`, and if the value is wrong, which was then reported.
pub(crate) fn memory(node: &Node, loading: &mut Loading<'_>) -> Option<usize> {
    let bytes = match &node.data {
        Data::Broken => return None,
        Data::Text(text) => {
            let text = loading.expand(node.place, text)?;
            if text == "off" {
                return None;
            }
            quantity(&text, &BYTES)
        }
        _ => None,
    };
    let bytes = bytes.filter(|bytes| *bytes > 0).and_then(|bytes| usize::try_from(bytes).ok());
    if bytes.is_none() {
        let message = format!("`memory` must be a size, not {}", node.data.in_words());
        let help = "write a whole number from 1 up with a unit, B, KiB, MiB, GiB or TiB: \"4GiB\"; \"off\" sets no cap";
        loading.report.push(Diagnostic::error(node.place, message).help(help));
    }
    bytes
}

/// The time in the form in which `render` writes it.
pub(crate) fn written_timeout(timeout: Option<Duration>) -> String {
    timeout.map_or_else(|| "off".to_owned(), |timeout| written(timeout.as_secs(), &SECONDS))
}

/// The size in the form in which `render` writes it.
pub(crate) fn written_bytes(bytes: usize) -> String {
    written(bytes as u64, &BYTES)
}

/// Reads a whole number with a unit. Blanks between them are allowed.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The value with the largest unit that leaves a whole number.
fn written(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor);
    let (unit, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("10m", Some(600)),
            (" 2 h ", Some(7200)),
            ("", None),
            ("s", None),
            ("10", None),
            ("-1s", None),
            ("1.5h", None),
            ("10min", None),
            ("10 M", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(quantity(text, &SECONDS), expected, "{text}");
        }
        for (text, expected) in [
            ("1B", Some(1)),
            ("3KiB", Some(3072)),
            ("64 MiB", Some(67_108_864)),
            ("4GiB", Some(4_294_967_296)),
            ("2TiB", Some(2_199_023_255_552)),
            ("4GB", None),
            ("4G", None),
            ("4gib", None),
        ] {
            assert_eq!(quantity(text, &BYTES), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for value in [1, 59, 60, 61, 600, 3599, 3600, 86_400, 1 << 20, (1 << 30) + 1, 3 << 40] {
            for units in [&SECONDS[..], &BYTES[..]] {
                assert_eq!(quantity(&written(value, units), units), Some(value));
            }
        }
        assert_eq!(written_timeout(Some(Duration::from_secs(600))), "10m");
        assert_eq!(written_timeout(None), "off");
        assert_eq!(written_bytes(4 << 30), "4GiB");
        assert_eq!(written_bytes(1536), "1536B");
    }
}
