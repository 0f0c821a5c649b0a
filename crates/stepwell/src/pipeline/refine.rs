//! A draft that is made again until a critic has nothing to say: `name` keeps what came in, `name/generator/…` drafts,
//! `name/critic/…` judges, and `name/check` leads back to the generator or, with the draft, to what follows.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell_core::run::event::Payload;

use super::callback::{Callback, Given, given};
use super::exit::Exit;
use super::lower::Lowering;
use super::repeat::{MAX_ROUNDS, Rounds};
use super::site::Site;
use super::stage::{Input, ended, mapped, work, working};
use super::{Part, Pipeline, parts_of};
use crate::context::Context;
use crate::error::StepError;
use crate::function::Ended;
use crate::json::from_json;

/// A draft that is made again until a critic has nothing more to say. The output is the draft that the critic let pass.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use stepwell::{Pipeline, Refine, RefinementCheck, Step};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let write = Step::new("write", |_, topic: String| async move { Ok(format!("About {topic}.")) });
/// let judge = Step::new("judge", |_, draft: String| async move {
///     Ok(if draft.len() < 20 { RefinementCheck::again("too short") } else { RefinementCheck::complete() })
/// });
/// let essay = Refine::new("essay", write, judge)
///     .next_input(|topic: &String, _: &String, check| Ok(format!("{topic}, {} once", check.feedback.as_str().unwrap_or(""))));
/// let pipeline = Pipeline::new("essay").then(essay).build(&engine)?;
///
/// assert_eq!(pipeline.run("wells").await?.output::<String>()?, "About wells, too short once.");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Refine {
    name: String,
    generator: Vec<Part>,
    critic: Vec<Part>,
    max: u32,
    next_input: Option<Given<Value>>,
}

/// What a critic says of a draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefinementCheck {
    /// The draft may pass.
    pub is_complete: bool,
    /// What should be better.
    #[serde(default)]
    pub feedback: Value,
}

impl RefinementCheck {
    /// Lets the draft pass.
    pub fn complete() -> Self {
        Self { is_complete: true, feedback: Value::Null }
    }

    /// Wants another draft.
    pub fn again(feedback: impl Into<Value>) -> Self {
        Self { is_complete: false, feedback: feedback.into() }
    }
}

impl Refine {
    /// Lets the generator draft, from what comes in, and the critic judge: the last step of it returns a
    /// [`RefinementCheck`].
    pub fn new(name: &str, generator: impl Into<Pipeline>, critic: impl Into<Pipeline>) -> Self {
        Self {
            name: name.to_owned(),
            generator: parts_of(generator),
            critic: parts_of(critic),
            max: MAX_ROUNDS,
            next_input: None,
        }
    }

    /// Fails with `LOOP_LIMIT` when the critic wants more than so many drafts; 5 if nothing is said.
    pub fn max(mut self, drafts: u32) -> Self {
        self.max = drafts;
        self
    }

    /// Gives the generator this in every round but the first, made of what came in, the last draft and what the critic said.
    /// Without it the generator is given what came in, again.
    pub fn next_input<In, Draft, T: Serialize, F>(mut self, map: F) -> Self
    where
        In: DeserializeOwned,
        Draft: DeserializeOwned,
        F: Fn(&In, &Draft, &RefinementCheck) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.next_input = Some(given(move |input, _, more| {
            let draft = from_json(&more[0], || "the draft".into())?;
            let check = from_json(&more[1], || "what the critic said".into())?;
            mapped(&map(&input.read()?, &draft, &check)?)
        }));
        self
    }

    /// As [`Refine::next_input`], with a function that waits for others.
    pub fn next_input_called(mut self, map: Callback) -> Self {
        self.next_input = Some(map.made());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bodies(&self) -> [&[Part]; 2] {
        [&self.generator, &self.critic]
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let Self { name, generator, critic, max, next_input } = self;
        if generator.is_empty() || critic.is_empty() {
            return to.refuse_part(
                site,
                &path,
                exit,
                format!("'{path}' needs a generator and a critic, each with a step"),
            );
        }
        if max == 0 {
            to.refuse(&path, format!("'{path}' makes no draft: `max` must be at least 1"));
        }
        let inside = site.inside(&name);
        let (at_generator, at_critic) = (inside.inside("generator"), inside.inside("critic"));
        let (first, critic_head) = (generator[0].head(&at_generator), critic[0].head(&at_critic));
        let check = inside.path("check");
        let kept = Kept { input: inside.within_scope("input"), draft: inside.within_scope("draft") };
        let rounds = Rounds::of(site, &name, max);

        let begin = Exit::Keep(kept.input.clone(), first.clone());
        let begins = work(move |cx, input| Ok(ended(Value::Null, begin.leave(&cx, input.payload())?)));
        to.control(site, &path, json!({ "role": "refine" }), &[first.as_str()], begins);
        to.chain(generator, &at_generator, &Exit::Keep(kept.draft.clone(), critic_head));
        to.chain(critic, &at_critic, &Exit::Step(check.as_str().into()));

        let next = [first.to_string(), exit.successor().to_owned()];
        let judge =
            Arc::new(Check { kept, rounds, next_input, again: Exit::Step(first), exit: exit.clone() });
        let checks = working(move |cx, said| {
            let judge = judge.clone();
            async move { judge.hear(cx, said).await }
        });
        let what = json!({ "role": "check", "max": max });
        to.control(site, &check, what, &[&next[0], &next[1]], checks);
    }
}

/// What is done with what the critic said.
struct Check {
    kept: Kept,
    rounds: Rounds,
    next_input: Option<Given<Value>>,
    again: Exit,
    exit: Exit,
}

impl Check {
    async fn hear(&self, cx: Context, input: Input) -> Result<Ended, StepError> {
        let said: RefinementCheck = input.read()?;
        let (input, draft) = self.kept.read(&cx)?;
        if said.is_complete {
            self.rounds.end(&cx)?;
            self.kept.forget(&cx)?;
            return Ok(ended(true.into(), self.exit.leave(&cx, draft)?));
        }
        self.rounds.count(&cx)?;
        let input = match &self.next_input {
            Some(map) => {
                let more = vec![(*draft).clone(), json!(said)];
                Payload::new(map(cx.clone(), Input::of(input), more).await?)
            }
            None => input,
        };
        Ok(ended(false.into(), self.again.leave(&cx, input)?))
    }
}

/// Where a refinement keeps, within its scope, what came in and the last draft.
struct Kept {
    input: String,
    draft: String,
}

impl Kept {
    fn read(&self, cx: &Context) -> Result<(Payload, Payload), StepError> {
        let kept = |name: &str| {
            let kept = cx.kept(&cx.scope().below(name)).cloned();
            kept.ok_or_else(|| {
                StepError::never_again(format!("'{name}' of the refinement is not kept any more"))
            })
        };
        Ok((kept(&self.input)?, kept(&self.draft)?))
    }

    fn forget(&self, cx: &Context) -> Result<(), StepError> {
        cx.keep(&cx.scope().below(&self.input), None)?;
        cx.keep(&cx.scope().below(&self.draft), None)
    }
}

impl fmt::Debug for Refine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refine({})", self.name)
    }
}
