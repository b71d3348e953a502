//! Counts in the words of messages, which are the same on the terminal, in the log and in the summary of a run.

/// A count with separated thousands, such as `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun, such as `1 stage` or `2 stages`. The noun is one whose plural ends in `s`.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// The number of an epoch in a message, where the first epoch is 1. The argument counts from 0, as files do.
pub fn epoch(index: u64) -> String {
    count(index.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_marks_and_nouns_agree_with_them() {
        assert_eq!(
            [count(0), count(999), count(1000), count(89_088_550)],
            ["0", "999", "1,000", "89,088,550"]
        );
        assert_eq!(
            [plural(0, "step"), plural(1, "step"), plural(1000, "step")],
            ["0 steps", "1 step", "1,000 steps"]
        );
        assert_eq!([epoch(0), epoch(59), epoch(u64::MAX)][..2], ["1", "60"]);
    }
}
