//! Prints how many Python tasks end per second, each with a fresh interpreter state.
//!
//! `cargo bench -p stepwell-providers --bench python [-- [TASKS] [/path/to/python3]]`
//!
//! A bare interpreter is up to twice as fast as one whose site-packages import `threading` at start.
#![expect(clippy::print_stdout, reason = "the numbers are what this program is for")]

use std::time::{Duration, Instant};

use serde_json::json;
use stepwell_providers::python::{PythonPool, PythonSettings, PythonTask, Source};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

fn task() -> PythonTask {
    PythonTask {
        source: Source::Code("import math\nresult = math.sqrt(args['n'])".to_owned()),
        args: json!({"n": 16}),
        bindings: Vec::new(),
        timeout: Duration::from_secs(30),
        base_dir: "/".into(),
        alone: false,
    }
}

async fn measure(pool: &PythonPool, tasks: usize, at_once: usize) {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..at_once {
        let pool = pool.clone();
        running.spawn(async move {
            for _ in 0..tasks / at_once {
                let outcome = pool.run(task(), CancellationToken::new()).await.expect("the task ends well");
                assert_eq!(outcome.result, json!(4.0));
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no worker panics");
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{at_once:>3} at once: {:>6.0} tasks/s", (tasks / at_once * at_once) as f64 / seconds);
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let tasks = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(2000);
    let mut settings = PythonSettings::default();
    if let Some(interpreter) = arguments.iter().find(|argument| argument.contains("python")) {
        settings.interpreter = interpreter.into();
    }
    let pool = PythonPool::new(settings);
    let begun = Instant::now();
    pool.run(task(), CancellationToken::new()).await.expect("the interpreter starts");
    println!("first task, interpreter included: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    for at_once in [1, 4, 16] {
        measure(&pool, tasks, at_once).await;
    }
    pool.shutdown().await;
}
