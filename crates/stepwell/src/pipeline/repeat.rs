//! Again until a condition holds: the body is `name/…`, and `name/check` leads back to it or to what follows.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::StepName;
use stepwell_core::run::event::Payload;

use super::callback::{Callback, Given, given, made_of};
use super::exit::Exit;
use super::lower::Lowering;
use super::site::Site;
use super::stage::{Input, ended, mapped, working};
use super::{Part, Pipeline, parts_of};
use crate::context::Context;
use crate::error::StepError;
use crate::function::Ended;

/// The same steps again and again, until a condition holds. Each round is given what the one before it came to, and the output
/// is that of the last.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use stepwell::{Pipeline, Repeat, Step};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let double = Step::new("double", |_, n: u64| async move { Ok(n * 2) });
/// let pipeline = Pipeline::new("power")
///     .then(Repeat::until("grow", double, |n: &u64, _| Ok(*n > 100)).max(10))
///     .build(&engine)?;
///
/// assert_eq!(pipeline.run(3).await?.output::<u64>()?, 192);
/// let failed = pipeline.run(0).await.unwrap_err();
/// assert_eq!(failed.error.code.name(), "LOOP_LIMIT");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Repeat {
    name: String,
    body: Vec<Part>,
    until: Given<bool>,
    max: u32,
    first_input: Option<Given<Value>>,
    next_input: Option<Given<Value>>,
    output: Option<Given<Value>>,
}

/// So many rounds there are at most, unless something else is said.
pub(super) const MAX_ROUNDS: u32 = 5;

impl Repeat {
    /// Repeats until this is true of what a round came to. It is asked after each round, once.
    pub fn until<Out, F>(name: &str, body: impl Into<Pipeline>, until: F) -> Self
    where
        Out: DeserializeOwned,
        F: Fn(&Out, &Context) -> Result<bool, StepError> + Send + Sync + 'static,
    {
        Self::of(name, parts_of(body), given(move |output, cx, _| until(&output.read()?, cx)))
    }

    /// As [`Repeat::until`], with a condition that waits for others.
    pub fn until_called(name: &str, body: impl Into<Pipeline>, until: Callback) -> Self {
        Self::of(name, parts_of(body), until.decided())
    }

    fn of(name: &str, body: Vec<Part>, until: Given<bool>) -> Self {
        let name = name.to_owned();
        Self { name, body, until, max: MAX_ROUNDS, first_input: None, next_input: None, output: None }
    }

    /// Fails with `LOOP_LIMIT` when the condition does not hold after so many rounds; 5 if nothing is said.
    pub fn max(mut self, rounds: u32) -> Self {
        self.max = rounds;
        self
    }

    /// Gives the first round this in place of what comes in.
    pub fn first_input<In, T: Serialize, F>(mut self, map: F) -> Self
    where
        In: DeserializeOwned,
        F: Fn(&In, &Context) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.first_input = Some(mapper(map));
        self
    }

    /// As [`Repeat::first_input`], with a function that waits for others.
    pub fn first_input_called(mut self, map: Callback) -> Self {
        self.first_input = Some(map.made());
        self
    }

    /// Gives each further round this in place of what the one before it came to. The number is that of the rounds so far.
    pub fn next_input<Out, T: Serialize, F>(mut self, map: F) -> Self
    where
        Out: DeserializeOwned,
        F: Fn(&Out, &Context, u32) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.next_input = Some(given(move |output, cx, more| {
            let rounds = more[0].as_u64().and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(u32::MAX);
            mapped(&map(&output.read()?, cx, rounds)?)
        }));
        self
    }

    /// As [`Repeat::next_input`], with a function that waits for others.
    pub fn next_input_called(mut self, map: Callback) -> Self {
        self.next_input = Some(map.made());
        self
    }

    /// Makes this the output, in place of what the last round came to.
    pub fn output<Out, T: Serialize, F>(mut self, map: F) -> Self
    where
        Out: DeserializeOwned,
        F: Fn(&Out, &Context) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.output = Some(mapper(map));
        self
    }

    /// As [`Repeat::output`], with a function that waits for others.
    pub fn output_called(mut self, map: Callback) -> Self {
        self.output = Some(map.made());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn body(&self) -> &[Part] {
        &self.body
    }

    pub(super) fn head(&self, site: &Site) -> StepName {
        match self.body.first() {
            Some(first) if self.first_input.is_none() => first.head(&site.inside(&self.name)),
            _ => site.path(&self.name).as_str().into(),
        }
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let Self { name, body, until, max, first_input, next_input, output } = self;
        if body.is_empty() {
            return to.refuse_part(
                site,
                &path,
                exit,
                format!("'{path}' repeats nothing: its body has no steps"),
            );
        }
        if max == 0 {
            to.refuse(&path, format!("'{path}' has no rounds: `max` must be at least 1"));
        }
        let inside = site.inside(&name);
        let head = body[0].head(&inside);
        let check = inside.path("check");
        if first_input.is_some() {
            let first = Exit::Step(head.clone());
            let begins = working(move |cx, input| {
                let (map, first) = (first_input.clone(), first.clone());
                async move {
                    let value = made_of(map.as_ref(), &cx, &input, Vec::new()).await?;
                    Ok(ended(Value::Null, first.leave(&cx, value)?))
                }
            });
            to.control(site, &path, json!({ "role": "loop" }), &[head.as_str()], begins);
        }
        to.chain(body, &inside, &Exit::Step(check.as_str().into()));
        let what = json!({ "role": "check", "max": max });
        let next = [head.to_string(), exit.successor().to_owned()];
        let (rounds, exit) = (Rounds::of(site, &name, max), exit.clone());
        let check_round =
            Arc::new(Check { until, output, next_input, rounds, again: Exit::Step(head), exit });
        let checks = working(move |cx, came_to| {
            let check = check_round.clone();
            async move { check.judge(cx, came_to).await }
        });
        to.control(site, &check, what, &[&next[0], &next[1]], checks);
    }
}

fn mapper<In: DeserializeOwned, T: Serialize>(
    map: impl Fn(&In, &Context) -> Result<T, StepError> + Send + Sync + 'static,
) -> Given<Value> {
    given(move |input, cx, _| mapped(&map(&input.read()?, cx)?))
}

/// What is done after each round.
struct Check {
    until: Given<bool>,
    output: Option<Given<Value>>,
    next_input: Option<Given<Value>>,
    rounds: Rounds,
    again: Exit,
    exit: Exit,
}

impl Check {
    async fn judge(&self, cx: Context, came_to: Input) -> Result<Ended, StepError> {
        if (self.until)(cx.clone(), came_to.clone(), Vec::new()).await? {
            self.rounds.end(&cx)?;
            let value = made_of(self.output.as_ref(), &cx, &came_to, Vec::new()).await?;
            return Ok(ended(true.into(), self.exit.leave(&cx, value)?));
        }
        let so_far = self.rounds.count(&cx)?;
        let value = made_of(self.next_input.as_ref(), &cx, &came_to, vec![so_far.into()]).await?;
        Ok(ended(false.into(), self.again.leave(&cx, value)?))
    }
}

/// The rounds of a loop, counted in the context.
pub(super) struct Rounds {
    /// Within the scope.
    name: String,
    path: String,
    max: u32,
}

impl Rounds {
    pub(super) fn of(site: &Site, name: &str, max: u32) -> Self {
        Self { name: site.within_scope(name), path: site.path(name), max }
    }

    /// Counts a round that did not end the loop, and returns how many there were.
    pub(super) fn count(&self, cx: &Context) -> Result<u32, StepError> {
        let kept = cx.scope().below(&self.name);
        let before = cx.kept(&kept).and_then(|count| count.as_u64()).unwrap_or(0);
        let so_far = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
        if so_far >= self.max {
            let message =
                format!("'{}' went on for {so_far} rounds, and its condition does not hold", self.path);
            return Err(ErrorObject::new(Code::LOOP_LIMIT, message)
                .with_hint("correct the condition, or raise `max`")
                .with("max", self.max)
                .into());
        }
        cx.keep(&kept, Some(Payload::new(so_far.into())))?;
        Ok(so_far)
    }

    /// Forgets the rounds, so that the loop can be come to again.
    pub(super) fn end(&self, cx: &Context) -> Result<(), StepError> {
        let kept = cx.scope().below(&self.name);
        if cx.kept(&kept).is_some() {
            cx.keep(&kept, None)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repeat({})", self.name)
    }
}
