//! A run in full: what came of it so far, step by step.

use std::time::SystemTime;

use serde_json::{Map, Value};
use stepwell_core::ids::WaitId;
use stepwell_core::run::Run as CoreRun;
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{Question, Resolution, WaitKind};
use stepwell_core::status::PauseReason;
use stepwell_store::Recorded;

use super::history::{Historian, StepRecord};
use super::result::RunResult;
use crate::context::system_time;

/// A run in full, as it stood at one place of its journal; [`Run::details`](super::Run::details) returns it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunDetails {
    /// What came of it so far.
    pub result: RunResult,
    /// The agent or workflow that it is a run of.
    pub workflow: String,
    /// Which version of it: a hash of what it declares.
    pub version: String,
    /// Why it is paused, if it is.
    pub pause_reason: Option<PauseReason>,
    /// What it was begun with, or what a retry replaced it with.
    pub input: Value,
    /// Its tags.
    pub metadata: Map<String, Value>,
    /// When it was created.
    pub created_at: SystemTime,
    /// What its steps came to, in the order in which they ended.
    pub history: Vec<StepRecord>,
    /// What people answered, in the order of their answers.
    pub answers: Vec<Answered>,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answered {
    /// The id of the question.
    pub wait: WaitId,
    /// The step that asked.
    pub step: String,
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub answer: Value,
    /// Who answered; none: nobody said, or the default stood in.
    pub by: Option<String>,
    /// When.
    pub at: SystemTime,
}

impl RunDetails {
    pub(super) fn of(run: &CoreRun, journal: &[Recorded]) -> Self {
        Self {
            result: RunResult::of(run),
            workflow: run.workflow().name().to_owned(),
            version: run.workflow().version().to_owned(),
            pause_reason: run.pause_reason(),
            input: (**run.input()).clone(),
            metadata: run.metadata().clone(),
            created_at: system_time(run.created_at()),
            history: Historian::tell(run, journal),
            answers: journal.iter().filter_map(|recorded| Answered::read(run, recorded)).collect(),
        }
    }
}

impl Answered {
    fn read(run: &CoreRun, recorded: &Recorded) -> Option<Self> {
        let Event::WaitResolved { wait, step, resolution, .. } = &recorded.event else { return None };
        let (answer, by) = match resolution {
            Resolution::Answered { value, by } => (value, by.clone()),
            Resolution::Defaulted { value } => (value, None),
            _ => return None,
        };
        let WaitKind::Human(question) = &run.wait(wait)?.0.kind else { return None };
        Some(Self {
            wait: wait.clone(),
            step: step.to_string(),
            question: question.clone(),
            answer: (**answer).clone(),
            by,
            at: system_time(recorded.at),
        })
    }
}
