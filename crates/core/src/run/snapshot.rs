//! A run as bytes: what spares a long journal from being folded whole.
//!
//! A snapshot holds what the fold has learned and nothing that follows from it: counts, queues, groups of tokens and
//! cursors are made again. It is a shortcut and never a truth: one that this build cannot read, of another format or
//! damaged, is as good as none, and the journal is folded from its begin.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::command::TimerKey;
use super::event::{Parent, Payload, present};
use super::token::{Token, Tokens};
use super::{Execution, Run, Signal, StepState, Wait};
use crate::context::Context;
use crate::error::ErrorObject;
use crate::ids::{Epoch, Ordinal, RunId, StepName, Timestamp, WaitId};
use crate::status::{ExecutionStatus, PauseReason, RunStatus};
use crate::workflow::definition::Step;
use crate::workflow::{StepIx, Workflow};

/// Grows with every change of what is kept or of what it means, also when the change is one of the fold.
const FORMAT: u32 = 5;

/// What is kept of a run.
#[derive(Serialize, Deserialize)]
struct Form<'r> {
    version: Cow<'r, str>,
    /// Steps that the run added to its definition.
    added: Cow<'r, [Step]>,
    status: RunStatus,
    pause_reason: Option<PauseReason>,
    operator_paused: bool,
    epoch: Epoch,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    updated_at: Timestamp,
    now: Timestamp,
    deadline: Option<Timestamp>,
    time_limit_ms: Option<u64>,
    input: Payload,
    /// None: it is the input.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    first_input: Option<Payload>,
    first_context: Cow<'r, Map<String, Value>>,
    input_generation: u32,
    metadata: Cow<'r, Map<String, Value>>,
    parent: Cow<'r, Option<Parent>>,
    base_dir: Cow<'r, Option<String>>,
    entry: Cow<'r, Option<StepName>>,
    context: Arc<Context>,
    /// Those that anything has happened to.
    steps: Vec<(StepIx, Cow<'r, StepState>)>,
    executions: Cow<'r, [Execution]>,
    tokens: Vec<(u32, Token)>,
    next_token: u32,
    waits: BTreeMap<Cow<'r, WaitId>, Cow<'r, Wait>>,
    waits_opened: u32,
    turns: u32,
    signals: BTreeMap<Cow<'r, str>, Cow<'r, VecDeque<Signal>>>,
    /// Name, id and digest of the value.
    signal_ids: Vec<[Cow<'r, str>; 3]>,
    tick: u64,
    session_tick: u64,
    session_start: Option<Timestamp>,
    routed: u32,
    failure: Option<u32>,
    ending: Option<u32>,
    error: Cow<'r, Option<ErrorObject>>,
    output: Payload,
    timers: Vec<(TimerKey, Timestamp)>,
    value_bytes: usize,
    journaled_bytes: u64,
}

impl Run {
    /// Returns the run as bytes, for [`Run::from_snapshot`]. The same state gives the same bytes. To be asked between
    /// two commands.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let body = serde_json::to_vec(&self.form()).expect("a run holds nothing that JSON cannot hold");
        let mut bytes = header(&body).into_bytes();
        bytes.extend(body);
        bytes
    }

    /// Returns the run that a snapshot holds, to be folded on with the events after it ([`Run::fold`]); none: it cannot
    /// be read, and the journal tells the same.
    pub fn from_snapshot(id: RunId, workflow: Arc<Workflow>, snapshot: &[u8]) -> Option<Self> {
        let begin = snapshot.iter().position(|byte| *byte == b'\n')? + 1;
        let (found, body) = snapshot.split_at(begin);
        if found != header(body).as_bytes() {
            return None;
        }
        let form: Form<'_> = serde_json::from_slice(body).ok()?;
        let begun_with = workflow.version().to_owned();
        let workflow =
            if form.added.is_empty() { workflow } else { workflow.with_steps(&form.added).ok()? };
        let steps = workflow.len_with_elements();
        let fits = form.version == begun_with
            && form.steps.iter().all(|(step, _)| step.at() < steps)
            && form.executions.iter().all(|execution| execution.step_ix().at() < steps);
        fits.then(|| Self::of_form(id, workflow, form))
    }

    fn form(&self) -> Form<'_> {
        let (tokens, next_token) = self.tokens.arrived();
        let signal_id = |((name, id), digest): (&'_ (String, String), &'_ String)| {
            [name, id, digest].map(|text| Cow::Owned::<str>(text.clone()))
        };
        let mut signal_ids: Vec<_> = self.signal_ids.iter().map(signal_id).collect();
        signal_ids.sort();
        let steps = self.steps.iter().enumerate().map(|(i, state)| (StepIx(i as u32), state));
        Form {
            version: Cow::Borrowed(self.workflow.version()),
            added: Cow::Borrowed(self.workflow.added_steps()),
            status: self.status,
            pause_reason: self.pause_reason,
            operator_paused: self.operator_paused,
            epoch: self.epoch,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            updated_at: self.updated_at,
            now: self.now,
            deadline: self.deadline,
            time_limit_ms: self.time_limit_ms,
            input: self.input.clone(),
            first_input: (!Arc::ptr_eq(&self.first_input, &self.input)).then(|| self.first_input.clone()),
            first_context: Cow::Borrowed(&self.first_context),
            input_generation: self.input_generation,
            metadata: Cow::Borrowed(&self.metadata),
            parent: Cow::Borrowed(&self.parent),
            base_dir: Cow::Borrowed(&self.base_dir),
            entry: Cow::Borrowed(&self.entry),
            context: self.context.clone(),
            steps: steps.filter(|(_, s)| s.is_known()).map(|(step, s)| (step, Cow::Borrowed(s))).collect(),
            executions: Cow::Borrowed(&self.executions),
            tokens,
            next_token,
            waits: self.waits.iter().map(|(id, w)| (Cow::Borrowed(id), Cow::Borrowed(w))).collect(),
            waits_opened: self.waits_opened,
            turns: self.turns,
            signals: self.signals.iter().map(|(n, q)| (Cow::Borrowed(&**n), Cow::Borrowed(q))).collect(),
            signal_ids,
            tick: self.tick,
            session_tick: self.session_tick,
            session_start: self.session_start,
            routed: self.routed,
            failure: self.failure,
            ending: self.ending,
            error: Cow::Borrowed(&self.error),
            output: self.output.clone(),
            timers: self.timers.iter().map(|(key, at)| (key.clone(), *at)).collect(),
            value_bytes: self.value_bytes,
            journaled_bytes: self.journaled_bytes,
        }
    }

    fn of_form(id: RunId, workflow: Arc<Workflow>, form: Form<'_>) -> Self {
        let mut run = Self {
            status: form.status,
            pause_reason: form.pause_reason,
            operator_paused: form.operator_paused,
            epoch: form.epoch,
            created_at: form.created_at,
            started_at: form.started_at,
            finished_at: form.finished_at,
            updated_at: form.updated_at,
            now: form.now,
            deadline: form.deadline,
            time_limit_ms: form.time_limit_ms,
            first_input: form.first_input.unwrap_or_else(|| form.input.clone()),
            input: form.input,
            first_context: form.first_context.into_owned(),
            input_generation: form.input_generation,
            metadata: form.metadata.into_owned(),
            parent: form.parent.into_owned(),
            base_dir: form.base_dir.into_owned(),
            entry: form.entry.into_owned(),
            context: form.context,
            tokens: Tokens::arrived_again(form.tokens, form.next_token, &workflow),
            waits: form.waits.into_iter().map(|(id, w)| (id.into_owned(), w.into_owned())).collect(),
            waits_opened: form.waits_opened,
            turns: form.turns,
            signals: form.signals.into_iter().map(|(n, q)| (n.into_owned(), q.into_owned())).collect(),
            signal_ids: form
                .signal_ids
                .into_iter()
                .map(|known| known.map(Cow::into_owned))
                .map(|[name, id, digest]| ((name, id), digest))
                .collect(),
            tick: form.tick,
            session_tick: form.session_tick,
            session_start: form.session_start,
            routed: form.routed,
            failure: form.failure,
            ending: form.ending,
            error: form.error.into_owned(),
            output: form.output,
            timers: form.timers.into_iter().collect(),
            value_bytes: form.value_bytes,
            journaled_bytes: form.journaled_bytes,
            ..Self::blank(id, workflow)
        };
        for (step, state) in form.steps {
            run.steps[step.at()] = state.into_owned();
        }
        for execution in form.executions.into_owned() {
            run.enlist(execution);
        }
        let open = run.waits.values().filter(|wait| wait.resolution.is_none());
        for asks in open.map(Wait::asks).collect::<Vec<_>>() {
            run.count_wait(asks, 1);
        }
        run
    }

    /// Takes an execution in, with every count, queue and token group that follows from it.
    fn enlist(&mut self, mut execution: Execution) {
        let ix = self.executions.len() as u32;
        let (step, status) = (execution.step_ix(), execution.status);
        let state = &mut self.steps[step.at()];
        state.executions.push(ix);
        execution.step = self.workflow.step(step).name.clone();
        execution.ordinal = Ordinal(state.executions.len() as u32);
        if execution.has_token {
            self.tokens.occupy(execution.place(), &execution.lineage);
        }
        // Terminal until it is counted in, as a new one is.
        execution.status = ExecutionStatus::Skipped;
        self.executions.push(execution);
        self.set_status(ix, status);
    }
}

impl StepState {
    /// Returns whether there is more to know of it than its executions tell.
    fn is_known(&self) -> bool {
        let told = Self { executions: self.executions.clone(), live: self.live, ..Self::default() };
        *self != told
    }
}

fn header(body: &[u8]) -> String {
    format!("run {FORMAT} {}\n", crate::ids::digest(&[body], 16))
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
