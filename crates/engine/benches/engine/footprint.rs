//! What a run takes: memory while it waits for a person, and room in the store for each step.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::Start;

use super::{chain, engine, sqlite};

/// Returns the memory of this process that is in RAM, in bytes.
fn resident() -> u64 {
    const PAGE: u64 = 4_096;
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux says how much memory is used");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("its second number is the resident size") * PAGE
}

fn count(dir: &Path, name: &str, sql: &str) -> u64 {
    let conn = rusqlite::Connection::open(dir.join(format!("{name}.db"))).expect("the store's file");
    conn.busy_timeout(Duration::from_secs(30)).expect("a time limit");
    conn.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number") as u64
}

/// Starts runs that wait for a person, several times as many, and tells what the later ones take: the first fill what is
/// bounded (pages of the store, what is known of runs, the allocator's reserves).
pub(crate) async fn of_paused_runs(dir: &Path) {
    const RUNS: u64 = 20_000;
    let store = sqlite(dir, "paused").await;
    let engine = engine(&store, 64).await;
    let ask = Step::provided("ask", "test/v1", "test/do", json!({}));
    let workflow: Arc<Workflow> = Workflow::new(Definition::new("ask", vec![ask])).expect("a workflow");
    let mut sizes = vec![resident()];
    for round in 1..=4 {
        for _ in 0..RUNS / 500 {
            let starts = (0..500).map(|_| engine.start(Start::of(workflow.clone())));
            futures_util::future::join_all(starts).await;
        }
        while count(dir, "paused", "SELECT count(*) FROM runs WHERE status = 'paused'") < round * RUNS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        sizes.push(resident());
    }
    let per_run = |from: usize, to: usize| {
        (sizes[to] as f64 - sizes[from] as f64) / ((to - from) as f64 * RUNS as f64) / 1_024.0
    };
    println!(
        "memory per paused run: {:.2} KiB of the first {RUNS}, {:.2} KiB of the {} after them",
        per_run(0, 1),
        per_run(1, 4),
        3 * RUNS
    );
}

/// Runs a chain and tells what a step leaves in the store.
pub(crate) async fn of_a_step(dir: &Path) {
    const STEPS: u64 = 10_000;
    let store = sqlite(dir, "journal").await;
    let engine = engine(&store, 8).await;
    chain(&engine, STEPS).await;
    let one = |sql: &str| count(dir, "journal", sql) as f64 / STEPS as f64;
    let text = one("SELECT sum(length(events)) FROM journal");
    let rows = one("SELECT (SELECT count(*) FROM journal) + (SELECT count(*) FROM silent) + \
                    (SELECT count(*) FROM work) + (SELECT count(*) FROM commands)");
    let snapshot = one("SELECT coalesce(sum(length(data)), 0) FROM snapshots");
    store.close().await.expect("it closes");
    let file =
        std::fs::metadata(dir.join("journal.db")).expect("the store's file").len() as f64 / STEPS as f64;
    println!(
        "a trivial step: {text:.0} bytes of journal in {rows:.2} rows; {file:.0} bytes of file, of which the newest snapshot \
         {snapshot:.0}"
    );
}
