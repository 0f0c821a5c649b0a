//! How long a killed run takes to its next step: over processes, and the first is really killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use stepwell_engine::{Engine, Options, Outcome, Provider, Registry, Start, Task};

use super::{Trivial, round, sqlite};

/// Set for a process that is one life of a run: the directory of its store.
const LIFE: &str = "STEPWELL_BENCH_LIFE";

/// Set for a life that begins the run: how many steps it has.
const STEPS: &str = "STEPWELL_BENCH_STEPS";

/// Says when the first step is reached.
struct Telling(AtomicBool);

#[async_trait]
impl Provider for Telling {
    async fn execute(&self, task: Task) -> Outcome {
        if !self.0.swap(true, Ordering::SeqCst) {
            println!("first step");
        }
        Trivial.execute(task).await
    }
}

/// Lives a life if this process is one, until it is killed; returns whether it was.
pub(crate) fn is_a_life() -> bool {
    let Some(dir) = std::env::var_os(LIFE) else { return false };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = sqlite(Path::new(&dir), "restart").await;
        let provider: Arc<dyn Provider> = Arc::new(Telling(AtomicBool::new(false)));
        let registry = Registry::default().functions(provider);
        let engine = Engine::open(store, registry, Options::default()).await.expect("an engine");
        if let Ok(steps) = std::env::var(STEPS) {
            let input = json!(steps.parse::<u64>().expect("a number of steps"));
            let start = Start { input, run_id: Some("bench".into()), ..Start::of(round()) };
            engine.start(start).await.expect("a run");
        }
        std::future::pending::<()>().await;
    });
    true
}

fn life(dir: &Path, steps: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("the program of this process"));
    command.env(LIFE, dir).stdout(Stdio::piped());
    if let Some(steps) = steps {
        command.env(STEPS, steps.to_string());
    }
    command.spawn().expect("a process")
}

fn wait_for_first_step(child: &mut Child) {
    let mut line = String::new();
    let out = child.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert_eq!(line, "first step\n");
}

fn kill(mut child: Child) {
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
}

fn journaled(dir: &Path) -> u64 {
    let conn = rusqlite::Connection::open(dir.join("restart.db")).expect("the store's file");
    conn.busy_timeout(Duration::from_secs(5)).expect("a time limit");
    conn.query_row("SELECT coalesce(max(seq), 0) FROM runs", [], |row| row.get::<_, i64>(0)).expect("a row")
        as u64
}

/// Kills a run after so many steps and lets another process go on.
fn once(dir: &Path, steps: u64, kill_after: u64) -> (f64, u64) {
    const EVENTS_PER_STEP: u64 = 3;
    let mut first = life(dir, Some(steps));
    wait_for_first_step(&mut first);
    while journaled(dir) < kill_after * EVENTS_PER_STEP {
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(first);
    let events = journaled(dir);
    let begin = Instant::now();
    let mut second = life(dir, None);
    wait_for_first_step(&mut second);
    let seconds = begin.elapsed().as_secs_f64();
    kill(second);
    (seconds, events)
}

pub(crate) fn measure(dir: &Path) {
    for (what, steps, kill_after) in
        [("a short run", 1_000_000, 10), ("10 000 steps, half done", 10_000, 5_000)]
    {
        let mut all = Vec::new();
        let mut events = 0;
        for i in 0..5 {
            let dir = dir.join(format!("restart-{kill_after}-{i}"));
            std::fs::create_dir(&dir).expect("a directory");
            let (seconds, journaled) = once(&dir, steps, kill_after);
            all.push(seconds);
            events = journaled;
        }
        all.sort_by(f64::total_cmp);
        println!(
            "fsync: kill -9, then from the start of a process to the first step, {what}: {:.3} s, at most {:.3} s \
             ({events} events)",
            all[all.len() / 2],
            all[all.len() - 1]
        );
    }
}
