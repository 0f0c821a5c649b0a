//! `Suspend`: an attempt waits. Its questions are committed and nothing is held until one is resolved.

use super::{MessageBody, Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::{RunId, StepName, WaitId, digest};
use crate::nesting::{is_too_deep, too_deep};
use crate::run::Run;
use crate::run::command::Suspend;
use crate::run::event::{Event, Parent};
use crate::run::wait::{Resolution, WaitKind, WaitSpec};
use crate::status::ExecutionStatus;

/// Child runs nest no deeper.
const MAX_DEPTH: u32 = 32;

impl Turn<'_> {
    pub(super) fn suspend(&mut self, suspend: &Suspend) -> Result<(), Refusal> {
        let ix = self.under_way(&suspend.attempt)?;
        if self.run.exec(ix).settle.is_some() {
            return Err(
                self.refuse("asked", format!("a person is asked about step '{}'", suspend.attempt.step))
            );
        }
        let execution = self.run.exec(ix);
        if suspend.waits.is_empty() && execution.open_waits == 0 && !execution.stale {
            let message = format!("step '{}' suspended itself but waits for nothing", suspend.attempt.step);
            self.fail_attempt(ix, &suspend.attempt, &ErrorObject::new(Code::REPLAY_MISMATCH, message));
            return Ok(());
        }
        let is_child = |wait: &WaitSpec| matches!(wait.kind, WaitKind::Child(_));
        if let Err(error) = self.check_depth(&suspend.attempt.step, suspend.waits.iter().any(is_child)) {
            self.fail_attempt(ix, &suspend.attempt, &error);
            return Ok(());
        }
        let is_unreadable = |spec: &WaitSpec| serde_json::to_value(spec).is_ok_and(|spec| is_too_deep(&spec));
        if suspend.waits.iter().any(is_unreadable) {
            let what = format!("what step '{}' waits for", suspend.attempt.step);
            self.fail_attempt(ix, &suspend.attempt, &too_deep(Code::TASK_RESULT_INVALID, &what));
            return Ok(());
        }
        let mut opened = Vec::with_capacity(suspend.waits.len());
        for spec in &suspend.waits {
            opened.push(self.open_wait(ix, spec.clone()));
        }
        let at = self.step_ref(ix);
        self.emit(Event::AttemptSuspended {
            step: at.step,
            execution: at.execution,
            attempt: suspend.attempt.attempt,
        });
        for wait in opened {
            self.resolve_at_once(&wait);
        }
        Ok(())
    }

    /// Refuses child runs of child runs without end.
    pub(super) fn check_depth(&self, step: &StepName, starts_child: bool) -> Result<(), ErrorObject> {
        let depth = self.run.parent.as_ref().map_or(0, |parent| parent.depth);
        if depth < MAX_DEPTH || !starts_child {
            return Ok(());
        }
        let message = format!("step '{step}' starts a child run at depth {depth}");
        Err(ErrorObject::new(Code::RESOURCE_EXHAUSTED, message)
            .with("resource_type", "workflow_depth")
            .never_again())
    }

    pub(super) fn open_wait(&mut self, ix: u32, mut spec: WaitSpec) -> WaitId {
        let wait = self.run.next_wait_id();
        if let WaitKind::Child(child) = &mut spec.kind {
            child.run = self.run.child_id(ix, spec.position);
            self.start_child(&wait, &spec);
        }
        let at = self.step_ref(ix);
        self.emit(Event::WaitOpened {
            wait: wait.clone(),
            step: at.step,
            execution: at.execution,
            spec: Box::new(spec),
        });
        wait
    }

    pub(super) fn start_child(&mut self, wait: &WaitId, spec: &WaitSpec) {
        let WaitKind::Child(child) = &spec.kind else { return };
        let depth = self.run.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        let body = MessageBody::StartChild {
            definition: child.definition.clone(),
            input: child.input.clone(),
            context: child.context.clone(),
            metadata: child.metadata.clone(),
            parent: Parent { run: self.run.id.clone(), wait: wait.clone(), depth },
            base_dir: self.run.base_dir.clone(),
            entry: child.entry.clone(),
        };
        self.tell(child.run.clone(), format!("start:{wait}"), body);
    }

    /// Resolves a wait for which what it waits for is already there: a queued signal, a time that has passed.
    fn resolve_at_once(&mut self, wait: &WaitId) {
        let opened = &self.run.waits[wait];
        // The one before may have ended the execution.
        if opened.resolution.is_some() {
            return;
        }
        if opened.spec.deadline.is_some_and(|deadline| deadline <= self.at) {
            self.pass_deadline(wait);
            return;
        }
        if let WaitKind::Signal { name } = &opened.spec.kind
            && let Some(signal) = self.run.signals.get(name).and_then(|queue| queue.front()).cloned()
        {
            self.finish_wait(wait, Resolution::Signalled { id: signal.id, value: signal.value });
        }
    }

    /// Withdraws the open waits of an execution that ends, and cancels the children it waits for.
    pub(super) fn withdraw_waits(&mut self, ix: u32) {
        if self.run.exec(ix).open_waits == 0 {
            return;
        }
        for wait in self.run.exec(ix).waits.clone() {
            let known = &self.run.waits[&wait];
            if known.resolution.is_some() {
                continue;
            }
            self.cancel_child_of(&wait);
            self.resolve(&wait, Resolution::Withdrawn);
        }
    }

    /// Cancels the child that nobody waits for any more, if the wait is for one.
    pub(super) fn cancel_child_of(&mut self, wait: &WaitId) {
        if let WaitKind::Child(child) = &self.run.waits[wait].spec.kind {
            let child = child.run.clone();
            self.tell(child, format!("cancel:{wait}"), MessageBody::CancelChild);
        }
    }

    /// Returns whether an execution is let go and waits.
    pub(super) fn is_waiting(&self, ix: u32) -> bool {
        self.run.exec(ix).status == ExecutionStatus::Waiting
    }
}

impl Run {
    /// Returns the id of the next wait.
    pub(in crate::run) fn next_wait_id(&self) -> WaitId {
        let counter = self.waits_opened.to_le_bytes();
        WaitId::from(format!("wait_{}", digest(&[self.id.as_str().as_bytes(), &counter], 10)))
    }

    /// A child's id is the same whenever it is asked for again: parent, step, ordinal, position, epoch.
    pub(in crate::run) fn child_id(&self, ix: u32, position: u32) -> RunId {
        let execution = self.exec(ix);
        let hash = digest(
            &[
                self.id.as_str().as_bytes(),
                execution.step.as_str().as_bytes(),
                &execution.ordinal.0.to_le_bytes(),
                &position.to_le_bytes(),
                &self.epoch.0.to_le_bytes(),
            ],
            10,
        );
        RunId::from(format!("run_{hash}"))
    }
}
