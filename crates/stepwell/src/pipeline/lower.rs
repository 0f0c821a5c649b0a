//! How a pipeline becomes the steps of a definition: each part makes its own, and knows where it leads.
//!
//! What comes out of a part is the payload of the route to the next, so a step has its input in its own journal and nothing
//! is looked up. A payload is never joined: branches and items of a map meet with plain routes, and leave what they bring
//! in the context, under reserved keys (`context/scope.rs`).

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use stepwell_core::error::Code;
use stepwell_core::ids::StepName;
use stepwell_core::workflow::definition::{
    Action, Definition, END, HandsOn, Join, Step as Lowered, Successors,
};
use stepwell_core::workflow::template::Template;
use stepwell_core::workflow::{Problem, Workflow as Checked};
use stepwell_engine::{Engine, Executor};

use super::Part;
use super::child;
use super::exit::Exit;
use super::site::Site;
use super::stage::{Input, Stage, Work, ended, work};
use crate::agent::DefinitionError;
use crate::context::Context;
use crate::error::StepError;
use crate::limits;

/// A definition in the making, with what carries out its steps.
pub(super) struct Lowering {
    engine: Carrier,
    workflow: String,
    /// Units of named limits, which child runs have too.
    limits: BTreeMap<String, u32>,
    steps: Vec<Lowered>,
    names: HashSet<StepName>,
    /// Paths that two parts have.
    doubles: Vec<String>,
    stages: Vec<Stage>,
    /// Workflows of the parts that run as child runs, and what carries out theirs.
    children: Vec<Built>,
    /// Texts with references, by the path of their step: they are read when all steps are known.
    prompts: Vec<(String, Value, Prompt)>,
    problems: Vec<Problem>,
}

/// A text with references, as soon as it is read.
pub(super) type Prompt = Arc<OnceLock<Template>>;

/// The engine that carries a pipeline out, as soon as it is known.
pub(super) type Carrier = Arc<OnceLock<Engine>>;

/// A workflow, with what carries out its steps, in their order.
pub(super) struct Built {
    engine: Carrier,
    pub(super) workflow: Arc<Checked>,
    stages: Vec<Stage>,
    children: Vec<Built>,
}

impl Built {
    /// Lets an engine carry out its steps, in child runs too.
    pub(super) fn register(&self, engine: &Engine, executor: &Arc<dyn Executor>) -> Arc<Checked> {
        // Only parts that are child runs ask for it.
        self.engine.get_or_init(|| engine.clone());
        for (step, stage) in self.workflow.definition().steps.iter().zip(&self.stages) {
            let ix = self.workflow.find(step.name.as_str()).expect("it is one of its steps");
            engine.register_for(&self.workflow, ix, Arc::new(stage.clone().carried_out_by(executor)));
        }
        for child in &self.children {
            child.register(engine, executor);
        }
        self.workflow.clone()
    }
}

/// Makes a workflow of the parts of a whole pipeline; the definition holds everything else that it declares.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn lower(definition: Definition, parts: Vec<Part>) -> Result<Built, DefinitionError> {
    let no_units = limits::without_units(&definition);
    lower_with(Carrier::default(), definition, parts, no_units)
}

/// The same with problems that are known already.
fn lower_with(
    engine: Carrier,
    definition: Definition,
    parts: Vec<Part>,
    problems: Vec<Problem>,
) -> Result<Built, DefinitionError> {
    let mut lowering = Lowering {
        engine: engine.clone(),
        workflow: definition.name.clone(),
        limits: definition.limits.clone(),
        steps: Vec::new(),
        names: HashSet::new(),
        doubles: Vec::new(),
        stages: Vec::new(),
        children: Vec::new(),
        prompts: Vec::new(),
        problems,
    };
    lowering.whole(parts);
    lowering.read_prompts();
    let Lowering { steps, stages, children, mut problems, .. } = lowering;
    // Loops have limits of their own.
    let definition = Definition { steps, max_steps: u32::MAX, ..definition };
    for (i, step) in definition.steps.iter().enumerate() {
        problems.extend(limits::out_of_reach(&definition, i, step));
    }
    match Checked::new(definition) {
        Ok(workflow) if problems.is_empty() => Ok(Built { engine, workflow, stages, children }),
        found => {
            problems.extend(found.err().into_iter().flatten());
            Err(DefinitionError { problems })
        }
    }
}

impl Lowering {
    /// Adds the steps of a whole workflow. One step must be its last: what that returns, the run results in.
    fn whole(&mut self, parts: Vec<Part>) {
        let site = Site::whole();
        let Some(last) = parts.last() else {
            let message = format!("pipeline '{}' has no steps", self.workflow);
            return self.refuse("", message);
        };
        let output = (!last.ends_in_one_step()).then(|| site.inside(last.name()).path("output"));
        let exit = output.as_deref().map_or(Exit::Output, |name| Exit::Step(name.into()));
        let head = self.chain(parts, &site, &exit);
        if let Some(name) = output {
            let pass_on = |_: Context, input: Input| Ok(ended((*input).clone(), Vec::new()));
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

    /// Returns the engine that will carry it out.
    pub(super) fn engine(&self) -> Carrier {
        self.engine.clone()
    }

    /// Takes in a text with references of the step of that path.
    pub(super) fn prompt(&mut self, path: &str, text: Value) -> Prompt {
        let prompt = Prompt::default();
        self.prompts.push((path.to_owned(), text, prompt.clone()));
        prompt
    }

    /// Reads texts with references. A part that forks came to what its join did.
    fn read_prompts(&mut self) {
        let role = |name: &str| {
            let step = self.steps.iter().find(|step| step.name.as_str() == name)?;
            step.metadata.get("pipeline")?["role"].as_str()
        };
        let names = |name: &str| match role(name)? {
            "step" | "human" | "join" => Some(Arc::from(name)),
            "parallel" | "map" => Some(Arc::from(format!("{name}/join"))),
            _ => None,
        };
        let mut wrong = Vec::new();
        for (path, text, prompt) in &self.prompts {
            match Template::parse(text, &names) {
                Ok(template) => prompt.set(template).expect("it is read once"),
                Err(problems) => {
                    wrong.extend(problems.into_iter().map(|problem| (path.clone(), problem.message)));
                }
            }
        }
        for (path, message) in wrong {
            self.refuse(&path, format!("the question of '{path}': {message}"));
        }
    }

    /// Adds a step that the pipeline itself is in need of, and says in its metadata what it is for.
    pub(super) fn control(&mut self, site: &Site, name: &str, what: Value, next: &[&str], work: Work) {
        self.add(site, control(site, name, what), next, work);
    }

    /// Adds a step where branches meet.
    pub(super) fn join(&mut self, site: &Site, name: &str, what: Value, next: &str, work: Work) {
        self.add_step(site, Lowered { join: Join::All, ..control(site, name, what) }, &[next], work);
    }

    /// Adds a step that leads to those.
    pub(super) fn add(&mut self, site: &Site, step: Lowered, next: &[&str], work: Work) {
        self.add_step(site, Lowered { join: Join::Each, ..step }, next, work);
    }

    fn add_step(&mut self, site: &Site, step: Lowered, next: &[&str], work: Work) {
        if !self.names.insert(step.name.clone()) {
            return self.refuse_name(step.name.as_str());
        }
        let mut named = HashSet::new();
        let next: Vec<&str> = next.iter().copied().filter(|name| named.insert(*name)).collect();
        let next = if next == [END] { Successors::none() } else { Successors::declared(&next) };
        // Where it leads is known to the functions of this version alone.
        self.steps.push(Lowered { action: Action::VersionedFunction, next, ..step });
        self.stages.push(site.stage(work));
    }

    /// Refuses a step that is named like one that a part around it makes, unless the parts around it have one name already.
    fn refuse_name(&mut self, path: &str) {
        let is_in = |outer: &String| {
            path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.doubles.iter().any(is_in) {
            return;
        }
        let (part, name) = path.rsplit_once('/').unwrap_or(("", path));
        let message = format!(
            "'{path}' is named like a step that '{part}' makes itself: nothing in '{part}' can be called '{name}'"
        );
        self.refuse(path, message);
    }

    /// Adds a step that runs parts as a child run: what forks in there meets only its own.
    pub(super) fn child(&mut self, parts: Vec<Part>, site: &Site, name: &str, exit: &Exit) {
        let path = site.path(name);
        let name = format!("{}/{path}", self.workflow);
        let definition = Definition { limits: self.limits.clone(), ..Definition::new(name, Vec::new()) };
        let child = match lower_with(self.engine.clone(), definition, parts, Vec::new()) {
            Ok(child) => child,
            Err(DefinitionError { problems }) => {
                self.problems.extend(problems);
                return self.stand_in(site, &path, exit);
            }
        };
        let what = json!({ "role": "child", "version": child.workflow.version() });
        let next = exit.successor().to_owned();
        let work = child::work(self.engine.clone(), &child.workflow, exit.clone());
        self.children.push(child);
        self.control(site, &path, what, &[&next], work);
    }

    /// Refuses names that would be read as paths or patterns, and those that stand for two things.
    pub(super) fn check_names<'n>(&mut self, site: &Site, names: impl Iterator<Item = &'n str>) {
        let mut seen = HashSet::new();
        for name in names {
            if !seen.insert(name) {
                let path = site.path(name);
                self.refuse_double(&path, format!("two parts are named '{path}'"));
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

    /// Notes that a name stands for two things.
    pub(super) fn refuse_double(&mut self, path: &str, message: String) {
        self.doubles.push(path.to_owned());
        self.refuse(path, message);
    }

    /// Notes that a part cannot be lowered at all.
    pub(super) fn refuse_part(&mut self, site: &Site, path: &str, exit: &Exit, message: String) {
        self.refuse(path, message);
        self.stand_in(site, path, exit);
    }

    /// Adds a step in place of a part that is refused, so that nothing else seems to be wrong as well.
    fn stand_in(&mut self, site: &Site, path: &str, exit: &Exit) {
        if self.names.contains(path) {
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

fn control(site: &Site, name: &str, what: Value) -> Lowered {
    let (metadata, on_failure) = (described(what), site.on_failure().clone());
    Lowered { metadata, on_failure, hands_on: HandsOn::Unknown, ..Lowered::function(name) }
}

/// Returns the metadata of a step: what it is in its pipeline, with everything that no other field of the definition says.
pub(super) fn described(what: Value) -> Map<String, Value> {
    Map::from_iter([("pipeline".to_owned(), what)])
}

/// Longest name of a part.
const LONGEST_NAME: usize = 120;
