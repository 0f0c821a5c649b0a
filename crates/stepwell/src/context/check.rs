//! Answers that are checked by code, where the state runs.
//!
//! The verdict on an answer is kept with the execution, as what is done once is, unless it says no more than whether the answer
//! is of a type. A rejected answer is followed by a new wait at the same place, which says why.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepwell_core::run::event::Payload;
use stepwell_core::run::wait::{Rejected, Resolution};
use stepwell_engine::{Resolved, Secrets, said_by, yield_once};

use super::Context;
use super::ask::Ask;
use super::waits::{At, Place, brought};
use crate::error::StepError;
use crate::json::from_json;

/// Says what is wrong with an answer.
#[derive(Clone)]
pub(super) struct Check {
    judge: Arc<Judge>,
    /// It always says the same of an answer, so its verdicts need not be kept.
    is_pure: bool,
}

type Judge = dyn Fn(&Value) -> Result<(), String> + Send + Sync;

impl Check {
    pub(super) fn new<A: DeserializeOwned>(
        check: impl Fn(&A) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let judge = move |answer: &Value| check(&read(answer)?);
        Self { judge: Arc::new(judge), is_pure: false }
    }

    /// Takes every answer of a type.
    pub(super) fn of_type<A: DeserializeOwned>() -> Self {
        let judge = |answer: &Value| read::<A>(answer).map(|_| ());
        Self { judge: Arc::new(judge), is_pure: true }
    }

    fn verdict(&self, answer: &Value) -> Verdict {
        match catch_unwind(AssertUnwindSafe(|| (self.judge)(answer))) {
            Ok(Ok(())) => Verdict::Taken,
            Ok(Err(message)) => Verdict::Rejected(message),
            Err(panic) => Verdict::Rejected(format!("its check panicked: {}", said_by(&*panic))),
        }
    }
}

fn read<A: DeserializeOwned>(answer: &Value) -> Result<A, String> {
    from_json(answer, || "the answer".into())
        .map_err(|error| error.into_error().map_or_else(String::new, |error| error.message))
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}

/// What a check said. Kept as null, or as the message.
enum Verdict {
    Taken,
    Rejected(String),
}

impl Verdict {
    fn read(kept: &Value) -> Self {
        kept.as_str().map_or(Self::Taken, |message| Self::Rejected(message.to_owned()))
    }

    fn masked(self, secrets: &Secrets) -> Self {
        match self {
            Self::Taken => Self::Taken,
            Self::Rejected(message) => Self::Rejected(secrets.mask(&message)),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Taken => Value::Null,
            Self::Rejected(message) => message.as_str().into(),
        }
    }
}

/// The verdict on an answer is kept under this name.
fn kept_as(answered: &Resolved) -> String {
    format!("$check:{}", answered.wait)
}

impl Context {
    /// Returns the answer to the question that the state comes to, if there is one that its check takes.
    pub(super) fn wait_for_answer(
        &self,
        place: &Place,
        ask: Ask,
    ) -> BoxFuture<'static, Result<Payload, StepError>> {
        let (cx, found) = (self.clone(), self.come_to_question(place, ask));
        Box::pin(async move {
            let (resolution, verdict) = found?;
            if let Some((name, verdict)) = verdict {
                cx.record(&name, verdict).await?;
            }
            let Some(resolution) = resolution else {
                yield_once().await;
                return Err(StepError::Suspended);
            };
            brought("human", resolution)
        })
    }

    /// Finds out how the question was resolved; none: it is open, perhaps again. The verdict on the answer comes with it, if
    /// it is yet to be kept.
    fn come_to_question(&self, place: &Place, ask: Ask) -> Result<Found, StepError> {
        let now = self.task().report.now();
        let known = match self.at(place, "human")? {
            At::Resolved(known) => known,
            At::Open | At::Nothing => {
                let found = self.come_to_place(place, "human", |position| ask.into_wait(position, now));
                return Ok((found?, None));
            }
        };
        let (Resolution::Answered { value, .. }, Some(check)) = (&known.resolution, &ask.check) else {
            return Ok((Some(known.resolution.clone()), None));
        };
        let name = kept_as(known);
        let kept = self.recorded(&name)?;
        let judged = || check.verdict(value).masked(&self.task().report.secrets());
        let verdict = kept.as_ref().map_or_else(judged, |kept| Verdict::read(kept));
        let news = (kept.is_none() && !check.is_pure).then(|| (name, verdict.to_json()));
        let Verdict::Rejected(message) = verdict else {
            return Ok((Some(known.resolution.clone()), news));
        };
        let rejected = Rejected { answer: value.clone(), message, times: self.answers_at(place) };
        let wait = ask.into_wait_again(place.position, rejected, known.deadline, now)?;
        // Opened before the verdict is kept, so that a state which is let go meanwhile leaves it open.
        self.with(|left| left.waits.open(wait))?;
        Ok((None, news))
    }

    fn answers_at(&self, place: &Place) -> u32 {
        let resolutions = self.task().resolutions.iter();
        let there = resolutions.filter(|known| place.is_of(known.name.as_ref(), known.position));
        there.filter(|known| matches!(known.resolution, Resolution::Answered { .. })).count() as u32
    }
}

/// How a question was resolved, and a verdict with the name to keep it under.
type Found = (Option<Resolution>, Option<(String, Value)>);
