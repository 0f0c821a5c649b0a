//! The workflows that are killed, and who carries them out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use stepwell_core::context::Change;
use stepwell_core::ids::RunId;
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::run::event::Target;
use stepwell_core::run::wait::{ChildStart, Question, WaitKind, WaitSpec};
use stepwell_core::workflow::definition::{Definition, Effect, Step};
use stepwell_engine::testing::flaky;
use stepwell_engine::{Completion, Outcome, Provider, Task};

use super::killing::Kill;
use super::log::{Line, Log};
use super::process;

pub(super) const PROTOCOL: &str = "test/v1";

pub(super) const CHAIN: &str = "chain of six";
pub(super) const LONG: &str = "chain of thirty";
pub(super) const SHORT: &str = "chain of three";
pub(super) const FORK: &str = "fork of twenty";
pub(super) const LOOP: &str = "loop with a fork in it";
pub(super) const RETRY: &str = "retry";
pub(super) const BACKOFF: &str = "retry after a long delay";
pub(super) const QUESTION: &str = "question";
pub(super) const TIMER: &str = "timer";
pub(super) const SIGNAL: &str = "signals";
pub(super) const CHILD: &str = "parent with a child";
pub(super) const ONCE: &str = "once";
pub(super) const AT_MOST_ONCE: &str = "at most once";

/// The delay of [`BACKOFF`]: longer than two restarts take.
pub(super) const LONG_DELAY_MS: u64 = 1_500;

/// Rounds of [`LOOP`].
const ROUNDS: u32 = 3;

fn step(name: &str, params: Value, needs: &[&str]) -> Step {
    Step::provided(name, PROTOCOL, "test/do", params).needs(needs)
}

/// Returns steps `s1`, `s2` … that each add one to the result of the one before.
fn chain(count: usize) -> Vec<Step> {
    let first = step("s1", json!({ "do": "add", "to": 0 }), &[]);
    let others = (2..=count).map(|i| {
        let before = format!("s{}", i - 1);
        step(&format!("s{i}"), json!({ "do": "add", "to": format!("${{{before}.result}}") }), &[&before])
    });
    std::iter::once(first).chain(others).collect()
}

/// Returns a step of that kind between two others; the last takes its result.
fn between(params: Value) -> Vec<Step> {
    vec![
        step("first", json!({ "do": "add", "to": 0 }), &[]),
        step("middle", params, &["first"]),
        step("last", json!({ "do": "echo", "value": "${middle.result}" }), &["middle"]),
    ]
}

/// Returns a workflow by the name of its story.
pub(super) fn definition(story: &str) -> Definition {
    let steps = match story {
        CHAIN => chain(6),
        LONG => chain(30),
        SHORT => chain(3),
        FORK => fork(),
        LOOP => vec![
            Step::function("head").next(&["left", "right"]),
            Step::function("left").next(&["tally"]),
            Step::function("right").next(&["tally"]),
            Step::function("tally").next(&["head", "done"]),
            Step::function("done").next(&[]),
        ],
        RETRY | BACKOFF => {
            let mut steps = between(json!({ "do": "fail first" }));
            let delay = if story == RETRY { 60 } else { LONG_DELAY_MS };
            steps[1].retry = Some(RetryPolicy::fixed(2, delay));
            steps
        }
        QUESTION => between(json!({ "do": "ask" })),
        TIMER => between(json!({ "do": "nap" })),
        SIGNAL => vec![
            step("early", json!({ "do": "await", "name": "early" }), &[]),
            step("go", json!({ "do": "await", "name": "go" }), &["early"]),
            step(
                "last",
                json!({ "do": "echo", "value": ["${early.result}", "${go.result}"] }),
                &["go", "early"],
            ),
        ],
        CHILD => {
            let child =
                serde_json::to_value(Definition::new("child", chain(2))).expect("a definition is JSON");
            between(json!({ "do": "child", "workflow": child }))
        }
        ONCE => between(json!({ "do": "once" })),
        AT_MOST_ONCE => {
            let mut steps = between(json!({ "do": "add", "to": 1 }));
            steps[1].effect = Effect::AtMostOnce;
            steps
        }
        other => unreachable!("no story is called {other}"),
    };
    Definition::new(story, steps)
}

fn fork() -> Vec<Step> {
    let names: Vec<String> = (0..20).map(|i| format!("b{i}")).collect();
    let branch = |name: &String| step(name, json!({ "do": "add", "to": "${split.result}" }), &["split"]);
    let results: Vec<String> = names.iter().map(|name| format!("${{{name}.result}}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut steps = vec![step("split", json!({ "do": "add", "to": 0 }), &[])];
    steps.extend(names.iter().map(branch));
    steps.push(step("merge", json!({ "do": "echo", "value": results }), &all));
    steps
}

/// Carries out all stories, and writes down each attempt before its outcome is known to anybody.
pub(super) struct Performer {
    pub(super) log: Log,
    pub(super) kill: Option<Kill>,
}

#[async_trait]
impl Provider for Performer {
    fn raw_params(&self, _method: &str) -> &'static [&'static str] {
        // References in the child's steps are the child's own.
        &["workflow"]
    }

    async fn execute(&self, task: Task) -> Outcome {
        self.log.write(&Line::Did {
            run: task.run.id.to_string(),
            step: task.step.to_string(),
            ordinal: task.ordinal.0,
            attempt: task.attempt,
            pid: std::process::id(),
        });
        if self.kill == Some(Kill::In(task.step.to_string())) && task.attempt == 1 {
            process::die();
        }
        if task.run.workflow.name() != LONG {
            // Long enough for others to get in between.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if task.params.is_null() { route(&task) } else { self.perform(&task).await }
    }
}

impl Performer {
    async fn perform(&self, task: &Task) -> Outcome {
        let params = &task.params;
        match params["do"].as_str().expect("a step says what it does") {
            "add" => result(json!(params["to"].as_i64().expect("a reference keeps its type") + 1)),
            "echo" => result(params["value"].clone()),
            "fail first" if task.attempt == 1 => flaky("not yet"),
            "fail first" => result(json!("at last")),
            "ask" => wait(WaitKind::Human(Question { prompt: "Ship it?".into(), ..Question::default() })),
            "await" => wait(WaitKind::Signal { name: params["name"].as_str().expect("a name").to_owned() }),
            "nap" => {
                let Outcome::Suspend(mut waits) = wait(WaitKind::Timer) else {
                    unreachable!("a wait suspends")
                };
                waits[0].deadline = Some(task.report.now().plus_ms(60));
                Outcome::Suspend(waits)
            }
            "child" => wait(WaitKind::Child(Box::new(ChildStart {
                run: RunId::from(""),
                definition: params["workflow"].clone(),
                input: Arc::new(Value::Null),
                context: Map::new(),
                metadata: Map::new(),
                entry: None,
            }))),
            "once" => self.charge(task).await,
            other => unreachable!("nobody knows how to {other}"),
        }
    }

    /// Calls the function of a `once`, unless its result is known.
    async fn charge(&self, task: &Task) -> Outcome {
        if let Some((_, known)) = task.memos.iter().find(|(name, _)| name == "charge") {
            return result(Value::clone(known));
        }
        self.log.write(&Line::Once);
        match task.report.record("charge", json!("charged")).await {
            Ok(()) => result(json!("charged")),
            Err(error) => error.into(),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a story reads better without borrowing each value")]
fn result(value: Value) -> Outcome {
    Outcome::output(json!({ "result": value }))
}

fn wait(kind: WaitKind) -> Outcome {
    Outcome::Suspend(vec![WaitSpec::step(kind)])
}

/// The functions of [`LOOP`]: each round leaves two marks in the context, and the last step shows them all.
fn route(task: &Task) -> Outcome {
    let round = task.ordinal.0;
    let mark = |side: &str, round: u32| format!("{side} {round}");
    match task.step.as_str() {
        "head" => Outcome::to(&["left", "right"]),
        side @ ("left" | "right") => Outcome::Complete(Completion {
            output: Arc::new(json!({ "result": round })),
            writes: vec![Change { key: mark(side, round), value: Some(Arc::new(json!(round))), base: None }],
            to: vec![Target::to("tally")],
            ..Completion::default()
        }),
        "tally" if round < ROUNDS => Outcome::to(&["head"]),
        "tally" => Outcome::to(&["done"]),
        "done" => {
            let marks = (1..=ROUNDS).flat_map(|round| [mark("left", round), mark("right", round)]);
            let found: Vec<Value> = marks
                .map(|key| task.context.get(&key).map_or(Value::Null, |value| Value::clone(value)))
                .collect();
            result(json!(found))
        }
        other => unreachable!("no function is called {other}"),
    }
}
