//! A state: a function and how it is run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stepwell_core::policy::resources::Resources;
use stepwell_core::workflow::definition::{
    Effect, Join, Need as CoreNeed, OnFailure, Priority, Step, Successors,
};
use stepwell_engine::Executor;

use super::builder::Defaults;
use super::handler::{self, Condition, Function, Handler};
use super::need::Need;
use super::next::Next;
use crate::context::Context;
use crate::error::StepError;
use crate::millis;
use crate::retry::Retry;

/// A function of an agent, and how it is run.
///
/// ```
/// use std::time::Duration;
/// use stepwell::{Context, END, Join, Next, Priority, Retry, State};
///
/// async fn review(cx: Context) -> Result<Next, stepwell::StepError> {
///     let rounds = cx.get::<u32>("rounds")?.unwrap_or(0);
///     cx.set("rounds", &(rounds + 1))?;
///     Ok(if rounds < 2 { Next::to("draft") } else { Next::done() })
/// }
///
/// let state = State::new("review", review)
///     .next(["draft", END])
///     .join(Join::All)
///     .priority(Priority::High)
///     .retry(Retry::times(3))
///     .timeout(Duration::from_mins(1));
/// # let _ = state;
/// ```
#[must_use]
pub struct State {
    pub(super) step: Step,
    pub(super) handler: Handler,
    pub(super) conditions: Vec<Condition>,
    /// None: as the agent says.
    pub(super) on_failure: Option<OnFailure>,
    executor: Option<Arc<dyn Executor>>,
}

impl State {
    /// Returns a state whose function is a future. When it should end early, it is dropped.
    ///
    /// It runs on a thread for functions, in the context of the runtime, so that one which blocks its thread or computes for long
    /// holds nobody up: others go on in its place after some milliseconds. Such a one cannot be dropped early. Its
    /// attempt ends with its time all the same, after the [clean-up time](crate::Options::cleanup_ms), and what it brings later
    /// is refused. What is known to block belongs in [`State::blocking`]. On a runtime of one thread, functions run on that
    /// thread, and all waits for one that blocks.
    ///
    /// ```
    /// use stepwell::{Context, Next, State};
    ///
    /// let state = State::new("greet", |cx: Context| async move {
    ///     cx.set("greeting", "hello")?;
    ///     Ok(Next::done())
    /// });
    /// # let _ = state;
    /// ```
    pub fn new<F, Fut>(name: &str, function: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Next, StepError>> + Send + 'static,
    {
        Self::of(name, handler::driven(function))
    }

    /// Returns a state whose function blocks its thread, which is one of those that may. When it should end early,
    /// [`Context::is_cancelled`] says so. To wait, it lets the runtime do it: `Handle::current().block_on(cx.sleep(…))?`.
    ///
    /// ```
    /// use stepwell::{Next, State};
    ///
    /// let state = State::blocking("read", |cx| {
    ///     cx.set("text", &std::fs::read_to_string("Cargo.toml")?)?;
    ///     Ok(Next::to("count"))
    /// });
    /// # let _ = state;
    /// ```
    pub fn blocking<F>(name: &str, function: F) -> Self
    where
        F: Fn(Context) -> Result<Next, StepError> + Send + Sync + 'static,
    {
        Self::of(name, handler::blocking(function))
    }

    /// Returns a state whose function ends by itself when it should end early: [`Context::cancelled`] tells it, and it is not
    /// dropped, so that it can clean up. One that does not end within the [clean-up time](crate::Options::cleanup_ms) is
    /// abandoned.
    ///
    /// ```
    /// use stepwell::{Context, Next, State};
    /// # async fn serve_one() {}
    /// # async fn close() {}
    ///
    /// let state = State::cooperative("serve", |cx: Context| async move {
    ///     while !cx.is_cancelled() {
    ///         serve_one().await;
    ///     }
    ///     close().await;
    ///     Ok(Next::done())
    /// });
    /// # let _ = state;
    /// ```
    pub fn cooperative<F, Fut>(name: &str, function: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Next, StepError>> + Send + 'static,
    {
        Self::of(name, handler::cooperative(function))
    }

    /// Returns the step and what carries it out.
    pub(super) fn into_parts(self, defaults: &Arc<Defaults>) -> (Step, Function) {
        let Self { step, handler, conditions, executor, .. } = self;
        (step, Function { handler, conditions, defaults: defaults.clone(), executor })
    }

    fn of(name: &str, handler: Handler) -> Self {
        Self { step: Step::function(name), handler, conditions: Vec::new(), on_failure: None, executor: None }
    }

    /// Has its attempts carried out by that executor in place of the threads of functions. For bindings, whose functions live on a
    /// thread of another language: where that thread also brings their outcome home, a state costs no change of threads.
    pub fn carried_out_by(mut self, executor: Arc<dyn Executor>) -> Self {
        self.executor = Some(executor);
        self
    }

    /// Begins when the run does. Without any such state, those begin that need nothing and that no other can lead to;
    /// without those, the first.
    pub fn entry(mut self) -> Self {
        self.step.entry = true;
        self
    }

    /// Says what the function leads to as far as somebody who read it can tell, for instance a binding that reads the source
    /// of another language. It serves as [`State::next`] does, but leading elsewhere is no failure, and no part of the
    /// workflow's version.
    pub fn next_inferred(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter().map(|name| name.as_ref().into()).collect();
        self.step.next = Successors::Inferred(names);
        self
    }

    /// Declares what the function can lead to, [`END`](crate::END) among it if it may end. Leading elsewhere fails it. A
    /// merge relies on it: a state that declares nothing may lead anywhere, so everybody waits for it, also the other branches of
    /// the fork that it is a branch of. `.next([])` is a state that only ends.
    pub fn next(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter().map(|name| name.as_ref().into()).collect();
        self.step.next = Successors::Declared(names);
        self
    }

    /// Says what several branches that arrive here become.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State, StepError};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// use stepwell::Join;
    ///
    /// # async fn ask(cx: Context) -> Result<Next, StepError> { Ok(Next::to("take")) }
    /// # async fn take(cx: Context) -> Result<Next, StepError> { Ok(Next::done()) }
    /// // Two services are asked at once, and the first that answers is taken.
    /// let agent = Agent::new("race")
    ///     .state("begin", |_: Context| async { Ok(Next::all(["one", "other"])) })
    ///     .add_state(State::new("one", ask).next(["take"]))
    ///     .add_state(State::new("other", ask).next(["take"]))
    ///     .add_state(State::new("take", take).join(Join::Any))
    ///     .build(&engine)?;
    ///
    /// let run = agent.start(()).await?;
    /// run.wait().await?;
    /// assert_eq!(run.states().await?["take"].attempts, 1);
    /// assert_eq!(run.metrics().await?.absorbed, 1); // the later answer
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(mut self, join: Join) -> Self {
        self.step.join = join;
        self
    }

    /// Starts only when this is met.
    pub fn needs(mut self, name: &str, need: Need) -> Self {
        self.conditions.extend(need.condition);
        self.step.needs.push(CoreNeed { step: name.into(), kind: need.kind, lifecycle: need.lifecycle });
        self
    }

    /// Says who goes first where not all can go at once.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.step.priority = priority;
        self
    }

    /// Tries again after a failure, in place of what the agent says.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.step.retry = Some(retry.into_policy());
        self
    }

    /// Limits the time of an attempt, waits not counted, in place of what the agent says.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.step.timeout_ms = Some(millis(time));
        self
    }

    /// Limits how long an attempt may give no sign of life: it fails as one whose time is over.
    /// [`Context::heartbeat`](crate::Context::heartbeat) and [`Context::emit`](crate::Context::emit) are such signs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use stepwell::{Context, Next, State};
    /// # fn index(_page: u32) {}
    ///
    /// let state = State::blocking("index", |cx: Context| {
    ///     for page in 0..1_000 {
    ///         index(page);
    ///         cx.heartbeat();
    ///     }
    ///     Ok(Next::done())
    /// })
    /// .heartbeat_timeout(Duration::from_secs(30));
    /// # let _ = state;
    /// ```
    pub fn heartbeat_timeout(mut self, time: Duration) -> Self {
        self.step.heartbeat_timeout_ms = Some(millis(time));
        self
    }

    /// Says what its final failure does to the run, in place of what the agent says.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = Some(on_failure);
        self
    }

    /// Runs that state after the final failure, before anything else follows from it. Without this, a state called
    /// `<name>_compensation` is the one, if there is one.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("travel")
    ///     .add_state(State::new("book", |cx: Context| async move {
    ///         Err(stepwell::StepError::never_again("no room is free"))
    ///     }).compensation("give_back"))
    ///     .state("give_back", |cx: Context| async move {
    ///         cx.set("given_back", &cx.failure().map(|failure| failure.step.clone()))?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    ///
    /// let failed = agent.run(()).await.unwrap_err(); // as without it, when all is undone
    /// assert_eq!(failed.error.message, "step 'book': no room is free");
    /// assert_eq!(failed.result.unwrap().context["given_back"], "book");
    /// # Ok(())
    /// # }
    /// ```
    pub fn compensation(mut self, name: &str) -> Self {
        self.step.compensation = Some(name.into());
        self
    }

    /// Says whether an attempt that vanished with its process may be made again; if not, a person is asked: `retry`,
    /// `complete` with a value, or `fail`. Completed by a person it leads to the one state that [`next`](State::next) names, or ends
    /// if that says so; where it may lead elsewhere, or declares nothing, nobody can complete it. A state that runs at most once can
    /// neither wait nor use [`once`](crate::Context::once).
    ///
    /// ```
    /// # use stepwell::{Context, Next, State, StepError};
    /// use stepwell::Effect;
    /// # async fn send(_: Context) -> Result<Next, StepError> { Ok(Next::done()) }
    ///
    /// // Nobody can tell afterwards whether the letter was sent, and it must not be sent twice.
    /// let state = State::new("send_letter", send).next([stepwell::END]).effect(Effect::AtMostOnce);
    /// # let _ = state;
    /// ```
    pub fn effect(mut self, effect: Effect) -> Self {
        self.step.effect = effect;
        self
    }

    /// Takes so many units of a limit that all workers of the store share, as long as an attempt runs. There are as many
    /// as [`AgentBuilder::limit`](super::AgentBuilder::limit) says.
    pub fn limit(mut self, name: &str, units: u32) -> Self {
        self.step.limits.insert(name.to_owned(), units);
        self
    }

    /// Books that much of the resources of this process, as long as an attempt runs. There is as much as
    /// [`Options::pool`](crate::Options::pool) of the engine says; what it does not name is not counted.
    ///
    /// ```
    /// # use stepwell::{Context, Next, State, StepError};
    /// use stepwell::{Options, Resources};
    /// # async fn render(_: Context) -> Result<Next, StepError> {
    /// #     Ok(Next::done())
    /// # }
    ///
    /// let options = Options { pool: Resources::cpu(4).memory_mb(8192), ..Options::default() };
    /// let state = State::new("render", render).resources(Resources::cpu(2.0).memory_mb(1024));
    /// # let _ = (options, state);
    /// ```
    pub fn resources(mut self, resources: Resources) -> Self {
        self.step.resources = resources;
        self
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.step).finish()
    }
}
