//! What a workflow is made of, as plain data: the one form that files, functions, pipelines and teams of
//! roles are lowered to.
//!
//! A [`Definition`] says nothing about whether it can be run; [`Workflow::new`](super::Workflow::new)
//! checks it and gives it its version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ErrorObject;
use crate::ids::StepName;
use crate::policy::resources::Resources;
use crate::policy::retry::RetryPolicy;

/// A workflow as declared. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The workflow name, 1–200 characters: what runs are listed and handlers are bound by.
    pub name: String,
    /// A name for people, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The steps, in the order of definition.
    pub steps: Vec<Step>,
    /// Becomes metadata of each run; what the caller gives wins per key.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// How many executions of one run may be issued to workers at once; none: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Wall clock of a run from its start, waits included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// A checkpoint is taken so often while a run runs; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_interval_ms: Option<u64>,
    /// Bound on routed executions of a run; entries and steps activated by their needs do not count.
    #[serde(default = "default_max_steps")]
    pub max_steps: u32,
    /// How concurrent writes to a context key are united.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reducers: BTreeMap<String, Reducer>,
    /// Units there are of named limits of the store. A limit that a step takes and nobody declares has as many as
    /// the step takes: one at a time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u32>,
}

fn default_max_steps() -> u32 {
    Definition::DEFAULT_MAX_STEPS
}

impl Definition {
    /// `max_steps` of a definition that does not say.
    pub const DEFAULT_MAX_STEPS: u32 = 10_000;

    /// Returns a definition of that name and those steps with every default.
    pub fn new(name: impl Into<String>, steps: Vec<Step>) -> Self {
        Self {
            name: name.into(),
            title: None,
            description: String::new(),
            steps,
            metadata: Map::new(),
            max_concurrent: None,
            timeout_ms: None,
            checkpoint_interval_ms: None,
            max_steps: Self::DEFAULT_MAX_STEPS,
            reducers: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }
}

/// A node of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the workflow; the key of its results.
    pub name: StepName,
    /// A name for people, if it differs (`name` beside `id` in a workflow file).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who carries it out.
    pub action: Action,
    /// Steps that must be settled before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What it can lead to.
    #[serde(default)]
    pub next: Successors,
    /// What the step that it leads to is given when somebody completes it by hand.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hands_on: HandsOn,
    /// Gets a token when the run starts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub entry: bool,
    /// What several tokens that arrive here become.
    #[serde(default, skip_serializing_if = "is_default")]
    pub join: Join,
    /// Further attempts after a failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Limit of one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// So long may an attempt give no sign of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout_ms: Option<u64>,
    /// Order among ready work items.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: Priority,
    /// What a final failure does to the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    /// A step run after the final failure, before the policy takes effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<StepName>,
    /// Whether an attempt that vanished may be made again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// Conditions over `${…}` (spec/gleitzeit.md §1.4); all must hold, else the execution is skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
    /// One execution per element of a list, instead of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Units taken of named limits of the store while an attempt runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u32>,
    /// What an attempt books of the resources of the process that carries it out.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Shown, not interpreted.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The file that it is about, if it is a step of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Box<BatchFile>>,
}

/// A file of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchFile {
    /// How results call it; unique within the batch.
    pub path: String,
    /// Why it cannot be processed: each attempt fails with this before anybody is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<ErrorObject>,
}

impl Step {
    /// Returns a step that a provider carries out: `protocol` such as `python/v1`, `method` such as
    /// `python/execute`. It leads nowhere by itself; others name it in their needs.
    pub fn provided(name: &str, protocol: &str, method: &str, params: Value) -> Self {
        let action = Action::Provider { protocol: protocol.to_owned(), method: method.to_owned(), params };
        Self::with_action(name, action, Successors::none())
    }

    /// Returns a step that a function of the host program carries out; the function names what follows.
    pub fn function(name: &str) -> Self {
        Self::with_action(name, Action::Function, Successors::Unknown)
    }

    fn with_action(name: &str, action: Action, next: Successors) -> Self {
        Self {
            name: name.into(),
            title: None,
            action,
            needs: Vec::new(),
            next,
            hands_on: HandsOn::default(),
            entry: false,
            join: Join::default(),
            retry: None,
            timeout_ms: None,
            heartbeat_timeout_ms: None,
            priority: Priority::default(),
            on_failure: OnFailure::default(),
            compensation: None,
            effect: Effect::default(),
            when: Vec::new(),
            for_each: None,
            limits: BTreeMap::new(),
            resources: Resources::default(),
            metadata: Map::new(),
            file: None,
        }
    }

    /// Adds a `required` need for each name.
    pub fn needs(mut self, names: &[&str]) -> Self {
        self.needs.extend(names.iter().map(|name| Need::required(name)));
        self
    }

    /// Declares what the step can lead to, besides ending.
    pub fn next(mut self, names: &[&str]) -> Self {
        self.next = Successors::declared(names);
        self
    }
}

/// The elements that a step is carried out for (spec/gleitzeit.md §1.4).
///
/// Such a step is two: the step itself, which waits, and its element step, named like it with `[]` behind, which is
/// executed once per element. The step completes with the results of all elements, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForEach {
    /// A list, or text that is one `${…}`.
    pub items: Value,
    /// So many elements at once; none: as many as the run allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
}

/// Who carries a step out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Action {
    /// A function of the host program, bound by (workflow name, step name).
    Function,
    /// A function of the host program that is only that of this version of the workflow: in another one the step may be
    /// given something else, and lead elsewhere.
    VersionedFunction,
    /// A registered provider.
    Provider {
        /// Such as `python/v1`.
        protocol: String,
        /// Such as `python/execute`.
        method: String,
        /// Parameters, with `${…}` not yet resolved.
        #[serde(default)]
        params: Value,
    },
}

/// In a list of successors: the step can end its branch. No step may have this name.
pub const END: &str = "$end";

/// What a step can lead to, by its own choice. The join rule relies on it.
///
/// A step may always end its branch; [`END`] in the list says that it means to, which tells the join rule
/// where a loop can be left. An empty list means that it always ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Successors {
    /// Not known: anything, or the end.
    #[default]
    Unknown,
    /// Declared by its author. A route elsewhere is an error. A `*` in a name is any text: `chunk_*` is every step that is
    /// called so, also one that is added while the run goes on.
    Declared(Vec<StepName>),
    /// Read from the source of its function; not part of the version.
    Inferred(Vec<StepName>),
}

impl Successors {
    /// The step never names a successor.
    pub fn none() -> Self {
        Self::Declared(Vec::new())
    }

    /// Declares those names.
    pub fn declared(names: &[&str]) -> Self {
        Self::Declared(names.iter().map(|name| StepName::from(*name)).collect())
    }

    /// Returns the names, or `None` if they are not known.
    pub fn known(&self) -> Option<&[StepName]> {
        match self {
            Self::Unknown => None,
            Self::Declared(names) | Self::Inferred(names) => Some(names),
        }
    }
}

/// What a step that somebody completes by hand hands to the one that it leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandsOn {
    /// Nothing: the route is a plain one.
    #[default]
    Nothing,
    /// The value that it is completed with, as the payload of the route.
    Value,
    /// More than the value, or something made of it: only what carries the step out can complete it.
    Unknown,
}

/// What the tokens that arrive at a step become (spec/fluffy.md §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// They are held until no other live token can still come, then are one execution.
    #[default]
    All,
    /// Each is an execution of its own at once.
    Each,
    /// The first is an execution; what could still come is absorbed on arrival.
    Any,
}

/// A dependency of a step on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// The step that is needed.
    pub step: StepName,
    /// When the need is met.
    #[serde(default)]
    pub kind: NeedKind,
    /// Which completions count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lifecycle: Lifecycle,
}

impl Need {
    /// Returns a `required` need of the step, met once.
    pub fn required(step: &str) -> Self {
        Self { step: step.into(), kind: NeedKind::Required, lifecycle: Lifecycle::Once }
    }

    /// Returns a need of that kind, met once.
    pub fn of_kind(step: &str, kind: NeedKind) -> Self {
        Self { step: step.into(), kind, lifecycle: Lifecycle::Once }
    }
}

/// When a need is met: the table of spec/fluffy.md §3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeedKind {
    /// When the step has completed; its failure skips the dependent.
    #[default]
    Required,
    /// The same as `required`.
    And,
    /// Unless the step is under way: one that has not begun is not waited for.
    Optional,
    /// Always: drawn, no ordering.
    Parallel,
    /// When the step has settled, however.
    Sequential,
    /// When the step has settled and the dependent's predicate, run by its worker, says yes.
    Conditional,
    /// When the step has settled or the time has passed.
    Timeout {
        /// From activation; for a step activated by its needs, from the start of the run.
        timeout_ms: u64,
    },
    /// When the first of all needs of this kind has completed.
    Or,
    /// When all needs of this kind have settled and exactly one completed.
    Xor,
}

/// Which completions of a needed step count (spec/fluffy.md §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Any in this run, epochs included.
    #[default]
    Once,
    /// One later than the previous start of the dependent.
    Always,
    /// One later than the last start, operator resume or retry of the run.
    Session,
    /// One younger than the expiry when the rest is met.
    Temporary {
        /// How long a completion counts.
        expiry_ms: u64,
    },
}

/// Order among ready work items; higher first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After everything else.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal.
    High,
    /// Before all (`critical`, `urgent`).
    Critical,
}

/// What the final failure of a step does to its run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Its branch ends and dependents are skipped; independent branches go on; then the run is failed.
    #[default]
    Fail,
    /// It is recorded, counts as met for dependents, and the run may still complete.
    Continue,
    /// Everything live is cancelled at once and the run is failed.
    Stop,
    /// Its token moves on to that step.
    Route(StepName),
}

/// Whether an attempt whose outcome is unknown may be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Yes.
    #[default]
    AtLeastOnce,
    /// No: a person is asked.
    AtMostOnce,
}

/// How concurrent changes of one context key are united (spec/fluffy.md §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reducer {
    /// Adds the difference. A sum beyond what a number can hold, which no single write can come to, fails the state that makes it.
    Sum,
    /// Appends what was added to the list.
    Extend,
    /// Applies changed and removed keys of the object.
    Merge,
    /// Keeps the larger number.
    Max,
    /// Keeps the smaller number.
    Min,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
