//! Deciding a command: what is refused, what is journaled, what other runs are told.
//!
//! One file a command. A command is checked first and refused without a trace; what follows is emitted event
//! by event, each applied at once, so that every next decision is made on the state the last one left.

mod answer;
mod attempt;
mod cancel;
mod child;
mod complete;
mod create;
mod define;
mod element;
mod fail;
mod limit_time;
mod lose;
mod pause;
mod progress;
mod restore;
mod retry;
mod settle;
mod signal;
mod suspend;
mod timer;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Run;
use super::command::Command;
use super::event::{Event, Parent, Payload};
use super::wait::Resolution;
use crate::error::{Code, ErrorObject};
use crate::ids::{CommandId, RunId, StepName, Timestamp, WaitId};
use crate::nesting::{is_too_deep, too_deep};
use crate::status::RunStatus;

/// What came of a command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The moment that the events bear: when the command was decided, and never before what is journaled.
    pub at: Timestamp,
    /// What is appended to the journal.
    pub events: Vec<Event>,
    /// What other runs are told, in the same commit.
    pub messages: Vec<Message>,
}

/// A command to another run, with an id that makes a second delivery harmless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The run it is for.
    pub target: RunId,
    /// Id of the command.
    pub command: CommandId,
    /// What it says.
    pub body: MessageBody,
}

/// What runs say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum MessageBody {
    /// Start a child run.
    StartChild {
        /// Its definition.
        definition: Value,
        /// Its input.
        input: Payload,
        /// Its first context.
        context: Map<String, Value>,
        /// Its tags.
        metadata: Map<String, Value>,
        /// Who waits for it.
        parent: Parent,
        /// Directory that its relative paths start at.
        base_dir: Option<String>,
        /// The step it begins with; none: the entries of its definition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<StepName>,
    },
    /// Cancel a child run.
    CancelChild,
    /// A child run has ended.
    EndChild {
        /// The wait for it.
        wait: WaitId,
        /// What its parent sees of it, if it completed.
        output: Option<Payload>,
        /// What went wrong, if it did not.
        error: Option<ErrorObject>,
    },
    /// A child run was paused for input, or goes on.
    NoteChild {
        /// The wait for it.
        wait: WaitId,
        /// The child's count of turns.
        turn: u32,
        /// Which of the two.
        paused: bool,
    },
}

/// A turn of a run: one command being decided.
struct Turn<'r> {
    run: &'r mut Run,
    at: Timestamp,
    decision: Decision,
}

/// A refusal; nothing of the command took effect.
type Refusal = ErrorObject;

impl Run {
    /// Decides a command at that moment and applies what follows from it.
    ///
    /// # Errors
    /// The command does not fit the run: `WORKFLOW_INVALID_STATE` with `data.reason` and `data.status`, or the
    /// code of what is wrong with the command. The run is as it was.
    pub fn handle(&mut self, command: &Command, at: Timestamp) -> Result<Decision, ErrorObject> {
        // Time never runs backwards within a run, whatever the clocks of its workers say.
        let at = at.max(self.now);
        let turns = self.turns;
        let mut turn = Turn { run: self, at, decision: Decision { at, ..Decision::default() } };
        turn.decide(command)?;
        turn.settle();
        if turn.run.turns != turns {
            turn.tell_parent_of_turn();
        }
        Ok(turn.decision)
    }
}

impl Turn<'_> {
    fn decide(&mut self, command: &Command) -> Result<(), Refusal> {
        if !self.run.exists() && !matches!(command, Command::Create(_)) {
            return Err(self.refuse("no_run", format!("run {} does not exist yet", self.run.id())));
        }
        check_nesting(command)?;
        match command {
            Command::Create(create) => self.create(create),
            Command::Start => self.start(),
            Command::Complete(complete) => self.complete(complete),
            Command::Fail(fail) => self.fail(fail),
            Command::Suspend(suspend) => self.suspend(suspend),
            Command::Record { attempt, name, value } => self.record(attempt, name, value),
            Command::Lose { attempt, given_back } => self.lose(attempt, *given_back),
            Command::Judge { attempt, holds } => self.judge(attempt, *holds),
            Command::Answer { wait, value, by } => self.answer(wait, value, by.as_deref()),
            Command::Signal { name, id, value } => self.signal(name, id, value),
            Command::FireTimer { timer } => {
                self.fire_timer(timer);
                Ok(())
            }
            Command::EndChild { wait, outcome } => {
                self.end_child(wait, outcome);
                Ok(())
            }
            Command::NoteChild { wait, turn, paused } => {
                self.note_child(wait, *turn, *paused);
                Ok(())
            }
            Command::Pause { reason } => self.pause(reason.clone()),
            Command::Resume { reason, answer } => self.resume(reason.clone(), answer.as_ref()),
            Command::LimitTime { timeout_ms } => self.limit_time(*timeout_ms),
            Command::Cancel { reason } => self.cancel(reason.clone()),
            Command::CancelStep { step } => self.cancel_step(step),
            Command::Retry { input, reason } => self.retry(input.clone(), reason.clone()),
            Command::Define { steps } => self.define(steps),
            Command::Settle { step, ordinal, verb, value } => {
                self.settle_by_hand(step, *ordinal, *verb, value.as_ref())
            }
        }
    }

    fn emit(&mut self, event: Event) {
        self.run.apply(&event, self.at);
        self.decision.events.push(event);
    }

    fn tell(&mut self, target: RunId, command: String, body: MessageBody) {
        self.decision.messages.push(Message { target, command: command.into(), body });
    }

    /// Refuses a command that does not fit the status.
    fn refuse(&self, reason: &str, message: String) -> Refusal {
        ErrorObject::new(Code::WORKFLOW_INVALID_STATE, message)
            .with("reason", reason)
            .with("status", self.run.status().as_str())
    }

    fn refuse_terminal(&self, what: &str) -> Result<(), Refusal> {
        let run = &self.run;
        match run.status {
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => {
                Err(self
                    .refuse("terminal", format!("run {} is {} and cannot be {what}", run.id(), run.status())))
            }
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused => Ok(()),
        }
    }

    fn resolve(&mut self, wait: &WaitId, resolution: Resolution) {
        let ix = self.run.waits[wait].execution;
        let at = self.run.reference(ix);
        self.emit(Event::WaitResolved {
            wait: wait.clone(),
            step: at.step,
            execution: at.ordinal,
            resolution,
        });
    }
}

/// Refuses what somebody outside brings and nobody could read again. What attempts bring ends them instead.
fn check_nesting(command: &Command) -> Result<(), Refusal> {
    let what = match command {
        Command::Create(create) if is_too_deep(&create.input) => "the input",
        Command::Create(create) if create.context.values().any(is_too_deep) => "the context",
        Command::Create(create) if create.metadata.values().any(is_too_deep) => "the metadata",
        Command::Retry { input: Some(input), .. } if is_too_deep(input) => "the input",
        Command::Answer { value, .. } if is_too_deep(value) => "the answer",
        Command::Resume { answer: Some(answer), .. } if is_too_deep(&answer.value) => "the answer",
        Command::Signal { value, .. } if is_too_deep(value) => "the value of the signal",
        Command::Settle { value: Some(value), .. } if is_too_deep(value) => "the value",
        Command::Record { value, .. } if is_too_deep(value) => "the value to be recorded",
        _ => return Ok(()),
    };
    Err(too_deep(Code::INVALID_PARAMS, what))
}
