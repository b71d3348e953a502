//! Framewise as a library: the whole command line, over the table of stage types that it is handed.
//!
//! A crate with stages of its own calls [`main`] with its stages added to the table. It then has every verb of the program
//! `framewise`, and graphs use its stages like any other:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     framewise::main(framewise::registry()) // .stage::<MyStage>()
//! }
//! ```
//!
//! `framewise init DIR` writes such a crate. What a stage is made of is in [`pipeline`], and what travels between the
//! stages of this program in [`stages::payload`].
//!
//! The library sets the global allocator of the program that it is linked into. A program that has an allocator of its
//! own depends on this crate with `default-features = false`.

mod ask;
mod check;
mod cli;
mod directories;
mod exit;
mod export;
mod graphs;
mod heap;
mod history;
mod import;
mod init;
mod inspect;
mod job;
mod merge;
mod observe;
mod outside;
mod paths;
mod plan;
mod problems;
mod run;
mod serve;
mod shell;
mod stage_types;
mod table;
mod tap;
mod terminal;
mod text;
mod threads;
mod top;
mod trial;
mod tune;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

pub use framewise_pipeline as pipeline;
pub use framewise_pipeline::Registry;
pub use framewise_stages as stages;
pub use framewise_stages::registry;

use crate::cli::{Cli, Verb};

/// Does what the command line of this process says, with the stage types of `registry`, and returns the exit code.
///
/// Standard output carries results only. Everything else goes to standard error, and a closed terminal or pipe never
/// makes a run fail. The function replaces the panic hook, answers signals during a run, and may start the process again
/// in place to set the number of threads, so a program calls it first and once.
pub fn main(registry: Registry) -> ExitCode {
    terminal::install_panic_hook();
    terminal::remember_stdout();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors. That they cannot be shown is no reason to fail.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    if cli.verb.runs_a_graph() {
        threads::settle();
    }
    #[cfg(feature = "heap-log")]
    if let Err(error) = heap::log() {
        terminal::error(&format!("cannot log the heap: {error}"));
        return ExitCode::from(exit::INTERNAL);
    }
    // After a panic nothing is done with the registry any more.
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| perform(&cli.verb, &registry)));
    match ended {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => {
            terminal::error(&format!("{error:#}"));
            ExitCode::from(exit::code_of(&error))
        }
        // The hook has told.
        Err(_) => ExitCode::from(exit::INTERNAL),
    }
}

fn perform(verb: &Verb, registry: &Registry) -> anyhow::Result<u8> {
    stage_types::check_names(registry)?;
    match verb {
        Verb::Run(args) => run::run(args, registry),
        Verb::Merge(args) => merge::merge(args, registry),
        Verb::Check(args) => check::check(args, registry),
        Verb::Graph(args) => graphs::draw(args, registry),
        Verb::Stages(args) => stage_types::stages(args, registry),
        Verb::Render(args) => graphs::render(args, registry),
        Verb::Tap(args) => tap::tap(args, registry),
        Verb::Tune(args) => tune::tune(args, registry),
        Verb::Plan(args) => plan::plan(args, registry),
        Verb::Inspect(args) => inspect::inspect(args, registry),
        Verb::Import(args) => import::import(args),
        Verb::Export(args) => export::export(args),
        Verb::Top(args) => top::top(args),
        Verb::Runs(args) => history::runs(args),
        Verb::Diff(args) => history::diff(args),
        Verb::Init(args) => init::init(args),
    }
}
