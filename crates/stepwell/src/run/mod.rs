//! Runs: begun, steered, waited for, and what came of them.

mod checkpoint;
mod dead_letter;
mod launch;
mod metrics;
mod restore;
mod result;

use std::collections::BTreeMap;

use serde::Serialize;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, Seq, StepName, WaitId};
use stepwell_core::run::checkpoint::StateMetadata;
use stepwell_core::status::RunStatus;
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Follow};
use stepwell_store::Recorded;

use crate::context::Asked;
use crate::json::to_json;
pub use checkpoint::Checkpoint;
pub use dead_letter::DeadLetter;
pub use launch::Launch;
pub(crate) use launch::first_context;
pub use metrics::Metrics;
pub use restore::Restoring;
use result::outside_of_states;
pub use result::{RunError, RunResult};

/// A run. It goes on whether anybody holds this or not; clones are the same run.
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
/// # use serde_json::json;
/// use stepwell::core::status::RunStatus;
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
/// engine.signal(run.id(), "go", json!(3), None).await?;
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
}

impl Run {
    pub(crate) fn of(engine: Engine, id: RunId) -> Self {
        Self { engine, id }
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

    /// Waits until it is over, or paused: by somebody, or because only people and signals can move it. Returns which.
    ///
    /// # Errors
    /// The store failed.
    pub async fn rest(&self) -> Result<RunStatus, ErrorObject> {
        Ok(self.engine.rest(&self.id, true).await?.state.status)
    }

    /// Returns what it asks people, oldest first. Questions of runs that it waits for are asked by those.
    ///
    /// # Errors
    /// The store failed.
    pub async fn questions(&self) -> Result<Vec<Asked>, ErrorObject> {
        let run = self.engine.inspect(&self.id).await?;
        Ok(run.open_waits().iter().filter_map(Asked::of).collect())
    }

    /// Answers a question; durable when this returns. Of several answers one is taken.
    ///
    /// # Errors
    /// `ANSWER_INVALID` if it does not fit, and the question stays open; `WORKFLOW_INVALID_STATE` if it was answered, or its
    /// time is over; or the store failed.
    pub async fn answer(&self, wait: &WaitId, answer: impl Serialize) -> Result<(), ErrorObject> {
        let answer = to_json(&answer, || "the answer".into()).map_err(outside_of_states)?;
        self.engine.answer(wait, answer, None).await.map(|_| ())
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

    /// Ends the run. Futures of its states are dropped, what they wait for is closed, and the runs that they began are
    /// cancelled too.
    ///
    /// # Errors
    /// The run has completed or failed, or the store failed.
    pub async fn cancel(&self) -> Result<(), ErrorObject> {
        self.engine.cancel(&self.id, None).await.map(|_| ())
    }

    /// Tries again what failed in a run that is over, and goes on from there. What completed stays, and so does what was
    /// done once.
    ///
    /// # Errors
    /// There is nothing to be tried again, or the store failed.
    pub async fn retry(&self) -> Result<(), ErrorObject> {
        self.engine.retry(&self.id, None, None).await.map(|_| ())
    }

    /// Follows its journal, from the first event.
    pub fn events(&self) -> Follow {
        self.engine.follow(&self.id, Seq(0))
    }

    /// Returns what it did so far, in numbers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn metrics(&self) -> Result<Metrics, ErrorObject> {
        let journal = self.journal().await?;
        Ok(Metrics::of(&self.engine.inspect(&self.id).await?, &journal))
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
        let journal = self.engine.store().events(&self.id, Seq(0), usize::MAX).await;
        journal.map_err(|error| from_store(&error))
    }

    /// Waits until the run is over, however long it is paused or waits for people.
    ///
    /// # Errors
    /// It failed or was cancelled; or the store failed.
    pub async fn wait(&self) -> Result<RunResult, RunError> {
        self.engine.rest(&self.id, false).await?;
        let result = RunResult::of(&self.engine.inspect(&self.id).await?);
        match (result.status, result.error.clone()) {
            (RunStatus::Completed, _) | (_, None) => Ok(result),
            (_, Some(error)) => Err(RunError { error, result: Some(Box::new(result)) }),
        }
    }
}
