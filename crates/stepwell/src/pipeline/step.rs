//! A step: a function from its input to its output, and how it is run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use stepwell_core::policy::resources::Resources;
use stepwell_core::run::event::Payload;
use stepwell_core::workflow::definition::{Effect, HandsOn, OnFailure, Priority, Step as Lowered};

use super::cache::Cache;
use super::exit::Exit;
use super::lower::{Lowering, described};
use super::sinks::Sinks;
use super::site::Site;
use super::stage::{self, Function, Work};
use crate::context::Context;
use crate::error::StepError;
use crate::millis;
use crate::retry::Retry;

/// A step of a [`Pipeline`](super::Pipeline): a function from its input to its output, and how it is run.
///
/// ```
/// use std::time::Duration;
/// use stepwell::{Context, Pipeline, Retry, Step, StepError};
///
/// async fn summarize(_: Context, text: String) -> Result<String, StepError> {
///     Ok(text.chars().take(100).collect())
/// }
///
/// async fn first_line(_: Context, text: String) -> Result<String, StepError> {
///     Ok(text.lines().next().unwrap_or_default().to_owned())
/// }
///
/// let summary = Step::new("summarize", summarize)
///     .retry(Retry::times(2))
///     .timeout(Duration::from_secs(30))
///     .fallback(first_line)
///     .sink_to("texts.summary");
/// let pipeline = Pipeline::new("news").then(summary);
/// # let _ = pipeline;
/// ```
#[must_use]
pub struct Step {
    name: String,
    function: Function,
    fallback: Option<Function>,
    /// How it is run; its name is given when it is lowered.
    settings: Box<Lowered>,
    sinks: Sinks,
    cached: bool,
}

impl Step {
    /// Returns a step whose function is a future. It is given what the step before it returned; the first, what the run was
    /// begun with. What blocks its thread belongs in [`Step::blocking`], for the reasons that [`State::new`](crate::State::new) tells.
    pub fn new<In, Out, F, Fut>(name: &str, function: F) -> Self
    where
        In: DeserializeOwned,
        Out: Serialize,
        F: Fn(Context, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        Self::of(name, stage::driven(function))
    }

    /// Returns a step whose function blocks its thread, which is one of those that may.
    ///
    /// ```
    /// use stepwell::Step;
    ///
    /// let step = Step::blocking("read", |_, path: String| Ok(std::fs::read_to_string(path)?));
    /// # let _ = step;
    /// ```
    pub fn blocking<In, Out, F>(name: &str, function: F) -> Self
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + 'static,
        F: Fn(Context, In) -> Result<Out, StepError> + Send + Sync + 'static,
    {
        Self::of(name, stage::blocking(function))
    }

    /// Returns a step whose function ends by itself when it should end early, as that of
    /// [`State::cooperative`](crate::State::cooperative) does: it is told, and not dropped.
    pub fn cooperative<In, Out, F, Fut>(name: &str, function: F) -> Self
    where
        In: DeserializeOwned,
        Out: Serialize,
        F: Fn(Context, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        Self::of(name, stage::cooperative(function))
    }

    fn of(name: &str, function: Function) -> Self {
        Self {
            name: name.to_owned(),
            function,
            fallback: None,
            settings: Box::new(Lowered::function(name)),
            sinks: Sinks::default(),
            cached: false,
        }
    }

    /// Tries again after a failure.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = Some(retry.into_policy());
        self
    }

    /// Limits the time of an attempt, waits not counted. Running out of it is a failure.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.settings.timeout_ms = Some(millis(time));
        self
    }

    /// Says who goes first where not all can go at once.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.settings.priority = priority;
        self
    }

    /// Says whether an attempt that vanished with its process may be made again; if not, a person is asked: `retry`, `complete`
    /// with its output, or `fail`. In a map, at the end of a branch, and of a step that updates the context or has a sink, more goes
    /// on than the output: there nobody can complete it.
    pub fn effect(mut self, effect: Effect) -> Self {
        self.settings.effect = effect;
        self
    }

    /// Takes so many units of a limit that all workers of the store share, as long as an attempt runs. There are as many
    /// as [`Pipeline::limit`](super::Pipeline::limit) says.
    ///
    /// ```
    /// use stepwell::{Context, Pipeline, Step, StepError};
    ///
    /// # async fn print(_: Context, text: String) -> Result<String, StepError> { Ok(text) }
    /// let letters = Pipeline::new("letters")
    ///     .limit("printer", 2)
    ///     .then(Step::new("print", print).limit("printer", 1));
    /// # let _ = letters;
    /// ```
    pub fn limit(mut self, name: &str, units: u32) -> Self {
        self.settings.limits.insert(name.to_owned(), units);
        self
    }

    /// Books that much of the resources of this process, as long as an attempt runs. There is as much as
    /// [`Options::pool`](crate::Options::pool) of the engine says; what it does not name is not counted.
    pub fn resources(mut self, resources: Resources) -> Self {
        self.settings.resources = resources;
        self
    }

    /// Runs this once with the same input after the last attempt failed. What it returns is the output of the step;
    /// [`Context::failure`] tells it what happened. It has no time limit, and takes and books nothing.
    pub fn fallback<In, Out, F, Fut>(mut self, function: F) -> Self
    where
        In: DeserializeOwned,
        Out: Serialize,
        F: Fn(Context, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        self.fallback = Some(stage::driven(function));
        self
    }

    /// As [`Step::fallback`], with a function that is told to end early and not dropped.
    pub fn cooperative_fallback<In, Out, F, Fut>(mut self, function: F) -> Self
    where
        In: DeserializeOwned,
        Out: Serialize,
        F: Fn(Context, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        self.fallback = Some(stage::cooperative(function));
        self
    }

    /// Sets the context keys that the output, an object, has.
    pub fn updates_context(mut self) -> Self {
        self.sinks.updates_context = true;
        self
    }

    /// Keeps the output in the context as well: under a key, or at a place such as `report.title` in the object under one.
    pub fn sink_to(mut self, place: impl Into<String>) -> Self {
        self.sinks.sink_to = Some(place.into());
        self
    }

    /// Keeps the last 1000 outputs in this process, by input, and calls the function only for inputs that are not among
    /// them. Failures are not kept, nor is what the function writes to the context. Of an execution that called nothing the
    /// view says so, in what the engine [inspects](stepwell_engine::Engine::inspect) and the command line shows: `"cached": true`.
    pub fn cached(mut self) -> Self {
        self.cached = true;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let fallback_path = format!("{path}/fallback");
        let on_failure = match &self.fallback {
            Some(_) => OnFailure::Route(fallback_path.as_str().into()),
            None => site.on_failure().clone(),
        };
        let step = Lowered {
            name: path.as_str().into(),
            on_failure,
            metadata: described(self.sinks.to_json("step")),
            hands_on: hands_on(site, &self.sinks, exit),
            ..*self.settings
        };
        let function = if self.cached { Cache::over(self.function) } else { self.function };
        to.add(site, step, &[exit.successor()], carried_out(function, self.sinks.clone(), exit.clone()));
        if let Some(fallback) = self.fallback {
            let work = carried_out(fallback, self.sinks, exit.clone());
            to.control(site, &fallback_path, json!({ "role": "fallback" }), &[exit.successor()], work);
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({})", self.name)
    }
}

/// Returns what such work hands on, as far as it can be said of any value.
pub(super) fn hands_on(site: &Site, sinks: &Sinks, exit: &Exit) -> HandsOn {
    if site.is_in_map() || sinks.keep_anything() || exit.keeps() { HandsOn::Unknown } else { HandsOn::Value }
}

/// Returns a function as work: what it returns is kept where it should be, and handed on.
pub(super) fn carried_out(function: Function, sinks: Sinks, exit: Exit) -> Work {
    let (sinks, exit) = (Arc::new(sinks), Arc::new(exit));
    Arc::new(move |cx, input| {
        let (running, sinks, exit) = (function(cx.clone(), input), sinks.clone(), exit.clone());
        Box::pin(async move {
            let output = running.await?;
            sinks.take(&cx, &output.value)?;
            let to = exit.leave(&cx, Payload::new(output.value.clone()))?;
            Ok(output.ended(to))
        })
    })
}
