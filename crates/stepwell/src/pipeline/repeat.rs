//! Again until a condition holds: the body is `name/…`, and `name/check` leads back to it or to what follows.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::StepName;
use stepwell_core::run::event::Payload;

use super::exit::Exit;
use super::lower::Lowering;
use super::site::Site;
use super::stage::{Input, ended, mapped, work};
use super::{Part, Pipeline, parts_of};
use crate::context::Context;
use crate::error::StepError;

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
    until: Until,
    max: u32,
    first_input: Option<Mapper>,
    next_input: Option<NextInput>,
    output: Option<Mapper>,
}

type Until = Arc<dyn Fn(&Input, &Context) -> Result<bool, StepError> + Send + Sync>;
type Mapper = Arc<dyn Fn(&Input, &Context) -> Result<Value, StepError> + Send + Sync>;
type NextInput = Arc<dyn Fn(&Input, &Context, u32) -> Result<Value, StepError> + Send + Sync>;

/// So many rounds there are at most, unless something else is said.
pub(super) const MAX_ROUNDS: u32 = 5;

impl Repeat {
    /// Repeats until this is true of what a round came to. It is asked after each round, once.
    pub fn until<Out, F>(name: &str, body: impl Into<Pipeline>, until: F) -> Self
    where
        Out: DeserializeOwned,
        F: Fn(&Out, &Context) -> Result<bool, StepError> + Send + Sync + 'static,
    {
        Self {
            name: name.to_owned(),
            body: parts_of(body),
            until: Arc::new(move |output, cx| until(&output.read()?, cx)),
            max: MAX_ROUNDS,
            first_input: None,
            next_input: None,
            output: None,
        }
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

    /// Gives each further round this in place of what the one before it came to. The number is that of the rounds so far.
    pub fn next_input<Out, T: Serialize, F>(mut self, map: F) -> Self
    where
        Out: DeserializeOwned,
        F: Fn(&Out, &Context, u32) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.next_input =
            Some(Arc::new(move |output, cx, rounds| mapped(&map(&output.read()?, cx, rounds)?)));
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

    pub(super) fn lower(self, to: &mut Lowering<'_>, site: &Site, exit: &Exit) {
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
        if let Some(map) = first_input {
            let first = Exit::Step(head.clone());
            let begins = work(move |cx, input| {
                let to = first.leave(&cx, Payload::new(map(&input, &cx)?))?;
                Ok(ended(Value::Null, to))
            });
            to.control(site, &path, json!({ "role": "loop" }), &[head.as_str()], begins);
        }
        to.chain(body, &inside, &Exit::Step(check.as_str().into()));
        let what = json!({ "role": "check", "max": max });
        let next = [head.to_string(), exit.successor().to_owned()];
        let (rounds, exit) = (Rounds::of(site, &name, max), exit.clone());
        let checks = work(move |cx, came_to| {
            if until(&came_to, &cx)? {
                rounds.end(&cx)?;
                let value = output
                    .as_ref()
                    .map_or_else(|| Ok(came_to.payload()), |map| map(&came_to, &cx).map(Payload::new))?;
                return Ok(ended(true.into(), exit.leave(&cx, value)?));
            }
            let so_far = rounds.count(&cx)?;
            let value = next_input
                .as_ref()
                .map_or_else(|| Ok(came_to.payload()), |map| map(&came_to, &cx, so_far).map(Payload::new))?;
            Ok(ended(false.into(), Exit::Step(head.clone()).leave(&cx, value)?))
        });
        to.control(site, &check, what, &[&next[0], &next[1]], checks);
    }
}

fn mapper<In: DeserializeOwned, T: Serialize>(
    map: impl Fn(&In, &Context) -> Result<T, StepError> + Send + Sync + 'static,
) -> Mapper {
    Arc::new(move |input, cx| mapped(&map(&input.read()?, cx)?))
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
