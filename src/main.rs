//! The program `framewise`: runs, checks, draws and explains pipelines that TOML graphs declare.

use std::process::ExitCode;

fn main() -> ExitCode {
    framewise::main(framewise::registry())
}
