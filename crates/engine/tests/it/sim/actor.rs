//! Carries out the steps of the random workflows and writes down what it really did.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::run::event::Target;
use stepwell_core::run::wait::{ChildStart, Question, Then, WaitKind, WaitSpec};
use stepwell_engine::testing::flaky;
use stepwell_engine::{Completion, Outcome, Provider, Task};
use stepwell_store::FaultyStore;

use super::ledger::{Attempt, Ledger};

/// The provider of one process.
pub(super) struct Actor {
    pub(super) process: usize,
    /// Tells whether the process stands still.
    pub(super) store: FaultyStore,
    pub(super) ledger: Arc<Ledger>,
}

#[async_trait]
impl Provider for Actor {
    fn raw_params(&self, _method: &str) -> &'static [&'static str] {
        &["workflow"]
    }

    async fn execute(&self, task: Task) -> Outcome {
        self.store.moves().await;
        self.ledger.began(attempt_of(&task), self.process);
        let outcome = self.act(&task).await;
        self.store.moves().await;
        outcome
    }
}

fn attempt_of(task: &Task) -> Attempt {
    Attempt {
        run: task.run.id.clone(),
        step: task.step.to_string(),
        ordinal: task.ordinal.0,
        number: task.attempt,
    }
}

impl Actor {
    async fn act(&self, task: &Task) -> Outcome {
        let Some(what) = task.params.get("do").and_then(Value::as_str) else { return self.walk(task) };
        let number = |key: &str| task.params.get(key).and_then(Value::as_u64);
        match what {
            "work" => self.work(task).await,
            "once" => self.once(task).await,
            "ask" => {
                let deadline = number("deadline_ms").map(|ms| task.report.now().plus_ms(ms));
                let default = deadline.map(|_| Arc::new(json!("default")));
                Outcome::Suspend(vec![WaitSpec { deadline, default, ..wait(0, question(), Then::Complete) }])
            }
            "await" => {
                let name = task.params["name"].as_str().expect("a signal has a name").to_owned();
                Outcome::Suspend(vec![wait(0, WaitKind::Signal { name }, Then::Complete)])
            }
            "nap" => {
                let deadline = Some(task.report.now().plus_ms(number("ms").expect("a nap has a length")));
                Outcome::Suspend(vec![WaitSpec { deadline, ..wait(0, WaitKind::Timer, Then::Complete) }])
            }
            "talk" => self.talk(task),
            "child" => {
                let start = ChildStart {
                    run: RunId::from(""),
                    definition: task.params["workflow"].clone(),
                    input: Arc::new(json!({ "rounds": 2 })),
                    context: Map::new(),
                    metadata: Map::new(),
                    entry: None,
                };
                Outcome::Suspend(vec![wait(0, WaitKind::Child(Box::new(start)), Then::Complete)])
            }
            other => unreachable!("no step does {other}"),
        }
    }

    async fn work(&self, task: &Task) -> Outcome {
        let number = |key: &str| {
            task.params[key].as_u64().expect("work says how long and how often it fails or is lost")
        };
        // What takes long does so the first time only, so that a time limit is not met for ever.
        let takes_ms = if task.attempt > 1 { number("takes_ms").min(50) } else { number("takes_ms") };
        let is_stubborn = task.params["stubborn"] == json!(true);
        task.report.emit("log", json!("working"));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(takes_ms)) => {}
            () = task.cancel.cancelled(), if !is_stubborn => {
                return ErrorObject::new(Code::TASK_CANCELLED, "cancelled").into();
            }
        }
        let attempt = u64::from(task.attempt);
        if attempt <= number("fails") {
            return flaky("not yet");
        }
        if attempt <= number("fails") + number("losses") {
            return Outcome::Lost { reason: "what it ran in died".into() };
        }
        self.done(task, Vec::new())
    }

    /// What was recorded is never done again.
    async fn once(&self, task: &Task) -> Outcome {
        let key = (task.run.id.clone(), task.step.to_string(), task.ordinal.0);
        if task.memos.is_empty() {
            // The engine would take a panic for the failure of the step.
            if self.ledger.book().recorded.contains(&key) {
                self.ledger.broken(format!("{key:?}: what was recorded is not told"));
            }
            if let Err(error) = task.report.record("effect", json!(1)).await {
                return error.into();
            }
            self.ledger.book().recorded.insert(key);
        }
        self.done(task, Vec::new())
    }

    /// Asks, sleeps, and is told both when it runs again.
    fn talk(&self, task: &Task) -> Outcome {
        match task.resolutions.len() {
            0 => Outcome::Suspend(vec![wait(0, question(), Then::Rerun)]),
            1 => {
                let deadline = Some(task.report.now().plus_ms(500));
                Outcome::Suspend(vec![WaitSpec { deadline, ..wait(1, WaitKind::Timer, Then::Rerun) }])
            }
            _ => self.done(task, Vec::new()),
        }
    }

    /// A function of a loop.
    fn walk(&self, task: &Task) -> Outcome {
        let rounds = task.run.input["rounds"].as_u64().unwrap_or(1);
        if task.attempt == 1 && (task.ordinal.0 as usize + task.step.as_str().len()).is_multiple_of(4) {
            return flaky("not at first");
        }
        let to: &[&str] = match task.step.as_str() {
            "head" => &["left", "right"],
            "left" | "right" => &["tally"],
            "tally" if u64::from(task.ordinal.0) < rounds => &["head"],
            "tally" => &["done"],
            _ => &[],
        };
        self.done(task, to.iter().map(|name| Target::to(name)).collect())
    }

    fn done(&self, task: &Task, to: Vec<Target>) -> Outcome {
        let number = self.ledger.done(attempt_of(task));
        Outcome::Complete(Completion {
            output: Arc::new(json!({ "result": number })),
            writes: Vec::new(),
            to,
            ..Completion::default()
        })
    }
}

fn question() -> WaitKind {
    WaitKind::Human(Question { prompt: "Go on?".into(), ..Question::default() })
}

fn wait(position: u32, kind: WaitKind, then: Then) -> WaitSpec {
    WaitSpec { position, name: None, kind, deadline: None, default: None, then }
}
