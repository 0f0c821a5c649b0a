//! How a pipeline becomes the steps of a definition: each part makes its own, and knows where it leads.
//!
//! What comes out of a part is the payload of the route to the next, so a step has its input in its own journal and nothing
//! is looked up. A payload is never joined: branches and items of a map meet with plain routes, and leave what they bring
//! in the context, under reserved keys (`context/scope.rs`).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepwell_core::error::Code;
use stepwell_core::ids::StepName;
use stepwell_core::run::event::{Payload, Target};
use stepwell_core::workflow::definition::{Definition, END, Join, OnFailure, Step as Lowered, Successors};
use stepwell_core::workflow::{Problem, Workflow as Checked};
use stepwell_engine::Engine;

use super::Part;
use super::stage::{Stage, Work, ended, work};
use crate::agent::DefinitionError;
use crate::context::Context;
use crate::context::scope::Scope;
use crate::error::StepError;

/// A definition in the making, with what carries out its steps.
pub(super) struct Lowering<'e> {
    engine: &'e Engine,
    workflow: String,
    steps: Vec<Lowered>,
    stages: Vec<Stage>,
    /// Workflows of the parts that run as child runs, and what carries out theirs.
    children: Vec<Built>,
    problems: Vec<Problem>,
}

/// A workflow, with what carries out its steps, in their order.
pub(super) struct Built {
    pub(super) workflow: Arc<Checked>,
    stages: Vec<Stage>,
    children: Vec<Built>,
}

impl Built {
    /// Lets an engine carry out its steps, in child runs too.
    pub(super) fn register(self, engine: &Engine) -> Arc<Checked> {
        let steps = &self.workflow.definition().steps;
        for (step, stage) in steps.iter().zip(self.stages) {
            engine.register(self.workflow.name(), step.name.as_str(), Arc::new(stage));
        }
        for child in self.children {
            child.register(engine);
        }
        self.workflow
    }
}

/// Makes a workflow of parts; the definition holds everything else that it declares.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn lower(
    engine: &Engine,
    definition: Definition,
    parts: Vec<Part>,
) -> Result<Built, DefinitionError> {
    let mut lowering = Lowering {
        engine,
        workflow: definition.name.clone(),
        steps: Vec::new(),
        stages: Vec::new(),
        children: Vec::new(),
        problems: Vec::new(),
    };
    lowering.whole(parts);
    let Lowering { steps, stages, children, mut problems, .. } = lowering;
    // Loops have limits of their own.
    let definition = Definition { steps, max_steps: u32::MAX, ..definition };
    match Checked::new(definition) {
        Ok(workflow) if problems.is_empty() => Ok(Built { workflow, stages, children }),
        found => {
            problems.extend(found.err().into_iter().flatten());
            Err(DefinitionError { problems })
        }
    }
}

/// Where parts stand.
#[derive(Clone)]
pub(super) struct Site {
    /// Their names begin with it.
    prefix: String,
    /// In a map, the scope of the map: which item it is, the payload tells.
    scope: Scope,
    in_map: bool,
    /// What a final failure there does.
    on_failure: OnFailure,
}

impl Site {
    /// Returns the site of what is inside of a part.
    pub(super) fn inside(&self, part: &str) -> Self {
        Self { prefix: format!("{}/", self.path(part)), ..self.clone() }
    }

    /// Returns the site of a branch, whose writes are kept apart.
    pub(super) fn branch(&self, name: &str, scope: Scope, on_failure: OnFailure) -> Self {
        Self { scope, on_failure, ..self.inside(name) }
    }

    /// Returns the site of the body of a map.
    pub(super) fn items(&self, map: &str) -> Self {
        let scope = self.scope.branch(self.path(map), None);
        Self { scope, in_map: true, ..self.inside(map) }
    }

    /// Returns the name of a step there.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the path of something there within its scope, which may be that of an item.
    pub(super) fn within_scope(&self, name: &str) -> String {
        let path = self.path(name);
        let scope = self.scope.path();
        let within = path.strip_prefix(scope).and_then(|rest| rest.strip_prefix('/'));
        within.map(str::to_owned).unwrap_or(path)
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn on_failure(&self) -> &OnFailure {
        &self.on_failure
    }
}

/// Where a value goes from the last step of some parts.
#[derive(Clone)]
pub(super) enum Exit {
    /// To that step, as its input.
    Step(StepName),
    /// To that step, and is kept under a path within the scope.
    Keep(String, StepName),
    /// To the join of the branch that it stands in.
    Join(StepName),
    /// Nowhere: it is what the run results in.
    Output,
}

impl Exit {
    /// Returns the name that a step declares as its successor.
    pub(super) fn successor(&self) -> &str {
        match self {
            Self::Step(step) | Self::Keep(_, step) | Self::Join(step) => step.as_str(),
            Self::Output => END,
        }
    }

    /// Returns where a step that leaves with a value leads.
    pub(super) fn leave(&self, cx: &Context, value: Payload) -> Result<Vec<Target>, StepError> {
        match self {
            Self::Step(step) => Ok(vec![target(cx, step, value)]),
            Self::Keep(name, step) => {
                cx.keep(&cx.scope().below(name), Some(value.clone()))?;
                Ok(vec![target(cx, step, value)])
            }
            Self::Join(join) => {
                cx.keep(cx.scope().path(), Some(value))?;
                Ok(vec![Target::to(join.as_str())])
            }
            Self::Output => Ok(Vec::new()),
        }
    }
}

/// Returns a route on which a value is handed to a step of the same scope.
pub(super) fn target(cx: &Context, step: &StepName, value: Payload) -> Target {
    let payload = match cx.scope().item_number() {
        Some(item) => of_item(item, Arc::unwrap_or_clone(value)),
        None => value,
    };
    Target { payload: Some(payload), ..Target::to(step.as_str()) }
}

/// Returns what a route hands to a step in a map.
pub(super) fn of_item(item: u64, value: Value) -> Payload {
    Payload::new(Value::Array(vec![item.into(), value]))
}

impl Lowering<'_> {
    /// Adds the steps of a whole workflow. One step must be its last: what that returns, the run results in.
    fn whole(&mut self, parts: Vec<Part>) {
        let site = Site {
            prefix: String::new(),
            scope: Scope::default(),
            in_map: false,
            on_failure: OnFailure::Stop,
        };
        let Some(last) = parts.last() else {
            let message = format!("pipeline '{}' has no steps", self.workflow);
            return self.refuse("", message);
        };
        let output = (!last.ends_in_one_step()).then(|| site.inside(last.name()).path("output"));
        let exit = output.as_deref().map_or(Exit::Output, |name| Exit::Step(name.into()));
        let head = self.chain(parts, &site, &exit);
        if let Some(name) = output {
            let pass_on = |_: Context, input: super::stage::Input| Ok(ended((*input).clone(), Vec::new()));
            self.control(&site, &name, json!({ "role": "output" }), &[], work(pass_on));
        }
        if let Some(entry) = self.steps.iter_mut().find(|step| step.name == head) {
            entry.entry = true;
        }
    }

    /// Adds the steps of parts that follow each other, and returns the first.
    pub(super) fn chain(&mut self, parts: Vec<Part>, site: &Site, exit: &Exit) -> StepName {
        self.check_names(site, parts.iter().map(Part::name));
        let mut heads: Vec<StepName> = parts.iter().map(|part| part.head(site)).collect();
        heads.push(exit.successor().into());
        let mut named = HashSet::new();
        for (i, part) in parts.into_iter().enumerate() {
            if !named.insert(part.name().to_owned()) {
                self.stand_in(site, heads[i].as_str(), exit);
                continue;
            }
            let is_last = i + 2 == heads.len();
            if is_last {
                part.lower(self, site, exit);
            } else {
                part.lower(self, site, &Exit::Step(heads[i + 1].clone()));
            }
        }
        heads.swap_remove(0)
    }

    /// Adds a step that the pipeline itself is in need of, and says in its metadata what it is for.
    pub(super) fn control(&mut self, site: &Site, name: &str, what: Value, next: &[&str], work: Work) {
        let metadata = Map::from_iter([("pipeline".to_owned(), what)]);
        let step = Lowered { metadata, on_failure: site.on_failure.clone(), ..Lowered::function(name) };
        self.add(site, step, next, work);
    }

    /// Adds a step where branches meet.
    pub(super) fn join(&mut self, site: &Site, name: &str, what: Value, next: &str, work: Work) {
        self.control(site, name, what, &[next], work);
        if let Some(join) = self.steps.last_mut() {
            join.join = Join::All;
        }
    }

    /// Adds a step that leads to those.
    pub(super) fn add(&mut self, site: &Site, step: Lowered, next: &[&str], work: Work) {
        let mut named = HashSet::new();
        let next: Vec<&str> = next.iter().copied().filter(|name| named.insert(*name)).collect();
        let next = if next == [END] { Successors::none() } else { Successors::declared(&next) };
        self.steps.push(Lowered { next, join: Join::Each, ..step });
        self.stages.push(Stage { scope: site.scope.clone(), in_map: site.in_map, work });
    }

    /// Adds a step that runs parts as a child run: what forks in there meets only its own.
    pub(super) fn child(&mut self, parts: Vec<Part>, site: &Site, name: &str, exit: &Exit) {
        let path = site.path(name);
        let definition = Definition::new(format!("{}/{path}", self.workflow), Vec::new());
        let child = match lower(self.engine, definition, parts) {
            Ok(child) => child,
            Err(DefinitionError { problems }) => {
                self.problems.extend(problems);
                return self.stand_in(site, &path, exit);
            }
        };
        let what = json!({ "role": "child", "version": child.workflow.version() });
        let next = exit.successor().to_owned();
        let work = super::child::work(self.engine, &child.workflow, exit.clone());
        self.children.push(child);
        self.control(site, &path, what, &[&next], work);
    }

    /// Refuses names that would be read as paths or patterns, and those that stand for two things.
    pub(super) fn check_names<'n>(&mut self, site: &Site, names: impl Iterator<Item = &'n str>) {
        let mut seen = HashSet::new();
        for name in names {
            if !seen.insert(name) {
                let path = site.path(name);
                self.refuse(&path, format!("two parts are named '{path}'"));
            }
            let length = name.chars().count();
            let reads_otherwise = name.contains(['/', '*']) || name.starts_with('$');
            if !(1..=LONGEST_NAME).contains(&length) || reads_otherwise {
                let message = format!(
                    "'{name}' is no name within a pipeline: those have 1 to {LONGEST_NAME} characters, no '/' or '*', \
                     and do not begin with '$'"
                );
                self.refuse(&site.path(name), message);
            }
        }
    }

    /// Notes that a part cannot be lowered at all.
    pub(super) fn refuse_part(&mut self, site: &Site, path: &str, exit: &Exit, message: String) {
        self.refuse(path, message);
        self.stand_in(site, path, exit);
    }

    /// Adds a step in place of a part that is refused, so that nothing else seems to be wrong as well.
    fn stand_in(&mut self, site: &Site, path: &str, exit: &Exit) {
        if self.steps.iter().any(|step| step.name.as_str() == path) {
            return;
        }
        let nothing = work(|_, _| Err(StepError::never_again("it was refused")));
        self.control(site, path, Value::Null, &[exit.successor()], nothing);
    }

    /// Notes that a part cannot be what it is said to be.
    pub(super) fn refuse(&mut self, path: &str, message: String) {
        let (code, path) = (Code::WORKFLOW_VALIDATION_FAILED, path.to_owned());
        let step = (!path.is_empty()).then(|| path.as_str().into());
        self.problems.push(Problem { code, message, hint: None, path, step, cycle: Vec::new() });
    }
}

/// Longest name of a part.
const LONGEST_NAME: usize = 120;
