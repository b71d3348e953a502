//! Paths and commands in the form in which a person would type them.

use std::path::{Path, PathBuf};

/// The path relative to the working directory if it lies below it, and unchanged otherwise.
pub(crate) fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path)
}

/// The path as [`short`] gives it. The working directory itself is `.`.
pub(crate) fn short_or_dot(path: &Path) -> PathBuf {
    let path = short(path);
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// The program as it was called, which is the first word of the command line.
pub(crate) fn program() -> String {
    std::env::args_os().next().map_or("framewise".into(), |name| name.to_string_lossy().into_owned())
}

/// The name of the program's file: `framewise`, or that of a program built on this library.
pub(crate) fn program_name() -> String {
    let program = PathBuf::from(program());
    program.file_stem().map_or("framewise".into(), |name| name.to_string_lossy().into_owned())
}

/// A command line that a POSIX shell splits into these words again.
pub(crate) fn command(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The command line of [`command`], in lines of at most `width` characters where its words allow that. A line that goes on
/// ends with a backslash, so the lines together are one command for a shell.
pub(crate) fn lines(words: &[String], width: usize) -> Vec<String> {
    // An option stays in one line with its value.
    let mut parts: Vec<String> = Vec::new();
    let mut after_option = false;
    for word in words {
        match parts.last_mut() {
            Some(option) if after_option => *option += &format!(" {}", quoted(word)),
            _ => parts.push(quoted(word)),
        }
        after_option = word.starts_with("--");
    }
    let mut lines: Vec<String> = Vec::new();
    for word in parts {
        match lines.last_mut() {
            // Two characters are left for the backslash.
            Some(line) if line.chars().count() + 1 + word.chars().count() + 2 <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(line) => {
                line.push_str(" \\");
                lines.push(word);
            }
            None => lines.push(word),
        }
    }
    lines
}

/// A word, quoted so that a POSIX shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("stages.batch.size=32"), "stages.batch.size=32");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted("*.tfrecord"), "'*.tfrecord'");
        assert_eq!(command(&["cd".into(), "my data".into()]), "cd 'my data'");
    }

    #[test]
    fn a_long_command_goes_on_in_the_next_line() {
        let words = ["framewise", "run", "a graph.toml", "--resume", "runs/g-1"].map(str::to_owned);
        assert_eq!(lines(&words, 80), ["framewise run 'a graph.toml' --resume runs/g-1"]);
        let narrow = lines(&words, 24);
        assert_eq!(narrow, ["framewise run \\", "'a graph.toml' \\", "--resume runs/g-1"]);
        assert_eq!(lines(&words, 1).len(), 4);
    }
}
