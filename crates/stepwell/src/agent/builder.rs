//! How an agent is put together.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::StepName;
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::workflow::definition::{Definition, OnFailure, Reducer};
use stepwell_core::workflow::{Problem, Workflow, problems_error};
use stepwell_engine::Engine;

use super::Agent;
use super::next::Next;
use super::state::State;
use crate::context::Context;
use crate::error::StepError;
use crate::limits;
use crate::millis;
use crate::retry::Retry;

/// An agent that is being put together; [`Agent::new`] begins one.
#[derive(Debug)]
#[must_use = "`build` makes an agent of it"]
pub struct AgentBuilder {
    definition: Definition,
    states: Vec<State>,
    defaults: Defaults,
}

/// So many states of a run are under way at once, unless the agent says otherwise.
const MAX_CONCURRENT: u32 = 10;

impl AgentBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            definition: Definition {
                max_concurrent: Some(MAX_CONCURRENT),
                ..Definition::new(name, Vec::new())
            },
            states: Vec::new(),
            defaults: Defaults { on_failure: OnFailure::Stop, retry: None, state_timeout_ms: None },
        }
    }

    /// Adds a state with every default. [`add_state`](Self::add_state) adds one with settings, or one whose function
    /// [blocks](State::blocking).
    pub fn state<F, Fut>(self, name: &str, function: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Next, StepError>> + Send + 'static,
    {
        self.add_state(State::new(name, function))
    }

    /// Adds a state.
    pub fn add_state(mut self, state: State) -> Self {
        self.states.push(state);
        self
    }

    /// Lets so many states of a run be under way at once; 10 if nothing is said. What waits or will be tried again does
    /// not count.
    pub fn max_concurrent(mut self, states: u32) -> Self {
        self.definition.max_concurrent = Some(states);
        self
    }

    /// Ends a run as failed that made so many steps by routes; 10 000 if nothing is said.
    pub fn max_steps(mut self, steps: u32) -> Self {
        self.definition.max_steps = steps;
        self
    }

    /// Limits the time of a run, from its start, waits included.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.definition.timeout_ms = Some(millis(time));
        self
    }

    /// Takes a checkpoint so often while a run runs, and one at its end; [`Run::latest_checkpoint`](crate::Run::latest_checkpoint)
    /// returns the last one. No run needs any to survive its process.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// use std::time::Duration;
    ///
    /// let agent = Agent::new("night")
    ///     .checkpoint_interval(Duration::from_mins(5))
    ///     .state("work", |cx: Context| async move {
    ///         cx.set("rows", &7)?;
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    /// let run = agent.start(()).await?;
    /// run.wait().await?;
    /// let last = run.latest_checkpoint().await?.unwrap();
    /// assert_eq!(last.shared_state["rows"], 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn checkpoint_interval(mut self, time: Duration) -> Self {
        self.definition.checkpoint_interval_ms = Some(millis(time));
        self
    }

    /// Limits the time of an attempt of every state that says nothing about it.
    pub fn state_timeout(mut self, time: Duration) -> Self {
        self.defaults.state_timeout_ms = Some(millis(time));
        self
    }

    /// Tries every state again that says nothing about it.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.defaults.retry = Some(retry.into_policy());
        self
    }

    /// Says what the final failure of a state does to the run, if the state says nothing about it. By default it ends the
    /// run, and everything in it, at once.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// use stepwell::OnFailure;
    ///
    /// let agent = Agent::new("orders")
    ///     .on_failure(OnFailure::Route("tell".into()))
    ///     .state("order", |_: Context| async { Ok(Next::to(std::fs::read_to_string("no such file")?)) })
    ///     .state("tell", |cx: Context| async move {
    ///         if let Some(failure) = cx.failure() {
    ///             cx.set("told", &format!("{} failed: {}", failure.step, failure.error.code.name()))?;
    ///         }
    ///         Ok(Next::done())
    ///     })
    ///     .build(&engine)?;
    ///
    /// let result = agent.run(()).await?; // it completes
    /// assert_eq!(result.failed_states, ["order"]);
    /// assert_eq!(result.context["told"], "order failed: TASK_EXECUTION_FAILED");
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.defaults.on_failure = on_failure;
        self
    }

    /// Says how changes to a context key are united that are made side by side. Without a reducer the last one wins, and the
    /// journal says so.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// use stepwell::{END, Reducer};
    ///
    /// async fn count(cx: Context) -> Result<Next, stepwell::StepError> {
    ///     // Read and written as if nobody else did.
    ///     cx.set("pages", &(cx.get::<u32>("pages")?.unwrap_or(0) + cx.payload::<u32>()?.unwrap_or(0)))?;
    ///     Ok(Next::done())
    /// }
    ///
    /// let agent = Agent::new("count")
    ///     .reducer("pages", Reducer::Sum)
    ///     .state("books", |_: Context| async { Next::each("count", [120, 80, 300]) })
    ///     .add_state(State::new("count", count).next([END]))
    ///     .build(&engine)?;
    /// assert_eq!(agent.run(()).await?.get("pages")?, Some(500));
    /// # Ok(())
    /// # }
    /// ```
    pub fn reducer(mut self, key: &str, reducer: Reducer) -> Self {
        self.definition.reducers.insert(key.to_owned(), reducer);
        self
    }

    /// Says how many units there are of a limit that [states take](State::limit), over all workers of the store.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// # async fn call(_: Context) -> Result<Next, stepwell::StepError> { Ok(Next::done()) }
    /// # async fn print(_: Context) -> Result<Next, stepwell::StepError> { Ok(Next::done()) }
    /// // Whatever runs there are: at most eight call the service at once, and one prints.
    /// let agent = Agent::new("letters")
    ///     .limit("service", 8)
    ///     .limit("printer", 1)
    ///     .add_state(State::new("call", call).limit("service", 1).next(["print"]))
    ///     .add_state(State::new("print", print).limit("printer", 1))
    ///     .build(&engine)?;
    /// # agent.run(()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit(mut self, name: &str, units: u32) -> Self {
        self.definition.limits.insert(name.to_owned(), units);
        self
    }

    /// Makes an agent that runs on that engine. From now on the engine carries out its states, in runs that were begun
    /// before as well; an agent of the same name that was built before has no functions any more where this one has.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// async fn nothing(_: Context) -> Result<Next, stepwell::StepError> {
    ///     Ok(Next::done())
    /// }
    ///
    /// let wrong = Agent::new("essay")
    ///     .max_concurrent(0)
    ///     .add_state(State::new("draft", nothing).next(["pubish"]))
    ///     .add_state(State::new("publish", nothing).next(["draft"]))
    ///     .build(&engine)
    ///     .unwrap_err();
    /// assert_eq!(
    ///     wrong.to_string(),
    ///     "2 problems: max_concurrent must be at least 1; \
    ///      step 'draft' leads to 'pubish', which no step is named (did you mean 'publish'?)"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(mut self, engine: &Engine) -> Result<Agent, DefinitionError> {
        let mut states = std::mem::take(&mut self.states);
        let names: HashSet<StepName> = states.iter().map(|state| state.step.name.clone()).collect();
        for state in &mut states {
            self.defaults.complete(state, |name| names.contains(name));
        }
        let steps = states.iter().map(|state| state.step.clone()).collect();
        let definition = Definition { steps, ..self.definition };
        let mut problems = own_problems(&definition);
        problems.extend(definition.steps.is_empty().then(|| no_states(&definition.name)));
        let workflow = match Workflow::new(definition) {
            Ok(workflow) if problems.is_empty() => workflow,
            found => {
                problems.extend(found.err().into_iter().flatten());
                return Err(DefinitionError { problems });
            }
        };
        let defaults = Arc::new(self.defaults);
        for state in states {
            let (step, function) = state.into_parts(&defaults);
            engine.register(workflow.name(), step.name.as_str(), Arc::new(function));
        }
        Ok(Agent { engine: engine.clone(), workflow, defaults })
    }
}

/// What an agent says for those of its states that say nothing.
#[derive(Debug)]
pub(super) struct Defaults {
    on_failure: OnFailure,
    retry: Option<RetryPolicy>,
    state_timeout_ms: Option<u64>,
}

impl Defaults {
    /// Completes a state. `is_there`: whether there is a state of a name.
    pub(super) fn complete(&self, state: &mut State, is_there: impl Fn(&str) -> bool) {
        let State { step, on_failure, .. } = state;
        step.retry = step.retry.take().or_else(|| self.retry.clone());
        step.timeout_ms = step.timeout_ms.or(self.state_timeout_ms);
        step.on_failure = on_failure.take().unwrap_or_else(|| self.on_failure.clone());
        let compensation = format!("{}_compensation", step.name);
        let is_undone = step.compensation.is_none() && is_there(&compensation);
        if is_undone {
            step.compensation = Some(compensation.into());
        }
    }
}

/// Finds what only agents are held to: names that could be read as patterns, and limits that no attempt could ever take.
pub(super) fn own_problems(definition: &Definition) -> Vec<Problem> {
    let mut problems = limits::without_units(definition);
    for (i, step) in definition.steps.iter().enumerate() {
        let name = step.name.as_str();
        if name.contains('*') || name.starts_with('$') {
            let message = format!("state name '{name}' holds a '*' or begins with a '$'");
            let (code, path) = (Code::WORKFLOW_VALIDATION_FAILED, format!("steps[{i}].name"));
            let step = Some(step.name.clone());
            problems.push(Problem { code, message, hint: None, path, step, cycle: Vec::new() });
        }
        problems.extend(limits::out_of_reach(definition, i, step));
    }
    problems
}

fn no_states(agent: &str) -> Problem {
    let hint = "add one before `build`: `.state(\"first\", |cx: Context| async move { Ok(Next::done()) })`";
    let problem = limits::problem("steps".into(), None, format!("agent '{agent}' has no states"));
    Problem { hint: Some(hint.into()), ..problem }
}

/// An agent or a pipeline that cannot be built: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct DefinitionError {
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl DefinitionError {
    /// Returns it as the one error that users see: the code of all problems if they share one.
    pub fn to_error(&self) -> ErrorObject {
        problems_error(&self.problems)
    }
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problems.len() > 1 {
            write!(f, "{} problems: ", self.problems.len())?;
        }
        for (i, problem) in self.problems.iter().enumerate() {
            let (before, message) = (if i == 0 { "" } else { "; " }, &problem.message);
            write!(f, "{before}{message}")?;
            if let Some(hint) = &problem.hint {
                write!(f, " ({hint})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionError {}
