//! Steps of one method in real runs.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, RunId};
use stepwell_core::run::Run;
use stepwell_core::status::RunStatus;
use stepwell_engine::{Engine, Options, Registry, Start, load};
use stepwell_providers::isolation::Isolation;
use stepwell_store::MemoryStore;
use tempfile::TempDir;

use crate::support::within;

/// An engine over a store in memory, with a directory of its own that is the root of its providers.
pub(crate) struct House {
    pub(crate) engine: Engine,
    registry: Registry,
    directory: TempDir,
    method: &'static str,
}

impl House {
    pub(crate) async fn open(method: &'static str, registry: impl FnOnce(Isolation) -> Registry) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let registry = registry(within(&directory));
        let options = Options { slots: 16, ..Options::default() };
        let engine = Engine::open(Arc::new(MemoryStore::default()), registry.clone(), options).await;
        Self { engine: engine.expect("a store in memory opens"), registry, directory, method }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().expect("the directory exists").join(name)
    }

    /// Starts a run of those steps.
    pub(crate) async fn start(&self, steps: &Value, input: Value) -> RunId {
        let workflow = load::value(&json!({ "steps": steps }), &self.registry, false);
        let workflow = workflow.unwrap_or_else(|invalid| panic!("{steps}: {invalid:?}")).workflow;
        let start = Start {
            input,
            base_dir: Some(self.directory.path().display().to_string()),
            ..Start::of(workflow)
        };
        self.engine.start(start).await.expect("a run can be started").run
    }

    /// Returns a run that has come to rest.
    pub(crate) async fn rest(&self, run: &RunId) -> Run {
        self.engine.rest(run, true).await.expect("a run that exists comes to rest");
        self.engine.inspect(run).await.expect("a run that exists can be looked at")
    }

    /// Runs the steps to their end.
    pub(crate) async fn run(&self, steps: &Value, input: Value) -> Run {
        let run = self.start(steps, input).await;
        self.rest(&run).await
    }

    /// Runs one step with those parameters to its success, and returns its view.
    pub(crate) async fn success(&self, params: &Value, input: Value) -> Value {
        let run = self.run(&self.step(params), input).await;
        assert_eq!(run.status(), RunStatus::Completed, "{params}: {:?}", run.error());
        run.views()["a"].clone()
    }

    /// Runs one step with those parameters to its failure.
    pub(crate) async fn failure(&self, params: &Value, input: Value) -> ErrorObject {
        let run = self.run(&self.step(params), input).await;
        assert_eq!(run.status(), RunStatus::Failed, "{params}: {:?}", run.views());
        let step = run.execution("a", Ordinal(1)).expect("it was attempted");
        (**step.error.as_ref().expect("it failed")).clone()
    }

    /// Returns what is wrong with one step of those parameters, as `validate` tells it.
    pub(crate) fn refused(&self, params: &Value) -> ErrorObject {
        match load::value(&json!({ "steps": self.step(params) }), &self.registry, false) {
            Ok(_) => panic!("{params} is taken"),
            Err(invalid) => invalid.to_error(),
        }
    }

    pub(crate) fn step(&self, params: &Value) -> Value {
        json!([{ "name": "a", "method": self.method, "params": params }])
    }
}
