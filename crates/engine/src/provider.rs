//! Who carries out a step: providers by protocol, functions of the host program by name.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value;
use stepwell_core::context::{Change, Context};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Ordinal, StepName, Timestamp};
use stepwell_core::run::IdempotencyKey;
use stepwell_core::run::event::{Payload, Target};
use stepwell_core::run::wait::{ChildStart, WaitSpec};
use stepwell_core::workflow::definition::{Action, Step};
use stepwell_core::workflow::path::Path;
use stepwell_core::workflow::template::{Names, Scope};
use stepwell_core::workflow::{StepIx, Workflow};
use stepwell_store::Store;
use tokio_util::sync::CancellationToken;

use crate::attempt::{FailureBehind, Opened, Reporter, Resolved, RunInfo};
use crate::load::{Invalid, Problem};

/// What carries out attempts of steps of one protocol, or of one function.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Returns what the protocol can do, as `METHOD_NOT_SUPPORTED` lists it. Aliases included.
    fn methods(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Returns the keys that the result object of a method has; an empty list: nobody knows.
    fn result_keys(&self, method: &str) -> &'static [&'static str] {
        let _ = method;
        &[]
    }

    /// Returns the parameters of a method, for people and their editors; none: nobody knows, and any may be given.
    fn params(&self, method: &str) -> Option<Vec<Param>> {
        let _ = method;
        None
    }

    /// Returns the parameters that the provider resolves itself, by [`Provider::bind`], because `${…}` means
    /// something else in them or nothing at all.
    fn raw_params(&self, method: &str) -> &'static [&'static str] {
        let _ = method;
        &[]
    }

    /// Resolves one raw parameter; what it returns goes into the parameters of the attempt.
    ///
    /// # Errors
    /// A reference has no value (see [`missing_reference`](crate::params::missing_reference)).
    fn bind(
        &self,
        method: &str,
        key: &str,
        value: Value,
        names: &dyn Names,
        scope: &dyn Scope,
    ) -> Result<Vec<(String, Value)>, ErrorObject> {
        let _ = (method, names, scope);
        Ok(vec![(key.to_owned(), value)])
    }

    /// Checks parameters when a definition is submitted. What holds a reference is checked when the attempt starts.
    fn check(&self, method: &str, params: &Value) -> Vec<ParamProblem> {
        let _ = (method, params);
        Vec::new()
    }

    /// Looks at what literal parameters name outside of the definition, such as a file, when a run is submitted.
    /// Without a store only what needs none is looked at. The path of a problem is that within the parameters.
    async fn check_outside(&self, method: &str, params: &Value, outside: &Outside<'_>) -> Vec<Problem> {
        let _ = (method, params, outside);
        Vec::new()
    }

    /// Carries out one attempt. It should end soon after `task.cancel` is cancelled.
    async fn execute(&self, task: Task) -> Outcome;

    /// Returns what carries its attempts out; none: tasks of the runtime.
    fn executor(&self) -> Option<&Arc<dyn Executor>> {
        None
    }

    /// Ends what the provider keeps running between attempts.
    async fn shutdown(&self) {}
}

/// Carries attempts out, in place of tasks of the runtime: for functions that live on a thread of their own, whose outcome that
/// thread can bring home by itself.
pub trait Executor: Send + Sync + 'static {
    /// Lets an attempt come to its end, from its call to the commit of its outcome, and what is handed over to it. Whoever polls it
    /// is in the context of the engine's runtime.
    fn spawn(&self, attempt: BoxFuture<'static, ()>);
}

/// A parameter that a method takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// What it is called.
    pub name: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// The JSON Schema of what it can be in a file, references included. It refuses nothing that [`Provider::check`] lets pass.
    pub schema: Value,
    /// What it means, one line of Markdown.
    pub meaning: &'static str,
}

/// What a definition can name that is not in it.
#[derive(Clone, Copy, Debug)]
pub struct Outside<'a> {
    /// Directory that relative paths of the run start at.
    pub base_dir: Option<&'a str>,
    /// The store it is submitted to; none: it is only checked.
    pub store: Option<&'a dyn Store>,
}

/// A parameter that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamProblem {
    /// Which.
    pub parameter: String,
    /// What is wrong with it, as a sentence.
    pub message: String,
    /// A word for programs, such as `missing` or `unknown`.
    pub reason: &'static str,
    /// What to write instead.
    pub hint: Option<String>,
}

/// One attempt, as its provider sees it.
#[derive(Clone, Debug)]
pub struct Task {
    /// What is the same for every attempt of the run.
    pub run: Arc<RunInfo>,
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// Which attempt: 1, 2, 3 …
    pub attempt: u32,
    /// The key under which its effects are made only once.
    pub idempotency_key: IdempotencyKey,
    /// Method, such as `python/execute`; the step's name for a function.
    pub method: String,
    /// Parameters with `${…}` resolved.
    pub params: Value,
    /// What a route gave the execution.
    pub payload: Option<Payload>,
    /// The context as it was when the attempt began.
    pub context: Arc<Context>,
    /// Results of `once`, by name.
    pub memos: Vec<(String, Payload)>,
    /// Waits of the execution that were resolved, in the order in which they were opened.
    pub resolutions: Vec<Resolved>,
    /// Waits of the execution that are still open: they are not opened again.
    pub open: Vec<Opened>,
    /// Only the predicate of its conditional needs is asked; the output says yes or no.
    pub judges: bool,
    /// The failure that a failure route or a compensation is about.
    pub failure: Option<FailureBehind>,
    /// When the attempt runs out of time.
    pub deadline: Option<Timestamp>,
    /// Cancelled when the attempt should end.
    pub cancel: CancellationToken,
    /// For `once` and lazy events.
    pub report: Reporter,
}

impl Task {
    /// Returns the definition of the step.
    pub fn definition(&self) -> &Step {
        let workflow = &self.run.workflow;
        let ix = workflow.find(self.step.as_str()).expect("a leased step is in its workflow");
        workflow.step(ix)
    }
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It ended well.
    Complete(Completion),
    /// It ended with an error.
    Fail(Failure),
    /// It waits; nothing is held until a wait is resolved.
    Suspend(Vec<WaitSpec>),
    /// Nobody knows whether it did what it should: what it ran in died, for reasons that need not be its own. As if its
    /// worker had died, the next attempt begins at once and this one does not count, a step that may be attempted only
    /// once asks a person, and an execution that is lost again and again fails.
    Lost {
        /// What died, for the log.
        reason: String,
    },
}

impl Outcome {
    /// Returns a completion with that result object.
    pub fn output(output: impl Into<Value>) -> Self {
        Self::Complete(Completion { output: Arc::new(output.into()), ..Completion::default() })
    }

    /// Returns a completion that leads to those steps.
    pub fn to(names: &[&str]) -> Self {
        let to = names.iter().map(|name| Target::to(name)).collect();
        Self::Complete(Completion { to, ..Completion::default() })
    }
}

impl From<ErrorObject> for Outcome {
    fn from(error: ErrorObject) -> Self {
        Self::Fail(Failure { error, timed_out: false, retry_after_ms: None })
    }
}

/// An attempt that ended well.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// What others see of it.
    pub output: Payload,
    /// Changes to the context.
    pub writes: Vec<Change>,
    /// Where it leads.
    pub to: Vec<Target>,
    /// Branches of its route that other workflows carry out, each as a child run.
    pub children: Vec<ChildStart>,
    /// Steps that it adds to the run's definition.
    pub defines: Vec<Step>,
}

/// An attempt that ended with an error.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: ErrorObject,
    /// The step's limit passed.
    pub timed_out: bool,
    /// What the failed party asked for.
    pub retry_after_ms: Option<u64>,
}

/// The providers and functions of a process, by handler.
#[derive(Clone, Default)]
pub struct Registry {
    providers: BTreeMap<String, Arc<dyn Provider>>,
    functions: HashMap<String, Arc<dyn Provider>>,
    /// Of functions that the host program has not got, one stands in for all (tests).
    fallback: Option<Arc<dyn Provider>>,
    roots: Vec<PathBuf>,
}

impl Registry {
    /// Sets the directories in which the files of a batch are looked for; relative paths start at the first.
    pub fn within(mut self, roots: Vec<PathBuf>) -> Self {
        self.roots = roots;
        self
    }

    /// Returns the directories in which the files of a batch are looked for.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Adds a provider for a protocol such as `python/v1`.
    pub fn provide(mut self, protocol: &str, provider: Arc<dyn Provider>) -> Self {
        self.providers.insert(protocol.to_owned(), provider);
        self
    }

    /// Adds the function of a step.
    pub fn function(mut self, workflow: &str, step: &str, provider: Arc<dyn Provider>) -> Self {
        self.functions.insert(function_handler(workflow, step), provider);
        self
    }

    /// Adds one provider for every function.
    pub fn functions(mut self, provider: Arc<dyn Provider>) -> Self {
        self.fallback = Some(provider);
        self
    }

    /// Returns the protocols, in order.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// Returns the provider of a protocol.
    pub fn protocol(&self, protocol: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.get(protocol)
    }

    /// Returns who carries out work of that handler.
    pub fn get(&self, handler: &str) -> Option<&Arc<dyn Provider>> {
        self.providers
            .get(handler)
            .or_else(|| self.functions.get(handler))
            .or_else(|| self.fallback.as_ref().filter(|_| handler.starts_with("fn:")))
    }

    /// Returns the handlers this process holds; `None`: all of a kind (see [`Registry::functions`]).
    pub fn handlers(&self) -> Vec<String> {
        let mut handlers: Vec<String> = self.providers.keys().chain(self.functions.keys()).cloned().collect();
        if self.fallback.is_some() {
            handlers.push("fn:*".into());
        }
        handlers
    }

    /// Looks at everything that a definition names outside of itself. Steps of child runs are the matter of whoever
    /// starts those.
    ///
    /// # Errors
    /// Every problem there is.
    pub async fn check_outside(&self, workflow: &Workflow, outside: &Outside<'_>) -> Result<(), Invalid> {
        let mut problems = Vec::new();
        for (i, step) in workflow.definition().steps.iter().enumerate() {
            let Action::Provider { protocol, method, params } = &step.action else { continue };
            let Some(provider) = self.protocol(protocol) else { continue };
            for mut problem in provider.check_outside(method, params, outside).await {
                problem.message = format!("step '{}': {}", step.name, problem.message);
                problem.step = Some(step.name.to_string());
                problem.path = Path::root().join("steps").join(i).join("params").concat(&problem.path);
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Invalid::of(problems)) }
    }

    pub(crate) async fn shutdown(&self) {
        for provider in self.providers.values().chain(self.functions.values()) {
            provider.shutdown().await;
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.handlers()).finish()
    }
}

/// Returns the handler of a step: its protocol, `fn:<workflow>/<step>`, or `fn:<workflow>/<step>@<version>`. Elements have
/// that of their step.
pub fn handler_of(workflow: &Workflow, step: StepIx) -> String {
    let step = workflow.step(workflow.element_of(step).unwrap_or(step));
    match &step.action {
        Action::Provider { protocol, .. } => protocol.clone(),
        Action::Function => function_handler(workflow.name(), step.name.as_str()),
        Action::VersionedFunction => {
            let of_any = function_handler(workflow.name(), step.name.as_str());
            format!("{of_any}@{}", workflow.functions_version())
        }
    }
}

pub(crate) fn function_handler(workflow: &str, step: &str) -> String {
    // A name may hold a slash: that of the workflow must not be read as part of the step's.
    if workflow.contains(['%', '/']) {
        return format!("fn:{}/{step}", workflow.replace('%', "%25").replace('/', "%2F"));
    }
    ["fn:", workflow, "/", step].concat()
}
