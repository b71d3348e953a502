//! A text file that lists files, one on each line.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use framewise_pipeline::is_glob;

use crate::io::input::read_to_string;

/// A line of a list that names something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The line in the file, from 1.
    pub(super) number: usize,
    /// A path or a glob.
    pub(super) text: String,
}

/// The lines of a list, without empty ones and comments.
///
/// The list may begin with a byte order mark and end its lines as on Windows. White space around a name does not belong
/// to the name. A leading `~/` stands for the home directory.
///
/// # Errors
/// The list cannot be read or is not UTF-8, or a line needs a home directory and the home directory is not known.
pub(super) fn read(list: &Path) -> io::Result<Vec<Line>> {
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    lines(&read_to_string(list)?, home.as_deref())
}

fn lines(text: &str, home: Option<&Path>) -> io::Result<Vec<Line>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text.lines().map(str::trim).enumerate();
    let named = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    named
        .map(|(index, line)| {
            let number = index + 1;
            let text = match line.strip_prefix("~/") {
                None => line.to_owned(),
                Some(rest) => {
                    let home = home.and_then(Path::to_str).ok_or_else(|| no_home(number))?;
                    // Only what follows the home directory may be a pattern.
                    let home = if is_glob(rest) { glob::Pattern::escape(home) } else { home.to_owned() };
                    format!("{}/{rest}", home.trim_end_matches('/'))
                }
            };
            Ok(Line { number, text })
        })
        .collect()
}

fn no_home(line: usize) -> io::Error {
    io::Error::other(format!("line {line} begins with `~/`, and HOME names no directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(usize, String)> {
        let lines = lines(text, Some(Path::new("/home/me"))).unwrap();
        lines.into_iter().map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn marks_line_ends_comments_and_blanks_are_no_part_of_a_name() {
        let text = "a\n\n# comment\n  b c\t\n   # too\n./#d\n";
        let wanted = [(1, "a"), (4, "b c"), (6, "./#d")].map(|(line, name)| (line, name.to_owned()));
        assert_eq!(texts(text), wanted);
        let on_windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        assert_eq!(texts(&on_windows), wanted);
        // The first line has a comment behind the byte order mark.
        assert_eq!(texts("\u{feff}# list\nx"), [(2, "x".to_owned())]);
        assert_eq!(texts("\u{feff}\r\n\r\n"), []);
    }

    #[test]
    fn a_tilde_is_the_home_directory_where_a_shell_takes_it_so() {
        assert_eq!(texts("~/a/*.tfrecord"), [(1, "/home/me/a/*.tfrecord".to_owned())]);
        for literal in ["~", "~other/a", "a/~/b", "~a"] {
            assert_eq!(texts(literal), [(1, literal.to_owned())]);
        }
        let odd = lines("~/*", Some(Path::new("/home/m[e]/"))).unwrap();
        assert_eq!(odd[0].text, "/home/m[[]e[]]/*");
        let error = lines("a\n~/b", None).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("HOME"), "{error}");
    }
}
