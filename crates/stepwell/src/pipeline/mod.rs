//! Pipelines: steps that follow each other, each given what the one before it returned.
//!
//! ```text
//! Pipeline ──build──▶ a definition, whose steps are functions that name their next step
//!
//!   draft ──▶ facts ──┬──▶ facts/web/search ──┬──▶ facts/join ──▶ polish/write ──▶ polish/check ──▶ …
//!                     └──▶ facts/db/look_up ──┘                        ▲                │
//!                                                                      └────────────────┘
//! ```
//!
//! A [`Pipeline`] is made of parts, and nested as it is written. Each part makes the steps of the definition that it takes (its
//! file says which), and knows only where it stands (`site.rs`) and where it leads (`exit.rs`); `lower.rs` puts them together.
//! What then happens is decided by the core, as with every workflow. `stage.rs` is what the engine calls for a step.

mod branch;
mod cache;
mod callback;
mod child;
mod exit;
mod human;
mod lanes;
mod lower;
mod map;
mod merge;
mod parallel;
mod refine;
mod repeat;
mod sinks;
mod site;
mod stage;
mod step;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map as Object, Value};
use stepwell_core::ids::StepName;
use stepwell_core::workflow::definition::Definition;
use stepwell_engine::{Engine, Executor};

use self::exit::Exit;
use self::lower::Lowering;
use self::site::Site;
use crate::agent::DefinitionError;
use crate::context::Context;
use crate::error::StepError;
use crate::millis;
use crate::threads;
use crate::workflow::Workflow;
pub use branch::Branch;
pub use callback::Callback;
pub use human::Human;
pub use map::Map;
pub use merge::Merge;
pub use parallel::{BranchFailure, Parallel};
pub use refine::{Refine, RefinementCheck};
pub use repeat::Repeat;
pub use step::Step;

/// Steps that follow each other: each is given what the one before it returned, the first what the run was begun with.
///
/// Besides a [`Step`] a pipeline can hold a [`Branch`], which goes one of several ways, a [`Parallel`], which goes all of them
/// side by side, a [`Map`] over the items of a list, a [`Repeat`] until a condition holds, a [`Refine`] of a draft by a
/// critic, a question to a [`Human`], and what another pipeline holds. What is nested is named by its path, such as
/// `facts/web/search`.
///
/// ```
/// use serde_json::json;
/// use stepwell::{Context, Engine, Options, Pipeline, Registry, StepError};
///
/// async fn split(_: Context, text: String) -> Result<Vec<String>, StepError> {
///     Ok(text.split_whitespace().map(str::to_owned).collect())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = stepwell::open_store("memory:").await?;
/// let engine = Engine::open(store, Registry::default(), Options::default()).await?;
///
/// let count = Pipeline::new("count")
///     .step("split", split)
///     .step("count", |_: Context, words: Vec<String>| async move { Ok(words.len()) })
///     .build(&engine)?;
///
/// let result = count.run("as deep as a well").run_id("count-1").await?;
/// assert_eq!(result.output::<usize>()?, 5);
/// # engine.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "`build` makes a workflow of it"]
pub struct Pipeline {
    definition: Definition,
    parts: Vec<Part>,
}

impl Pipeline {
    /// Begins a pipeline of that name, which its runs are listed by. Within another pipeline the name is not used.
    pub fn new(name: &str) -> Self {
        Self { definition: Definition::new(name, Vec::new()), parts: Vec::new() }
    }

    /// Goes on with a step that has every default.
    pub fn step<In, Out, F, Fut>(self, name: &str, function: F) -> Self
    where
        In: DeserializeOwned,
        Out: Serialize,
        F: Fn(Context, In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
    {
        self.then(Step::new(name, function))
    }

    /// Goes on with that: a step, another part, or all parts of another pipeline, whose settings are not taken over.
    pub fn then(mut self, next: impl Into<Self>) -> Self {
        self.parts.extend(parts_of(next));
        self
    }

    /// Tags each run of it; what the caller gives wins per key.
    pub fn metadata(mut self, metadata: Object<String, Value>) -> Self {
        self.definition.metadata = metadata;
        self
    }

    /// Limits the time of a run, from its start, waits included.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.definition.timeout_ms = Some(millis(time));
        self
    }

    /// Lets so many steps of a run be under way at once. What waits or will be tried again does not count.
    pub fn max_concurrent(mut self, steps: u32) -> Self {
        self.definition.max_concurrent = Some(steps);
        self
    }

    /// Says how many units there are of a limit that [steps take](Step::limit), over all workers of the store.
    pub fn limit(mut self, name: &str, units: u32) -> Self {
        self.definition.limits.insert(name.to_owned(), units);
        self
    }

    /// Makes a workflow that runs on that engine. From now on the engine carries out its steps, in runs that were begun
    /// before as well, here or in another process.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    ///
    /// ```
    /// # use stepwell::{Context, Engine, Options, Pipeline, Registry, Repeat};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let same = |_: Context, n: u32| async move { Ok(n) };
    ///
    /// let wrong = Pipeline::new("wrong")
    ///     .step("a/b", same)
    ///     .then(Repeat::until("again", Pipeline::new("round"), |n: &u32, _| Ok(*n > 5)))
    ///     .build(&engine)
    ///     .unwrap_err();
    /// assert_eq!(
    ///     wrong.to_string(),
    ///     "2 problems: 'a/b' is no name within a pipeline: those have 1 to 120 characters, no '/' or '*', and do not begin with '$'; \
    ///      'again' repeats nothing: its body has no steps"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(self, engine: &Engine) -> Result<Workflow, DefinitionError> {
        Ok(self.prepare()?.register(engine))
    }

    /// Finds out whether it is right and what its version is, before an engine carries it out: a run of another version that
    /// stands in the store is left alone.
    ///
    /// ```
    /// # use stepwell::{Context, Engine, Options, Pipeline, Registry};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let same = |_: Context, n: u32| async move { Ok(n) };
    /// let first = Pipeline::new("p").step("a", same).prepare()?;
    /// let second = Pipeline::new("p").step("a", same).step("b", same).prepare()?;
    /// assert_ne!(first.version(), second.version());
    /// assert_eq!(second.register(&engine).run(7).await?.output::<u32>()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn prepare(self) -> Result<Prepared, DefinitionError> {
        Ok(Prepared { built: lower::lower(self.definition, self.parts)? })
    }
}

/// A pipeline that is right, and that nobody carries out yet.
#[must_use = "`register` lets the engine carry it out"]
pub struct Prepared {
    built: lower::Built,
}

impl Prepared {
    /// Returns the name that its runs are listed by.
    pub fn name(&self) -> &str {
        self.built.workflow.name()
    }

    /// Returns the hash of what it declares.
    pub fn version(&self) -> &str {
        self.built.workflow.version()
    }

    /// Returns what it declares.
    pub fn definition(&self) -> &Definition {
        self.built.workflow.definition()
    }

    /// Lets the engine carry out its steps from now on: that engine, and no other.
    pub fn register(&self, engine: &Engine) -> Workflow {
        self.register_with(engine, threads::functions())
    }

    /// The same with attempts that are carried out by that executor. For bindings, whose functions live on threads of another
    /// language.
    pub fn register_with(&self, engine: &Engine, executor: &Arc<dyn Executor>) -> Workflow {
        Workflow::of(engine.clone(), self.built.register(engine, executor))
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({})", self.name())
    }
}

/// What a pipeline is made of.
enum Part {
    Step(Step),
    Branch(Branch),
    Parallel(Parallel),
    Map(Map),
    Repeat(Repeat),
    Refine(Refine),
    Human(Human),
}

impl Part {
    fn name(&self) -> &str {
        match self {
            Self::Step(part) => part.name(),
            Self::Branch(part) => part.name(),
            Self::Parallel(part) => part.name(),
            Self::Map(part) => part.name(),
            Self::Repeat(part) => part.name(),
            Self::Refine(part) => part.name(),
            Self::Human(part) => part.name(),
        }
    }

    /// Returns the step that what comes to it goes to.
    fn head(&self, site: &Site) -> StepName {
        match self {
            Self::Repeat(part) => part.head(site),
            Self::Step(_)
            | Self::Branch(_)
            | Self::Parallel(_)
            | Self::Map(_)
            | Self::Refine(_)
            | Self::Human(_) => site.path(self.name()).as_str().into(),
        }
    }

    /// Returns whether tokens part in it, and meet again.
    fn forks(&self) -> bool {
        match self {
            Self::Step(_) | Self::Human(_) => false,
            Self::Parallel(_) | Self::Map(_) => true,
            Self::Branch(part) => part.bodies().any(forks),
            Self::Repeat(part) => forks(part.body()),
            Self::Refine(part) => part.bodies().into_iter().any(forks),
        }
    }

    /// Returns whether, standing last, it has one step that leads nowhere.
    fn ends_in_one_step(&self) -> bool {
        match self {
            Self::Step(part) => !part.has_fallback(),
            Self::Branch(part) => part.maps_output(),
            Self::Parallel(_) | Self::Map(_) | Self::Human(_) => true,
            Self::Repeat(_) | Self::Refine(_) => false,
        }
    }

    fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        match self {
            Self::Step(part) => part.lower(to, site, exit),
            Self::Branch(part) => part.lower(to, site, exit),
            Self::Parallel(part) => part.lower(to, site, exit),
            Self::Map(part) => part.lower(to, site, exit),
            Self::Repeat(part) => part.lower(to, site, exit),
            Self::Refine(part) => part.lower(to, site, exit),
            Self::Human(part) => part.lower(to, site, exit),
        }
    }
}

fn forks(parts: &[Part]) -> bool {
    parts.iter().any(Part::forks)
}

/// Returns the parts of what stands within another part.
fn parts_of(body: impl Into<Pipeline>) -> Vec<Part> {
    body.into().parts
}

/// Wherever a pipeline is taken, a part stands for a pipeline of its own.
macro_rules! parts {
    ($($part:ident)+) => {
        $(impl From<$part> for Pipeline {
            fn from(part: $part) -> Self {
                Self { parts: vec![Part::$part(part)], ..Self::new("") }
            }
        })+
    };
}

parts! { Step Branch Parallel Map Repeat Refine Human }

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
