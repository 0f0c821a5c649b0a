//! How a run begins that goes on from a checkpoint.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
use stepwell_core::run::command::Restore;
use stepwell_core::workflow::Workflow;
use stepwell_engine::Engine;

use super::{Checkpoint, Run};

/// A run that is about to be made of a checkpoint: await it. [`Agent::restore`](crate::Agent::restore)
/// and [`Workflow::restore`](crate::Workflow::restore) make one.
#[must_use = "a run is made when this is awaited"]
pub struct Restoring<'a> {
    engine: &'a Engine,
    workflow: &'a Arc<Workflow>,
    restore: Restore,
    run_id: Option<RunId>,
    metadata: Map<String, Value>,
}

impl<'a> Restoring<'a> {
    pub(crate) fn new(engine: &'a Engine, workflow: &'a Arc<Workflow>, checkpoint: &Checkpoint) -> Self {
        let restore = Restore { checkpoint: checkpoint.0.clone(), allow_changes: false };
        Self { engine, workflow, restore, run_id: None, metadata: Map::new() }
    }

    /// Goes on although the agent is another than that of the checkpoint. Only states where something is live must be there
    /// still; what was done in others is forgotten, and what they left in the context stays.
    pub fn allow_changes(mut self) -> Self {
        self.restore.allow_changes = true;
        self
    }

    /// Gives the run that id.
    pub fn run_id(mut self, id: impl Into<RunId>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Tags the run, over the tags that the checkpoint has.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }
}

impl<'a> IntoFuture for Restoring<'a> {
    type Output = Result<Run, ErrorObject>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (workflow, restore) = (self.workflow.clone(), self.restore);
            let id = self.engine.restore(workflow, restore, self.run_id, self.metadata).await?;
            Ok(Run::of(self.engine.clone(), id))
        })
    }
}

impl fmt::Debug for Restoring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restoring")
            .field("workflow", &self.workflow.name())
            .field("checkpoint_of", &self.restore.checkpoint.run_id)
            .finish_non_exhaustive()
    }
}
