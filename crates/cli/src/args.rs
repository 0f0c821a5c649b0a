//! What can be said on the command line. The doc comments are the help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Runs workflows so that no step is ever lost.
#[derive(Debug, Parser)]
#[command(name = "stepwell", version, propagate_version = true)]
pub(crate) struct Args {
    /// Where runs are kept [default: .stepwell/stepwell.db of the project]
    #[arg(long, global = true, value_name = "URL", env = "STEPWELL_STORE")]
    pub(crate) store: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a workflow file and follows it to its end
    Run(Run),
    /// Continues a run here and now and follows it
    Resume(One),
    /// Tries a failed run again and follows it; what is completed stays
    ///
    /// It uses the definition that the run was started with: changes of the workflow file are not seen, changes of script
    /// files are.
    Retry(Retry),
    /// Lets no attempt of a run start until it is resumed
    Pause(One),
    /// Shows one run: its steps, open questions, timers, and why it is not going on
    Show(Show),
    /// Lists runs, newest first
    List(List),
    /// Prints the events of a run
    Events(Events),
    /// Lists open questions, or shows one
    Inbox(Inbox),
    /// Answers a question
    Answer(Answer),
    /// Sends a signal to a run
    Signal(Signal),
    /// Ends a run
    Cancel(Cancel),
    /// Carries out the work of every run of the store, until it is stopped
    ///
    /// Asked to end by SIGTERM, SIGINT or SIGHUP it takes no more work and gives what is under way 10 s to finish; asked
    /// once more it ends at once. What did not finish is given back, for another worker. The exit code is 0 after
    /// SIGTERM, which is how service managers stop what they started, and 130 after the others.
    Worker(Worker),
    /// Checks workflow files; nothing is run or stored
    Validate(Validate),
    /// Tells what an error code means and what to do about it
    Explain(Explain),
}

impl Command {
    /// Returns whether data and errors are to be printed as JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Resume(args) | Self::Pause(args) => args.json,
            Self::Retry(args) => args.json,
            Self::Show(args) => args.json,
            Self::List(args) => args.json,
            Self::Events(args) => args.json,
            Self::Inbox(args) => args.json,
            Self::Answer(args) => args.json,
            Self::Signal(args) => args.json,
            Self::Cancel(args) => args.json,
            Self::Worker(args) => args.json,
            Self::Validate(args) => args.json,
            Self::Explain(args) => args.json,
        }
    }
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_field_names, reason = "the field is named as its flag")]
pub(crate) struct Run {
    /// Workflow file (.yaml, .yml or .json)
    pub(crate) file: PathBuf,
    /// Input of the run, as JSON or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) input: Option<String>,
    /// Sets one key of the input object; read as JSON if it parses
    #[arg(long = "param", value_name = "K=V")]
    pub(crate) params: Vec<String>,
    /// Tags the run; `a.b=1` nests
    #[arg(short, long = "metadata", value_name = "K=V")]
    pub(crate) metadata: Vec<String>,
    /// Id of the run; one that exists with the same request is followed
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// Returns as soon as the start is durable; a worker carries the run
    #[arg(long)]
    pub(crate) detach: bool,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Retry {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Replaces the input of the run, as JSON or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) input: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Adds the context
    #[arg(long)]
    pub(crate) context: bool,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only runs of this status; may be repeated
    #[arg(long, value_name = "S")]
    pub(crate) status: Vec<String>,
    /// Only runs of this workflow
    #[arg(long, value_name = "NAME")]
    pub(crate) workflow: Option<String>,
    /// Only runs with this tag; may be repeated
    #[arg(short, long = "metadata", value_name = "K=V")]
    pub(crate) metadata: Vec<String>,
    /// Only runs created then or later: a day, a time, or an age such as 2h
    #[arg(long, value_name = "T")]
    pub(crate) since: Option<String>,
    /// Only runs created before: a day, a time, or an age such as 2h
    #[arg(long, value_name = "T")]
    pub(crate) until: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,
    /// Where the last page ended
    #[arg(long, value_name = "C")]
    pub(crate) cursor: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Only events after this number
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    pub(crate) after: u64,
    /// Goes on as the journal grows, until the run has ended
    #[arg(long)]
    pub(crate) follow: bool,
    /// Prints one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Inbox {
    /// Id of a question or its beginning, or of a run with exactly one: shows it in full
    pub(crate) wait: Option<String>,
    /// Only questions for this person
    #[arg(long, value_name = "A")]
    pub(crate) assignee: Option<String>,
    /// Only questions of runs with this tag; may be repeated
    #[arg(short, long = "metadata", value_name = "K=V")]
    pub(crate) metadata: Vec<String>,
    /// Only questions of this workflow
    #[arg(long, value_name = "NAME")]
    pub(crate) workflow: Option<String>,
    /// Only questions due before: a day, a time, or an age such as 2h
    #[arg(long, value_name = "T")]
    pub(crate) due_before: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,
    /// Where the last page ended
    #[arg(long, value_name = "C")]
    pub(crate) cursor: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Answer {
    /// Id of the question or its beginning, or of a run with exactly one
    pub(crate) target: String,
    /// The answer is this text
    #[arg(long, value_name = "S", group = "answer")]
    pub(crate) text: Option<String>,
    /// The answer is this JSON value
    #[arg(long, value_name = "J", group = "answer")]
    pub(crate) json_value: Option<String>,
    /// The answer is the JSON in this file; `-` is standard input
    #[arg(long, value_name = "F", group = "answer")]
    pub(crate) file: Option<PathBuf>,
    /// Who answers
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Signal {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Name of the signal
    pub(crate) name: String,
    /// Its value is this text
    #[arg(long, value_name = "S", conflicts_with = "input")]
    pub(crate) text: Option<String>,
    /// Its value, as JSON or @FILE [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) input: Option<String>,
    /// Its id; the same id is taken once
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
    /// Id of the run, or its beginning
    pub(crate) run: String,
    /// Why; kept in the journal
    #[arg(long, value_name = "S")]
    pub(crate) reason: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Worker {
    /// Attempts at once [default: cores × 4]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Prints errors as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    /// Workflow files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Warnings are errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// Name or number of the code
    #[arg(allow_negative_numbers = true)]
    pub(crate) code: String,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
