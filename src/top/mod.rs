//! `framewise top`, which watches a run that another process serves (`run --metrics`).
//!
//! Laws: `top` only asks, so the run is the same with and without it. All figures are those of readings, by the functions
//! of the live display. The terminal is as it was before, whatever ends the display.

mod draw;
mod poll;
mod screen;
mod state;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::TryRecvError;

use anyhow::Context as _;
use console::Term;

use crate::ask::find::{Found, find};
use crate::cli::{Format, TopArgs};
use crate::exit::{self, UsageError};
use crate::observe::stage_table;
use crate::observe::view::RunView;
use crate::shell::short;
use crate::terminal::{self, printable};
use crate::text::seconds;
use state::State;

/// Watches a run, or prints how it is doing at this moment.
///
/// # Errors
/// No run answers. The terminal cannot be used, or standard output cannot be written.
pub(crate) fn top(args: &TopArgs) -> anyhow::Result<u8> {
    let draws = io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    if !args.once && !draws {
        let why = "standard output is no terminal on which a display can be drawn; `framewise top --once` prints one table";
        return Err(UsageError(why.into()).into());
    }
    let found = find(args.run.as_deref())?;
    if args.once {
        let (json, view) = &found.first;
        let text = match args.format {
            Format::Json => json.clone(),
            Format::Text => once(view, terminal::width(&Term::stdout())),
        };
        terminal::print(&text)?;
        return Ok(exit::OK);
    }
    watch(found)
}

/// A reading as text: the table of stages since the run began, and what limits it.
fn once(view: &RunView, width: usize) -> String {
    let head = format!("{} after {}\n\n", view.graph, seconds(view.seconds));
    let table = stage_table::table(&view.stages, view.seconds, width);
    let text = format!("{head}{table}{}", stage_table::limit(&view.bottleneck, width));
    printable(&text).into_owned()
}

/// Shows the run until the user quits.
fn watch(found: Found) -> anyhow::Result<u8> {
    let address = found.client.address();
    let source = match &found.directory {
        Some(directory) => format!("{}  {address}", short(directory).display()),
        None => address.to_owned(),
    };
    let mut state = State::new(source);
    let (news, _quit) = poll::start(found).context("cannot start a thread")?;
    let mut screen = screen::Screen::open().context("the terminal cannot be used")?;
    loop {
        loop {
            match news.try_recv() {
                Ok(new) => state.learn(new),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // Its panic is told when the terminal is given back.
                    state.ended.get_or_insert_with(|| "asking has ended by an internal error".to_owned());
                    break;
                }
            }
        }
        screen.draw(|frame| draw::draw(frame, &mut state)).context("the terminal cannot be written")?;
        if screen.is_stopped() {
            return Ok(exit::INTERRUPTED);
        }
        for key in screen.keys().context("the terminal cannot be read")? {
            if !state.press(key) {
                return Ok(exit::OK);
            }
        }
    }
}
