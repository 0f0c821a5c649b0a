//! The `stepwell` command line: arguments in, engine calls, words out. The composition root that hands providers
//! to the engine. Rules live in the crates below; here is only what a terminal needs.
//!
//! Start reading at `args.rs` for what can be said, then `commands/`, one file a command.

mod answering;
mod args;
mod batch;
mod call;
mod children;
mod commands;
mod demo;
mod diagnostics;
mod exit;
mod follow;
mod functions;
mod graph;
mod hints;
mod hosted_worker;
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

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use stepwell::{LaterRoots, Registry, Store};

use exit::Exit;

pub use call::{Call, Program};
pub use hosted_worker::HostedWorker;

/// Carries out the command that this process was started for.
pub fn main() -> ExitCode {
    carry_out(&Call::of_process()).into()
}

/// Returns the URL of the store that commands take when none is named: that of the environment variable `STEPWELL_STORE`, of
/// `stepwell.toml`, or the project's own.
///
/// # Errors
/// The settings of the project cannot be read.
pub fn default_store() -> Result<String, stepwell::ErrorObject> {
    let given = std::env::var("STEPWELL_STORE").ok();
    project::store_url(given.as_deref())
}

/// Opens the store of that URL as commands do, making it if it is not there.
///
/// # Errors
/// There is no such store, or it cannot be opened; no other one is.
pub async fn open_store(url: &str) -> Result<Arc<dyn Store>, stepwell::ErrorObject> {
    project::open_store(Some(url)).await
}

/// Returns the providers that commands have, for a program of its own: with the settings of the project, and its own
/// interpreter unless they name one. Files may lie in the working directory, in those of `also`, and in those that are
/// added later.
///
/// # Errors
/// The settings of the project cannot be read.
pub fn providers(
    interpreter: &Path,
    also: &[PathBuf],
) -> Result<(Registry, LaterRoots), stepwell::ErrorObject> {
    project::registry_of_program(interpreter, also)
}

/// Carries out a command and returns how the process is to end. Standard input, output and signals are those of the process.
pub fn carry_out(call: &Call) -> u8 {
    let exit = exit_of(call);
    // A host that is no Rust program flushes nothing of ours when it ends; who no longer listens misses nothing.
    let _unheard = std::io::stdout().flush();
    exit as u8
}

fn exit_of(call: &Call) -> Exit {
    let args = match args::Args::try_parse_from(call.words()) {
        Ok(args) => args,
        Err(error) => return usage::told(&error, call.words()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system gives a process its threads");
    let json = args.shared.json;
    let code = runtime.block_on(commands::carry_out(call, args)).unwrap_or_else(|error| {
        if !json && settings::tell(&error) { Exit::of(&error) } else { output::error(&error, json) }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    code
}
