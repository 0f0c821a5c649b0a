//! What can be said on the command line; the arguments of each command stand in its file. The doc comments are the help.

use clap::{Parser, Subcommand};

use crate::commands::{
    answer, batch, cancel, events, explain, inbox, list, retry, run, show, signal, validate, worker,
};

/// Runs workflows so that no step is ever lost.
#[derive(Debug, Parser)]
#[command(name = "stepwell", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Shared {
    /// Where runs are kept [default: .stepwell/stepwell.db of the project]
    #[arg(long, global = true, value_name = "URL", env = "STEPWELL_STORE")]
    store: Option<String>,
    /// Prints data and errors as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Shared {
    /// Returns the store that was named, if one was.
    pub(crate) fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a workflow file and follows it to its end
    Run(run::Args),
    /// Does one thing with many files, as one run: a step per file
    Batch(batch::Args),
    /// Continues a run here and now and follows it
    Resume(One),
    /// Tries a failed run again and follows it; what is completed stays
    ///
    /// It uses the definition that the run was started with: changes of the workflow file are not seen, changes of script
    /// files are.
    Retry(retry::Args),
    /// Lets no attempt of a run start until it is resumed
    Pause(One),
    /// Shows one run: its steps, open questions, timers, and why it is not going on
    Show(show::Args),
    /// Lists runs, newest first
    List(list::Args),
    /// Prints the events of a run; with --json one object a line
    Events(events::Args),
    /// Lists open questions, or shows one
    Inbox(inbox::Args),
    /// Answers a question
    Answer(answer::Args),
    /// Sends a signal to a run
    Signal(signal::Args),
    /// Ends a run
    Cancel(cancel::Args),
    /// Carries out the work of every run of the store, until it is stopped
    ///
    /// Asked to end by SIGTERM, SIGINT or SIGHUP it takes no more work and gives what is under way 10 s to finish; asked
    /// once more it ends at once. What did not finish is given back, for another worker. The exit code is 0 after
    /// SIGTERM, which is how service managers stop what they started, and 130 after the others.
    Worker(worker::Args),
    /// Checks workflow files; nothing is run or stored
    Validate(validate::Args),
    /// Tells what an error code means and what to do about it
    Explain(explain::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Id of the run, or its beginning
    pub(crate) run: String,
}
