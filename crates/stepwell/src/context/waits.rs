//! Waiting in the middle of a state, and what is done once.
//!
//! A state that waits is let go and holds nothing. When what it waits for is there, it runs again from its start, always,
//! and is given what it was given before: by its name, or by its place among the waits that it comes to.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, StepName};
use stepwell_core::run::event::Payload;
use stepwell_core::run::wait::{ChildStart, Resolution, Then, WaitKind, WaitSpec};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Effect;
use stepwell_engine::{Engine, Resolved, yield_once};

use super::Context;
use super::ask::Ask;
use crate::error::StepError;
use crate::json::{from_json, to_json};
use crate::run::{Run, RunResult, first_context};
use crate::{Agent, millis};

tokio::task_local! {
    /// What is being done once around what runs now.
    static WITHIN: Vec<String>;
}

impl Context {
    /// Asks a person. The question is in the inbox until somebody answers it, however often the process is restarted
    /// meanwhile; other branches go on.
    ///
    /// An answer that is of another type than the state asks for is rejected if the question has no form, and asked for again:
    /// what is wrong with it is told to whoever answers next. That is found when the state runs, so whoever answered was not
    /// told. A [schema](Ask::schema), [options](Ask::options) or `schema_of` refuse such an answer before it
    /// is taken; one that they take although it is of another type fails the state.
    ///
    /// Everything before the question is done again when the answer is there: put what has an effect into
    /// [`Context::once`].
    ///
    /// ```
    /// # use stepwell::{Agent, Engine, Options, Registry};
    /// use serde_json::json;
    /// use stepwell::{Ask, Context, Next};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("review")
    ///     .state("review", |cx: Context| async move {
    ///         let approved: bool = cx.ask_human(Ask::new("Publish?").schema(json!({ "type": "boolean" }))).await?;
    ///         cx.set("approved", &approved)?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    ///
    /// let run = agent.start(()).await?;
    /// run.rest().await?; // until it waits, or is over
    /// let asked = run.questions().await?.remove(0);
    /// assert_eq!(asked.question.prompt, "Publish?");
    /// run.answer(&asked.wait, true).await?;
    /// assert_eq!(run.wait().await?.get("approved")?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StepError::Suspended`] until there is an answer; `HUMAN_TIMEOUT` if none came in time; `ANSWER_INVALID` if the form
    /// of the question takes an answer, or it has a default, that is of another type.
    pub fn ask_human<A: DeserializeOwned + Send>(
        &self,
        ask: Ask,
    ) -> impl Future<Output = Result<A, StepError>> + Send + use<A> {
        let place = self.next_place(ask.name.clone());
        let asked = place.map(|place| (place.to_string(), self.wait_for_answer(&place, ask.of_type::<A>())));
        async {
            let (place, answer) = asked?;
            let answer = answer.await?;
            from_json(&answer, || format!("the answer to {place}")).map_err(|error| misread(error, &place))
        }
    }

    /// Sleeps durably: a restart neither shortens nor lengthens it, and a state that sleeps holds nothing.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State, StepError};
    /// # use std::time::Duration;
    /// # use serde_json::json;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("remind")
    ///     .state("remind", |cx: Context| async move {
    ///         cx.sleep(Duration::from_millis(5)).await?; // or days
    ///         cx.set("reminded", &true)?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    /// assert_eq!(agent.run(()).await?.get("reminded")?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StepError::Suspended`] until the time has come.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = Result<(), StepError>> + Send + use<> {
        let at = self.task().report.now().plus_ms(millis(time));
        let time = self.wait_for("timer", |position| {
            Ok(WaitSpec { deadline: Some(at), ..wait(position, WaitKind::Timer) })
        });
        async { time.await.map(|_| ()) }
    }

    /// Waits for the next signal of that name, which may have come before. Each is taken by one wait.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State, StepError};
    /// # use std::time::Duration;
    /// # use serde_json::json;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let agent = Agent::new("gate")
    ///     .state("gate", |cx: Context| async move {
    ///         // Two waits side by side are open at once.
    ///         let (speed, name) = tokio::join!(cx.signal::<u32>("speed"), cx.signal::<String>("name"));
    ///         cx.set("told", &format!("{} at {}", name?, speed?))?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    ///
    /// let run = agent.start(()).await?;
    /// engine.signal(run.id(), "name", json!("Ada"), None).await?;
    /// engine.signal(run.id(), "speed", json!(3), None).await?;
    /// assert_eq!(run.wait().await?.get::<String>("told")?.unwrap(), "Ada at 3");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StepError::Suspended`] until there is one; its value is of another type.
    pub fn signal<T: DeserializeOwned + Send>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<T, StepError>> + Send + use<T> {
        self.signal_or_time(name, None)
    }

    /// Waits for the next signal of that name for so long, counted from when it is first waited for.
    ///
    /// # Errors
    /// As [`Context::signal`]; `SIGNAL_TIMEOUT` if none came in time.
    pub fn signal_within<T: DeserializeOwned + Send>(
        &self,
        name: &str,
        time: Duration,
    ) -> impl Future<Output = Result<T, StepError>> + Send + use<T> {
        self.signal_or_time(name, Some(time))
    }

    fn signal_or_time<T: DeserializeOwned + Send>(
        &self,
        name: &str,
        time: Option<Duration>,
    ) -> impl Future<Output = Result<T, StepError>> + Send + use<T> {
        let what = format!("the value of signal '{name}'");
        let deadline = time.map(|time| self.task().report.now().plus_ms(millis(time)));
        let signal = self.wait_for("signal", |position| {
            Ok(WaitSpec { deadline, ..wait(position, WaitKind::Signal { name: name.to_owned() }) })
        });
        async move { from_json(&*signal.await?, || what) }
    }

    /// Runs another agent as a child of this run, and waits for its end. Cancelling this run cancels it.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State, StepError};
    /// # use std::time::Duration;
    /// # use serde_json::json;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let double = Agent::new("double")
    ///     .state("double", |cx: Context| async move {
    ///         cx.set("twice", &(2 * cx.get::<u32>("n")?.unwrap_or(0)))?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    /// let parent = Agent::new("parent")
    ///     .state("ask_the_child", move |cx: Context| {
    ///         let double = double.clone();
    ///         async move {
    ///             let result = cx.run_agent(&double, json!({ "n": 21 })).await?;
    ///             cx.set("twice", &result.get::<u32>("twice")?)?;
    ///             Ok(Next::done())
    ///         }
    ///     })
    ///     .build(&engine)?;
    /// assert_eq!(parent.run(()).await?.get("twice")?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StepError::Suspended`] until it has ended; `CHILD_FAILED` if it failed or was cancelled; the input is no object.
    pub fn run_agent<I: Serialize>(
        &self,
        agent: &Agent,
        input: I,
    ) -> impl Future<Output = Result<RunResult, StepError>> + Send + use<I> {
        self.run_agent_from(agent, None, input)
    }

    /// Runs another agent from that state on, as [`Context::run_agent`] does; none: from where it begins.
    ///
    /// # Errors
    /// As [`Context::run_agent`]; `UNKNOWN_STEP` if the agent has no such state.
    pub fn run_agent_from<I: Serialize>(
        &self,
        agent: &Agent,
        entry: Option<&str>,
        input: I,
    ) -> impl Future<Output = Result<RunResult, StepError>> + Send + use<I> {
        let entry = entry.map(StepName::from);
        self.run_child(agent.engine(), agent.workflow(), || {
            agent.workflow().check_entry(entry.as_ref()).map_err(ErrorObject::never_again)?;
            let input = to_json(&input, || "the input".into())?;
            Ok(Begin { context: first_context(&input)?, input, entry })
        })
    }

    /// Runs a workflow as a child of this run, and waits for its end.
    pub(crate) fn run_child(
        &self,
        engine: &Engine,
        workflow: &Workflow,
        begin: impl FnOnce() -> Result<Begin, StepError>,
    ) -> BoxFuture<'static, Result<RunResult, StepError>> {
        let child = self.wait_for("child", |position| {
            let Begin { context, input, entry } = begin()?;
            let start = ChildStart {
                run: RunId::from(""),
                definition: workflow.to_json(),
                context,
                input: Payload::new(input),
                metadata: self.metadata().clone(),
                entry,
            };
            Ok(wait(position, WaitKind::Child(Box::new(start))))
        });
        let engine = engine.clone();
        Box::pin(async move {
            let ended = child.await?;
            let id: RunId = from_json(&ended["run_id"], || "the id of the child run".into())?;
            Ok(Run::of(engine, id).wait().await?)
        })
    }

    /// Does something and keeps what it returns under that name, durably before this returns. Every later attempt of this
    /// execution, and every time it runs again, is given that instead. If the process dies in the middle, it is done
    /// again: pass [`Context::idempotency_key`] to those who can tell.
    ///
    /// Who comes to the same name while it is being done, in the same attempt, waits and is given what it returned; if it
    /// fails or is dropped, the next one does it.
    ///
    /// ```
    /// use stepwell::{Ask, Context, Next, StepError};
    ///
    /// async fn order(cx: Context) -> Result<Next, StepError> {
    ///     let receipt: String = cx.once("charge", || async { Ok("receipt 17".to_owned()) }).await?;
    ///     let _sure: bool = cx.ask_human(Ask::new(format!("{receipt} is paid. Send it?")).options([true, false])?).await?;
    ///     Ok(Next::to("send"))
    /// }
    /// ```
    ///
    /// # Errors
    /// What it does fails, and nothing is kept; what it returns is not JSON; it comes to its own name; or the store failed.
    pub async fn once<T, Fut>(&self, name: &str, act: impl FnOnce() -> Fut) -> Result<T, StepError>
    where
        T: Serialize + DeserializeOwned,
        Fut: Future<Output = Result<T, StepError>>,
    {
        self.refuse_once(name)?;
        let within = WITHIN.try_with(Vec::clone).unwrap_or_default();
        if within.iter().any(|around| around == name) {
            let message = format!("'{name}' is done once within itself: it would wait for its own end");
            return Err(StepError::never_again(message));
        }
        let doing = self.with(|left| left.doing.entry(name.to_owned()).or_default().clone())?;
        let _alone = doing.lock().await;
        let what = || format!("what '{name}' returned");
        if let Some(kept) = self.recorded(name)? {
            return from_json(&kept, what);
        }
        let within = within.into_iter().chain([name.to_owned()]).collect();
        let value = WITHIN.scope(within, act()).await?;
        self.record(name, to_json(&value, what)?).await?;
        Ok(value)
    }

    /// Returns what [`Context::once`] kept under a name, for a function that is not written in Rust: it does `once` itself, by
    /// this and [`Context::record_once`], and sees to it that of several at a time one acts.
    ///
    /// # Errors
    /// Those of `once`.
    pub fn recorded_once(&self, name: &str) -> Result<Option<Value>, StepError> {
        self.refuse_once(name)?;
        Ok(self.recorded(name)?.map(|value| (*value).clone()))
    }

    /// Keeps something for [`Context::recorded_once`], durably before this returns.
    ///
    /// # Errors
    /// Those of `once`.
    pub async fn record_once(&self, name: &str, value: Value) -> Result<(), StepError> {
        self.refuse_once(name)?;
        self.record(name, value).await
    }

    fn refuse_once(&self, name: &str) -> Result<(), StepError> {
        self.refuse_at_most_once()?;
        if name.starts_with('$') {
            return Err(StepError::never_again(format!(
                "what is done once cannot be called '{name}': names with a '$' are taken"
            )));
        }
        Ok(())
    }

    /// Returns what is kept under a name.
    pub(super) fn recorded(&self, name: &str) -> Result<Option<Payload>, StepError> {
        self.with(|left| {
            let mut kept = self.task().memos.iter().chain(&left.memos);
            kept.find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }

    /// Keeps something under a name, durably before this returns.
    pub(super) async fn record(&self, name: &str, value: Value) -> Result<(), StepError> {
        // Before it is sent: when the state runs again, it is the same attempt to the run.
        self.with(|_| ())?;
        self.task().report.record(name, value.clone()).await?;
        self.with(|left| left.memos.push((name.to_owned(), Payload::new(value))))
    }

    /// Returns what the wait that the state comes to has brought. While it is open, others beside it are let come to
    /// theirs before this one ends, so that all are open at once.
    fn wait_for(
        &self,
        kind: &'static str,
        open: impl FnOnce(u32) -> Result<WaitSpec, StepError>,
    ) -> BoxFuture<'static, Result<Payload, StepError>> {
        let found = self.next_place(None).and_then(|place| self.come_to_place(&place, kind, open));
        Box::pin(async move {
            let Some(resolution) = found? else {
                yield_once().await;
                return Err(StepError::Suspended);
            };
            brought(kind, resolution)
        })
    }

    /// Finds out how the wait at a place was resolved; none: it is open. One that the state never came to before is opened
    /// when it is let go.
    pub(super) fn come_to_place(
        &self,
        place: &Place,
        kind: &'static str,
        open: impl FnOnce(u32) -> Result<WaitSpec, StepError>,
    ) -> Result<Option<Resolution>, StepError> {
        match self.at(place, kind)? {
            At::Resolved(known) => return Ok(Some(known.resolution.clone())),
            At::Open => self.with(|left| left.waits.suspended = true)?,
            At::Nothing => {
                let wait = open(place.position)?;
                self.with(|left| left.waits.open(wait))?;
            }
        }
        Ok(None)
    }

    /// Returns the place of the wait that the state comes to now.
    pub(super) fn next_place(&self, name: Option<String>) -> Result<Place, StepError> {
        self.refuse_at_most_once()?;
        self.with(|left| left.waits.next_place(name))
    }

    /// Returns what is known of the wait at a place.
    pub(super) fn at(&self, place: &Place, kind: &'static str) -> Result<At<'_>, StepError> {
        let task = self.task();
        let same_kind = |known| if known == kind { Ok(()) } else { Err(other_wait(place, known, kind)) };
        // First what is open: before it, answers may have been rejected at the same place.
        if let Some(open) = task.open.iter().find(|open| place.is_of(open.name.as_ref(), open.position)) {
            same_kind(open.kind)?;
            return Ok(At::Open);
        }
        let mut resolved = task.resolutions.iter().rev();
        let known = resolved.find(|known| place.is_of(known.name.as_ref(), known.position));
        let Some(known) = known else { return Ok(At::Nothing) };
        same_kind(known.kind)?;
        Ok(At::Resolved(known))
    }

    fn refuse_at_most_once(&self) -> Result<(), StepError> {
        if self.task().definition().effect == Effect::AtLeastOnce {
            return Ok(());
        }
        let message = "a state that may be attempted only once cannot wait or use `once`: it would run again";
        Err(ErrorObject::new(Code::TASK_EXECUTION_FAILED, message).never_again().into())
    }
}

/// What a child run begins with.
pub(crate) struct Begin {
    pub(crate) context: Map<String, Value>,
    pub(crate) input: Value,
    /// None: where its workflow begins.
    pub(crate) entry: Option<StepName>,
}

fn wait(position: u32, kind: WaitKind) -> WaitSpec {
    WaitSpec { position, name: None, kind, deadline: None, default: None, then: Then::Rerun }
}

/// Returns the failure of a state that cannot read an answer which was taken, and says how such a one is refused.
fn misread(error: StepError, place: &str) -> StepError {
    let hint = "let the form of the question refuse such an answer: `schema_of`, a `schema` or `options` that fit the type, \
                or a `check`";
    let message = error.into_error().map_or_else(String::new, |error| error.message);
    ErrorObject::new(Code::ANSWER_INVALID, message).with_hint(hint).with("wait", place).into()
}

fn other_wait(place: &Place, before: &str, now: &str) -> StepError {
    let message = format!("{place} was for a {before} when the state ran before, and is for a {now} now");
    ErrorObject::new(Code::REPLAY_MISMATCH, message)
        .with_hint("a state comes to its waits in the same order each time it runs, but for questions that are `named`")
        .with("position", place.position)
        .into()
}

/// What is known of the wait at a place.
pub(super) enum At<'a> {
    /// It is over.
    Resolved(&'a Resolved),
    /// It is still open.
    Open,
    /// The state never came to it before.
    Nothing,
}

pub(super) fn brought(kind: &str, resolution: Resolution) -> Result<Payload, StepError> {
    let timed_out = if kind == "signal" { Code::SIGNAL_TIMEOUT } else { Code::HUMAN_TIMEOUT };
    match resolution {
        Resolution::Answered { value, .. } | Resolution::Signalled { value, .. } => Ok(value),
        Resolution::Defaulted { value } => Ok(value),
        Resolution::ChildCompleted { output } => Ok(output),
        Resolution::Fired => Ok(Payload::new(Value::Null)),
        Resolution::TimedOut => Err(ErrorObject::new(timed_out, timed_out.meaning()).into()),
        Resolution::ChildFailed { error } => Err((*error).into()),
        Resolution::Withdrawn => unreachable!("what was withdrawn is not told"),
    }
}

/// The waits that a state came to since it began to run.
#[derive(Default)]
pub(crate) struct Waits {
    /// How many had no name.
    unnamed: u32,
    /// Those that it never came to before.
    pub(crate) opened: Vec<WaitSpec>,
    /// One of them is open, so the state is to be let go.
    pub(crate) suspended: bool,
}

impl Waits {
    fn next_place(&mut self, name: Option<String>) -> Place {
        let position = self.unnamed;
        self.unnamed += u32::from(name.is_none());
        Place { position, name }
    }

    pub(super) fn open(&mut self, wait: WaitSpec) {
        self.suspended = true;
        let is_open = wait.name.is_some() && self.opened.iter().any(|open| open.name == wait.name);
        if !is_open {
            self.opened.push(wait);
        }
    }
}

/// How a wait is found again: by its name, else by its place among those without one.
pub(super) struct Place {
    pub(super) position: u32,
    name: Option<String>,
}

impl Place {
    pub(super) fn is_of(&self, name: Option<&String>, position: u32) -> bool {
        match &self.name {
            Some(own) => name == Some(own),
            None => name.is_none() && position == self.position,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "wait '{name}'"),
            None => write!(f, "wait {}", self.position + 1),
        }
    }
}
