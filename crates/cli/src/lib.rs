//! The `stepwell` command line: arguments in, engine calls, words out. The composition root that hands providers
//! to the engine. Rules live in the crates below; here is only what a terminal needs.
//!
//! Start reading at `args.rs` for what can be said, then `commands/`, one file a command.

mod answering;
mod args;
mod batch;
mod children;
mod commands;
mod demo;
mod diagnostics;
mod exit;
mod follow;
mod graph;
mod hints;
mod live;
mod machine;
mod output;
mod progress;
mod project;
#[cfg(test)]
mod reference;
mod report;
mod scripts;
mod settings;
mod shape;
mod standing;
mod steps;
mod stop;
mod text;
mod usage;
mod values;
mod whole_file;
mod why;
mod workflow_file;

use std::process::ExitCode;

use clap::Parser;

use exit::Exit;

/// Parses the arguments of the process and carries the command out.
pub fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage::told(&error).into(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system gives a process its threads");
    let json = args.shared.json;
    let code = runtime.block_on(commands::carry_out(args)).unwrap_or_else(|error| {
        if !json && settings::tell(&error) { Exit::of(&error) } else { output::error(&error, json) }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    code.into()
}
