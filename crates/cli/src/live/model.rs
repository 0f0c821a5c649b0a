//! What is known of a run that is followed: its steps and its open waits, as its events tell. It draws nothing, reads no
//! clock and asks nobody. An event that is already known changes nothing, so that it may begin with a run as it stands
//! and go on with events that are partly in it.

use std::collections::HashMap;

use stepwell_core::ids::{ExecutionRef, Ordinal, RunId, StepName, Timestamp, WaitId};
use stepwell_core::run::Run;
use stepwell_core::run::checkpoint::Checkpoint;
use stepwell_core::run::event::{Activation, Event, SkipReason};
use stepwell_core::run::view::view;
use stepwell_core::run::wait::{Resolution, WaitSpec};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::Workflow;

use crate::steps;

/// A run as far as it was followed.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) run: RunId,
    pub(crate) workflow: String,
    pub(crate) status: RunStatus,
    pub(crate) reason: Option<PauseReason>,
    pub(crate) began: Option<Timestamp>,
    /// Steps in order of the definition, then what they were activated for a further time.
    pub(crate) rows: Vec<Row>,
    /// Open, oldest first.
    pub(crate) waits: Vec<Asked>,
    /// Where the row of an execution is; an element has that of its step.
    places: HashMap<(StepName, Ordinal), usize>,
    elements: HashMap<(StepName, Ordinal), ExecutionStatus>,
}

/// A step, or one execution of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) step: StepName,
    /// None until it is activated.
    pub(crate) ordinal: Option<Ordinal>,
    pub(crate) status: ExecutionStatus,
    pub(crate) attempt: u32,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// When its next attempt may begin.
    pub(crate) due: Option<Timestamp>,
    pub(crate) fan: Option<Fan>,
    /// It was skipped because something failed, so that a retry of the run brings it back.
    by_failure: bool,
    /// What was last heard of it: a line of output, progress, why it failed, what came of it.
    pub(crate) said: String,
}

/// How far the elements of a step with `for_each` are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fan {
    pub(crate) of: u32,
    pub(crate) ended: u32,
    pub(crate) failed: u32,
    pub(crate) live: u32,
}

/// An open wait.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) wait: WaitId,
    pub(crate) step: StepName,
    pub(crate) ordinal: Ordinal,
    pub(crate) spec: WaitSpec,
    /// It is for a child run that itself waits for input.
    pub(crate) child_paused: bool,
}

/// What an event was that people are told of beside the picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// A wait is open.
    Opened(WaitId),
    /// A wait is closed.
    Closed { wait: WaitId, step: StepName, resolution: Resolution },
}

impl Model {
    /// Returns what is known of a run that has not begun.
    pub(crate) fn new(run: RunId, workflow: &Workflow) -> Self {
        let steps = &workflow.definition().steps;
        let rows: Vec<Row> = steps.iter().map(|step| Row::of(&step.name, None)).collect();
        let places = rows.iter().enumerate().map(|(at, row)| ((row.step.clone(), Ordinal(1)), at)).collect();
        Self {
            run,
            workflow: workflow.name().to_owned(),
            status: RunStatus::Pending,
            reason: None,
            began: None,
            rows,
            waits: Vec::new(),
            places,
            elements: HashMap::new(),
        }
    }

    /// Returns what is known of a run as it stands.
    pub(crate) fn of(run: &Run) -> Self {
        let mut model = Self::new(run.id().clone(), run.workflow());
        (model.status, model.reason, model.began) = (run.status(), run.pause_reason(), run.started_at());
        for execution in run.executions() {
            let of = run.element_of(execution).map(|of| (of.step.clone(), of.ordinal));
            model.exists(&execution.step, execution.ordinal, of);
            if model.is_element(&execution.step, execution.ordinal) {
                model.element(&execution.step, execution.ordinal, execution.status);
            }
            let elements = run.elements(execution);
            let Some(row) = model.row(&execution.step, execution.ordinal) else { continue };
            row.status = execution.status;
            row.attempt = execution.attempts;
            (row.began, row.ended, row.due) = (execution.started_at, execution.finished_at, execution.due_at);
            row.by_failure = execution.status != ExecutionStatus::Completed && execution.error.is_some();
            row.said = match &execution.error {
                Some(error) => few(&error.message),
                None => steps::in_brief(&view(execution)["result"]),
            };
            if let Some(of) = elements {
                row.fan.get_or_insert_default().of = of;
            }
        }
        model.waits.extend(run.open_waits().into_iter().map(|wait| Asked {
            wait: wait.id.clone(),
            step: wait.execution.step.clone(),
            ordinal: wait.execution.ordinal,
            spec: wait.spec.clone(),
            child_paused: wait.child_paused,
        }));
        model
    }

    /// Takes an event in, and returns what people are to be told of beside the picture.
    pub(crate) fn note(&mut self, event: &Event, at: Timestamp) -> Option<News> {
        use ExecutionStatus as Is;
        match event {
            Event::RunStarted { .. } => {
                self.status = RunStatus::Running;
                self.began = Some(at);
            }
            Event::StepsDefined { steps } => {
                for step in steps {
                    self.exists(&step.name, Ordinal(1), None);
                }
            }
            Event::StepActivated { step, execution, by, blocked } => {
                let of = match by {
                    // An element of `name` is an execution of `name[]`.
                    Activation::Element { of, .. } => {
                        Some((StepName::from(step.as_str().trim_end_matches("[]")), *of))
                    }
                    _ => None,
                };
                self.exists(step, *execution, of);
                self.turns(step, *execution, if *blocked { Is::Blocked } else { Is::Ready });
            }
            Event::StepUnblocked { step, execution } => self.turns(step, *execution, Is::Ready),
            Event::StepFannedOut { step, execution, items } => {
                self.turns(step, *execution, Is::Running);
                if let Some(row) = self.row(step, *execution) {
                    row.began = row.began.or(Some(at));
                    let known =
                        items.as_ref().and_then(|items| items.as_array()).map(|items| items.len() as u32);
                    let fan = row.fan.get_or_insert_default();
                    fan.of = known.unwrap_or(fan.of);
                }
            }
            Event::AttemptStarted(started) => {
                self.turns(&started.step, started.execution, Is::Running);
                if let Some(row) = self.row(&started.step, started.execution) {
                    row.attempt = started.attempt;
                    row.began = row.began.or(Some(at));
                    row.due = None;
                    row.said.clear();
                }
            }
            Event::StepCompleted { step, execution, output, .. } => {
                self.ends(step, *execution, Is::Completed, at);
                if let Some(row) = self.row(step, *execution) {
                    row.said = steps::in_brief(output.get("result").unwrap_or(output));
                }
            }
            Event::AttemptFailed { step, execution, error, retry_at, .. } => {
                if let Some(due) = retry_at {
                    self.turns(step, *execution, Is::Retrying);
                    if let Some(row) = self.row(step, *execution) {
                        row.due = Some(*due);
                    }
                }
                self.says(step, *execution, few(&error.message));
            }
            Event::AttemptLost { step, execution, .. } => {
                self.turns(step, *execution, Is::Ready);
                self.says(step, *execution, "its worker is gone".into());
            }
            Event::AttemptSuspended { step, execution, .. } => self.turns(step, *execution, Is::Waiting),
            Event::RetryDue { step, execution } => self.turns(step, *execution, Is::Ready),
            Event::StepFailed { step, execution, timed_out, error, .. } => {
                self.ends(step, *execution, if *timed_out { Is::TimedOut } else { Is::Failed }, at);
                self.says(step, *execution, few(&error.message));
            }
            Event::StepSkipped { step, execution, reason, error } => {
                self.exists(step, *execution, None);
                self.ends(step, *execution, Is::Skipped, at);
                self.says(step, *execution, why_skipped(*reason).into());
                if let Some(row) = self.row(step, *execution) {
                    row.by_failure = error.is_some();
                }
            }
            Event::StepCancelled { step, execution } => self.ends(step, *execution, Is::Cancelled, at),
            Event::WaitOpened { wait, step, execution, spec } => {
                self.turns(step, *execution, Is::Waiting);
                if self.waits.iter().any(|open| open.wait == *wait) {
                    return None;
                }
                self.waits.push(Asked {
                    wait: wait.clone(),
                    step: step.clone(),
                    ordinal: *execution,
                    spec: (**spec).clone(),
                    child_paused: false,
                });
                return Some(News::Opened(wait.clone()));
            }
            Event::WaitResolved { wait, step, execution, resolution } => {
                self.waits.retain(|open| open.wait != *wait);
                if !self.waits.iter().any(|open| (&open.step, open.ordinal) == (step, *execution)) {
                    self.turns(step, *execution, Is::Ready);
                }
                return Some(News::Closed {
                    wait: wait.clone(),
                    step: step.clone(),
                    resolution: resolution.clone(),
                });
            }
            Event::ChildPaused { wait, .. } => self.child(wait, true),
            Event::ChildResumed { wait, .. } => self.child(wait, false),
            Event::RunPaused { reason, .. } => {
                (self.status, self.reason) = (RunStatus::Paused, Some(*reason));
            }
            Event::RunResumed { .. } => (self.status, self.reason) = (RunStatus::Running, None),
            Event::RunRetried { .. } => self.retried(),
            Event::RunCompleted { .. } => self.status = RunStatus::Completed,
            Event::RunFailed { .. } => self.status = RunStatus::Failed,
            Event::RunCancelled { .. } => self.status = RunStatus::Cancelled,
            Event::Emitted { step, execution, data, .. } => {
                let said = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
                let newest = said.lines().rev().find(|line| !line.trim().is_empty());
                self.says(step, *execution, few(newest.unwrap_or_default()));
            }
            Event::RunRestored { checkpoint } => self.restored(checkpoint, at),
            Event::RunCreated(_)
            | Event::MemoRecorded { .. }
            | Event::FailureHandled { .. }
            | Event::SignalReceived { .. }
            | Event::NeedTimedOut { .. }
            | Event::NeedAsked { .. }
            | Event::NeedJudged { .. }
            | Event::Conflict { .. }
            | Event::TokenAbsorbed { .. }
            | Event::TimeLimited { .. }
            | Event::CheckpointTaken => {}
        }
        None
    }

    /// Returns how many steps have ended well or badly or will not run, and how many there are.
    pub(crate) fn done(&self) -> (usize, usize) {
        (self.rows.iter().filter(|row| row.status.is_terminal()).count(), self.rows.len())
    }

    /// Returns the open waits of the row at that place, and of its elements.
    pub(crate) fn waits_of(&self, row: usize) -> impl Iterator<Item = &Asked> {
        self.waits.iter().filter(move |wait| self.place(wait) == Some(row))
    }

    /// Returns the place of the row that a wait is of.
    pub(crate) fn place(&self, wait: &Asked) -> Option<usize> {
        self.places.get(&(wait.step.clone(), wait.ordinal)).copied()
    }

    fn is_element(&self, step: &StepName, ordinal: Ordinal) -> bool {
        !self.elements.is_empty() && self.elements.contains_key(&(step.clone(), ordinal))
    }

    fn row(&mut self, step: &StepName, ordinal: Ordinal) -> Option<&mut Row> {
        if self.is_element(step, ordinal) {
            return None;
        }
        let at = *self.places.get(&(step.clone(), ordinal))?;
        Some(&mut self.rows[at])
    }

    /// Gives an execution its row, or, as an element, that of its step.
    fn exists(&mut self, step: &StepName, ordinal: Ordinal, of: Option<(StepName, Ordinal)>) {
        let key = (step.clone(), ordinal);
        if let Some(of) = of {
            if let Some(at) = self.places.get(&of).copied() {
                self.places.insert(key.clone(), at);
                self.elements.entry(key).or_insert(ExecutionStatus::Pending);
            }
            return;
        }
        let at = *self.places.entry(key).or_insert_with(|| {
            self.rows.push(Row::of(step, Some(ordinal)));
            self.rows.len() - 1
        });
        self.rows[at].ordinal = Some(ordinal);
    }

    fn turns(&mut self, step: &StepName, ordinal: Ordinal, status: ExecutionStatus) {
        if self.is_element(step, ordinal) {
            self.element(step, ordinal, status);
        } else if let Some(row) = self.row(step, ordinal) {
            row.status = status;
            row.ended = None;
        }
    }

    fn ends(&mut self, step: &StepName, ordinal: Ordinal, status: ExecutionStatus, at: Timestamp) {
        self.turns(step, ordinal, status);
        self.waits.retain(|open| (&open.step, open.ordinal) != (step, ordinal));
        if let Some(row) = self.row(step, ordinal) {
            row.ended = Some(at);
            row.due = None;
        }
    }

    fn says(&mut self, step: &StepName, ordinal: Ordinal, said: String) {
        // What an element says stands for its step: the newest is shown.
        let Some(at) = self.places.get(&(step.clone(), ordinal)) else { return };
        self.rows[*at].said = said;
    }

    /// Counts an element where it stands now.
    fn element(&mut self, step: &StepName, ordinal: Ordinal, status: ExecutionStatus) {
        let key = (step.clone(), ordinal);
        let Some(at) = self.places.get(&key).copied() else { return };
        let before = self.elements.insert(key, status).unwrap_or(ExecutionStatus::Pending);
        let fan = self.rows[at].fan.get_or_insert_default();
        fan.ended -= u32::from(before.is_terminal());
        fan.failed -= u32::from(before.is_failure());
        fan.live -= u32::from(is_live(before));
        fan.ended += u32::from(status.is_terminal());
        fan.failed += u32::from(status.is_failure());
        fan.live += u32::from(is_live(status));
    }

    /// Shows what another run had done that this one goes on from.
    fn restored(&mut self, checkpoint: &Checkpoint, at: Timestamp) {
        self.status = RunStatus::Running;
        self.began = Some(at);
        for kept in &checkpoint.executions {
            let of = kept
                .element
                .map(|element| (StepName::from(kept.step.as_str().trim_end_matches("[]")), element.of));
            self.exists(&kept.step, kept.ordinal, of);
            if kept.status.is_terminal() {
                self.ends(&kept.step, kept.ordinal, kept.status, at);
            } else {
                self.turns(&kept.step, kept.ordinal, kept.status);
            }
        }
    }

    fn child(&mut self, wait: &WaitId, paused: bool) {
        for open in self.waits.iter_mut().filter(|open| open.wait == *wait) {
            open.child_paused = paused;
        }
    }

    /// What failed, was cancelled or was skipped for it lives again.
    fn retried(&mut self) {
        (self.status, self.reason) = (RunStatus::Running, None);
        for row in &mut self.rows {
            let lives_again = match row.status {
                ExecutionStatus::Skipped => row.by_failure,
                status => status.is_failure() || status == ExecutionStatus::Cancelled,
            };
            if lives_again {
                row.status = ExecutionStatus::Pending;
                row.ended = None;
                row.said.clear();
            }
        }
        let again: Vec<ExecutionRef> = self
            .elements
            .iter()
            // Elements begin again with the step that waits for them.
            .filter(|(key, _)| self.places.get(key).is_some_and(|at| !self.rows[*at].status.is_terminal()))
            .filter(|(_, status)| status.is_terminal() && **status != ExecutionStatus::Completed)
            .map(|((step, ordinal), _)| ExecutionRef { step: step.clone(), ordinal: *ordinal })
            .collect();
        for element in again {
            self.element(&element.step, element.ordinal, ExecutionStatus::Pending);
        }
    }
}

impl Asked {
    /// Returns the name of who waits, that people see.
    pub(crate) fn name(&self) -> String {
        steps::name(self.step.as_str(), self.ordinal)
    }
}

impl Row {
    fn of(step: &StepName, ordinal: Option<Ordinal>) -> Self {
        Self {
            step: step.clone(),
            ordinal,
            status: ExecutionStatus::Pending,
            attempt: 0,
            began: None,
            ended: None,
            due: None,
            fan: None,
            by_failure: false,
            said: String::new(),
        }
    }

    /// Returns the name that people see.
    pub(crate) fn name(&self) -> String {
        match self.ordinal {
            Some(ordinal) => steps::name(self.step.as_str(), ordinal),
            None => self.step.to_string(),
        }
    }
}

fn is_live(status: ExecutionStatus) -> bool {
    matches!(status, ExecutionStatus::Running | ExecutionStatus::Waiting)
}

/// Returns as much of a text as a line could show.
fn few(text: &str) -> String {
    const WIDEST: usize = 500;
    text.lines().next().unwrap_or_default().chars().take(WIDEST).collect()
}

fn why_skipped(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::UpstreamFailed => "a step it needs failed",
        SkipReason::NeedSkipped => "a step it needs was skipped",
        SkipReason::NeedsUnmet => "nothing can bring what it needs any more",
        SkipReason::Condition | SkipReason::ConditionFalse => "its condition does not hold",
    }
}
