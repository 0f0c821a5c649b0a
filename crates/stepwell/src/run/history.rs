//! What steps came to, in the order in which they ended, as those see it who wrote the workflow: parts of a pipeline that hold others
//! (branches, loops, maps) have one record with those of their bodies in it, and what a pipeline does by itself has none.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;
use stepwell_core::context::{Op, RESERVED, Write};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, RunId, StepName, Timestamp};
use stepwell_core::run::Run as CoreRun;
use stepwell_core::run::event::{Event, Target};
use stepwell_core::run::wait::WaitKind;
use stepwell_store::Recorded;

/// What a step came to; [`Run::details`](super::Run::details) has those of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepRecord {
    /// What the step is called where it stands, such as `search`.
    pub name: String,
    /// Where it stands, such as `facts/web/search`.
    pub path: String,
    /// What it handed on; null if it failed.
    pub output: Value,
    /// What went wrong, if it failed.
    pub error: Option<ErrorObject>,
    /// Attempts begun, over all epochs; none for an output that was remembered.
    pub attempts: u32,
    /// From its first attempt to its end.
    pub duration: Duration,
    /// Which item of a map it was for.
    pub item: Option<u64>,
    /// The child run that it was.
    pub child: Option<RunId>,
    /// What its body did; of a step with a fallback, its failure and the fallback.
    pub history: Vec<StepRecord>,
}

/// What a step of a pipeline is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is no step of a pipeline.
    Plain,
    /// It is an element of a step with `for_each`, whose record is that of the step.
    Element,
    /// A step, or a question.
    Work,
    Child,
    Fallback,
    /// It begins a branch, a parallel, a map, a loop or a refinement.
    Begins,
    Branch,
    Map,
    /// Where a parallel or a map ends.
    Join,
    /// Where a loop or a refinement ends, or goes on.
    Check,
    /// It makes an output.
    Output,
    Next,
}

impl Role {
    fn of(name: Option<&str>) -> Self {
        match name {
            Some("step" | "human") => Self::Work,
            Some("child") => Self::Child,
            Some("fallback") => Self::Fallback,
            Some("branch") => Self::Branch,
            Some("map") => Self::Map,
            Some("parallel" | "loop" | "refine") => Self::Begins,
            Some("join") => Self::Join,
            Some("check") => Self::Check,
            Some("output") => Self::Output,
            Some("next") => Self::Next,
            _ => Self::Plain,
        }
    }
}

/// A part that holds others, and for which item it was come to.
type Part = (String, Option<u64>);

pub(super) struct Historian<'r> {
    run: &'r CoreRun,
    roles: HashMap<&'r str, Role>,
    /// The paths of parts that hold others.
    parts: BTreeMap<&'r str, Role>,
    /// Parts that have begun and not ended, since when.
    open: BTreeMap<Part, Timestamp>,
    /// Records of parts that have not ended.
    pending: HashMap<Part, Vec<StepRecord>>,
    /// Failures of steps that have a fallback.
    behind: HashMap<Part, StepRecord>,
    children: HashMap<(StepName, Ordinal), RunId>,
    records: Vec<StepRecord>,
}

impl<'r> Historian<'r> {
    /// Returns the records of a run, of which this is the journal.
    pub(super) fn tell(run: &'r CoreRun, journal: &[Recorded]) -> Vec<StepRecord> {
        let mut teller = Self::of(run);
        for recorded in journal {
            teller.take(&recorded.event, recorded.at);
        }
        teller.records
    }

    fn of(run: &'r CoreRun) -> Self {
        let steps = &run.workflow().definition().steps;
        let role = |metadata: &'r serde_json::Map<String, Value>| {
            Role::of(metadata.get("pipeline").and_then(|what| what["role"].as_str()))
        };
        let roles: HashMap<&str, Role> =
            steps.iter().map(|step| (step.name.as_str(), role(&step.metadata))).collect();
        let mut parts = BTreeMap::new();
        for (&name, &role) in &roles {
            match role {
                Role::Begins | Role::Branch | Role::Map => {
                    parts.insert(name, role);
                }
                Role::Check => {
                    let around = name.rsplit_once('/').map_or(name, |(around, _)| around);
                    parts.entry(around).or_insert(Role::Begins);
                }
                _ => {}
            }
        }
        Self {
            run,
            roles,
            parts,
            open: BTreeMap::new(),
            pending: HashMap::new(),
            behind: HashMap::new(),
            children: HashMap::new(),
            records: Vec::new(),
        }
    }

    fn take(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::AttemptStarted(started) => self.begin(started.step.as_str(), started.execution, at),
            Event::WaitOpened { step, execution, spec, .. } => {
                if let WaitKind::Child(child) = &spec.kind {
                    self.children.insert((step.clone(), *execution), child.run.clone());
                }
            }
            Event::StepCompleted { step, execution, output, writes, to, .. } => {
                let left = self.left_with(step.as_str(), *execution, to, writes);
                self.complete(step, *execution, output, &left, at);
                self.leave(step.as_str(), *execution, to.first(), &left, at);
            }
            Event::StepFailed { step, execution, error, to, .. } => {
                self.fail(step, *execution, error, to.as_ref(), at);
            }
            Event::RunRetried { .. } => self.reopen(),
            Event::RunFailed { error } => {
                let open: Vec<Part> = self.open.keys().cloned().collect();
                // What is inside is longer.
                for part in open.into_iter().rev() {
                    self.end(&part, Err((**error).clone()), at);
                }
            }
            _ => {}
        }
    }

    /// Takes note that parts are come to.
    fn begin(&mut self, step: &str, execution: Ordinal, at: Timestamp) {
        if matches!(self.role(step), Role::Output | Role::Plain | Role::Element) {
            return;
        }
        for part in self.around(step, execution) {
            self.open.entry(part).or_insert(at);
        }
    }

    fn complete(&mut self, step: &StepName, execution: Ordinal, output: &Value, left: &Value, at: Timestamp) {
        let path = step.as_str();
        let result = || output.get("result").cloned().unwrap_or_default();
        match self.role(path) {
            Role::Plain => {
                let main = output.get("result").unwrap_or(output).clone();
                let record = self.record(step, execution, main, None, at);
                self.records.push(record);
            }
            Role::Element => {}
            Role::Work | Role::Child => {
                let mut record = self.record(step, execution, result(), None, at);
                if output["cached"] == true {
                    record.attempts = 0;
                }
                self.file(record);
            }
            Role::Fallback => {
                let fallback = self.record(step, execution, result(), None, at);
                self.stand_in(path, fallback);
            }
            Role::Join | Role::Output => {
                let part = self.part_of(path, execution);
                self.end(&part, Ok(result()), at);
            }
            Role::Check if result() == true => {
                let part = self.part_of(path, execution);
                self.end(&part, Ok(left.clone()), at);
            }
            Role::Check | Role::Begins | Role::Branch | Role::Map | Role::Next => {}
        }
    }

    /// Ends the branches that a step is the end of, since it leads out of them.
    fn leave(&mut self, step: &str, execution: Ordinal, to: Option<&Target>, left: &Value, at: Timestamp) {
        let to = to.map(|target| &target.step);
        for part in self.around(step, execution).into_iter().rev() {
            let is_branch = self.parts.get(part.0.as_str()) == Some(&Role::Branch);
            if is_branch && !leads_into(&part.0, to) {
                self.end(&part, Ok(left.clone()), at);
            }
        }
    }

    fn fail(
        &mut self,
        step: &StepName,
        execution: Ordinal,
        error: &ErrorObject,
        to: Option<&StepName>,
        at: Timestamp,
    ) {
        let path = step.as_str();
        let record = self.record(step, execution, Value::Null, Some(error.clone()), at);
        match self.role(path) {
            Role::Plain => self.records.push(record),
            Role::Element => {}
            Role::Work if to.is_some_and(|to| self.role(to.as_str()) == Role::Fallback) => {
                self.behind.insert((path.to_owned(), record.item), record);
            }
            Role::Work | Role::Child => self.file(record),
            Role::Fallback => self.stand_in(path, record),
            Role::Begins
            | Role::Branch
            | Role::Map
            | Role::Join
            | Role::Check
            | Role::Output
            | Role::Next => {
                let part = self.part_of(path, execution);
                self.end(&part, Err(error.clone()), at);
            }
        }
        let Some(to) = to else { return };
        for part in self.around(path, execution).into_iter().rev() {
            if !leads_into(&part.0, Some(to)) {
                self.end(&part, Err(error.clone()), at);
            }
        }
    }

    /// Files a fallback as what its step came to.
    fn stand_in(&mut self, path: &str, fallback: StepRecord) {
        let of = path.rsplit_once('/').map_or(path, |(of, _)| of);
        let failed = self.behind.remove(&(of.to_owned(), fallback.item));
        let name = failed.as_ref().map_or(of, |failed| &failed.name).to_owned();
        self.file(StepRecord {
            name,
            path: of.to_owned(),
            output: fallback.output.clone(),
            error: fallback.error.clone(),
            attempts: failed.as_ref().map_or(0, |failed| failed.attempts) + fallback.attempts,
            duration: failed.as_ref().map_or(Duration::ZERO, |failed| failed.duration) + fallback.duration,
            item: fallback.item,
            child: None,
            history: failed.into_iter().chain([fallback]).collect(),
        });
    }

    /// Ends a part, if it has not ended yet.
    fn end(&mut self, part: &Part, came_to: Result<Value, ErrorObject>, at: Timestamp) {
        let Some(since) = self.open.remove(part) else { return };
        let (path, item) = part.clone();
        let (output, error) = match came_to {
            Ok(output) => (output, None),
            Err(error) => (Value::Null, Some(error)),
        };
        let history = self.pending.remove(part).unwrap_or_default();
        let name = last_of(&path).to_owned();
        let duration = between(since, at);
        self.file(StepRecord {
            name,
            path,
            output,
            error,
            attempts: 1,
            duration,
            item,
            child: None,
            history,
        });
    }

    /// Puts a record where it belongs: into the part around it, or to those of the run.
    fn file(&mut self, record: StepRecord) {
        let around = self.path_around(&record.path).map(str::to_owned);
        let Some(around) = around else { return self.records.push(record) };
        let item = self.item_at(&around, record.item);
        self.pending.entry((around, item)).or_default().push(record);
    }

    /// Opens what failed again, since it is tried again.
    fn reopen(&mut self) {
        let records = std::mem::take(&mut self.records);
        self.behind.clear();
        for record in records {
            if record.error.is_none() { self.records.push(record) } else { self.reopen_one(record) }
        }
    }

    fn reopen_one(&mut self, record: StepRecord) {
        if !self.parts.contains_key(record.path.as_str()) {
            return;
        }
        let part = (record.path, record.item);
        for inner in record.history {
            if inner.error.is_none() {
                self.pending.entry(part.clone()).or_default().push(inner);
            } else {
                self.reopen_one(inner);
            }
        }
    }

    fn record(
        &self,
        step: &StepName,
        execution: Ordinal,
        output: Value,
        error: Option<ErrorObject>,
        at: Timestamp,
    ) -> StepRecord {
        let path = step.as_str();
        let known = self.run.execution(path, execution);
        let role = self.role(path);
        let since = known.and_then(|known| known.started_at);
        let name = match role {
            Role::Plain => path,
            // A branch that is a child run is called as the branch is.
            Role::Child if last_of(path) == "run" => last_of(path.rsplit_once('/').map_or(path, |(b, _)| b)),
            _ => last_of(path),
        };
        StepRecord {
            name: name.to_owned(),
            path: path.to_owned(),
            output,
            error,
            attempts: known.map_or(0, |known| known.attempts),
            duration: since.map_or(Duration::ZERO, |since| between(since, at)),
            item: self.item_of(path, execution),
            child: self.children.get(&(step.clone(), execution)).cloned(),
            history: Vec::new(),
        }
    }

    fn role(&self, step: &str) -> Role {
        self.roles.get(step).copied().unwrap_or(Role::Element)
    }

    /// Returns the parts around a step, and itself if it begins one, outermost first.
    fn around(&self, step: &str, execution: Ordinal) -> Vec<Part> {
        let item = self.item_of(step, execution);
        let paths = step.match_indices('/').map(|(at, _)| &step[..at]).chain([step]);
        let those = paths.filter(|path| self.parts.contains_key(path));
        those.map(|path| (path.to_owned(), self.item_at(path, item))).collect()
    }

    /// Returns the part that a step is the end of, or begins.
    fn part_of(&self, step: &str, execution: Ordinal) -> Part {
        self.around(step, execution).pop().unwrap_or((step.to_owned(), None))
    }

    fn path_around<'p>(&self, path: &'p str) -> Option<&'p str> {
        let around = path.match_indices('/').map(|(at, _)| &path[..at]);
        around.rev().find(|path| self.parts.contains_key(*path))
    }

    /// Returns which item an execution is for, if it is in the body of a map.
    fn item_of(&self, step: &str, execution: Ordinal) -> Option<u64> {
        if matches!(self.role(step), Role::Join | Role::Next)
            && self.map_around(step) == self.path_around(step)
        {
            return None;
        }
        self.map_around(step)?;
        let execution = self.run.execution(step, execution)?;
        // What stands in for a failed step has no payload of its own.
        let payload =
            execution.payload.as_ref().or_else(|| self.run.failure_behind(execution)?.payload.as_ref());
        payload?.get(0)?.as_u64()
    }

    /// Returns the item that something at that path belongs to: none outside of maps.
    fn item_at(&self, path: &str, item: Option<u64>) -> Option<u64> {
        self.map_around(path).and(item)
    }

    fn map_around<'p>(&self, path: &'p str) -> Option<&'p str> {
        let around = path.match_indices('/').map(|(at, _)| &path[..at]);
        around.rev().find(|path| self.parts.get(*path) == Some(&Role::Map))
    }

    /// Returns the value that a step handed on: by its route, or to where branches meet.
    fn left_with(&self, step: &str, execution: Ordinal, to: &[Target], writes: &[Write]) -> Value {
        if let Some(payload) = to.first().and_then(|target| target.payload.as_ref()) {
            let in_map = self.item_of(step, execution).is_some();
            return if in_map { payload[1].clone() } else { (**payload).clone() };
        }
        let kept = writes.iter().filter(|write| write.key.starts_with(RESERVED) && !write.key.contains("//"));
        let mut values = kept.filter_map(|write| match &write.op {
            Op::Set(value) => Some((**value).clone()),
            _ => None,
        });
        values.next().unwrap_or_default()
    }
}

/// Returns whether a step is within a part.
fn leads_into(part: &str, to: Option<&StepName>) -> bool {
    let rest = to.and_then(|to| to.as_str().strip_prefix(part));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn last_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

fn between(since: Timestamp, at: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(at.0.saturating_sub(since.0)).unwrap_or(0))
}
