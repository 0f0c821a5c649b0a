//! How a run that rests goes on: its question is answered, its pause lifted, or what failed tried again.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, WaitId};
use stepwell_core::run::command::Answer;
use stepwell_core::run::event::Event;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::changes;
use stepwell_core::workflow::definition::Definition;
use stepwell_core::workflow::differences::told as told_of;
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Leases};
use stepwell_store::{Recorded, RunRow, WaitFilter};
use tokio::time::timeout;

use super::Run;
use super::result::outside_of_states;
use super::served::{carrier, carry};
use crate::error::StepError;
use crate::inbox::{self, Asked};
use crate::json::to_json;

/// A run hears so soon that one below it goes on; who waits for it waits no longer for that.
const HEARD: Duration = Duration::from_secs(5);

/// A run that is about to go on: await it. [`Client::resume`](crate::Client::resume) and [`Client::retry`](crate::Client::retry)
/// make one.
///
/// | How the run stands | What it does |
/// |---|---|
/// | paused for input | the input answers the open question; of several, the one that is [named](Self::wait_id) |
/// | running, with a question open in a branch | the same, if the question is named |
/// | paused by an operator | it goes on; an input answers as well, in the same commit |
/// | failed | what failed is tried again; an input replaces that of the run |
/// | anything else | it is refused |
#[must_use = "the run goes on when this is awaited"]
pub struct Resuming<'a> {
    engine: &'a Engine,
    run: RunId,
    input: Result<Option<Value>, StepError>,
    wait: Option<WaitId>,
    by: Option<String>,
    /// What the caller carries out, with its version.
    given: Option<(Definition, String)>,
    only_failed: bool,
}

impl<'a> Resuming<'a> {
    pub(crate) fn new(engine: &'a Engine, run: RunId) -> Self {
        Self { engine, run, input: Ok(None), wait: None, by: None, given: None, only_failed: false }
    }

    /// Refuses a run that has not failed.
    pub(crate) fn only_failed(self) -> Self {
        Self { only_failed: true, ..self }
    }

    /// Gives it that: the answer, or of a run that failed a new input.
    pub fn input(mut self, input: impl Serialize) -> Self {
        self.input = to_json(&input, || "the answer".into()).map(Some);
        self
    }

    /// Names the question that is answered.
    pub fn wait_id(mut self, wait: impl Into<WaitId>) -> Self {
        self.wait = Some(wait.into());
        self
    }

    /// Says who answers.
    pub fn answered_by(mut self, by: impl Into<String>) -> Self {
        self.by = Some(by.into());
        self
    }

    /// Expects the run to be of that definition, which has that version and which the caller carries out.
    pub fn of_version(mut self, definition: &Definition, version: &str) -> Self {
        self.given = Some((definition.clone(), version.to_owned()));
        self
    }

    async fn carry_out(self) -> Result<Run, ErrorObject> {
        let engine = self.engine;
        let row = engine.store().run(&self.run).await.map_err(|error| from_store(&error))?;
        self.go_on(&row).await.map_err(|error| told(error, &row))?;
        // What was begun elsewhere goes on here, if it can.
        engine.carry(&row.run).await?;
        Ok(Run::of(engine.clone(), row.run))
    }

    async fn go_on(self, row: &RunRow) -> Result<(), ErrorObject> {
        let can_go_on = match row.state.status {
            RunStatus::Failed => true,
            RunStatus::Paused => !self.only_failed,
            RunStatus::Running => !self.only_failed && self.wait.is_some(),
            RunStatus::Pending | RunStatus::Completed | RunStatus::Cancelled => false,
        };
        if !can_go_on {
            return Err(self.not_resumable(row));
        }
        // Who gives the workflow carries it out.
        let carrier = match &self.given {
            Some((definition, version)) => {
                self.check_version(row, definition, version).await?;
                None
            }
            None => carrier(self.engine, row).await?,
        };
        let gone_on = self.act(row).await;
        match carrier {
            Some(carrier) if gone_on.is_ok() => carry(carrier, row),
            Some(carrier) => carrier.shutdown().await,
            None => {}
        }
        gone_on
    }

    async fn act(self, row: &RunRow) -> Result<(), ErrorObject> {
        let (status, pause) = (row.state.status, row.state.pause_reason);
        let Self { engine, input, wait, by, .. } = self;
        let input = input.map_err(|error| no_json(&outside_of_states(error)))?;
        if status == RunStatus::Failed {
            if let Some(wait) = wait {
                let message = format!("question {wait} is withdrawn: run {} has failed", row.run);
                return Err(refused("wait_closed", message).with("wait_id", wait.as_str()));
            }
            return engine.retry(&row.run, input, None).await.map(|_| ());
        }
        let is_paused_by_hand = pause == Some(PauseReason::Operator);
        let Some(value) = input else {
            if is_paused_by_hand {
                return engine.resume(&row.run, None).await.map(|_| ());
            }
            let message = format!("run {} asks something, and nothing is answered", row.run);
            return Err(ErrorObject::new(Code::ANSWER_INVALID, message)
                .with("errors", Value::Array(Vec::new()))
                .with_hint("give the answer as the input; null is one"));
        };
        let asked = open_questions(engine, row).await?;
        let chosen = choose(engine, row, asked, wait).await?;
        if is_paused_by_hand && chosen.run == row.run {
            let answer = Answer { wait: chosen.wait, value: Arc::new(value), by };
            return engine.resume_with(&row.run, answer).await.map(|_| ());
        }
        let before = row.seq;
        engine.answer(&chosen.wait, value, by).await?;
        if is_paused_by_hand {
            engine.resume(&row.run, None).await?;
        }
        if chosen.run != row.run && *engine.leases() != Leases::None {
            // Else who waits until the run rests would find it as paused as before.
            let _heard = timeout(HEARD, hears_of_it(engine, row, before)).await;
        }
        Ok(())
    }

    /// Refuses a definition that is another than that of a run, but for the limit of its time, which whoever begins a run
    /// may have given.
    ///
    /// # Errors
    /// `DEFINITION_MISMATCH` with both versions and what has changed; or the store failed.
    async fn check_version(
        &self,
        row: &RunRow,
        given: &Definition,
        version: &str,
    ) -> Result<(), ErrorObject> {
        let stored = &row.workflow;
        if *stored == given.name && row.version == version {
            return Ok(());
        }
        let run = &row.run;
        let (message, differs) = if *stored == given.name {
            let known = self.engine.inspect(run).await?;
            let began_with = known.workflow().origin();
            if began_with.functions_version() == version {
                return Ok(());
            }
            let differs = changes(began_with.definition(), given);
            (format!("run {run} began with another version of '{stored}': {}", told_of(&differs)), differs)
        } else {
            (format!("run {run} is of workflow '{stored}', not of '{}'", given.name), Vec::new())
        };
        Err(ErrorObject::new(Code::DEFINITION_MISMATCH, message)
            .with("stored", row.version.as_str())
            .with("given", version)
            .with("workflow", stored.as_str())
            .with("differs", differs)
            .with_hint(
                "go on with the definition that the run began with; what its functions do may have changed",
            ))
    }

    fn not_resumable(&self, row: &RunRow) -> ErrorObject {
        let (run, status) = (&row.run, row.state.status);
        let hint = match status {
            RunStatus::Running => {
                "wait until it rests, which lets it go on here if its program is gone; a question that is open in a branch is \
                 answered by its id"
            }
            RunStatus::Pending => "it has not begun: `stepwell resume` begins it",
            RunStatus::Paused => "only a failed run can be retried; one that is paused is resumed",
            RunStatus::Completed | RunStatus::Cancelled | RunStatus::Failed => "start another run",
        };
        let what = if self.only_failed { "retried" } else { "resumed" };
        refused("not_resumable", format!("run {run} is {status} and cannot be {what}")).with_hint(hint)
    }
}

/// Waits until a run has heard that a run below it goes on.
async fn hears_of_it(engine: &Engine, row: &RunRow, before: Seq) -> Result<(), ErrorObject> {
    let mut journal = engine.follow(&row.run, before);
    loop {
        let page = journal.next().await?;
        let is_news = |recorded: &Recorded| {
            matches!(recorded.event, Event::ChildResumed { .. } | Event::WaitResolved { .. })
        };
        if page.is_empty() || page.iter().any(is_news) {
            return Ok(());
        }
    }
}

/// Returns the open questions of a run, and of runs below it that it waits for, oldest first.
pub(crate) async fn open_questions(engine: &Engine, row: &RunRow) -> Result<Vec<Asked>, ErrorObject> {
    let filter = if row.parent.is_none() {
        WaitFilter { root: Some(row.run.clone()), ..WaitFilter::default() }
    } else {
        WaitFilter { run: Some(row.run.clone()), ..WaitFilter::default() }
    };
    inbox::all_of(&**engine.store(), &filter).await
}

/// Chooses the question that is answered.
async fn choose(
    engine: &Engine,
    row: &RunRow,
    mut asked: Vec<Asked>,
    wait: Option<WaitId>,
) -> Result<Asked, ErrorObject> {
    let run = &row.run;
    if let Some(wait) = wait {
        if let Some(at) = asked.iter().position(|asked| asked.wait == wait) {
            return Ok(asked.swap_remove(at));
        }
        return Err(match engine.store().wait(&wait).await {
            Ok(known) if known.run == *run || known.kind == "human" => {
                let message = format!("question {wait} is not open any more");
                refused("wait_closed", message).with("wait_id", wait.as_str())
            }
            _ => refused("no_open_wait", format!("run {run} asks no question {wait}")),
        });
    }
    match asked.len() {
        0 => Err(refused("no_open_wait", format!("run {run} asks nothing, and an answer is given"))
            .with_hint("it waits for a signal, or somebody paused it: resume it without an input")),
        1 => Ok(asked.swap_remove(0)),
        count => {
            let ids: Vec<&str> = asked.iter().map(|asked| asked.wait.as_str()).collect();
            let message = format!("run {run} asks {count} questions, and none is named: {}", ids.join(", "));
            Err(refused("wait_ambiguous", message)
                .with("wait_ids", ids)
                .with_hint("name the one that is answered by its wait id"))
        }
    }
}

fn refused(reason: &str, message: String) -> ErrorObject {
    ErrorObject::new(Code::WORKFLOW_INVALID_STATE, message).with("reason", reason)
}

fn no_json(error: &ErrorObject) -> ErrorObject {
    ErrorObject::new(Code::ANSWER_INVALID, error.message.clone()).with("errors", Value::Array(Vec::new()))
}

/// Says of which run a refusal is, and gives those of a race the reason that they have otherwise: the run has moved on.
pub(crate) fn told(mut error: ErrorObject, row: &RunRow) -> ErrorObject {
    const MOVED_ON: [&str; 4] = ["terminal", "not_failed", "not_paused", "not_started"];
    let is_refusal = [Code::WORKFLOW_INVALID_STATE, Code::DEFINITION_MISMATCH, Code::HANDLER_UNAVAILABLE];
    if !is_refusal.contains(&error.code) {
        return error;
    }
    if error.data.get("reason").and_then(Value::as_str).is_some_and(|reason| MOVED_ON.contains(&reason)) {
        error.data.insert("reason".into(), "not_resumable".into());
    }
    error.data.entry("run_id").or_insert_with(|| row.run.as_str().into());
    error.data.entry("status").or_insert_with(|| row.state.status.as_str().into());
    error
}

impl<'a> IntoFuture for Resuming<'a> {
    type Output = Result<Run, ErrorObject>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.carry_out())
    }
}

impl fmt::Debug for Resuming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resuming").field("run", &self.run).field("wait", &self.wait).finish_non_exhaustive()
    }
}
