//! Agents: functions that name their next step.
//!
//! ```text
//! Agent ──start──▶ Run ──▶ a token at each entry
//!                              │
//!                     ┌────────┴────────┐
//!                     ▼                 ▼
//!                  State  ◀─ Context ─▶ State      attempts: retried, timed, each carried out by one process
//!                     │                 │
//!                   Next              Next         done: the token ends · to: it moves · all, each: it forks
//!                     └──────┬──────────┘
//!                            ▼
//!                          State                   joined: one execution, when nobody else can still come
//! ```
//!
//! An [`Agent`] is a workflow whose steps are functions of this program. What a run of it does is decided by the core
//! and kept by the engine, as with every other workflow: the writes of a state, where it leads and what begins next are one
//! commit. Nothing here decides anything; `builder.rs` makes a definition, `handler.rs` lets the engine call a function
//! and `next.rs` is what it returns; what it is given is the folder `context`.

mod added;
mod builder;
mod handler;
mod lint;
mod need;
mod next;
mod state;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, WaitId};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_engine::Engine;
use stepwell_engine::error::from_store;
use stepwell_store::{Among, Page, RunFilter, WaitFilter};

use crate::inbox::{self, Asked};
use crate::run::{self, Checkpoint, Launch, Restoring, Run, RunResult};
use builder::Defaults;
pub use builder::{AgentBuilder, DefinitionError};
pub use lint::LintFinding;
pub use need::Need;
pub use next::Next;
pub use state::State;

/// Functions that name their next step, as one workflow. Clones are the same agent.
///
/// ```
/// use stepwell::{Agent, Context, Engine, Next, Options, Registry};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = stepwell::open_store("memory:").await?;
/// let engine = Engine::open(store, Registry::default(), Options::default()).await?;
///
/// let agent = Agent::new("my_workflow")
///     .state("process_data", |cx: Context| async move {
///         cx.set("data", "processed")?;
///         Ok(Next::to("format_data"))
///     })
///     .state("format_data", |cx: Context| async move {
///         let data: String = cx.get("data")?.unwrap_or_default();
///         cx.set("result", &data.to_uppercase())?;
///         Ok(Next::done())
///     })
///     .build(&engine)?;
///
/// let result = agent.run(()).await?;
/// assert_eq!(result.get::<String>("result")?.unwrap(), "PROCESSED");
/// assert_eq!(agent.name(), "my_workflow");
/// engine.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Agent {
    engine: Engine,
    workflow: Arc<Workflow>,
    defaults: Arc<Defaults>,
}

impl Agent {
    /// Begins an agent of that name, which its runs are listed by.
    #[expect(clippy::new_ret_no_self, reason = "an agent without states is none; `build` returns it")]
    pub fn new(name: &str) -> AgentBuilder {
        AgentBuilder::new(name)
    }

    /// Runs the agent and waits for the end. The input is an object whose keys are the first context, or nothing: `()`.
    ///
    /// Who stops waiting stops nothing: the run goes on, also in the next process that builds the agent over the same
    /// store. With a [`run_id`](Launch::run_id) it can be found again.
    ///
    /// # Errors
    /// The run fails or is cancelled, which the error tells with its result; or it cannot be begun.
    pub fn run(&self, input: impl Serialize) -> Launch<'_, RunResult> {
        Launch::of_agent(&self.engine, &self.workflow, &input)
    }

    /// Begins a run and waits for nothing but that it is durable.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn start(&self, input: impl Serialize) -> Launch<'_, Run> {
        Launch::of_agent(&self.engine, &self.workflow, &input)
    }

    /// Makes a run of this agent that goes on where another stood, which may have been of an agent of another name. It is
    /// paused until [`Run::resume`]; one that had completed is completed, and one that had failed or was cancelled goes on
    /// as after a [retry](Run::retry).
    ///
    /// What was completed stays, and no state is told or asked anything twice. What was under way is attempted again, and
    /// what waits goes on waiting, until the same time, under other ids. Runs that it waits for are begun anew. States may
    /// have been added since; those of the checkpoint must be as they were, unless
    /// [changes are allowed](Restoring::allow_changes).
    ///
    /// # Errors
    /// `DEFINITION_MISMATCH` naming what differs; `CHECKPOINT_INVALID` if parts of the checkpoint do not fit together; or
    /// the store failed.
    pub fn restore(&self, checkpoint: &Checkpoint) -> Restoring<'_> {
        Restoring::new(&self.engine, &self.workflow, checkpoint)
    }

    /// Returns a run of this agent by its id, whoever began it. It may have begun with other states: one that this agent does
    /// not have waits for its function.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run, or it is of another workflow; or the store failed.
    pub async fn find(&self, run_id: impl Into<RunId>) -> Result<Run, ErrorObject> {
        Run::find(&self.engine, self.workflow.name(), run_id.into()).await
    }

    /// Returns the open questions of its runs, oldest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn inbox(&self) -> Result<Vec<Asked>, ErrorObject> {
        let of_this = WaitFilter { workflow: Some(self.workflow.name().to_owned()), ..WaitFilter::default() };
        inbox::all_of(&**self.engine.store(), &of_this).await
    }

    /// Answers a question, as [`Run::answer`] does.
    ///
    /// # Errors
    /// As [`Run::answer`].
    pub async fn answer(&self, wait: &WaitId, answer: impl Serialize) -> Result<(), ErrorObject> {
        run::answer(&self.engine, wait, &answer, None).await
    }

    /// Cancels every run of this agent that is not over and that no other run began, and returns how many executions that ended.
    ///
    /// # Errors
    /// The store failed; some may be cancelled.
    pub async fn cancel_all(&self) -> Result<usize, ErrorObject> {
        const AT_ONCE: usize = 100;
        let live = RunFilter {
            status: vec![RunStatus::Pending, RunStatus::Running, RunStatus::Paused],
            workflow: Some(self.workflow.name().to_owned()),
            among: Among::Roots,
            ..RunFilter::default()
        };
        let (mut count, mut page) = (0, Page::first(AT_ONCE));
        loop {
            let found = self.engine.store().runs(&live, &page).await.map_err(|error| from_store(&error))?;
            for row in found.items {
                match Run::of(self.engine.clone(), row.run).cancel().await {
                    Ok(ended) => count += ended,
                    // It has ended meanwhile.
                    Err(error) if error.code == Code::WORKFLOW_INVALID_STATE => {}
                    Err(error) => return Err(error),
                }
            }
            if found.next.is_none() {
                return Ok(count);
            }
            page.cursor = found.next;
        }
    }

    /// Returns what the agent can do and was hardly meant to: states that nothing leads to, merges that wait longer than they
    /// seem to. It changes nothing, and no finding is an error.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// # async fn nothing(_: Context) -> Result<Next, stepwell::StepError> { Ok(Next::done()) }
    /// let agent = Agent::new("essay")
    ///     .add_state(State::new("draft", nothing).next(["draft"]))
    ///     .add_state(State::new("publish", nothing).next(["publish"]))
    ///     .add_state(State::new("start", nothing).next(["draft"]).entry())
    ///     .build(&engine)?;
    /// let found = agent.lint();
    /// assert_eq!(
    ///     found[0].to_string(),
    ///     "unreachable: nothing that begins with the run leads to state 'publish' \
    ///      (name it in the `next` of a state, mark it with `entry`, or remove it)"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn lint(&self) -> Vec<LintFinding> {
        lint::lint(&self.workflow, &self.engine)
    }

    /// Returns the engine that it was built on.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the name that its runs are listed by.
    pub fn name(&self) -> &str {
        self.workflow.name()
    }

    /// Returns the workflow that it is.
    pub fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({})", self.workflow.name())
    }
}
