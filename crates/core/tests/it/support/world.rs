//! One run with its clock and journal; workers, people and timers are played by the test.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{ExecutionRef, Ordinal, RunId, Timestamp, WaitId};
use stepwell_core::run::command::{
    AttemptRef, Command, Complete, Create, Fail, SettleVerb, Suspend, TimerKey,
};
use stepwell_core::run::event::{AttemptStarted, Event, Parent, Payload, Target};
use stepwell_core::run::wait::{ChildStart, Question, Then, WaitKind, WaitSpec};
use stepwell_core::run::{Decision, Run, Task, Work};
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};

/// The session that carries out every attempt unless a test says otherwise.
pub(crate) const SESSION: u64 = 1;

pub(crate) struct World {
    pub(crate) run: Run,
    /// What the run began with.
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<(Event, Timestamp)>,
    pub(crate) last: Decision,
}

/// The answer to a question that completes its execution, or lets it fail if nobody can complete it by hand.
pub(crate) fn ending_answer(question: &Question) -> Value {
    let verbs = question.schema.as_ref().and_then(|schema| schema["properties"]["verb"]["enum"].as_array());
    let verb = if verbs.is_none_or(|verbs| verbs.contains(&json!("complete"))) { "complete" } else { "fail" };
    json!({ "verb": verb })
}

impl World {
    /// A run of that definition, not yet created.
    pub(crate) fn blank(definition: Definition) -> Self {
        Self::named("run_test", definition)
    }

    /// A run of that name, not yet created.
    pub(crate) fn named(run: &str, definition: Definition) -> Self {
        let workflow = Workflow::new(definition).expect("the definition can be run");
        Self {
            run: Run::blank(RunId::from(run), workflow.clone()),
            workflow,
            now: Timestamp(1_000_000_000),
            journal: Vec::new(),
            last: Decision::default(),
        }
    }

    /// A started run of that definition.
    pub(crate) fn of(definition: Definition) -> Self {
        let mut world = Self::blank(definition);
        let create = Create::new(world.run.id().clone(), world.run.workflow().clone());
        world.ok(Command::Create(Box::new(create)));
        world
    }

    /// A started run of that definition that another waits for.
    pub(crate) fn child(definition: Definition, parent: Parent) -> Self {
        let mut world = Self::blank(definition);
        let create = Create::new(world.run.id().clone(), world.run.workflow().clone());
        world.ok(Command::Create(Box::new(Create { parent: Some(parent), ..create })));
        world
    }

    /// A started run of those steps.
    pub(crate) fn steps(steps: Vec<Step>) -> Self {
        Self::of(Definition::new("test", steps))
    }

    pub(crate) fn submit(&mut self, command: &Command) -> Result<Decision, ErrorObject> {
        let decision = self.run.handle(command, self.now)?;
        self.journal.extend(decision.events.iter().map(|event| (event.clone(), decision.at)));
        self.last = decision.clone();
        Ok(decision)
    }

    pub(crate) fn ok(&mut self, command: Command) -> Decision {
        let kind = command.kind();
        self.submit(&command).unwrap_or_else(|error| panic!("{kind} is refused: {error} {:?}", error.data))
    }

    /// Submits a command that must be refused; returns the reason.
    pub(crate) fn refused(&mut self, command: Command) -> String {
        let kind = command.kind();
        match self.submit(&command) {
            Err(error) => {
                error.data.get("reason").and_then(Value::as_str).unwrap_or(error.code.name()).into()
            }
            Ok(decision) => panic!("{kind} is not refused: {:?}", decision.events),
        }
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// Work that no one has taken and whose time has come.
    pub(crate) fn ready(&self) -> Vec<Work> {
        let due = self.run.due().work;
        due.into_iter().filter(|work| !work.taken && work.not_before <= self.now).collect()
    }

    /// Names of the steps with work to take, in order of their activation.
    pub(crate) fn ready_steps(&self) -> Vec<String> {
        self.ready().iter().map(|work| work.execution.step.as_str().to_owned()).collect()
    }

    /// Journals the start of an attempt, as the store does with a lease.
    pub(crate) fn lease(&mut self, execution: &ExecutionRef, attempt: u32) -> AttemptRef {
        let started = AttemptStarted {
            step: execution.step.clone(),
            execution: execution.ordinal,
            attempt,
            session: SESSION,
        };
        self.run.apply(&Event::AttemptStarted(started.clone()), self.now);
        self.journal.push((Event::AttemptStarted(started), self.now));
        AttemptRef { step: execution.step.clone(), ordinal: execution.ordinal, attempt, session: SESSION }
    }

    /// Takes the first work of that step, or goes on with what was taken.
    pub(crate) fn take(&mut self, step: &str) -> AttemptRef {
        let due = self.run.due().work;
        let mine = |work: &&Work| work.execution.step.as_str() == step && work.task != Task::Judge;
        let work = due.iter().find(mine).unwrap_or_else(|| {
            panic!(
                "step '{step}' has no work; there is {:?}; the run is {:?}",
                self.ready_steps(),
                self.run.status()
            )
        });
        if work.taken {
            let execution = &work.execution;
            return AttemptRef {
                step: execution.step.clone(),
                ordinal: execution.ordinal,
                attempt: work.attempt,
                session: SESSION,
            };
        }
        assert!(work.not_before <= self.now, "the work of '{step}' is not due yet");
        self.lease(&work.execution, work.attempt)
    }

    /// Completes a step with targets.
    pub(crate) fn done(&mut self, step: &str, to: &[&str]) -> Decision {
        self.done_with(step, Value::Null, to.iter().map(|name| Target::to(name)).collect())
    }

    pub(crate) fn done_with(&mut self, step: &str, output: Value, to: Vec<Target>) -> Decision {
        let attempt = self.take(step);
        self.ok(complete(&attempt, output, to))
    }

    /// Fails a step's attempt with an error that is worth a retry.
    pub(crate) fn fails(&mut self, step: &str) -> Decision {
        let attempt = self.take(step);
        self.ok(fail(&attempt, "boom"))
    }

    /// Suspends a step's attempt on those waits.
    pub(crate) fn asks(&mut self, step: &str, waits: Vec<WaitSpec>) -> Vec<WaitId> {
        let attempt = self.take(step);
        let decision = self.ok(Command::Suspend(Suspend { attempt, waits }));
        let opened = |event: &Event| match event {
            Event::WaitOpened { wait, .. } => Some(wait.clone()),
            _ => None,
        };
        decision.events.iter().filter_map(opened).collect()
    }

    pub(crate) fn answer(&mut self, wait: &WaitId, value: Value) -> Decision {
        self.ok(answer(wait, value))
    }

    /// Lets every timer fire that is due.
    pub(crate) fn fire_due(&mut self) -> Vec<TimerKey> {
        let mut fired = Vec::new();
        loop {
            let due = self.run.due().timers;
            let Some((timer, _)) = due.into_iter().find(|(_, at)| *at <= self.now) else { return fired };
            self.ok(Command::FireTimer { timer: timer.clone() });
            fired.push(timer);
        }
    }

    pub(crate) fn settle(&mut self, step: &str, verb: SettleVerb, value: Option<Value>) -> Decision {
        let value = value.map(Arc::new);
        self.ok(Command::Settle { step: step.into(), ordinal: None, verb, value })
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.run.status()
    }

    /// The status of the latest execution of a step; none: it was never activated.
    pub(crate) fn step_status(&self, step: &str) -> Option<ExecutionStatus> {
        let ix = self.run.workflow().find(step).expect("the step exists");
        self.run.latest(ix).map(|execution| execution.status)
    }

    /// How often a step was activated.
    pub(crate) fn count(&self, step: &str) -> usize {
        self.run.executions().iter().filter(|e| e.step.as_str() == step).count()
    }

    pub(crate) fn error_code(&self) -> Option<Code> {
        self.run.error().map(|error| error.code)
    }

    /// The kinds of the last decision's events.
    pub(crate) fn last_kinds(&self) -> Vec<&'static str> {
        self.last.events.iter().map(Event::kind).collect()
    }

    /// Folds the journal anew.
    pub(crate) fn replayed(&self) -> Run {
        let journal = self.journal.iter().map(|(event, at)| (event, *at));
        Run::replay(self.run.id().clone(), self.workflow.clone(), journal)
    }

    /// Reads a snapshot that was made after so many events, and folds the others.
    pub(crate) fn restored(&self, seq: usize, snapshot: &[u8]) -> Run {
        let run = Run::from_snapshot(self.run.id().clone(), self.workflow.clone(), snapshot);
        let tail = self.journal[seq..].iter().map(|(event, at)| (event, *at));
        run.expect("a snapshot of this build can be read").fold(tail)
    }
}

pub(crate) fn complete(attempt: &AttemptRef, output: Value, to: Vec<Target>) -> Command {
    Command::Complete(Complete {
        attempt: attempt.clone(),
        output: Payload::new(output),
        writes: Vec::new(),
        snapshot: 0,
        to,
        children: Vec::new(),
        defines: Vec::new(),
    })
}

pub(crate) fn fail(attempt: &AttemptRef, message: &str) -> Command {
    fail_with(attempt, ErrorObject::new(Code::TASK_EXECUTION_FAILED, message), false)
}

pub(crate) fn fail_with(attempt: &AttemptRef, error: ErrorObject, timed_out: bool) -> Command {
    Command::Fail(Fail { attempt: attempt.clone(), error, timed_out, jitter: 0.0, retry_after_ms: None })
}

pub(crate) fn answer(wait: &WaitId, value: Value) -> Command {
    Command::Answer { wait: wait.clone(), value: Payload::new(value), by: None }
}

pub(crate) fn signal(name: &str, id: &str) -> Command {
    Command::Signal { name: name.into(), id: id.into(), value: Payload::new(json!(id)) }
}

/// A wait of that kind at that position, that makes its function run again.
pub(crate) fn wait_for(position: u32, kind: WaitKind) -> WaitSpec {
    WaitSpec { position, name: None, kind, deadline: None, default: None, then: Then::Rerun }
}

pub(crate) fn question(position: u32) -> WaitSpec {
    let question = Question { prompt: "ok?".into(), ..Question::default() };
    wait_for(position, WaitKind::Human(question))
}

/// A wait for a child run.
pub(crate) fn child(position: u32) -> WaitSpec {
    wait_for(position, WaitKind::Child(Box::new(child_start())))
}

/// A child run of a workflow that nobody looks at.
pub(crate) fn child_start() -> ChildStart {
    ChildStart {
        run: "".into(),
        definition: json!({ "name": "other" }),
        input: Payload::default(),
        context: serde_json::Map::new(),
        metadata: serde_json::Map::new(),
        entry: Some("x".into()),
    }
}

pub(crate) fn first() -> Ordinal {
    Ordinal(1)
}
