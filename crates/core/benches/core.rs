//! What the rules cost: microseconds per step for the shapes that must not be super-linear. Printed, never
//! judged: `cargo bench -p stepwell-core`.
#![expect(clippy::print_stdout, reason = "a bench is read on the terminal")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench measures time; the rules it measures do not"
)]

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use stepwell_core::ids::{Ordinal, RunId, StepName, Timestamp};
use stepwell_core::run::Run;
use stepwell_core::run::command::{AttemptRef, Command, Complete, Create};
use stepwell_core::run::event::Target;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, END, Step};

fn main() {
    for (name, shape) in SHAPES {
        // The best of several for both, as many steps in all: the first run of a process pays for its memory.
        let best =
            |rounds: usize, steps: usize| (0..rounds).map(|_| cost(shape(steps))).fold(f64::MAX, f64::min);
        let (small, large) = (best(500, 100), best(5, 10_000));
        println!(
            "{name:<28} {small:>7.2} µs/step at 100 {large:>8.2} µs/step at 10 000   ×{:.2}",
            large / small
        );
    }
}

type Shape = fn(usize) -> Definition;

const SHAPES: [(&str, Shape); 4] = [
    ("declarative chain", declarative_chain),
    ("routed chain", routed_chain),
    ("declarative fork and merge", declarative_fork),
    ("routed fork and merge", routed_fork),
];

fn provided(name: &str) -> Step {
    Step::provided(name, "python/v1", "python/execute", Value::Null)
}

fn name(i: usize) -> String {
    format!("s{i}")
}

fn declarative_chain(n: usize) -> Definition {
    let step = |i: usize| if i == 0 { provided(&name(0)) } else { provided(&name(i)).needs(&[&name(i - 1)]) };
    Definition::new("chain", (0..n).map(step).collect())
}

fn routed_chain(n: usize) -> Definition {
    let step = |i: usize| {
        if i + 1 == n {
            Step::function(&name(i)).next(&[END])
        } else {
            Step::function(&name(i)).next(&[&name(i + 1)])
        }
    };
    Definition::new("chain", (0..n).map(step).collect())
}

fn declarative_fork(n: usize) -> Definition {
    let names: Vec<String> = (0..n).map(name).collect();
    let mut steps: Vec<Step> = names.iter().map(|name| provided(name)).collect();
    steps.push(provided("merge").needs(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    Definition::new("fork", steps)
}

fn routed_fork(n: usize) -> Definition {
    let names: Vec<String> = (0..n).map(name).collect();
    let mut steps = vec![Step::function("fork").next(&names.iter().map(String::as_str).collect::<Vec<_>>())];
    steps.extend(names.iter().map(|name| Step::function(name).next(&["merge"])));
    steps.push(Step::function("merge").next(&[END]));
    let mut definition = Definition::new("fork", steps);
    definition.max_steps = 1_000_000;
    definition
}

/// Runs a definition by hand, as the shell does, and returns microseconds per step.
fn cost(definition: Definition) -> f64 {
    let workflow = Workflow::new(definition).expect("it can be run");
    let mut run = Run::blank(RunId::from("run_bench"), workflow.clone());
    let at = Timestamp(1);
    let output = Arc::new(json!({ "result": 1 }));
    let begun = Instant::now();
    let create = Create::new(run.id().clone(), workflow.clone());
    run.handle(&Command::Create(Box::new(create)), at).expect("it starts");
    let mut ready: std::collections::VecDeque<(StepName, Ordinal)> = std::collections::VecDeque::new();
    let mut steps = 0;
    loop {
        ready.extend(
            run.take_changes().work.into_iter().map(|work| (work.execution.step, work.execution.ordinal)),
        );
        let Some((step, ordinal)) = ready.pop_front() else { break };
        let ix = workflow.find(step.as_str()).expect("it exists");
        let next = workflow.step(ix).next.known().unwrap_or_default();
        let to =
            next.iter().filter(|name| name.as_str() != END).map(|name| Target::to(name.as_str())).collect();
        let attempt = AttemptRef { step, ordinal, attempt: 1, session: 1 };
        let complete = Complete {
            attempt,
            output: output.clone(),
            writes: Vec::new(),
            snapshot: 0,
            to,
            children: Vec::new(),
            defines: Vec::new(),
        };
        run.handle(&Command::Complete(complete), at).expect("it is under way");
        steps += 1;
    }
    assert!(run.status().is_terminal(), "the run is over");
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(steps)
}
