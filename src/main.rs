//! The program `framewise`: runs, checks, draws and explains pipelines that TOML graphs declare.
//!
//! Law: standard output carries results only; everything else goes to standard error, and a closed terminal or
//! pipe never makes a run fail.

mod cli;
mod dashboard;
mod exit;
mod graphs;
mod heap;
mod import;
mod inspect;
mod run;
mod stages;
mod terminal;
mod text;
mod threads;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Verb};

fn main() -> ExitCode {
    terminal::install_panic_hook();
    terminal::remember_stdout();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors. That they cannot be shown is no reason to fail.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    if matches!(cli.verb, Verb::Run(_)) {
        threads::settle();
    }
    #[cfg(feature = "heap-log")]
    if let Err(error) = heap::log() {
        terminal::error(&format!("cannot log the heap: {error}"));
        return ExitCode::from(exit::INTERNAL);
    }
    let ended = std::panic::catch_unwind(|| match cli.verb {
        Verb::Run(args) => run::run(&args),
        Verb::Check(args) => graphs::check(&args),
        Verb::Graph(args) => graphs::draw(&args),
        Verb::Stages(args) => stages::stages(&args),
        Verb::Render(args) => graphs::render(&args),
        Verb::Inspect(args) => inspect::inspect(&args),
        Verb::Import(args) => import::import(&args),
    });
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
