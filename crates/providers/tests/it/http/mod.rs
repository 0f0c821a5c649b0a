//! HTTP steps of real runs against a server on loopback.

mod answers;
mod connections;
mod guard;
mod redirects;
mod requests;
mod secrets;
mod server;
mod tls;

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, RunId};
use stepwell_core::run::Run;
use stepwell_engine::{Engine, Options, Registry, Start, load};
use stepwell_providers::http::{AllowPrivate, Http, HttpSettings};
use stepwell_store::MemoryStore;

/// An engine over a store in memory that makes requests.
struct House {
    engine: Engine,
    registry: Registry,
}

/// Reaches loopback.
async fn house() -> House {
    house_with(|_| {}).await
}

async fn house_with(change: impl FnOnce(&mut HttpSettings)) -> House {
    let allow_private = AllowPrivate::read(&["127.0.0.1", "::1"]).expect("two addresses");
    let mut settings = HttpSettings { allow_private, ..HttpSettings::default() };
    change(&mut settings);
    let registry = Registry::default().provide("http/v1", Arc::new(Http::new(settings)));
    let options = Options { slots: 128, ..Options::default() };
    let engine = Engine::open(Arc::new(MemoryStore::default()), registry.clone(), options).await;
    House { engine: engine.expect("a store in memory opens"), registry }
}

impl House {
    async fn start(&self, step: &Value, input: Value) -> RunId {
        let workflow = load::value(&json!({ "steps": [step] }), &self.registry, false);
        let workflow = workflow.unwrap_or_else(|invalid| panic!("{step}: {invalid:?}")).workflow;
        let start = Start { input, ..Start::of(workflow) };
        self.engine.start(start).await.expect("a run can be started").run
    }

    /// Runs one step to its end.
    async fn run(&self, step: &Value, input: Value) -> Run {
        let run = self.start(step, input).await;
        self.engine.rest(&run, true).await.expect("a run that exists comes to rest");
        self.engine.inspect(&run).await.expect("a run that exists can be looked at")
    }

    /// Makes one request and returns the view of its step, or its error.
    async fn request(&self, params: Value) -> Result<Value, ErrorObject> {
        let run =
            self.run(&json!({"name": "a", "method": "http/request", "params": params}), Value::Null).await;
        match &run.execution("a", Ordinal(1)).expect("it was attempted").error {
            Some(error) => Err((**error).clone()),
            None => Ok(run.views()["a"].clone()),
        }
    }

    async fn failure(&self, params: Value) -> ErrorObject {
        self.request(params).await.expect_err("the request fails")
    }
}

/// Returns name and reason of an error.
fn told(error: &ErrorObject) -> (&'static str, &str) {
    (error.code.name(), error.data.get("reason").and_then(Value::as_str).unwrap_or_default())
}
