//! Writing to standard output and standard error.
//!
//! Laws: nothing here panics. A reader that went away (`| head`) ends the output but not the program. Control
//! characters of names and messages never reach a terminal.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use console::Term;
use framewise_pipeline::{ErrorKind, Failure};

use crate::shell;

/// Whether standard output was a terminal when the program began. A terminal that has gone away no longer counts as
/// one, so this is asked at the beginning.
static SHOWN_ON_TERMINAL: OnceLock<bool> = OnceLock::new();

/// Remembers what standard output is. This is called before anything is written.
pub(crate) fn remember_stdout() {
    SHOWN_ON_TERMINAL.get_or_init(|| io::stdout().is_terminal());
}

/// The width to which the text of a result is laid out, in characters: that of the terminal on which it is shown. Without
/// a terminal it is the value of the variable `COLUMNS`, or 80.
pub(crate) fn width(shown_on: &Term) -> usize {
    let terminal = shown_on.is_term().then(|| shown_on.size_checked()).flatten().map(|(_, width)| width);
    let variable = || std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse::<u16>().ok());
    terminal.or_else(variable).filter(|width| *width > 0).map_or(80, usize::from)
}

/// Writes to standard output.
///
/// # Errors
/// `Io` when the output is lost, as on a full disk. It is not an error that nobody reads any more, or that the terminal
/// is gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let seen_by_nobody = |error: &io::Error| {
        error.kind() == io::ErrorKind::BrokenPipe || SHOWN_ON_TERMINAL.get() == Some(&true)
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if !seen_by_nobody(&error) => {
            Err(Failure::new(ErrorKind::Io, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. A line that cannot be shown is no reason to fail.
pub(crate) fn say(text: &str) {
    // The line is one write, so that lines of several threads do not mix.
    let lines = match PREFIX.get() {
        None => format!("{text}\n"),
        Some(prefix) => text.lines().map(|line| format!("{prefix}{line}\n")).collect(),
    };
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// What every line begins with, in a process that is one of several.
static PREFIX: OnceLock<String> = OnceLock::new();

/// Begins every further line on standard error with `prefix`. The first one counts.
#[cfg(feature = "mpi")]
pub(crate) fn begin_lines_with(prefix: String) {
    let _ = PREFIX.set(prefix);
}

/// Writes an error to standard error, for a person.
pub(crate) fn error(message: &str) {
    say(&format!("{} {}", paint("error:", RED), printable(message)));
}

/// The code for bold red.
pub(crate) const RED: &str = "\x1b[1;31m";
/// The code for bold yellow.
pub(crate) const YELLOW: &str = "\x1b[1;33m";

/// The word in colour, if standard error shows colours.
pub(crate) fn paint(text: &str, style: &str) -> String {
    if stderr_has_color() { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
}

/// Whether standard error is a terminal that shows colours, and its user wants them (<https://no-color.org>).
pub(crate) fn stderr_has_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr_is_terminal() && !refused
}

/// Whether standard error is a terminal that can move its cursor.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The text, in which control characters other than the end of a line are written out.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The function to which lines go while a progress display owns the terminal.
pub(crate) type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

static SINK: Mutex<Option<LineSink>> = Mutex::new(None);

/// The name of the thread that draws progress. It may hold the display's locks when it panics.
pub(crate) const PROGRESS_THREAD: &str = "progress";

/// Sends the panic hook's lines to `sink` from now on, or back to standard error.
pub(crate) fn redirect(sink: Option<LineSink>) {
    *SINK.lock().unwrap_or_else(PoisonError::into_inner) = sink;
}

/// Installs a hook that writes one line for a panic, in place of the runtime's several lines. The backtrace follows if
/// `RUST_BACKTRACE` asks for it.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = panic_text(info);
        let current = std::thread::current();
        let sink = if current.name() == Some(PROGRESS_THREAD) {
            None
        } else {
            SINK.try_lock().ok().and_then(|sink| sink.clone())
        };
        match sink {
            Some(sink) => text.lines().for_each(|line| sink(line)),
            None => say(&text),
        }
    }));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let current = std::thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let place = info.location().map_or(String::new(), |at| format!(" at {}:{}", at.file(), at.line()));
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let mut text = format!(
        "internal error{place} (thread `{thread}`): {}\nThis is a bug in {}; please report it with the graph and this line.",
        printable(message),
        shell::program_name()
    );
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("\n{backtrace}");
    } else {
        text += " RUST_BACKTRACE=1 shows more.";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\u{1b}[2Jb\n\tc"), "a\\u{1b}[2Jb\n\\tc");
        assert!(matches!(printable("plain – text\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_panic_is_told_in_lines_of_its_own_where_the_display_prints() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        redirect(Some(Arc::new(move |line: &str| seen.lock().unwrap().push(line.to_owned()))));
        let before = std::panic::take_hook();
        install_panic_hook();
        let thread = std::thread::Builder::new().name("forward".into());
        let ended = thread.spawn(|| panic!("no {} left", "room")).unwrap().join();
        std::panic::set_hook(before);
        redirect(None);

        assert!(ended.is_err());
        let lines = lines.lock().unwrap();
        assert!(lines[0].starts_with("internal error at src/terminal.rs:"), "{lines:?}");
        assert!(lines[0].ends_with("(thread `forward`): no room left"), "{lines:?}");
        assert!(lines[1].starts_with("This is a bug in "), "{lines:?}");
    }
}
