//! A shell without I/O: carries out what a run asks for, in an order given by a seed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, RunId, StepName, Timestamp};
use stepwell_core::run::command::{AttemptRef, Command, Complete, Create};
use stepwell_core::run::event::{AttemptStarted, Event, Target};
use stepwell_core::run::{Decision, Run, Work};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};

/// A small random number generator (the mixing of `SplitMix64`), so that a seed says everything.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

pub struct World {
    pub run: Run,
    pub journal: Vec<(Event, Timestamp)>,
    pub now: Timestamp,
}

impl World {
    pub fn new(definition: Definition) -> Self {
        Self::with_input(definition, Value::Null)
    }

    pub fn with_input(definition: Definition, input: Value) -> Self {
        let workflow = Workflow::new(definition).expect("a definition that can be run");
        let id = RunId::from("run_test");
        let run = Run::blank(id.clone(), workflow.clone());
        let mut world = Self { run, journal: Vec::new(), now: Timestamp(1_000_000) };
        let create = Create { input: Arc::new(input), ..Create::new(id, workflow) };
        world.submit(Command::Create(Box::new(create))).expect("a new run is created");
        world
    }

    pub fn submit(&mut self, command: Command) -> Result<Decision, ErrorObject> {
        let decision = self.run.handle(&command, self.now)?;
        self.journal.extend(decision.events.iter().map(|event| (event.clone(), self.now)));
        Ok(decision)
    }

    /// What a worker could take now.
    pub fn ready(&self) -> Vec<Work> {
        let due = self.run.due();
        due.work.into_iter().filter(|work| !work.taken && work.not_before <= self.now).collect()
    }

    pub fn running(&self) -> Vec<Work> {
        self.run.due().work.into_iter().filter(|work| work.taken).collect()
    }

    pub fn start(&mut self, work: &Work) {
        let started = AttemptStarted {
            step: work.execution.step.clone(),
            execution: work.execution.ordinal,
            attempt: work.attempt,
            session: 1,
        };
        let event = Event::AttemptStarted(started);
        self.run.apply(&event, self.now);
        self.journal.push((event, self.now));
    }

    pub fn complete(&mut self, work: &Work, to: Vec<Target>) {
        let command = Command::Complete(Complete {
            attempt: attempt(work),
            output: Arc::new(json!({ "result": work.execution.step,
            })),
            writes: Vec::new(),
            snapshot: self.run.context_version(),
            to,
            children: Vec::new(),
            defines: Vec::new(),
        });
        self.submit(command).expect("a running attempt may complete");
    }

    /// Carries the run to its end. Each step's `route` says where its executions go, given how many of it have
    /// completed before. Durations are random.
    pub fn carry_out(&mut self, dice: &mut Dice, route: &dyn Fn(&str, u32) -> Vec<Target>) {
        let mut rounds: HashMap<StepName, u32> = HashMap::new();
        for _ in 0..200_000 {
            for work in self.ready() {
                self.start(&work);
            }
            let running = self.running();
            if running.is_empty() {
                return;
            }
            self.now = self.now.plus_ms(1);
            let work = running[dice.roll(running.len())].clone();
            let round = rounds.entry(work.execution.step.clone()).or_insert(0);
            *round += 1;
            let to = route(work.execution.step.as_str(), *round);
            self.complete(&work, to);
        }
        panic!("the run does not end");
    }

    /// How often each step completed.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for execution in self.run.executions() {
            if execution.output.is_some() {
                *counts.entry(execution.step.to_string()).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Steps in the order in which their executions were activated.
    pub fn activated(&self) -> Vec<String> {
        self.run.executions().iter().map(|execution| execution.step.to_string()).collect()
    }

    pub fn at(&self, step: &str, ordinal: u32) -> &stepwell_core::run::Execution {
        self.run.execution(step, Ordinal(ordinal)).expect("this execution exists")
    }

    pub fn assert_completed(&self) {
        assert_eq!(self.run.status(), RunStatus::Completed, "{:?}", self.run.error());
    }
}

pub fn attempt(work: &Work) -> AttemptRef {
    AttemptRef {
        step: work.execution.step.clone(),
        ordinal: work.execution.ordinal,
        attempt: work.attempt,
        session: 1,
    }
}

/// Steps as "s: a b" (what follows; `$end` says that it can also end).
pub fn functions(lines: &[&str]) -> Definition {
    let steps = lines.iter().map(|line| {
        let (name, next) = line.split_once(':').expect("name: successors");
        let next: Vec<&str> = next.split_whitespace().collect();
        if next == ["?"] { Step::function(name.trim()) } else { Step::function(name.trim()).next(&next) }
    });
    Definition::new("shape", steps.collect())
}

pub fn to(names: &[&str]) -> Vec<Target> {
    names.iter().map(|name| Target::to(name)).collect()
}
