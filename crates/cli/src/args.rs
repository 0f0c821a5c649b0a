//! What can be said on the command line; the arguments of each command stand in its file. The doc comments are the help.

use clap::{Parser, Subcommand};
use stepwell::{AllowPrivate, UnknownRule};
use stepwell_providers::sandbox::Mode;

use crate::commands::{
    answer, backup, batch, completions, demo, doctor, events, explain, graph, inbox, init, list, man, prune,
    resume, retry, run, settle, show, signal, state, validate, worker,
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
    /// Where runs are kept [default: as stepwell.toml says, else .stepwell/stepwell.db of the project]
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

/// What every command takes that carries out steps.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Work {
    /// Has the kernel confine what scripts and programs may do [default: off]
    ///
    /// Within the sandbox they write only in the directories of their run and in a temporary one of their own, and system
    /// calls that change the machine are refused. `off`: they do what you may. `auto`: in a sandbox if the kernel has
    /// one, and it is said if not. `require`: in a sandbox, or nothing runs. Reading and the network stay open.
    #[arg(long, value_name = "off|auto|require", env = "STEPWELL_SANDBOX")]
    pub(crate) sandbox: Option<Mode>,
    /// Lets http steps reach more than the internet: addresses, networks such as 10.0.0.0/8 and names of hosts, or `all`
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = rule, env = "STEPWELL_HTTP_ALLOW_PRIVATE")]
    pub(crate) http_allow_private: Vec<String>,
}

fn rule(word: &str) -> Result<String, UnknownRule> {
    AllowPrivate::read(&[word]).map(|_| word.to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a workflow file and follows it to its end
    Run(run::Args),
    /// Does one thing with many files, as one run: a step per file
    Batch(batch::Args),
    /// Continues a run here and now and follows it
    Resume(resume::Args),
    /// Tries a failed run again and follows it; what is completed stays
    ///
    /// A run that completed although steps or files failed (`on_failure: continue`) tries those again and nothing else. It uses the definition that the run was started with: changes of the workflow file are not seen, changes of script
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
    Cancel(One),
    /// Decides about a step that is stuck
    ///
    /// Stuck is a step that waits for its next attempt, that nobody has a handler for, or whose outcome is unknown
    /// (`effect: at_most_once`). A function of a program is completed only if its definition says where it leads.
    Settle(settle::Args),
    /// Carries out the work of every run of the store, until it is stopped
    ///
    /// Asked to end by SIGTERM, SIGINT or SIGHUP it takes no more work and gives what is under way 10 s to finish; asked
    /// once more it ends at once. What did not finish is given back, for another worker. The exit code is 0 after
    /// SIGTERM, which is how service managers stop what they started, and 130 after the others.
    Worker(worker::Args),
    /// Keeps values that belong to no run, with a version each
    State(state::Args),
    /// Deletes old runs that have ended, with all that is theirs
    ///
    /// A child run stays as long as the run that started it, and goes with it. What has not ended is never deleted.
    Prune(prune::Args),
    /// Copies the store to a file while others use it
    ///
    /// The copy is one moment of the store and is checked before it gets its name. `--store sqlite://FILE` opens it.
    Backup(backup::Args),
    /// Checks workflow files; nothing is run or stored
    Validate(validate::Args),
    /// Draws a workflow, or a run with how each step stands
    Graph(graph::Args),
    /// Looks for what is wrong with project, store, Python and machine, and says what to do
    ///
    /// It changes nothing and makes no store. The exit code is 1 if something is broken.
    Doctor(doctor::Args),
    /// Shows in two minutes what a kill does to a run; needs Python, touches nothing of yours
    Demo(demo::Args),
    /// Prints the JSON Schema of workflow files, for editors
    ///
    /// Write it to a file and name that in the first line of a workflow file:
    /// `# yaml-language-server: $schema=workflow.schema.json`
    Schema,
    /// Tells what an error code means and what to do about it
    Explain(explain::Args),
    /// Makes a project that runs: a workflow with a script and a question, and its settings
    ///
    /// What is there already stays as it is; a directory that has a file of such a name is refused.
    Init(init::Args),
    /// Prints what a shell needs to complete commands and flags
    ///
    /// bash: `stepwell completions bash > ~/.local/share/bash-completion/completions/stepwell`. zsh: into a file
    /// `_stepwell` in a directory of `$fpath`. fish: `stepwell completions fish > ~/.config/fish/completions/stepwell.fish`.
    Completions(completions::Args),
    /// Prints the manual page, or writes one for each command
    ///
    /// `stepwell man --dir ~/.local/share/man/man1` installs them for you; `man stepwell-run` shows one.
    Man(man::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Why; kept in the journal
    #[arg(long, value_name = "S")]
    pub(crate) reason: Option<String>,
}
