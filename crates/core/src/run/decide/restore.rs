//! `Create` with a checkpoint: a run comes to be where another stood. It is paused until somebody resumes it.

use serde_json::Map;

use super::{Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::StepName;
use crate::run::Run;
use crate::run::checkpoint::{Checkpoint, TokenState, invalid};
use crate::run::command::{AttemptRef, Create, Restore};
use crate::run::event::{Activation, Event, RunCreated};
use crate::run::wait::WaitKind;
use crate::status::{AgentStatus, ExecutionStatus, PauseReason};
use crate::workflow::definition::{Definition, Step};
use crate::workflow::{Workflow, differences};

impl Turn<'_> {
    pub(super) fn restore(&mut self, create: &Create, restore: &Restore) -> Result<(), Refusal> {
        let from = &*restore.checkpoint;
        let definition = own_definition(from)?;
        let added = self.addition(&added_steps(from, &definition, &create.workflow))?;
        let workflow = added.as_ref().map_or(&create.workflow, |added| &added.workflow);
        check_definition(from, &definition, workflow, restore.allow_changes)?;
        Run::blank(create.run.clone(), workflow.clone()).restore(from, self.at)?;

        let mut metadata = from.metadata.clone();
        metadata.extend(create.metadata.clone());
        metadata.insert("restored_from".into(), from.run_id.as_str().into());
        self.emit(Event::RunCreated(Box::new(RunCreated {
            workflow: create.workflow.name().to_owned(),
            version: create.workflow.version().to_owned(),
            input: from.input.clone(),
            context: Map::new(),
            metadata,
            parent: create.parent.clone(),
            base_dir: create.base_dir.clone(),
            entry: from.entry.clone(),
        })));
        if let Some(added) = added {
            self.add(added);
        }
        self.emit(Event::RunRestored { checkpoint: restore.checkpoint.clone() });
        match from.agent_status {
            AgentStatus::Completed => {
                self.end_run();
                return Ok(());
            }
            AgentStatus::Idle => self.start()?,
            AgentStatus::Failed | AgentStatus::Cancelled => self.open_epoch(None, None),
            AgentStatus::Running | AgentStatus::Paused => self.take_up()?,
        }
        self.begin_new_entries(&definition);
        self.emit(Event::RunPaused { reason: PauseReason::Operator, note: None });
        Ok(())
    }

    /// What was under way has no worker here, and what was waited for has no child run yet.
    fn take_up(&mut self) -> Result<(), Refusal> {
        let running =
            self.run.executions.iter().filter(|execution| execution.status == ExecutionStatus::Running);
        let running: Vec<AttemptRef> = running
            .map(|execution| AttemptRef {
                step: execution.step.clone(),
                ordinal: execution.ordinal,
                attempt: execution.attempts,
                session: 0,
            })
            .collect();
        for attempt in running {
            self.lose(&attempt, true)?;
        }
        let open = self.run.open_waits().into_iter();
        let children = open.filter(|wait| matches!(wait.spec.kind, WaitKind::Child(_)));
        let children: Vec<_> = children.map(|wait| (wait.id.clone(), wait.spec.clone())).collect();
        for (wait, spec) in children {
            self.start_child(&wait, &spec);
        }
        Ok(())
    }

    /// Steps that were added since and begin by themselves do so now.
    fn begin_new_entries(&mut self, before: &Definition) {
        let workflow = self.run.workflow.clone();
        for step in workflow.graph().entries() {
            let (added, name) = (workflow.step(step), &workflow.step(step).name);
            if added.entry
                && before.steps.iter().all(|known| known.name != *name)
                && self.run.latest(step).is_none()
            {
                self.activate(step, Activation::Entry);
            }
        }
    }
}

fn own_definition(from: &Checkpoint) -> Result<Definition, ErrorObject> {
    let workflow = Workflow::from_json(&from.definition)
        .map_err(|error| invalid(format!("`definition`: {error}")).with("member", "definition"))?;
    if workflow.version() != from.definition_hash {
        let message = "`definition_hash` is not that of `definition`";
        return Err(invalid(message).with("member", "definition_hash"));
    }
    Ok(workflow.definition().clone())
}

/// Returns the steps that the other run had added and the workflow has not got: they come along.
fn added_steps(from: &Checkpoint, definition: &Definition, workflow: &Workflow) -> Vec<Step> {
    let added = definition.steps.iter().filter(|step| from.added_states.contains(&step.name));
    added.filter(|step| workflow.find(step.name.as_str()).is_none()).cloned().collect()
}

/// Refuses a definition that is not that of the checkpoint, but for its name and for steps that were added; with
/// `allow_changes` only one that lacks a step where something is live.
fn check_definition(
    from: &Checkpoint,
    before: &Definition,
    now: &Workflow,
    allow_changes: bool,
) -> Result<(), ErrorObject> {
    let is_missing = |step: &StepName| now.find(step.as_str()).is_none();
    let live = from.executions.iter().filter(|one| !one.status.is_terminal()).map(|one| &one.step);
    let held = from.tokens.iter().filter(|token| token.state != TokenState::Ended).map(|token| &token.step);
    let mut lost: Vec<&StepName> = live.chain(held).collect();
    lost.retain(|step| is_missing(step));
    lost.sort();
    lost.dedup();
    if !lost.is_empty() {
        let message = format!(
            "run {} cannot go on as '{}': it stands at {}, which it does not have",
            from.run_id,
            now.name(),
            listed(&lost)
        );
        let error = mismatch(from, now, message).with("missing", names(&lost));
        return Err(error.with_hint("add steps of these names before you restore the checkpoint"));
    }
    let differs = differences(before, now.definition());
    if allow_changes || differs.is_empty() {
        return Ok(());
    }
    let missing: Vec<&StepName> =
        before.steps.iter().map(|step| &step.name).filter(|step| is_missing(step)).collect();
    let message = format!(
        "the checkpoint of run {} is of another definition than '{}': {}",
        from.run_id,
        now.name(),
        differs.join("; ")
    );
    let error = mismatch(from, now, message).with("differs", differs).with("missing", names(&missing));
    Err(error.with_hint("restore it with the definition that it was taken of, or allow changes"))
}

fn mismatch(from: &Checkpoint, now: &Workflow, message: String) -> ErrorObject {
    ErrorObject::new(Code::DEFINITION_MISMATCH, message)
        .with("definition_hash", from.definition_hash.as_str())
        .with("given", now.version())
}

fn names(steps: &[&StepName]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

fn listed(steps: &[&StepName]) -> String {
    steps.iter().map(|step| format!("'{step}'")).collect::<Vec<_>>().join(", ")
}
