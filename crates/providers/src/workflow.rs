//! `workflow/v1`: a step that starts a child run and ends with what came of it.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
use stepwell_core::run::wait::{ChildStart, WaitKind, WaitSpec};
use stepwell_engine::{Outcome, Param, ParamProblem, Provider, Task};

use crate::params::{self, Kind, Table};

/// Reads a workflow as its author wrote it (a file's content as JSON) and returns its definition.
pub type ReadDefinition = dyn Fn(&Value) -> Result<Value, ErrorObject> + Send + Sync;

/// Starts child runs.
pub struct ChildRuns {
    read: Arc<ReadDefinition>,
}

impl ChildRuns {
    /// Returns a provider that reads inline workflows with `read`.
    pub fn new(read: Arc<ReadDefinition>) -> Self {
        Self { read }
    }
}

impl std::fmt::Debug for ChildRuns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChildRuns")
    }
}

const EXECUTE: &Table = &[
    (
        "workflow",
        Kind::Workflow,
        true,
        "a workflow as on this page, checked with the file. References in it are to its own steps and input",
    ),
    ("inputs", Kind::Object, false, "its `${input}`"),
];

#[async_trait]
impl Provider for ChildRuns {
    fn methods(&self) -> Vec<&'static str> {
        vec!["workflow/execute"]
    }

    fn raw_params(&self, _method: &str) -> &'static [&'static str] {
        // References in the child's steps are the child's own.
        &["workflow"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "run_id"]
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(EXECUTE))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let mut problems = params::check(params, EXECUTE);
        if let Some(workflow) = params.get("workflow").filter(|w| w.is_object())
            && let Err(error) = (self.read)(workflow)
        {
            problems.push(params::problem("workflow", "invalid", error.message));
        }
        problems
    }

    async fn execute(&self, task: Task) -> Outcome {
        if let Err(error) = params::require(&task, EXECUTE) {
            return error.into();
        }
        let definition = match (self.read)(&task.params["workflow"]) {
            Ok(definition) => definition,
            Err(error) => return error.into(),
        };
        let input = task.params.get("inputs").cloned().unwrap_or_else(|| json!({}));
        let start = ChildStart {
            run: RunId::from(""),
            definition,
            input: Arc::new(input),
            context: Map::new(),
            metadata: task.run.metadata.clone(),
        };
        Outcome::Suspend(vec![WaitSpec::step(WaitKind::Child(Box::new(start)))])
    }
}
