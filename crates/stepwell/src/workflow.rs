//! A workflow that can be run, however it was written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
use stepwell_core::workflow::Workflow as Checked;
use stepwell_core::workflow::definition::Definition;
use stepwell_engine::{Engine, load};

use crate::run::{Checkpoint, Launch, Restoring, Run, RunResult};

/// A workflow that can be run: a definition and the engine that it runs on. Clones are the same workflow.
///
/// A [`Pipeline`](crate::Pipeline) is built into one, and [`Workflow::load`] makes one of a workflow file.
///
/// ```
/// use serde_json::json;
/// use stepwell::{Engine, Options, Workflow, load};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = stepwell::open_store("memory:").await?;
/// let engine = Engine::open(store, stepwell::registry(Vec::new()), Options::default()).await?;
///
/// let file = "steps: [{name: Nap, method: timer/sleep, params: {seconds: \"${input.pause}\"}}]";
/// let nap = Workflow::from_text(file, load::Format::Yaml, &engine)?;
/// let result = nap.run(json!({ "pause": 0 })).run_id("nap-1").await?;
/// assert_eq!(result.completed_states, ["Nap"]);
/// assert_eq!(nap.find("nap-1").await?.id(), &result.run_id);
/// # engine.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Workflow {
    engine: Engine,
    checked: Arc<Checked>,
}

impl Workflow {
    pub(crate) fn of(engine: Engine, checked: Arc<Checked>) -> Self {
        Self { engine, checked }
    }

    /// Reads a workflow file, whose steps the providers of the engine's registry carry out.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong with what it says. [`load::file`] tells the same problem by problem,
    /// with their places.
    pub fn load(path: impl AsRef<Path>, engine: &Engine) -> Result<Self, ErrorObject> {
        let loaded = load::file(path.as_ref(), engine.registry(), false);
        let loaded = loaded.map_err(|invalid| invalid.to_error())?;
        Ok(Self::of(engine.clone(), loaded.workflow))
    }

    /// Reads the text of a workflow file, as [`Workflow::load`] does.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_text(text: &str, format: load::Format, engine: &Engine) -> Result<Self, ErrorObject> {
        let loaded = load::text(text, format, engine.registry(), false);
        let loaded = loaded.map_err(|invalid| invalid.to_error())?;
        Ok(Self::of(engine.clone(), loaded.workflow))
    }

    /// Takes what [`load`] has read, whoever read it.
    pub fn of_loaded(loaded: &load::Loaded, engine: &Engine) -> Self {
        Self::of(engine.clone(), loaded.workflow.clone())
    }

    /// Runs it and waits for the end. The input is any JSON.
    ///
    /// Who stops waiting stops nothing: the run goes on, also in the next process that has the workflow over the same
    /// store. With a [`run_id`](Launch::run_id) it can be found again.
    ///
    /// # Errors
    /// The run fails or is cancelled, which the error tells with its result; or it cannot be begun.
    pub fn run(&self, input: impl Serialize) -> Launch<'_, RunResult> {
        Launch::new(&self.engine, &self.checked, &input)
    }

    /// Begins a run and waits for nothing but that it is durable.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn start(&self, input: impl Serialize) -> Launch<'_, Run> {
        Launch::new(&self.engine, &self.checked, &input)
    }

    /// Makes a run of this workflow that goes on where another stood, as [`Agent::restore`](crate::Agent::restore) does: paused,
    /// until [`Run::resume`].
    ///
    /// # Errors
    /// `DEFINITION_MISMATCH` naming what differs; `CHECKPOINT_INVALID` if parts of the checkpoint do not fit together; or
    /// the store failed.
    pub fn restore(&self, checkpoint: &Checkpoint) -> Restoring<'_> {
        Restoring::new(&self.engine, &self.checked, checkpoint)
    }

    /// Returns a run of this workflow by its id, whoever began it.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND` if there is no such run, or it is of another workflow; or the store failed.
    pub async fn find(&self, run_id: impl Into<RunId>) -> Result<Run, ErrorObject> {
        Run::find(&self.engine, self.checked.name(), run_id.into()).await
    }

    /// Returns the name that its runs are listed by.
    pub fn name(&self) -> &str {
        self.checked.name()
    }

    /// Returns the hash of what it declares: what makes two workflows the same.
    pub fn version(&self) -> &str {
        self.checked.version()
    }

    /// Returns what it declares.
    pub fn definition(&self) -> &Definition {
        self.checked.definition()
    }
}

impl fmt::Debug for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workflow({})", self.name())
    }
}
