//! The terminal while `framewise top` owns it.
//!
//! Law: whatever ends the display (a key, a signal, an error or a panic), the terminal is as it was before, and what was
//! said meanwhile is printed below it.

use std::io::{self, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};

use super::state::Key;
use crate::terminal;

/// The time between two drawings if no key is pressed.
const TICK: Duration = Duration::from_millis(100);

/// The screen of the display.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Whether a signal asks for an end.
    stopped: Arc<AtomicBool>,
    /// Gives the terminal back. It is dropped after the terminal.
    _guard: Guard,
}

/// What was changed about the terminal, which is changed back when this is dropped.
struct Guard {
    /// The lines of a panic, which would be lost on the screen of the display.
    said: Arc<Mutex<Vec<String>>>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The terminal cannot be read or written in the way that a display needs.
    pub(super) fn open() -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        listen(&stopped)?;
        let guard = Guard::new()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Self { terminal, stopped, _guard: guard })
    }

    /// Draws a picture on a terminal of any size.
    ///
    /// # Errors
    /// The terminal has gone away.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(drop)
    }

    /// Whether a signal asks for an end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits a moment for keys, and returns all that were pressed.
    ///
    /// # Errors
    /// The terminal has gone away.
    pub(super) fn keys(&mut self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        let mut wait = TICK;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            // A new size needs nothing here: the next drawing asks for it.
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                keys.extend(known(key.code, key.modifiers));
            }
        }
        Ok(keys)
    }
}

impl Guard {
    fn new() -> io::Result<Self> {
        enable_raw_mode()?;
        let said = Arc::<Mutex<Vec<String>>>::default();
        let sink = said.clone();
        terminal::redirect(Some(Arc::new(move |line: &str| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        })));
        Ok(Self { said })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let mut out = io::stdout();
        let _ = execute!(out, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = out.flush();
        terminal::redirect(None);
        let said = std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner));
        said.iter().for_each(|line| terminal::say(line));
    }
}

/// The key of the display for a key of the terminal. Ctrl-C, which is a key like any other now, quits.
fn known(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    Some(match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Key::Char('q'),
        KeyCode::Char(_) if modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        _ => return None,
    })
}

/// Notes the signals that ask for an end.
#[cfg(unix)]
fn listen(stopped: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, stopped.clone())?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen(_stopped: &Arc<AtomicBool>) -> io::Result<()> {
    Ok(())
}
