//! Workflows: what is declared, whether it can be run, and what can lead to what.

pub mod condition;
pub mod definition;
pub mod differences;
mod elements;
mod graph;
pub mod path;
pub mod python_source;
pub mod template;

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use serde_json::Value;

use crate::canonical::canonical;
use crate::error::{Code, ErrorObject};
use crate::ids::{StepName, digest};
use crate::nesting::{MAX_NESTING, is_too_deep};
use crate::spelling::distance;
use definition::{Action, Definition, NeedKind, OnFailure, Step, Successors};
pub use differences::{changes, differences};
pub use graph::{Graph, Role, StepIx};

/// A definition that can be run: checked, indexed, with its version. Immutable.
#[derive(Debug)]
pub struct Workflow {
    definition: Definition,
    /// The element steps of steps with `for_each`; their indices follow those of the declared steps.
    elements: Vec<(StepIx, Step)>,
    index: HashMap<StepName, StepIx>,
    version: String,
    /// That without a limit of the run's time, which is no matter of its functions; none: the same.
    functions_version: Option<String>,
    digest: String,
    graph: Graph,
    /// What a run began with that added steps.
    origin: Option<Arc<Workflow>>,
}

/// Something in a definition that cannot be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which failure.
    pub code: Code,
    /// What is wrong, naming the step.
    pub message: String,
    /// What may be meant instead.
    pub hint: Option<String>,
    /// Where: a path such as `steps[2].needs[0]`.
    pub path: String,
    /// The step, if it is one's fault.
    pub step: Option<StepName>,
    /// For a cycle: the names along it, first and last equal.
    pub cycle: Vec<StepName>,
}

impl Workflow {
    /// Checks a definition and gives it its version.
    ///
    /// # Errors
    /// Every problem of the definition at once: no steps, bad or repeated names, unknown steps in needs,
    /// successors, routes or compensations, needs that are cyclic or name their own step, bad limits.
    ///
    /// ```
    /// use stepwell_core::workflow::{Workflow, definition::{Definition, Step}};
    /// let steps = vec![Step::function("draft").next(&["publish"]), Step::function("publish").next(&[])];
    /// let workflow = Workflow::new(Definition::new("essay", steps)).unwrap();
    /// assert_eq!(workflow.version().len(), 32);
    /// ```
    pub fn new(definition: Definition) -> Result<Arc<Self>, Vec<Problem>> {
        Ok(Arc::new(Self::checked(definition, hashes)?))
    }

    /// Returns the workflow of a run that added steps to it. Version and digest stay those that the run began with.
    ///
    /// # Errors
    /// Every problem of the definition that results. Where `for_each` is, and with it, no steps can be added.
    ///
    /// ```
    /// use stepwell_core::workflow::{Workflow, definition::{Definition, Step}};
    /// let workflow = Workflow::new(Definition::new("essay", vec![Step::function("draft")])).unwrap();
    /// let extended = workflow.with_steps(&[Step::function("publish").next(&[])]).unwrap();
    /// assert_eq!(extended.added_steps()[0].name.as_str(), "publish");
    /// assert_eq!(extended.version(), workflow.version());
    /// ```
    pub fn with_steps(self: &Arc<Self>, steps: &[Step]) -> Result<Arc<Self>, Vec<Problem>> {
        if let Some(each) = self.definition.steps.iter().chain(steps).find(|step| step.for_each.is_some()) {
            let message =
                format!("no steps can be added to a workflow with 'for_each', as step '{}' has", each.name);
            return Err(vec![problem("steps".into(), Some(&each.name), message)]);
        }
        let mut definition = self.definition.clone();
        definition.steps.extend_from_slice(steps);
        let mut extended = Self::checked(definition, |_| (self.version.clone(), self.digest.clone()))?;
        extended.origin = Some(self.origin().clone());
        extended.functions_version.clone_from(&self.functions_version);
        Ok(Arc::new(extended))
    }

    fn checked(
        definition: Definition,
        hashes: impl FnOnce(&Definition) -> (String, String),
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut index = index_steps(&definition, &mut problems);
        check_settings(&definition, &mut problems);
        check_nesting(&definition, &mut problems);
        check_names(&definition, &index, &mut problems);
        elements::check(&definition, &index, &mut problems);
        let cycles = graph::needs_cycles(&definition, &index);
        problems.extend(cycles.iter().map(|cycle| cycle_problem(&definition, cycle)));
        if !problems.is_empty() {
            return Err(problems);
        }
        let elements = elements::of(&definition, &mut index);
        let graph = Graph::new(&definition, &index, elements.len());
        let (version, digest) = hashes(&definition);
        let functions_version = version_of_functions(&definition);
        Ok(Self { definition, elements, index, version, functions_version, digest, graph, origin: None })
    }

    /// Reads a definition that came as a value.
    ///
    /// # Errors
    /// `WORKFLOW_VALIDATION_FAILED` if the value is not a definition or can no longer be run.
    pub fn from_json(value: &Value) -> Result<Arc<Self>, ErrorObject> {
        let definition = Definition::deserialize_value(value)?;
        Self::new(definition).map_err(|problems| problems_error(&problems))
    }

    /// Reads a definition that was stored as text.
    ///
    /// # Errors
    /// `PERSISTENCE_INTEGRITY_ERROR` if the text is no definition, `WORKFLOW_VALIDATION_FAILED` if it can no longer be
    /// run.
    pub fn from_json_text(text: &str) -> Result<Arc<Self>, ErrorObject> {
        let definition = serde_json::from_str(text).map_err(|error| {
            let message = format!("the stored definition cannot be read: {error}");
            ErrorObject::new(Code::PERSISTENCE_INTEGRITY_ERROR, message)
        })?;
        Self::new(definition).map_err(|problems| problems_error(&problems))
    }

    /// Returns the definition as plain JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(&self.definition).expect("a definition holds nothing that JSON cannot hold")
    }

    /// Returns the definition as JSON text, as it is stored. No value of all steps is made on the way: a batch has
    /// thousands.
    pub fn to_json_text(&self) -> String {
        serde_json::to_string(&self.definition).expect("a definition holds nothing that JSON cannot hold")
    }

    /// Returns the workflow name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Returns the hash of the declared content: what people mean by "the same workflow".
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the version that functions which belong to one version are made for: that of the definition without a limit of
    /// the run's time.
    pub fn functions_version(&self) -> &str {
        self.functions_version.as_deref().unwrap_or(&self.version)
    }

    /// Returns the hash of the whole content, inferred successors included: what a run is stored with.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns what it was made of.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the steps that a run added, in the order in which it did.
    pub fn added_steps(&self) -> &[Step] {
        let began_with = self.origin.as_ref().map_or(self.len(), |origin| origin.len());
        &self.definition.steps[began_with..]
    }

    /// Returns what the run began with, if this is the workflow of a run that added steps; else this.
    pub fn origin(self: &Arc<Self>) -> &Arc<Self> {
        self.origin.as_ref().unwrap_or(self)
    }

    /// Returns what can lead to what.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the index of a step, element steps included.
    pub fn find(&self, name: &str) -> Option<StepIx> {
        self.index.get(name).copied()
    }

    /// Returns whether it has that step, the same in everything.
    ///
    /// # Errors
    /// `WORKFLOW_VALIDATION_FAILED` if it has another of that name.
    ///
    /// ```
    /// use stepwell_core::workflow::{Workflow, definition::{Definition, Step}};
    /// let workflow = Workflow::new(Definition::new("essay", vec![Step::function("draft")])).unwrap();
    /// assert_eq!(workflow.has(&Step::function("draft")), Ok(true));
    /// assert_eq!(workflow.has(&Step::function("publish")), Ok(false));
    /// assert!(workflow.has(&Step::function("draft").next(&[])).is_err());
    /// ```
    pub fn has(&self, step: &Step) -> Result<bool, ErrorObject> {
        let Some(known) = self.find(step.name.as_str()) else { return Ok(false) };
        refuse_other(self.step(known), step)?;
        Ok(true)
    }

    /// Returns a step by its index.
    pub fn step(&self, ix: StepIx) -> &Step {
        let declared = self.definition.steps.len();
        match ix.at().checked_sub(declared) {
            None => &self.definition.steps[ix.at()],
            Some(at) => &self.elements[at].1,
        }
    }

    /// Returns the step whose elements this one is executed for, if it is an element step.
    pub fn element_of(&self, ix: StepIx) -> Option<StepIx> {
        let at = ix.at().checked_sub(self.definition.steps.len())?;
        Some(self.elements[at].0)
    }

    /// Returns the element step of a step with `for_each`.
    pub fn elements_of(&self, ix: StepIx) -> Option<StepIx> {
        let at = self.elements.binary_search_by_key(&ix, |(of, _)| *of).ok()?;
        Some(StepIx((self.definition.steps.len() + at) as u32))
    }

    /// Returns the number of steps, element steps included.
    pub fn len_with_elements(&self) -> usize {
        self.definition.steps.len() + self.elements.len()
    }

    /// Returns the number of declared steps.
    pub fn len(&self) -> usize {
        self.definition.steps.len()
    }

    /// Returns whether it has no step, as a batch that found no file: its runs complete as they start.
    pub fn is_empty(&self) -> bool {
        self.definition.steps.is_empty()
    }

    /// Returns the step that people call by this id or title.
    pub fn find_titled(&self, name: &str) -> Option<StepIx> {
        self.find(name).or_else(|| {
            let steps = &self.definition.steps;
            steps.iter().position(|step| step.title.as_deref() == Some(name)).map(|i| StepIx(i as u32))
        })
    }

    /// Refuses a step that a run of it is to begin with and that it has not got.
    ///
    /// # Errors
    /// `UNKNOWN_STEP`, with the name that may be meant.
    pub fn check_entry(&self, entry: Option<&StepName>) -> Result<(), ErrorObject> {
        let Some(entry) = entry else { return Ok(()) };
        if self.find(entry.as_str()).is_some_and(|step| self.element_of(step).is_none()) {
            return Ok(());
        }
        let message = format!("workflow '{}' has no step '{entry}' to begin with", self.name());
        let mut error = ErrorObject::new(Code::UNKNOWN_STEP, message);
        error.hint = did_you_mean(entry.as_str(), &self.definition.steps);
        Err(error)
    }

    /// Returns up to three step names that look like `name`.
    pub fn nearest(&self, name: &str) -> Vec<&StepName> {
        nearest(name, &self.definition.steps)
    }
}

impl template::Names for Workflow {
    fn step(&self, name: &str) -> Option<Arc<str>> {
        self.find_titled(name).map(|ix| self.step(ix).name.as_str().into())
    }
}

impl Definition {
    /// Returns the hash of what it declares.
    pub(crate) fn version(&self) -> String {
        hashes(self).0
    }

    fn deserialize_value(value: &Value) -> Result<Self, ErrorObject> {
        use serde::Deserialize;
        Self::deserialize(value).map_err(|error| {
            ErrorObject::new(Code::WORKFLOW_VALIDATION_FAILED, format!("not a workflow definition: {error}"))
        })
    }
}

/// Refuses a step to be added that differs from the known one of its name.
///
/// # Errors
/// `WORKFLOW_VALIDATION_FAILED` if it does.
pub(crate) fn refuse_other(known: &Step, step: &Step) -> Result<(), ErrorObject> {
    if known == step {
        return Ok(());
    }
    let message = format!("step '{}' cannot be added: another of that name is there", step.name);
    let error = ErrorObject::new(Code::WORKFLOW_VALIDATION_FAILED, message);
    Err(error.with("task_id", step.name.as_str()))
}

/// Returns one error for all problems: their own code if they share one, else `WORKFLOW_VALIDATION_FAILED`.
pub fn problems_error(problems: &[Problem]) -> ErrorObject {
    let code = match problems {
        [first, rest @ ..] if rest.iter().all(|p| p.code == first.code) => first.code,
        _ => Code::WORKFLOW_VALIDATION_FAILED,
    };
    let message = match problems {
        [only] => only.message.clone(),
        _ => format!(
            "{} problems: {}",
            problems.len(),
            problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ")
        ),
    };
    let mut error = ErrorObject::new(code, message);
    let list = problems.iter().map(|p| {
        serde_json::json!({
            "code": p.code.number(), "name": p.code.name(), "message": p.message, "path": p.path, "step": p.step,
        })
    });
    error.data.insert("validation_errors".into(), list.collect());
    if let Some(cycle) = problems.iter().find(|p| !p.cycle.is_empty()) {
        error.data.insert("dependency_cycle".into(), serde_json::json!(cycle.cycle));
    }
    error
}

fn problem(path: String, step: Option<&StepName>, message: String) -> Problem {
    let (code, step) = (Code::WORKFLOW_VALIDATION_FAILED, step.cloned());
    Problem { code, message, hint: None, path, step, cycle: Vec::new() }
}

fn nearest<'s>(name: &str, steps: &'s [Step]) -> Vec<&'s StepName> {
    let mut scored: Vec<_> = steps
        .iter()
        .map(|step| (distance(name, step.name.as_str()), &step.name))
        .filter(|(d, _)| *d <= name.chars().count().max(4) / 2 + 1)
        .collect();
    scored.sort();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Returns the question whether one of the steps is meant whose names look like `name`.
pub(crate) fn did_you_mean(name: &str, steps: &[Step]) -> Option<String> {
    let near: Vec<String> = nearest(name, steps).iter().map(|near| format!("'{near}'")).collect();
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(", ")))
}

fn index_steps(definition: &Definition, problems: &mut Vec<Problem>) -> HashMap<StepName, StepIx> {
    let mut index = HashMap::with_capacity(definition.steps.len());
    for (i, step) in definition.steps.iter().enumerate() {
        let message = if let Some(reason) = bad_name(step.name.as_str()) {
            format!("step name {:?} {reason}", step.name)
        } else if index.insert(step.name.clone(), StepIx(i as u32)).is_some() {
            format!("two steps are named '{}'", step.name)
        } else {
            continue;
        };
        problems.push(problem(format!("steps[{i}].name"), Some(&step.name), message));
    }
    index
}

/// Returns whether a successor stands for every step whose name it matches: it holds a `*`, which is any text.
pub(crate) fn is_pattern(name: &StepName) -> bool {
    name.as_str().contains('*')
}

/// Returns whether a successor, which may be a pattern, is that step.
pub(crate) fn matches(successor: &StepName, step: &StepName) -> bool {
    if !is_pattern(successor) {
        return successor == step;
    }
    let (mut parts, mut rest) = (successor.as_str().split('*').peekable(), step.as_str());
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Returns what is wrong with a name of 1–200 printable characters, if anything is.
pub fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.chars().count() > 200 {
        Some("is longer than 200 characters")
    } else if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else if name == definition::END {
        Some("is reserved")
    } else if name.trim() != name {
        Some("begins or ends with a blank")
    } else {
        None
    }
}

/// Refuses values that nobody could read again once the definition is stored.
fn check_nesting(definition: &Definition, problems: &mut Vec<Problem>) {
    let mut check = |path: &dyn Fn() -> String, step: Option<&StepName>, is_bad: bool| {
        if is_bad {
            let path = path();
            let message = format!("{path} is nested deeper than {MAX_NESTING} levels");
            problems.push(problem(path, step, message));
        }
    };
    check(&|| "metadata".into(), None, definition.metadata.values().any(is_too_deep));
    for (i, step) in definition.steps.iter().enumerate() {
        let name = Some(&step.name);
        if let definition::Action::Provider { params, .. } = &step.action {
            check(&|| format!("steps[{i}].params"), name, is_too_deep(params));
        }
        check(&|| format!("steps[{i}].metadata"), name, step.metadata.values().any(is_too_deep));
        let items = step.for_each.as_ref().is_some_and(|each| is_too_deep(&each.items));
        check(&|| format!("steps[{i}].for_each"), name, items);
    }
}

fn check_settings(definition: &Definition, problems: &mut Vec<Problem>) {
    if let Some(reason) = bad_name(&definition.name) {
        problems.push(problem("name".into(), None, format!("the workflow name {reason}")));
    }
    if definition.max_concurrent == Some(0) {
        problems.push(problem("max_concurrent".into(), None, "max_concurrent must be at least 1".into()));
    }
    if definition.timeout_ms == Some(0) {
        problems.push(problem("timeout".into(), None, "the timeout must be more than 0".into()));
    }
    if definition.checkpoint_interval_ms == Some(0) {
        let message = "the interval of checkpoints must be more than 0";
        problems.push(problem("checkpoint_interval".into(), None, message.into()));
    }
    for (i, step) in definition.steps.iter().enumerate() {
        if step.timeout_ms == Some(0) {
            let message = format!("step '{}': the timeout must be more than 0", step.name);
            problems.push(problem(format!("steps[{i}].timeout"), Some(&step.name), message));
        }
        if step.heartbeat_timeout_ms == Some(0) {
            let message = format!("step '{}': the heartbeat timeout must be more than 0", step.name);
            problems.push(problem(format!("steps[{i}].heartbeat_timeout"), Some(&step.name), message));
        }
        if let Some(retry) = &step.retry
            && !(retry.base.is_finite()
                && retry.base >= 1.0
                && retry.jitter_from >= 0.0
                && retry.jitter_span >= 0.0)
        {
            let message =
                format!("step '{}': the base of a retry is at least 1, its jitter not negative", step.name);
            problems.push(problem(format!("steps[{i}].retry"), Some(&step.name), message));
        }
        if let Some(fault) = step.resources.fault() {
            let message = format!("step '{}': {fault}", step.name);
            problems.push(problem(format!("steps[{i}].resources"), Some(&step.name), message));
        }
        for (j, need) in step.needs.iter().enumerate() {
            let zero = matches!(need.kind, NeedKind::Timeout { timeout_ms: 0 })
                || matches!(need.lifecycle, definition::Lifecycle::Temporary { expiry_ms: 0 });
            if zero {
                let message =
                    format!("step '{}': the time of its need '{}' must be more than 0", step.name, need.step);
                problems.push(problem(format!("steps[{i}].needs[{j}]"), Some(&step.name), message));
            }
        }
    }
}

/// For so many unknown names the nearest known one is looked for.
const MAX_GUESSES: usize = 50;

fn check_names(definition: &Definition, index: &HashMap<StepName, StepIx>, problems: &mut Vec<Problem>) {
    for (i, step) in definition.steps.iter().enumerate() {
        let mut check = |what: &str, field: std::fmt::Arguments, name: &StepName| {
            if !index.contains_key(name) {
                let message = format!("step '{}' {what} '{name}', which no step is named", step.name);
                let problem = problem(format!("steps[{i}].{field}"), Some(&step.name), message);
                let guess = || did_you_mean(name.as_str(), &definition.steps);
                let hint = (problems.len() < MAX_GUESSES).then(guess).flatten();
                problems.push(Problem { hint, ..problem });
            }
        };
        for (j, need) in step.needs.iter().enumerate() {
            check("needs", format_args!("needs[{j}]"), &need.step);
        }
        // An inferred name may be added later; a declared one is a promise.
        if let Successors::Declared(names) = &step.next {
            let are_names = |name: &StepName| name.as_str() != definition::END && !is_pattern(name);
            for (j, name) in names.iter().enumerate().filter(|(_, name)| are_names(name)) {
                check("leads to", format_args!("next[{j}]"), name);
            }
        }
        if let OnFailure::Route(name) = &step.on_failure {
            check("routes its failure to", format_args!("on_failure"), name);
        }
        if let Some(name) = &step.compensation {
            check("is compensated by", format_args!("compensation"), name);
        }
    }
}

fn cycle_problem(definition: &Definition, cycle: &[StepIx]) -> Problem {
    let names: Vec<StepName> = cycle.iter().map(|ix| definition.steps[ix.at()].name.clone()).collect();
    let shown = names.iter().map(StepName::as_str).collect::<Vec<_>>().join(" → ");
    Problem {
        code: Code::WORKFLOW_CIRCULAR_DEPENDENCY,
        message: format!("needs form a cycle: {shown}"),
        hint: None,
        path: format!("steps[{}].needs", cycle[0].at()),
        step: names.first().cloned(),
        cycle: names,
    }
}

/// Returns the version that the functions of a definition are made for, if it is another than that of the definition: who begins
/// a run may limit its time, and the limit is part of the definition.
fn version_of_functions(definition: &Definition) -> Option<String> {
    definition.timeout_ms?;
    definition.steps.iter().find(|step| step.action == Action::VersionedFunction)?;
    Some(Definition { timeout_ms: None, ..definition.clone() }.version())
}

/// Returns (version, digest): hashes of the canonical form without and with what was inferred from source.
fn hashes(definition: &Definition) -> (String, String) {
    let hash = |definition: &Definition| digest(&[canonical(definition).as_bytes()], 16);
    let digest = hash(definition);
    let is_inferred = |step: &Step| matches!(step.next, Successors::Inferred(_));
    if !definition.steps.iter().any(is_inferred) {
        return (digest.clone(), digest);
    }
    let mut declared = definition.clone();
    for step in declared.steps.iter_mut().filter(|step| is_inferred(step)) {
        step.next = Successors::Unknown;
    }
    (hash(&declared), digest)
}
