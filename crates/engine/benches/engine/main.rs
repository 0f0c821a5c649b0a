//! What a step costs: in a definition, in memory, durable in one run, durable over many, wide, and after a restart.
//!
//! `cargo bench -p stepwell-engine --bench engine [FILTER]`. Every number names its durability class; those that depend
//! on the disk stand beside raw `SQLite` measured in the same process, since no absolute time is stable.
#![allow(clippy::print_stdout, missing_docs, reason = "a bench prints its numbers")]

mod definitions;
mod footprint;
mod restart;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use stepwell_core::ids::RunId;
use stepwell_core::run::event::Target;
use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::{Completion, Engine, Leases, Options, Outcome, Provider, Registry, Start, Task};
use stepwell_store::{MemoryStore, Page, RunFilter, Store, WaitFilter};

/// Does nothing, as its step's name says: `loop` goes round as often as its payload says, `sleep…` sleeps 50 ms, `ask`
/// asks, anything else completes.
struct Trivial;

#[async_trait]
impl Provider for Trivial {
    async fn execute(&self, task: Task) -> Outcome {
        match task.step.as_str() {
            "loop" => {
                let left =
                    task.payload.as_deref().or(Some(&task.run.input)).and_then(Value::as_u64).unwrap_or(0);
                let to = if left > 1 { vec![Target::with_payload("loop", left - 1)] } else { Vec::new() };
                Outcome::Complete(Completion { output: Arc::new(Value::Null), to, ..Completion::default() })
            }
            "ask" => Outcome::Suspend(vec![WaitSpec::step(WaitKind::Human(Question {
                prompt: "Go on?".into(),
                ..Question::default()
            }))]),
            name if name.starts_with("sleep") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Outcome::output(json!({ "result": 1 }))
            }
            _ => Outcome::output(json!({ "result": 1 })),
        }
    }
}

async fn engine(store: &Arc<dyn Store>, slots: usize) -> Engine {
    let provider: Arc<dyn Provider> = Arc::new(Trivial);
    let registry = Registry::default().provide("test/v1", provider.clone()).functions(provider);
    let options = Options { slots, leases: Leases::All, ..Options::default() };
    Engine::open(store.clone(), registry, options).await.expect("an engine")
}

fn round() -> Arc<Workflow> {
    let steps = vec![Step::function("loop").next(&["loop", "$end"])];
    Workflow::new(Definition { max_steps: u32::MAX, ..Definition::new("round", steps) }).expect("a workflow")
}

fn wide(count: usize, name: &str, max_concurrent: Option<u32>) -> Arc<Workflow> {
    let step = |name: &str| Step::provided(name, "test/v1", "test/do", json!({}));
    let names: Vec<String> = (0..count).map(|i| format!("{name}{i}")).collect();
    let mut steps = vec![step("first")];
    steps.extend(names.iter().map(|name| step(name).needs(&["first"])));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    steps.push(step("merge").needs(&all));
    Workflow::new(Definition { max_concurrent, ..Definition::new("wide", steps) }).expect("a workflow")
}

/// Steps that stand beside each other.
fn apart(count: usize) -> Arc<Workflow> {
    let step = |i: usize| Step::provided(&format!("s{i}"), "test/v1", "test/do", json!({}));
    Workflow::new(Definition::new("apart", (0..count).map(step).collect())).expect("a workflow")
}

async fn run(engine: &Engine, workflow: &Arc<Workflow>, input: Value) -> RunId {
    let run = engine.start(Start { input, ..Start::of(workflow.clone()) }).await.expect("a run").run;
    let row = engine.rest(&run, false).await.expect("it ends");
    assert_eq!(row.state.status, RunStatus::Completed, "{:?}", row.state.error);
    run
}

/// Runs a chain of that many steps and returns µs per step.
async fn chain(engine: &Engine, steps: u64) -> f64 {
    let workflow = round();
    let begin = Instant::now();
    run(engine, &workflow, json!(steps)).await;
    begin.elapsed().as_secs_f64() * 1e6 / steps as f64
}

async fn sqlite(dir: &Path, name: &str) -> Arc<dyn Store> {
    stepwell_store::open(&format!("sqlite://{}/{name}.db", dir.display())).await.expect("a store")
}

/// Commits of one row each, by one producer: what the disk and `SQLite` allow.
fn raw_commits_per_second(dir: &Path, seconds: f64) -> f64 {
    let conn = raw(dir, "raw");
    let mut insert = conn.prepare("INSERT INTO t (run, seq, data) VALUES (?1, ?2, ?3)").expect("a statement");
    let data = "x".repeat(300);
    let begin = Instant::now();
    let mut count = 0u32;
    while begin.elapsed().as_secs_f64() < seconds {
        insert.execute(rusqlite::params![1, count, data]).expect("a row");
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn raw(dir: &Path, name: &str) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(dir.join(format!("{name}.db"))).expect("a database");
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE t (id INTEGER PRIMARY KEY, run INTEGER, seq INTEGER, data TEXT);
         CREATE UNIQUE INDEX i ON t (run, seq);",
    )
    .expect("a schema");
    conn
}

fn wanted(name: &str) -> bool {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    filter.is_none_or(|filter| name.contains(&filter))
}

fn main() {
    if restart::is_a_life() {
        return;
    }
    if wanted("load") {
        definitions::measure();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        if wanted("memory") {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
            let engine = engine(&store, 8).await;
            chain(&engine, 1_000).await;
            println!("memory: chain of 10 000: {:.2} µs/step", chain(&engine, 10_000).await);
        }
        if wanted("sequential") {
            let raw = raw_commits_per_second(dir, 2.0);
            let store = sqlite(dir, "sequential").await;
            let engine = engine(&store, 8).await;
            let us = chain(&engine, 5_000).await;
            let again = raw_commits_per_second(
                &{
                    let d = dir.join("again");
                    std::fs::create_dir(&d).expect("a directory");
                    d
                },
                2.0,
            );
            let raw = f64::midpoint(raw, again);
            let ours = 1e6 / us;
            println!(
                "fsync: one run, sequential: {ours:.0} steps/s = {:.0} % of {raw:.0} raw commits/s",
                ours / raw * 100.0
            );
        }
        if wanted("no-op") {
            let store = sqlite(dir, "no-op").await;
            let engine = engine(&store, 64).await;
            for count in [100, 1_000] {
                let workflow = apart(count);
                let begin = Instant::now();
                run(&engine, &workflow, json!(null)).await;
                println!("fsync: {count} steps that do nothing: {:.3} s", begin.elapsed().as_secs_f64());
            }
        }
        if wanted("many") {
            let store = sqlite(dir, "many").await;
            let engine = engine(&store, 512).await;
            let workflow = round();
            let begin = Instant::now();
            let runs = (0..256).map(|_| run(&engine, &workflow, json!(100)));
            futures_util::future::join_all(runs).await;
            println!(
                "fsync: 256 runs of 100 steps at once: {:.0} steps/s",
                25_600.0 / begin.elapsed().as_secs_f64()
            );
        }
        if wanted("fan-out") {
            let store = sqlite(dir, "fan").await;
            let engine = engine(&store, 1_000).await;
            let workflow = wide(1_000, "b", None);
            let begin = Instant::now();
            run(&engine, &workflow, json!(null)).await;
            println!(
                "fsync: 1 000 trivial steps and a merge: {:.0} steps/s",
                1_002.0 / begin.elapsed().as_secs_f64()
            );
            let workflow = wide(1_000, "sleep", Some(1_000));
            let begin = Instant::now();
            run(&engine, &workflow, json!(null)).await;
            println!("fsync: 1 000 × 50 ms and a merge: {:.3} s", begin.elapsed().as_secs_f64());
        }
        if wanted("slope") {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
            let engine = engine(&store, 64).await;
            // As many steps for both, and the first ones for nothing: they pay for the memory of the process.
            let chains = async |rounds: u32, steps: u64| {
                let mut all = 0.0;
                for _ in 0..rounds {
                    all += chain(&engine, steps).await / f64::from(rounds);
                }
                all
            };
            chains(1, 10_000).await;
            let ratio = chains(3, 10_000).await / chains(300, 100).await;
            println!("memory: cost per step of a chain, 10 000 / 100: {ratio:.2}");
            let per_step = async |count: usize| {
                let workflow = wide(count, "b", None);
                let begin = Instant::now();
                run(&engine, &workflow, json!(null)).await;
                begin.elapsed().as_secs_f64() / count as f64
            };
            let forks = async |rounds: u32, count: usize| {
                let mut all = 0.0;
                for _ in 0..rounds {
                    all += per_step(count).await / f64::from(rounds);
                }
                all
            };
            forks(1, 10_000).await;
            let (long, short) = (forks(3, 10_000).await, forks(300, 100).await);
            println!(
                "memory: cost per step of a fork with merge, 10 000 / 100: {:.2} ({:.1} µs / {:.1} µs)",
                long / short,
                long * 1e6,
                short * 1e6
            );
        }
        if wanted("answers") {
            let store = sqlite(dir, "answers").await;
            let engine = engine(&store, 64).await;
            let ask = Step::provided("ask", "test/v1", "test/do", json!({}));
            let workflow = Workflow::new(Definition::new("ask", vec![ask])).expect("a workflow");
            let starts = (0..2_000).map(|_| engine.start(Start::of(workflow.clone())));
            futures_util::future::join_all(starts).await;
            let mut open = Vec::new();
            while open.len() < 2_000 {
                open = store.waits(&WaitFilter::default(), &Page::first(3_000)).await.expect("waits").items;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let begin = Instant::now();
            futures_util::future::join_all(open.iter().map(|w| engine.answer(&w.wait, json!("yes"), None)))
                .await;
            println!(
                "fsync: 2 000 open questions answered: {:.0}/s",
                2_000.0 / begin.elapsed().as_secs_f64()
            );
        }
        if wanted("restart") {
            restart::measure(dir);
        }
        if wanted("paused") {
            footprint::of_paused_runs(dir).await;
        }
        if wanted("journal") {
            footprint::of_a_step(dir).await;
        }
        if wanted("list") {
            list(dir).await;
        }
    });
}

/// A page of 50 by metadata out of many runs.
async fn list(dir: &Path) {
    const RUNS: usize = 100_000;
    let store = sqlite(dir, "list").await;
    let provider: Arc<dyn Provider> = Arc::new(Trivial);
    let registry = Registry::default().provide("test/v1", provider);
    let options = Options { leases: Leases::None, ..Options::default() };
    let engine = Engine::open(store.clone(), registry, options).await.expect("an engine");
    let step = Step::provided("a", "test/v1", "test/do", json!({}));
    let workflow = Workflow::new(Definition::new("one", vec![step])).expect("a workflow");
    for chunk in 0..RUNS / 1_000 {
        let starts = (0..1_000).map(|i| {
            let department = ["legal", "sales", "ops", "it"][i % 4];
            let metadata =
                json!({ "department": department, "chunk": chunk }).as_object().cloned().unwrap_or_default();
            engine.start(Start { metadata, hold: true, ..Start::of(workflow.clone()) })
        });
        futures_util::future::join_all(starts).await;
    }
    let metadata = json!({ "department": "legal" }).as_object().cloned().unwrap_or_default();
    let filter = RunFilter { metadata, ..RunFilter::default() };
    let mut best = f64::MAX;
    for _ in 0..10 {
        let begin = Instant::now();
        let page = store.runs(&filter, &Page::first(50)).await.expect("a page");
        assert_eq!(page.items.len(), 50);
        best = best.min(begin.elapsed().as_secs_f64() * 1e3);
    }
    println!("list by metadata, 50 of {RUNS} runs: {best:.2} ms");
}
