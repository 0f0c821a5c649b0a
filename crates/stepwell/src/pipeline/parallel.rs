//! Several ways at once: `name` forks to the branches `name/<branch>/…`, and `name/join` puts together what they came to.
//! With a limit the branches begin one after the other (`lanes.rs`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use stepwell_core::ids::StepName;
use stepwell_core::run::event::{Payload, Target};
use stepwell_core::workflow::definition::OnFailure;

use super::callback::{Callback, Given, given};
use super::exit::{Exit, target};
use super::lanes::{NEXT, gives_out, kept, lanes};
use super::lower::Lowering;
use super::merge::{Merge, merge};
use super::site::Site;
use super::stage::{Input, Work, ended, mapped, work, working};
use super::{Part, Pipeline, forks, parts_of};
use crate::context::Context;
use crate::error::StepError;
use crate::function::Ended;
use crate::json::from_json;

/// Several branches side by side, each given what comes in. The output is an object: what each branch came to, by its name.
///
/// A branch sees the context as it was when it began, and its own writes; those are merged when all branches have ended.
///
/// ```
/// # use stepwell::{Context, Engine, Options, Registry};
/// use serde_json::json;
/// use stepwell::{BranchFailure, Merge, Parallel, Pipeline, Step, StepError};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let facts = Parallel::new("facts")
///     .branch("length", Step::new("count", |_, text: String| async move { Ok(text.len()) }))
///     .branch("number", Step::new("read", |_, text: String| async move { Ok(text.parse::<u32>()?) }))
///     .merge(Merge::KeepFirst)
///     .on_branch_failure(BranchFailure::Ignore);
/// let pipeline = Pipeline::new("facts").then(facts).build(&engine)?;
///
/// assert_eq!(pipeline.run("17").await?.output, json!({ "length": 2, "number": 17 }));
/// assert_eq!(pipeline.run("well").await?.output, json!({ "length": 4, "number": null }));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Parallel {
    name: String,
    branches: Vec<(String, Vec<Part>)>,
    merge: Merge,
    on_branch_failure: BranchFailure,
    context_keys: Option<Arc<BTreeSet<String>>>,
    reduce: Option<Given<Value>>,
    max_concurrent: Option<u32>,
}

/// What the failure of a branch does to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BranchFailure {
    /// They are cancelled, and the whole fails.
    #[default]
    Propagate,
    /// They go on. What the branch came to is null, and nothing that it wrote is merged; the failure stays in the journal.
    Ignore,
}

impl Parallel {
    /// Begins without any branch.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            branches: Vec::new(),
            merge: Merge::default(),
            on_branch_failure: BranchFailure::default(),
            context_keys: None,
            reduce: None,
            max_concurrent: None,
        }
    }

    /// Adds a branch.
    pub fn branch(mut self, name: &str, steps: impl Into<Pipeline>) -> Self {
        self.branches.push((name.to_owned(), parts_of(steps)));
        self
    }

    /// Says what becomes of what the branches write to the context.
    pub fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Says what the failure of a branch does to the others.
    pub fn on_branch_failure(mut self, what: BranchFailure) -> Self {
        self.on_branch_failure = what;
        self
    }

    /// Shows the branches only these keys of the context, besides their own writes.
    pub fn context_keys(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.context_keys = Some(Arc::new(keys.into_iter().map(Into::into).collect()));
        self
    }

    /// Makes this the output, of what the branches came to: an object by their names, null for one whose failure is ignored.
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use stepwell::{Context, Engine, Options, Registry};
    /// # use stepwell::{Parallel, Pipeline, Step};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let offers = Parallel::new("offers")
    ///     .branch("rail", Step::new("ask", |_, km: u32| async move { Ok(km / 5) }))
    ///     .branch("road", Step::new("ask", |_, km: u32| async move { Ok(km / 4) }))
    ///     .reduce(|offers: &BTreeMap<String, u32>| Ok(offers.values().min().copied()));
    /// let pipeline = Pipeline::new("freight").then(offers).build(&engine)?;
    ///
    /// assert_eq!(pipeline.run(100).await?.output::<u32>()?, 20);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reduce<Outs, T: Serialize, F>(mut self, reduce: F) -> Self
    where
        Outs: DeserializeOwned,
        F: Fn(&Outs) -> Result<T, StepError> + Send + Sync + 'static,
    {
        self.reduce = Some(given(move |outputs, _, _| {
            mapped(&reduce(&from_json(outputs, || "what the branches came to".into())?)?)
        }));
        self
    }

    /// As [`Parallel::reduce`], with a function that waits for others.
    pub fn reduce_called(mut self, reduce: Callback) -> Self {
        self.reduce = Some(reduce.made());
        self
    }

    /// Lets so many branches be under way at once, in all processes together; without it, all. They begin in the order of
    /// declaration, the next when one has ended, whatever it came to; one that waits is under way. A branch that forks
    /// itself is then run as a child run.
    pub fn max_concurrent(mut self, branches: u32) -> Self {
        self.max_concurrent = Some(branches);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn lower(self, to: &mut Lowering, site: &Site, exit: &Exit) {
        let path = site.path(&self.name);
        let inside = site.inside(&self.name);
        to.check_names(&inside, self.branches.iter().map(|(name, _)| name.as_str()));
        let without = self.branches.iter().find(|(_, steps)| steps.is_empty());
        if self.branches.is_empty() {
            return to.refuse_part(site, &path, exit, format!("'{path}' has no branches"));
        }
        if let Some((name, _)) = without {
            return to.refuse_part(site, &path, exit, format!("branch '{name}' of '{path}' has no steps"));
        }
        if self.max_concurrent == Some(0) {
            to.refuse(&path, format!("'{path}' begins no branch: `max_concurrent` must be at least 1"));
        }
        let names: Vec<String> = self.branches.iter().map(|(name, _)| name.clone()).collect();
        let mut what = json!({
            "role": "parallel", "branches": names, "merge": self.merge, "context_keys": self.context_keys.as_deref(),
            "ignores_failures": self.on_branch_failure == BranchFailure::Ignore,
        });
        let (join, next) = (inside.path("join"), inside.path(NEXT));
        let around = Around {
            inside: &inside,
            context_keys: self.context_keys,
            ignores_failures: self.on_branch_failure == BranchFailure::Ignore,
            takes_turns: self.max_concurrent.is_some(),
            out: if self.max_concurrent.is_some() { &next } else { &join },
        };
        let ways: Vec<Way> = self.branches.into_iter().map(|branch| Way::of(branch, &around)).collect();
        let heads: Vec<StepName> = ways.iter().map(Way::head).collect();
        let known: Vec<String> = heads.iter().map(ToString::to_string).collect();
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        match self.max_concurrent {
            None => to.control(site, &path, what, &known, all_at_once(heads)),
            Some(at_once) => {
                what["max_concurrent"] = at_once.into();
                let forks = so_many_at_once(&path, &next, heads.len(), at_once);
                to.control(site, &path, what, &[&next], forks);
                known.push(&join);
                let gives = gives_out(&path, &join, begins_branch(&path, heads));
                to.control(site, &next, json!({ "role": "next" }), &known, gives);
            }
        }
        for way in ways {
            way.lower(to, around.out);
        }
        let next = exit.successor().to_owned();
        let mut what = json!({ "role": "join" });
        if self.reduce.is_some() {
            what["reduces"] = true.into();
        }
        to.join(site, &join, what, &next, joins(path, names, self.merge, self.reduce, exit.clone()));
    }
}

fn all_at_once(heads: Vec<StepName>) -> Work {
    work(move |cx, input| {
        let to = heads.iter().map(|head| target(&cx, head, input.payload())).collect();
        Ok(ended(Value::Null, to))
    })
}

/// What the input is kept as for branches that begin later.
const INPUT: &str = "input";

fn so_many_at_once(path: &str, next: &str, count: usize, at_once: u32) -> Work {
    let (kept, to) = (kept(path, INPUT), lanes(next, count, at_once));
    work(move |cx, input| {
        cx.keep(&kept, Some(input.payload()))?;
        Ok(ended(Value::Null, to.clone()))
    })
}

fn begins_branch(
    path: &str,
    heads: Vec<StepName>,
) -> impl Fn(&Context, usize) -> Result<Option<Target>, StepError> + use<> {
    let kept = kept(path, INPUT);
    move |cx, number| {
        let Some(head) = heads.get(number) else { return Ok(None) };
        let input = cx.kept(&kept).cloned();
        let input = input.ok_or_else(|| StepError::never_again("what came in is not kept any more"))?;
        Ok(Some(target(cx, head, input)))
    }
}

/// What is the same for all branches.
struct Around<'a> {
    inside: &'a Site,
    context_keys: Option<Arc<BTreeSet<String>>>,
    ignores_failures: bool,
    /// Other branches begin later, from where this one ends.
    takes_turns: bool,
    /// The step that all lead to.
    out: &'a str,
}

/// A branch on its way to steps.
struct Way {
    site: Site,
    steps: Vec<Part>,
    /// It forks, and is a run of its own: one whose failure is nobody else's ends as a whole, and joins in one that takes turns
    /// would wait for the branches that begin later.
    stands_alone: bool,
}

/// What the step of a branch is called that is a run of its own.
const RUN: &str = "run";

impl Way {
    fn of((name, steps): (String, Vec<Part>), around: &Around<'_>) -> Self {
        let Around { inside, ignores_failures, takes_turns, out, .. } = *around;
        let scope = inside.scope().branch(inside.path(&name), around.context_keys.clone());
        let on_failure =
            if ignores_failures { OnFailure::Route(out.into()) } else { inside.on_failure().clone() };
        let stands_alone = (ignores_failures || takes_turns) && forks(&steps);
        Self { site: inside.branch(&name, scope, on_failure), steps, stands_alone }
    }

    fn head(&self) -> StepName {
        match self.steps.first() {
            Some(first) if !self.stands_alone => first.head(&self.site),
            _ => self.site.path(RUN).as_str().into(),
        }
    }

    fn lower(self, to: &mut Lowering, out: &str) {
        let exit = Exit::Join(out.into());
        if self.stands_alone {
            to.child(self.steps, &self.site, RUN, &exit);
        } else {
            to.chain(self.steps, &self.site, &exit);
        }
    }
}

fn joins(
    path: String,
    names: Vec<String>,
    strategy: Merge,
    reduce: Option<Given<Value>>,
    exit: Exit,
) -> Work {
    let join = Arc::new(Joining { path, names, strategy, reduce, exit });
    working(move |cx, _| {
        let join = join.clone();
        async move { join.unite(&cx).await }
    })
}

/// What puts together what the branches came to.
struct Joining {
    path: String,
    names: Vec<String>,
    strategy: Merge,
    reduce: Option<Given<Value>>,
    exit: Exit,
}

impl Joining {
    async fn unite(&self, cx: &Context) -> Result<Ended, StepError> {
        let outputs = Payload::new(Value::Object(self.outputs(cx)?));
        let output = match &self.reduce {
            Some(reduce) => Payload::new(reduce(cx.clone(), Input::of(outputs), Vec::new()).await?),
            None => outputs,
        };
        let to = self.exit.leave(cx, output.clone())?;
        Ok(ended(Arc::unwrap_or_clone(output), to))
    }

    /// Merges what the branches wrote, and returns what they came to.
    fn outputs(&self, cx: &Context) -> Result<Map<String, Value>, StepError> {
        let kept = cx.kept_below(&self.path);
        let (mut outputs, mut writes) = (Map::new(), Vec::new());
        for name in &self.names {
            let branch = format!("{}/{name}", self.path);
            let output = kept.get(&branch);
            if output.is_some() {
                writes.push((name.clone(), kept.writes_of(&branch)));
            }
            outputs.insert(name.clone(), output.map_or(Value::Null, |output| (**output).clone()));
        }
        merge(cx, self.strategy, writes)?;
        cx.forget(&kept)?;
        Ok(outputs)
    }
}

impl fmt::Debug for Parallel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parallel({})", self.name)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({})", self.site.path(""))
    }
}
