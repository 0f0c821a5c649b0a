//! What a state sees of its run, and what it leaves there.

mod ask;
mod check;
pub(crate) mod scope;
mod secret;
pub(crate) mod typed;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_core::context::{self, Change, typed_parts};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Timestamp};
use stepwell_core::run::event::Payload;
use stepwell_engine::{FailureBehind, Task};

use crate::agent::State;
use crate::error::StepError;
use crate::json::{from_json, to_json};
pub use ask::Ask;
use scope::Scope;
pub use secret::Secret;
pub use typed::Typed;
pub(crate) use waits::Begin;
use waits::Waits;

/// What a state sees of its run, and what it leaves there.
///
/// Values are JSON, by key. A state sees what was committed when its attempt began, and its own writes; others see those
/// when it ends well, all at once. What a failed attempt wrote is gone. Of two states that write one key side by side
/// the later wins, unless the agent has a [`Reducer`](crate::Reducer) for the key.
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let agent = Agent::new("greeter")
///     .state("greet", |cx: Context| async move {
///         let name: String = cx.get("name")?.unwrap_or_else(|| "world".into());
///         cx.set("greeting", &format!("hello {name}"))?;
///         Ok(Next::done())
///     })
///     .build(&engine)?;
///
/// let result = agent.run(serde_json::json!({ "name": "Alice" })).await?;
/// assert_eq!(result.get::<String>("greeting")?.unwrap(), "hello Alice");
/// # Ok(())
/// # }
/// ```
///
/// In a [`Pipeline`](crate::Pipeline) a branch sees what was there when it began and its own writes, which are merged when
/// all branches have ended.
///
/// Clones are the same context. Once the attempt has ended, every use of one is an error.
#[derive(Clone)]
pub struct Context {
    attempt: Arc<Attempt>,
}

struct Attempt {
    task: Task,
    /// Where in a pipeline it is made; none: it is of an agent.
    scope: Option<Scope>,
    /// None: it has ended.
    left: Mutex<Option<Left>>,
}

/// What an attempt leaves behind.
#[derive(Default)]
pub(crate) struct Left {
    /// By key; none: the key is removed.
    writes: BTreeMap<String, Option<Payload>>,
    /// What the pipeline keeps for itself, by reserved key.
    kept: BTreeMap<String, Option<Payload>>,
    /// States that it adds.
    pub(crate) states: Vec<State>,
    /// What was done once, by name.
    pub(crate) memos: Vec<(String, Payload)>,
    /// Who does something once, by name: others that come to it meanwhile wait.
    doing: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    pub(crate) waits: Waits,
}

impl Context {
    pub(crate) fn new(task: Task) -> Self {
        Self::of(task, None)
    }

    /// Returns the context of an attempt that is made in that part of a pipeline.
    pub(crate) fn within(task: Task, scope: Scope) -> Self {
        Self::of(task, Some(scope))
    }

    fn of(task: Task, scope: Option<Scope>) -> Self {
        Self { attempt: Arc::new(Attempt { task, scope, left: Mutex::new(Some(Left::default())) }) }
    }

    /// Ends the context and returns what is left; nothing if it had ended.
    pub(crate) fn end(&self) -> Option<Left> {
        self.lock().take()
    }

    /// Returns the value of a key, or none if there is none. The payload of the execution, if it is an object, goes before
    /// what the run shares.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StepError> {
        let Some(value) = self.find(key)? else { return Ok(None) };
        if let Some(name) = typed::name_of(&value) {
            return Err(of_other_kind(format!("context key '{key}' holds a {name}: read it as that type")));
        }
        from_json(&value, || format!("context key '{key}'")).map(Some)
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// The value is not JSON, does not fit the reducer of the key, or the key holds a typed value. Nothing is written.
    pub fn set(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), StepError> {
        if let Some(name) = self.standing(key)?.as_deref().and_then(typed::name_of) {
            return Err(of_other_kind(format!(
                "context key '{key}' holds a {name}: write it with its type, or remove it first"
            )));
        }
        self.write(key, Some(to_json(value, || format!("context key '{key}'"))?))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// The attempt has ended.
    pub fn remove(&self, key: &str) -> Result<(), StepError> {
        self.write(key, None)
    }

    /// Returns whether [`Context::get`] finds something.
    ///
    /// # Errors
    /// The attempt has ended.
    pub fn has(&self, key: &str) -> Result<bool, StepError> {
        Ok(self.find(key)?.is_some())
    }

    /// Returns the keys that the run shares, in their order, with those that this attempt wrote.
    ///
    /// # Errors
    /// The attempt has ended.
    pub fn keys(&self) -> Result<BTreeSet<String>, StepError> {
        let mut keys = match &self.attempt.scope {
            Some(scope) => scope.keys(&self.task().context),
            None => self.task().context.values().into_keys().map(str::to_owned).collect(),
        };
        self.with(|left| {
            for (key, value) in &left.writes {
                if value.is_some() {
                    keys.insert(key.clone());
                } else {
                    keys.remove(key);
                }
            }
            keys
        })
    }

    /// Returns the value of a key if it is of that type; none: it is not there, untyped or of another type.
    ///
    /// # Errors
    /// The fields are not those of the type any more.
    pub fn typed<T: Typed>(&self, key: &str) -> Result<Option<T>, StepError> {
        let Some(value) = self.find(key)? else { return Ok(None) };
        typed::read(&value, || format!("context key '{key}'"))
    }

    /// Sets a key to a value that remembers its type.
    ///
    /// # Errors
    /// The value is not JSON, or the key holds an untyped value. Nothing is written.
    pub fn set_typed<T: Typed>(&self, key: &str, value: &T) -> Result<(), StepError> {
        self.set_typed_value(key, T::NAME, to_json(value, || format!("context key '{key}'"))?)
    }

    /// Returns the name of the type and the fields of a typed value, for a function that is not written in Rust; none: the
    /// key is not there, or untyped. [`Context::typed`] reads the value as a type.
    ///
    /// # Errors
    /// The attempt has ended.
    pub fn typed_value(&self, key: &str) -> Result<Option<(String, Value)>, StepError> {
        let Some(value) = self.find(key)? else { return Ok(None) };
        Ok(typed_parts(&value).map(|(name, fields)| (name.to_owned(), fields.clone())))
    }

    /// Sets a key to the fields of a value of that type, for a function that is not written in Rust.
    ///
    /// # Errors
    /// The key holds an untyped value. Nothing is written.
    pub fn set_typed_value(&self, key: &str, name: &str, fields: Value) -> Result<(), StepError> {
        if self.standing(key)?.is_some_and(|value| typed::name_of(&value).is_none()) {
            return Err(of_other_kind(format!(
                "context key '{key}' holds an untyped value: write it without a type, or remove it first"
            )));
        }
        self.write(key, Some(typed::with_name(name, fields)))
    }

    /// Changes a typed value in place.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use stepwell::{Context, StepError, Typed};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct UserProfile { age: u32 }
    /// # impl Typed for UserProfile { const NAME: &str = "UserProfile"; }
    /// fn birthday(cx: &Context) -> Result<(), StepError> {
    ///     cx.update_typed("user", |user: &mut UserProfile| user.age += 1)
    /// }
    /// ```
    ///
    /// # Errors
    /// The key holds no value of that type, or what it was changed to is not JSON.
    pub fn update_typed<T: Typed>(&self, key: &str, change: impl FnOnce(&mut T)) -> Result<(), StepError> {
        let known = self.typed::<T>(key)?;
        let mut value = known.ok_or_else(|| misused(format!("context key '{key}' holds no {}", T::NAME)))?;
        change(&mut value);
        self.set_typed(key, &value)
    }

    /// Returns what [`Next::each`](crate::Next::each) gave this execution; none if it came by a plain route.
    ///
    /// # Errors
    /// It is of another type.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        let Some(payload) = self.payload_of_route() else { return Ok(None) };
        from_json(payload, || "the payload".into()).map(Some)
    }

    /// Returns what the run was started with, or what a retry replaced it with.
    ///
    /// # Errors
    /// It is of another type.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        from_json(&self.task().run.input, || "the input".into())
    }

    /// Returns the failure that led here, in a state that a failure route or a compensation brought about.
    pub fn failure(&self) -> Option<&FailureBehind> {
        self.task().failure.as_ref()
    }

    /// Returns which attempt this is: 1, 2, 3 …
    pub fn attempt(&self) -> u32 {
        self.task().attempt
    }

    /// Returns a key that is the same for every attempt of this execution, also after a crash: give it to services that
    /// take such a key, and what they do is done once.
    pub fn idempotency_key(&self) -> String {
        self.task().idempotency_key.to_string()
    }

    /// Returns when the attempt runs out of time, if it has a limit.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.task().deadline.map(system_time)
    }

    /// Returns whether the attempt should end: its run was cancelled, or its time is up. A state on the runtime need not
    /// ask, since its future is dropped; one that blocks should, now and then.
    pub fn is_cancelled(&self) -> bool {
        self.task().cancel.is_cancelled()
    }

    /// Waits until the attempt should end.
    pub async fn cancelled(&self) {
        self.task().cancel.cancelled().await;
    }

    /// Returns the run.
    pub fn run_id(&self) -> &RunId {
        &self.task().run.id
    }

    /// Returns the name of the state.
    pub fn step(&self) -> &str {
        self.task().step.as_str()
    }

    /// Returns which activation of the state this is: 1, and more in a loop.
    pub fn ordinal(&self) -> u32 {
        self.task().ordinal.0
    }

    /// Returns the tags of the run.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.task().run.metadata
    }

    /// Journals a `log`, `progress` or `message`, for those who follow the run. It is not waited for, and lost if the
    /// process is killed at once. [Secrets](Context::secret) in it are masked.
    ///
    /// # Errors
    /// The data is not JSON, or the attempt has ended.
    pub fn emit(&self, kind: &str, data: &(impl Serialize + ?Sized)) -> Result<(), StepError> {
        let data = to_json(data, || format!("what is emitted as '{kind}'"))?;
        self.with(|_| self.task().report.emit(kind, data))
    }

    /// Says that the function is alive, where its state [limits](crate::State::heartbeat_timeout) how long it may be silent.
    pub fn heartbeat(&self) {
        self.task().report.heartbeat();
    }

    pub(crate) fn task(&self) -> &Task {
        &self.attempt.task
    }

    /// Does something as long as the attempt goes on.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Left) -> T) -> Result<T, StepError> {
        let task = self.task();
        // It is taken when the function ends; a function that is abandoned may go on.
        self.lock().as_mut().filter(|_| !task.report.is_over()).map(act).ok_or_else(|| {
            let (step, ordinal, attempt) = (&task.step, task.ordinal, task.attempt);
            let message = format!("attempt {attempt} of {step}#{ordinal} has ended, and its context with it");
            ErrorObject::new(Code::STALE_CONTEXT, message).into()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Left>> {
        self.attempt.left.lock().expect("no panic happens under this lock")
    }

    /// Returns the value that a read finds: own writes, the payload, what the run shares.
    fn find(&self, key: &str) -> Result<Option<Payload>, StepError> {
        let own = self.with(|left| left.writes.get(key).cloned())?;
        let in_payload = || {
            let payload = self.payload_of_route()?.as_object()?;
            payload.get(key).cloned().map(Payload::new)
        };
        Ok(own.unwrap_or_else(|| in_payload().or_else(|| self.shared(key))))
    }

    /// Returns the value that a write replaces.
    fn standing(&self, key: &str) -> Result<Option<Payload>, StepError> {
        let own = self.with(|left| left.writes.get(key).cloned())?;
        Ok(own.unwrap_or_else(|| self.shared(key)))
    }

    fn shared(&self, key: &str) -> Option<Payload> {
        let context = &self.task().context;
        match &self.attempt.scope {
            Some(scope) => scope.find(context, key),
            None => context.get(key).cloned(),
        }
    }

    /// Returns what a function gave this execution by its route; in a pipeline that is the input of the step, which it is
    /// handed.
    fn payload_of_route(&self) -> Option<&Payload> {
        self.task().payload.as_ref().filter(|_| self.attempt.scope.is_none())
    }

    fn write(&self, key: &str, value: Option<Value>) -> Result<(), StepError> {
        if let Some(reason) = context::why_reserved(key) {
            return Err(misused(format!("context key '{key}' {reason}")));
        }
        let change = Change { key: key.to_owned(), value: value.map(Payload::new), base: self.shared(key) };
        let reducer = self.task().run.workflow.definition().reducers.get(key).copied();
        if reducer.is_some() {
            // The run refuses what does not fit when the attempt ends; here the line is known.
            context::reduce(&change, reducer)
                .map_err(|misfit| ErrorObject::new(Code::TASK_RESULT_INVALID, misfit.to_string()))?;
        }
        self.with(|left| left.writes.insert(change.key, change.value))?;
        Ok(())
    }

    /// Returns the writes as changes against what the attempt saw.
    pub(crate) fn changes(&self, left: Left) -> Vec<Change> {
        let Left { writes, kept, .. } = left;
        if writes.is_empty() && kept.is_empty() {
            return Vec::new();
        }
        let written = writes.into_iter().map(|(key, value)| match &self.attempt.scope {
            Some(scope) => scope.write(key, value),
            None => (key, value),
        });
        let against = |(key, value): (String, _)| {
            let base = self.task().context.get(&key).cloned();
            Change { key, value, base }
        };
        written.chain(kept).map(against).collect()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task();
        write!(f, "Context({} {}#{})", task.run.id, task.step, task.ordinal)
    }
}

fn misused(message: String) -> StepError {
    StepError::never_again(message)
}

/// Returns the failure of a state that takes a typed value for an untyped one, or the other way round.
fn of_other_kind(message: String) -> StepError {
    ErrorObject::new(Code::TASK_EXECUTION_FAILED, message).never_again().with("reason", "typed_key").into()
}

pub(crate) fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}
