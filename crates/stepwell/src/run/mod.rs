//! Runs: begun, steered, waited for, and what came of them.

mod checkpoint;
mod dead_letter;
mod details;
mod history;
mod launch;
mod metrics;
mod report;
mod restore;
mod result;
mod resuming;
mod served;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, StepName, WaitId};
use stepwell_core::run::Run as CoreRun;
use stepwell_core::run::checkpoint::StateMetadata;
use stepwell_core::run::event::Event;
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_engine::batch::BatchResult;
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Follow, Leases};
use stepwell_store::{Recorded, WaitFilter};

use crate::inbox::{self, Asked};
use crate::json::to_json;
pub use checkpoint::Checkpoint;
pub use dead_letter::DeadLetter;
pub use details::{Answered, RunDetails};
pub use history::StepRecord;
pub use launch::Launch;
pub(crate) use launch::first_context;
pub use metrics::Metrics;
pub use report::RunReport;
pub use restore::Restoring;
use result::outside_of_states;
pub use result::{RunError, RunResult};
pub use resuming::Resuming;
pub(crate) use resuming::{open_questions, told};
pub(crate) use served::is_left;
pub use summary::RunSummary;

/// A run. It goes on whether anybody holds this or not; clones are the same run.
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
/// use stepwell::RunStatus;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let agent = Agent::new("patient")
///     .state("wait", |cx: Context| async move {
///         let speed: u32 = cx.signal("go").await?;
///         cx.set("speed", &speed)?;
///         Ok(Next::done())
///     })
///     .build(&engine)?;
///
/// let run = agent.start(()).run_id("patient-1").await?;
/// run.pause().await?;
/// run.signal("go", 3).await?;
/// assert_eq!(run.status().await?, RunStatus::Paused);
///
/// // Here, or in another process that built the agent:
/// let run = agent.find("patient-1").await?;
/// run.resume().await?;
/// assert_eq!(run.wait().await?.get("speed")?, Some(3));
/// assert_eq!(run.metrics().await?.attempts, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Run {
    engine: Engine,
    id: RunId,
    /// None: as the engine says.
    cleanup: Option<Duration>,
}

impl Run {
    pub(crate) fn of(engine: Engine, id: RunId) -> Self {
        Self { engine, id, cleanup: None }
    }

    /// Returns a run of the workflow of that name by its id, to look at it and to steer it. What carries out its steps,
    /// [`Agent::find`](crate::Agent::find) brings along.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run, or it is of another workflow; or the store failed.
    pub async fn find(engine: &Engine, workflow: &str, id: RunId) -> Result<Self, ErrorObject> {
        let row = engine.store().run(&id).await.map_err(|error| from_store(&error))?;
        if row.workflow != workflow {
            let message = format!("run {id} is of workflow '{}', not of '{workflow}'", row.workflow);
            return Err(ErrorObject::new(Code::WORKFLOW_NOT_FOUND, message).with("run_id", id.as_str()));
        }
        Ok(Self::of(engine.clone(), id))
    }

    /// Returns its id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Returns how it stands.
    ///
    /// # Errors
    /// The store failed.
    pub async fn status(&self) -> Result<RunStatus, ErrorObject> {
        let row = self.engine.store().run(&self.id).await;
        Ok(row.map_err(|error| from_store(&error))?.state.status)
    }

    /// Returns how it stands, as it is listed.
    ///
    /// # Errors
    /// The store failed.
    pub async fn summary(&self) -> Result<RunSummary, ErrorObject> {
        let row = self.engine.store().run(&self.id).await;
        Ok(row.map_err(|error| from_store(&error))?.into())
    }

    /// Waits until it is over, or paused: by somebody, or because only people and signals can move it. Returns which. A run
    /// that sleeps, or waits for its next attempt, does not rest. One that goes on without them at some time does: at the
    /// deadline of a question, or when the time of a [need](crate::Need::timeout) has passed. Whether people can move it,
    /// [`Run::questions`] tells. A run that others left is taken up, as by [`Run::wait`].
    ///
    /// # Errors
    /// `SYSTEM_SHUTDOWN` if the engine was shut down and the run does not rest; or the store failed.
    pub async fn rest(&self) -> Result<RunStatus, ErrorObject> {
        served::take_up_if_left(&self.engine, &self.id).await?;
        Ok(self.engine.rest(&self.id, true).await?.state.status)
    }

    /// Returns how it stands, with what its steps came to.
    ///
    /// # Errors
    /// The store failed.
    pub async fn report(&self) -> Result<RunReport, ErrorObject> {
        self.engine.show(&self.id, RunReport::of).await
    }

    /// Returns what came of each file; none if it is no run of a batch.
    ///
    /// # Errors
    /// The store failed.
    pub async fn batch(&self) -> Result<Option<BatchResult>, ErrorObject> {
        self.engine.show(&self.id, BatchResult::of).await
    }

    /// Returns what it asks people, oldest first. Questions of runs that it waits for are asked by those.
    ///
    /// # Errors
    /// The store failed.
    pub async fn questions(&self) -> Result<Vec<Asked>, ErrorObject> {
        let of_this = WaitFilter { run: Some(self.id.clone()), ..WaitFilter::default() };
        inbox::all_of(&**self.engine.store(), &of_this).await
    }

    /// Answers a question; durable when this returns. Of several answers one is taken.
    ///
    /// # Errors
    /// `ANSWER_INVALID` if it does not fit, and the question stays open; `WORKFLOW_INVALID_STATE` if it was answered, or its
    /// time is over; or the store failed.
    pub async fn answer(&self, wait: &WaitId, answer: impl Serialize) -> Result<(), ErrorObject> {
        self::answer(&self.engine, wait, &answer, None).await
    }

    /// Sends it a signal, for the next [`Context::signal`](crate::Context::signal) of that name, which may come later; durable
    /// when this returns.
    ///
    /// # Errors
    /// The run is over, the value is not JSON, or the store failed.
    pub async fn signal(&self, name: &str, value: impl Serialize) -> Result<(), ErrorObject> {
        let value = to_json(&value, || format!("the value of signal '{name}'")).map_err(outside_of_states)?;
        self.engine.signal(&self.id, name, value, None).await.map(|_| ())
    }

    /// Lets nothing begin from now on; what is under way may end. It is durable, and so is what happens meanwhile:
    /// answers, signals and times that pass are kept for later. Returns how the run stands with that.
    ///
    /// # Errors
    /// The run is over, or the store failed.
    pub async fn pause(&self) -> Result<Checkpoint, ErrorObject> {
        self.engine.pause(&self.id, None).await?;
        self.checkpoint().await
    }

    /// Goes on after [`Run::pause`].
    ///
    /// # Errors
    /// Nobody paused it, it is over, or the store failed.
    pub async fn resume(&self) -> Result<(), ErrorObject> {
        self.engine.resume(&self.id, None).await.map(|_| ())
    }

    /// Gives it another time limit, in place of that of [`Agent::run`](crate::Agent::run) or its definition: it counts from
    /// now on, pauses included, until the run has ended. A run that is tried again has that of its definition.
    ///
    /// # Errors
    /// It is over, or the store failed.
    pub async fn limit_time(&self, limit: Duration) -> Result<(), ErrorObject> {
        self.engine.limit_time(&self.id, crate::millis(limit)).await.map(|_| ())
    }

    /// Takes it up here, whoever began it: an engine that takes the work of its [own](Leases::Own) runs takes that of this one
    /// and its child runs too. Joining it by its [id](Launch::run_id), resuming it and trying it again do the same.
    ///
    /// # Errors
    /// The store failed.
    pub async fn carry(&self) -> Result<(), ErrorObject> {
        self.engine.carry(&self.id).await
    }

    /// Ends the run, and returns how many executions that ended; durable when this returns. Futures of its states are dropped, what they wait for is closed, and the
    /// runs that they began are cancelled too. [`Run::wait`] waits until all that has ended in this process.
    ///
    /// # Errors
    /// The run has completed or failed, or the store failed.
    pub async fn cancel(&self) -> Result<usize, ErrorObject> {
        let before = self.seq().await?;
        let taken = self.engine.cancel(&self.id, None).await?;
        if *self.engine.leases() == Leases::None {
            // Its child runs end with it, also when nobody carries them.
            self.engine.deliver().await?;
        }
        self.cancelled_between(before, taken.seq, |_| true).await
    }

    /// Ends what goes on or waits of one state, and returns how many executions that were. Their branches end, and nothing
    /// follows from them; the run goes on with the others.
    ///
    /// # Errors
    /// `WORKFLOW_INVALID_STATE` if the run has no such state or is over; or the store failed.
    pub async fn cancel_state(&self, name: &str) -> Result<usize, ErrorObject> {
        let before = self.seq().await?;
        let taken = self.engine.cancel_step(&self.id, name.into()).await?;
        self.cancelled_between(before, taken.seq, |step| step.as_str() == name).await
    }

    async fn seq(&self) -> Result<Seq, ErrorObject> {
        Ok(self.engine.store().run(&self.id).await.map_err(|error| from_store(&error))?.seq)
    }

    /// Returns how many executions of those steps were cancelled after that event, up to the other.
    async fn cancelled_between(
        &self,
        before: Seq,
        last: Seq,
        counts: impl Fn(&StepName) -> bool,
    ) -> Result<usize, ErrorObject> {
        let journal = self.events_between(before, last).await?;
        let is_one =
            |known: &&Recorded| matches!(&known.event, Event::StepCancelled { step, .. } if counts(step));
        Ok(journal.iter().filter(is_one).count())
    }

    /// Deletes it with its journal, its results and the child runs that it began, once it has ended; its id is free then.
    ///
    /// # Errors
    /// `WORKFLOW_INVALID_STATE` if it has not ended, or another run began it; or the store failed.
    pub async fn delete(self) -> Result<(), ErrorObject> {
        self.engine.delete(&self.id).await.map(|_| ())
    }

    /// Tries again what failed in a run that is over, and goes on from there. What completed stays, and so does what was
    /// done once.
    ///
    /// # Errors
    /// There is nothing to be tried again, or the store failed.
    pub async fn retry(&self) -> Result<(), ErrorObject> {
        self.engine.retry(&self.id, None, None).await.map(|_| ())
    }

    /// Follows its journal, from the first event, page by page. It ends with `SYSTEM_SHUTDOWN` if the engine is shut down before
    /// the run has ended, as [`Run::watch`] does.
    pub fn events(&self) -> Follow {
        self.follow(Seq(0))
    }

    /// Follows its journal from after that event.
    pub fn follow(&self, after: Seq) -> Follow {
        self.engine.follow(&self.id, after)
    }

    /// Returns its journal as a stream, from the first event, which ends when the run has ended. Messages that states emit are
    /// among the events.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
    /// use futures_util::TryStreamExt;
    /// use stepwell::core::run::event::Event;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("short").state("a", |_: Context| async { Ok(Next::done()) }).build(&engine)?;
    /// let run = agent.start(()).await?;
    /// let mut watched = std::pin::pin!(run.watch());
    /// let mut completed = Vec::new();
    /// while let Some(recorded) = watched.try_next().await? {
    ///     if let Event::StepCompleted { step, .. } = recorded.event {
    ///         completed.push(step.to_string());
    ///     }
    /// }
    /// assert_eq!(completed, ["a"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self) -> impl Stream<Item = Result<Recorded, ErrorObject>> + Send + use<> {
        let pages = stream::try_unfold(self.events(), |mut journal| async move {
            let page = journal.next().await?;
            let events = (!page.is_empty()).then(|| stream::iter(page.into_iter().map(Ok)));
            Ok::<_, ErrorObject>(events.map(|events| (events, journal)))
        });
        pages.try_flatten()
    }

    /// Returns the states that could go on here and whose functions this process does not have: an earlier program had them, or a
    /// run added them ([`Agent::add_state`](crate::Agent::add_state) gives such a one its function again). The run waits for them.
    ///
    /// # Errors
    /// The store failed.
    pub async fn missing_functions(&self) -> Result<Vec<String>, ErrorObject> {
        let run = self.engine.inspect(&self.id).await?;
        let goes_on = |status| matches!(status, ExecutionStatus::Ready | ExecutionStatus::Retrying);
        let waiting = run.executions().iter().filter(|execution| goes_on(execution.status));
        let missing = waiting.filter(|execution| !self.engine.handles(run.workflow(), execution.step_ix()));
        let names: BTreeSet<String> = missing.map(|execution| execution.step.to_string()).collect();
        Ok(names.into_iter().collect())
    }

    /// Returns what it did so far, in numbers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn metrics(&self) -> Result<Metrics, ErrorObject> {
        let journal = self.journal().await?;
        Ok(Metrics::of(&self.engine.inspect(&self.id).await?, &journal))
    }

    /// Returns how the run stands and what its steps came to, with those of the child runs that parts of a pipeline are.
    ///
    /// ```
    /// # use stepwell::{Context, Engine, Options, Registry};
    /// use stepwell::{Parallel, Pipeline, Step};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let count = Step::new("count", |_, text: String| async move { Ok(text.len()) });
    /// let pipeline = Pipeline::new("facts")
    ///     .step("trim", |_, text: String| async move { Ok(text.trim().to_owned()) })
    ///     .then(Parallel::new("facts").branch("length", count))
    ///     .build(&engine)?;
    /// let run = pipeline.start(" well ").await?;
    /// run.wait().await?;
    ///
    /// let history = run.details().await?.history;
    /// let names: Vec<&str> = history.iter().map(|record| record.name.as_str()).collect();
    /// assert_eq!(names, ["trim", "facts"]);
    /// assert_eq!(history[1].history[0].path, "facts/length/count");
    /// assert_eq!(history[1].history[0].output, 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store failed.
    pub async fn details(&self) -> Result<RunDetails, ErrorObject> {
        let known = self.engine.inspect(&self.id).await?;
        let journal = self.journal().await?;
        let blank = CoreRun::blank(self.id.clone(), known.workflow().origin().clone());
        let then = blank.fold(journal.iter().map(|recorded| (&recorded.event, recorded.at)));
        let mut details = RunDetails::of(&then, &journal);
        self.look_into_children(&mut details.history).await?;
        Ok(details)
    }

    /// Puts what child runs did into the records that stand for them.
    async fn look_into_children(&self, records: &mut [StepRecord]) -> Result<(), ErrorObject> {
        for record in records {
            if let Some(child) = &record.child {
                let child = Self::of(self.engine.clone(), child.clone());
                record.history = Box::pin(child.details()).await?.history;
            }
            Box::pin(self.look_into_children(&mut record.history)).await?;
        }
        Ok(())
    }

    /// Returns every final failure of a state so far, oldest first, also those that a policy, a route or a retry has taken
    /// care of.
    ///
    /// # Errors
    /// The store failed.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ErrorObject> {
        Ok(DeadLetter::of(self.journal().await?))
    }

    /// Returns how the run stands, as plain data.
    ///
    /// # Errors
    /// The store failed.
    pub async fn checkpoint(&self) -> Result<Checkpoint, ErrorObject> {
        Ok(self.engine.checkpoint(&self.id).await?.into())
    }

    /// Returns the last checkpoint that it took by itself, if its agent has an
    /// [interval](crate::AgentBuilder::checkpoint_interval): at its end, or while it ran.
    ///
    /// # Errors
    /// The store failed.
    pub async fn latest_checkpoint(&self) -> Result<Option<Checkpoint>, ErrorObject> {
        Ok(self.engine.latest_checkpoint(&self.id).await?.map(Checkpoint::from))
    }

    /// Returns how each state stands, by its name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn states(&self) -> Result<BTreeMap<StepName, StateMetadata>, ErrorObject> {
        Ok(self.engine.inspect(&self.id).await?.states())
    }

    async fn journal(&self) -> Result<Vec<Recorded>, ErrorObject> {
        self.events_between(Seq(0), Seq(u64::MAX)).await
    }

    /// Returns the events of its journal that are there, from after that one.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn events_after(&self, after: Seq) -> Result<Vec<Recorded>, ErrorObject> {
        self.events_between(after, Seq(u64::MAX)).await
    }

    async fn events_between(&self, after: Seq, last: Seq) -> Result<Vec<Recorded>, ErrorObject> {
        let count = usize::try_from(last.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        let journal = self.engine.store().events(&self.id, after, count).await;
        journal.map_err(|error| from_store(&error))
    }

    /// Waits until the run is over, however long it is paused or waits for people.
    ///
    /// If this process has functions of it and no living process carried a step of it before, this takes it up, as [`Run::carry`]
    /// does: nobody else would.
    ///
    /// If it did not complete, this also waits until its states, and those of the runs that it began, have ended in this
    /// process. One that goes on although it is
    /// [told to end](crate::Context::is_cancelled) is abandoned when the [clean-up time](Launch::cleanup_timeout) is over:
    /// what it does later changes nothing. Slots, resources and limits are given back when an attempt ends or is abandoned, those
    /// limits that the store keeps as soon as it is told.
    ///
    /// # Errors
    /// It failed or was cancelled; `SYSTEM_SHUTDOWN` if the engine was shut down and the run is not over, which another
    /// engine over its store may carry on; or the store failed.
    pub async fn wait(&self) -> Result<RunResult, RunError> {
        served::take_up_if_left(&self.engine, &self.id).await?;
        let _until_looked_at = self.engine.keep(&self.id);
        let ended = self.engine.rest(&self.id, false).await?;
        if ended.state.status != RunStatus::Completed {
            self.engine.wind_down(&ended, self.cleanup).await?;
        }
        let result = self.engine.show_ended(&ended, RunResult::of).await?;
        match (result.status, result.error.clone()) {
            (RunStatus::Completed, _) | (_, None) => Ok(result),
            (_, Some(error)) => Err(RunError { error, result: Some(Box::new(result)) }),
        }
    }
}

/// Answers a question, of whichever run.
pub(crate) async fn answer(
    engine: &Engine,
    wait: &WaitId,
    answer: &impl Serialize,
    by: Option<&str>,
) -> Result<(), ErrorObject> {
    let answer = to_json(answer, || "the answer".into()).map_err(outside_of_states)?;
    engine.answer(wait, answer, by.map(str::to_owned)).await.map(|_| ())
}
