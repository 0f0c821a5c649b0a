//! Stepwell runs workflows and agents so that no finished step is ever lost: kill the process, start it again, and it goes
//! on where it was.
//!
//! There is no service to run. An [`Engine`] works over a [`Store`], which is one SQLite file, or memory for tests; every
//! outcome is on disk before the next step begins.
//!
//! | What you want | What to use |
//! |---|---|
//! | functions that decide what comes next, fork, meet again and loop | [`Agent`], [`State`], [`Next`] |
//! | steps that follow each other, each given what the last one returned | [`Pipeline`], [`Step`] |
//! | a workflow file in YAML or JSON | [`Workflow::load`], over an engine with [`registry`] |
//! | to ask a person | [`Context::ask_human`], [`Human`] in a pipeline |
//! | to wait for a signal or a time | [`Context::signal`], [`Context::sleep`] |
//! | to do something once, whatever is tried again | [`Context::once`], [`Context::idempotency_key`] |
//! | to block a thread, or compute for long | [`State::blocking`], [`Step::blocking`] |
//! | to try again, and to say what a failure does | [`Retry`], [`OnFailure`], [`State::compensation`] |
//! | to run another agent | [`Context::run_agent`], [`Next::agent`] |
//! | to pause, cancel, watch and try a run again | [`Run`], which `start` and `find` return |
//! | to list runs and answer questions from another program | [`Client`] |
//! | to carry a run to another store, or on under another name | [`Checkpoint`], [`Agent::restore`] |
//! | to add states while a run goes on | [`Context::add_state`], [`Agent::add_state`] |
//!
//! # What is promised
//!
//! *A step is attempted at least once; its outcome is committed exactly once; an acknowledged answer, signal or command is
//! never lost.* That holds for what the store survives: `sqlite://PATH` a killed process and a loss of power,
//! `sqlite://PATH?durability=crash` a killed process, `memory:` nothing.
//!
//! # The model
//!
//! ```text
//!  Agent · Pipeline · workflow file         what is declared: states or steps, who leads to whom, policies
//!          │ run, start
//!          ▼
//!         Run ──────────── Store            its journal: one commit for an outcome, its writes and what begins next
//!          │ a token at each entry
//!          ▼
//!   ┌─── State ───┐                         an attempt of its function: retried, limited in time, in one process at a time
//!   │ fork        │ fork
//!   ▼             ▼
//! State         State ──── Context          what states leave for each other, key by key
//!   │             │ └───── Wait             a question, signal, time or child run: nothing is held meanwhile
//!   └──▶ State ◀──┘                         joined: it begins once, when no branch can come there any more
//! ```
//!
//! # Agents: functions that name their next step
//!
//! An [`Agent`] is a set of functions. Each is given a [`Context`], in which it finds what others left and leaves
//! something itself, and returns a [`Next`]: nothing, one state, or several that run side by side.
//!
//! ```
//! use serde_json::json;
//! use stepwell::{Agent, Context, Engine, Next, Options, Registry, Retry, State};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = stepwell::open_store("memory:").await?; // or sqlite://essays.db
//! // Functions need no provider; workflow files need those of `stepwell::registry`.
//! let engine = Engine::open(store, Registry::default(), Options::default()).await?;
//!
//! let agent = Agent::new("essay")
//!     .state("outline", |cx: Context| async move {
//!         let topic: String = cx.get("topic")?.unwrap_or_default();
//!         cx.set("title", &format!("On {topic}"))?;
//!         Ok(Next::all(["write", "find_pictures"]))
//!     })
//!     .add_state(
//!         State::new("write", |cx: Context| async move {
//!             cx.set("text", &format!("{}. It is useful.", cx.get::<String>("title")?.unwrap()))?;
//!             Ok(Next::to("publish"))
//!         })
//!         .next(["publish"])
//!         .retry(Retry::times(3)),
//!     )
//!     .add_state(
//!         State::new("find_pictures", |cx: Context| async move {
//!             cx.set("pictures", &["well.png"])?;
//!             Ok(Next::to("publish"))
//!         })
//!         .next(["publish"]),
//!     )
//!     // Both branches lead here, so it waits for both.
//!     .state("publish", |cx: Context| async move {
//!         let (text, pictures) = (cx.get::<String>("text")?, cx.get::<Vec<String>>("pictures")?);
//!         cx.set("page", &json!({ "text": text, "pictures": pictures }))?;
//!         Ok(Next::done())
//!     })
//!     .build(&engine)?;
//!
//! let result = agent.run(json!({ "topic": "wells" })).run_id("essay-1").await?;
//! assert_eq!(result.context["page"]["text"], "On wells. It is useful.");
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A closure cannot be read: [`State::next`] says where one can lead. A state that says nothing may lead anywhere, so the other
//! branches of a fork wait for it. Say it of every state in a branch, `.next([])` of those that end there.
//!
//! In its middle a state can [ask a person](Context::ask_human), [wait for a signal](Context::signal),
//! [sleep](Context::sleep), [run another agent](Context::run_agent), and [do something once](Context::once). It holds nothing
//! meanwhile, not even the process, and runs again from its start when it can go on.
//!
//! A run survives its process: the next one that opens the store and builds the agent carries it on, and
//! `agent.run(…).run_id("essay-1")` finds it again. A state that was under way is tried once more; what was finished never
//! runs again.
//!
//! What a function does may change from one start to the next; a state that is gone cannot go on. A run that stands at one
//! waits until a process builds the agent with a state of that name; [`Run::missing_functions`] tells which it lacks.
//!
//! The programs in `examples/` show one subject each, and `complete.rs` all of them together. They check themselves: one
//! that ends without a panic did what it says.
//!
//! Who answers and steers needs none of these functions: a [`Client`] is the people's side of a store.
//!
//! # Pipelines: steps that follow each other
//!
//! Where what follows is known beforehand, a [`Pipeline`] says it once. Each step is given what the one before it returned, and
//! [`Branch`], [`Parallel`], [`Map`], [`Repeat`], [`Refine`] and [`Human`] stand where a step can.
//!
//! ```
//! use std::time::Duration;
//! use stepwell::{Context, Engine, Map, Options, Pipeline, Registry, Repeat, Retry, Step, StepError};
//!
//! async fn fetch(_: Context, page: String) -> Result<String, StepError> {
//!     Ok(format!("{page}: wells are deep"))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = stepwell::open_store("memory:").await?;
//! # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
//! let page = Step::new("fetch", fetch).retry(Retry::times(3)).timeout(Duration::from_secs(30));
//! let shorten = Step::new("shorten", |_, text: String| async move { Ok(text[..text.len() - 5].to_owned()) });
//! let digest = Pipeline::new("digest")
//!     .then(Map::each("pages", page))
//!     .step("join", |_, texts: Vec<String>| async move { Ok(texts.join("; ")) })
//!     .then(Repeat::until("fit", shorten, |text: &String, _| Ok(text.len() <= 20)))
//!     .build(&engine)?;
//!
//! let result = digest.run(["a", "b"]).run_id("digest-1").await?;
//! assert_eq!(result.output::<String>()?, "a: wells are dee");
//! # engine.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Both are workflows of functions on the same engine, and the same holds for their runs: they are named by a `run_id`, paused, asked
//! for their questions, tried again, and survive their process.
//!
//! # Workflow files
//!
//! Workflows written in YAML or JSON run on the same engine, with the providers that [`registry`] returns. [`Workflow`] is one
//! that can be run, whoever wrote it.
//!
//! ```
//! use serde_json::json;
//! use stepwell::{Engine, Options, Workflow, load};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = stepwell::open_store("memory:").await?;
//! let engine = Engine::open(store, stepwell::registry(Vec::new()), Options::default()).await?;
//!
//! let file = "steps: [{name: Nap, method: timer/sleep, params: {seconds: 0}}]";
//! let nap = Workflow::from_text(file, load::Format::Yaml, &engine)?; // or Workflow::load("nap.yaml", &engine)
//! let result = nap.run(json!({})).await?;
//! assert_eq!(result.status.as_str(), "completed");
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! A function fails with a [`StepError`], which `?` makes of every error. A run that did not complete is a [`RunError`], which
//! has its [`RunResult`]; an agent or a pipeline that cannot be built is a [`DefinitionError`]. Everything else fails with an
//! [`ErrorObject`]: its [`Code`], which has a page, its message, and in its `hint` what to do about it.
//!
//! # Features
//!
//! `schemars`, off by default: `Ask::schema_of`, the form of an answer from a Rust type.

mod agent;
mod client;
mod context;
mod error;
mod function;
mod inbox;
mod json;
mod limits;
mod pipeline;
mod retry;
mod run;
mod threads;
mod workflow;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stepwell_core::workflow::Workflow as Checked;
use stepwell_providers::Written;

pub use agent::{Agent, AgentBuilder, DefinitionError, LintFinding, Need, Next, State};
pub use client::Client;
pub use context::{Ask, Context, Secret, Typed};
pub use error::StepError;
pub use inbox::Asked;
pub use pipeline::{
    Branch, BranchFailure, Callback, Human, Map, Merge, Parallel, Pipeline, Prepared, Refine,
    RefinementCheck, Repeat, Step,
};
pub use retry::Retry;
pub use run::{
    Answered, Checkpoint, DeadLetter, Launch, Metrics, Restoring, Resuming, Run, RunDetails, RunError,
    RunReport, RunResult, RunSummary, StepRecord,
};
pub use stepwell_core as core;
pub use stepwell_core::error::{Code, ErrorObject};
pub use stepwell_core::ids::{RunId, WaitId};
pub use stepwell_core::policy::resources::Resources;
pub use stepwell_core::run::checkpoint::StateMetadata;
pub use stepwell_core::run::wait::Question;
pub use stepwell_core::status::{AgentStatus, ExecutionStatus, PauseReason, RunStatus, StateStatus};
pub use stepwell_core::workflow::definition::{END, Effect, Join, Lifecycle, OnFailure, Priority, Reducer};
pub use stepwell_engine::error::from_store;
pub use stepwell_engine::{
    Engine, Executor, FailureBehind, Follow, Leases, Options, Outcome, Provider, Registry, Serving, Start,
    Started, Task, batch, load,
};
pub use stepwell_providers::http::{AllowPrivate, HttpSettings, UnknownRule};
pub use stepwell_providers::isolation::LaterRoots;
pub use stepwell_providers::python::PythonSettings;
pub use stepwell_store::{
    Among, Page, Paged, Recorded, RunFilter, StateRow, Store, WaitFilter, open as open_store,
};
pub use workflow::Workflow;

/// How the providers of a Stepwell work.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of Python scripts; what they may see and use is also what programs may.
    pub python: PythonSettings,
    /// Of HTTP requests. By default they reach the internet and nothing else.
    pub http: HttpSettings,
}

/// Returns the providers of every Stepwell. File parameters must lie inside the roots (none given: inside the working
/// directory) or the directory their run was submitted from.
pub fn registry(roots: Vec<PathBuf>) -> Registry {
    registry_with(Settings::default(), roots)
}

/// Returns the same providers with settings of your own.
pub fn registry_with(settings: Settings, roots: Vec<PathBuf>) -> Registry {
    let Settings { mut python, http } = settings;
    if !roots.is_empty() {
        python.isolation.roots = roots;
    }
    // A run of the library or the command line is its user's own, wherever a worker carries it on.
    python.isolation.trust_base_dir = true;
    let roots = python.isolation.roots.clone();
    stepwell_providers::registry(python, http, Arc::new(read_child)).within(roots)
}

/// Reads the workflow of a child run. Its steps are checked against the same providers, and so are those of its own
/// children that are written in it.
fn read_child(written: Written<'_>, roots: &[PathBuf]) -> Result<Arc<Checked>, load::Invalid> {
    let mut python = PythonSettings::default();
    python.isolation.roots = roots.to_vec();
    let known = stepwell_providers::registry(python, HttpSettings::default(), Arc::new(read_child));
    let known = known.within(roots.to_vec());
    let loaded = match written {
        Written::Inline(value) => load::value(value, &known, false)?,
        Written::File(source) => source.load(&known, false)?,
    };
    Ok(loaded.workflow)
}

/// Returns a time in milliseconds, rounded up so that no limit becomes none.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
