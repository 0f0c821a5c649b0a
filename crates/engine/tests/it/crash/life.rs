//! What a worker process of a crash test does with its life.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell_core::ids::RunId;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_engine::{Engine, Leases, Options, Provider, Registry, Start};
use stepwell_store::{Among, Error, Page, RunFilter, Store};

use super::killing::{Kill, Killer};
use super::log::{Line, Log};
use super::story::{self, Performer};
use crate::hooked::HookedStore;

/// The variable that makes a worker of the test program.
pub(super) const VARIABLE: &str = "STEPWELL_CRASH_LIFE";

/// What a worker process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) url: String,
    pub(super) log: PathBuf,
    pub(super) goal: Goal,
    pub(super) kill: Option<Kill>,
}

/// When a worker process is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Goal {
    /// When that run rests; it starts or joins it first.
    Run { story: String, run: String },
    /// When no run is unfinished.
    All,
}

/// Leads the life that the environment asks for, if it does.
pub(super) async fn lead() {
    let Ok(told) = std::env::var(VARIABLE) else { return };
    let Life { url, log, goal, kill } = serde_json::from_str(&told).expect("a life is told as JSON");
    let log = Log::at(&log);
    let inner = stepwell_store::open(&url).await.expect("the store can be opened");
    let ends = match &goal {
        Goal::Run { run, .. } => ends_of_journals(&*inner, run).await,
        Goal::All => BTreeMap::new(),
    };
    log.write(&Line::Life { pid: std::process::id(), ends });
    let store = Arc::new(HookedStore { inner, hooks: Killer::new(kill.clone()) });
    let performer: Arc<dyn Provider> = Arc::new(Performer { log: log.clone(), kill });
    let registry = Registry::default().provide(story::PROTOCOL, performer.clone()).functions(performer);
    let options = Options { leases: Leases::All, slots: 8, ..Options::default() };
    let engine = Engine::open(store.clone(), registry, options).await.expect("an engine can be opened");
    match goal {
        Goal::Run { story, run } => {
            let (status, views) = follow(&engine, &log, &story, &run).await;
            let (begun, done) = store.hooks.counts();
            log.write(&Line::Rests { status, begun, done, views });
        }
        Goal::All => finish_all(&*store).await,
    }
    engine.shutdown().await;
    store.close().await.expect("the store can be closed");
}

async fn ends_of_journals(store: &dyn Store, run: &str) -> BTreeMap<String, u64> {
    let row = match store.run(&run.into()).await {
        Ok(row) => row,
        Err(Error::NotFound(_)) => return BTreeMap::new(),
        Err(error) => panic!("the run cannot be read: {error}"),
    };
    let children = RunFilter { among: Among::ChildrenOf(row.run.clone()), ..RunFilter::default() };
    let children = store.runs(&children, &Page::first(10)).await.expect("runs can be listed").items;
    children.into_iter().chain([row]).map(|row| (row.run.to_string(), row.seq.0)).collect()
}

async fn follow(engine: &Engine, log: &Log, name: &str, run: &str) -> (String, Value) {
    let run = RunId::from(run);
    let workflow = Workflow::new(story::definition(name)).expect("a story can be run");
    let start = Start { run_id: Some(run.clone()), ..Start::of(workflow) };
    engine.start(start).await.expect("the run can be started or joined");
    if name == story::SIGNAL && !log.read().contains(&Line::Acked) {
        let sent = engine.signal(&run, "early", json!(3), Some("first".into())).await;
        sent.expect("a signal is taken, and its repetition too");
        log.write(&Line::Acked);
    }
    let row = engine.rest(&run, true).await.expect("the run comes to rest");
    let views = engine.inspect(&run).await.expect("the run can be looked at").views();
    (row.state.status.as_str().to_owned(), Value::Object(views))
}

async fn finish_all(store: &dyn Store) {
    let unfinished =
        RunFilter { status: vec![RunStatus::Pending, RunStatus::Running], ..RunFilter::default() };
    while !store.runs(&unfinished, &Page::first(1)).await.expect("runs can be listed").items.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
