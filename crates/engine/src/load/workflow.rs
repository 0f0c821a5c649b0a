//! The keys of a workflow (spec/gleitzeit.md §1.1), and the definition made of all that was read.

use serde_json::{Map, Value};
use stepwell_core::error::Code;
use stepwell_core::workflow::definition::Definition;
use stepwell_core::workflow::path::Path;
use stepwell_core::workflow::template::Names;
use stepwell_core::workflow::{Problem as CoreProblem, Workflow};

use super::fields::{Object, Problems};
use super::keys::step::STEP;
use super::keys::{names, workflow as keys};
use super::node::{Kind, Node};
use super::problem::{Invalid, Problem};
use super::protocols::{self, Protocols};
use super::references::{self, Index};
use super::step::{self, Defaults, Draft};
use super::{Loaded, batch};

/// Reads a definition from its root.
pub(super) fn read(root: &Node, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    let Some(object) = Object::new(root, Path::root()) else {
        let message = if root.is_null() {
            "the document is empty".to_owned()
        } else {
            format!("a workflow is an object with 'steps', not {}", root.kind_name())
        };
        return Err(Invalid::one(Problem::new(Path::root(), root.at, message)));
    };
    let mut problems = Problems::default();
    for (path, at) in root.duplicates() {
        if problems.are_enough() {
            problems.count_one();
            continue;
        }
        problems.push(Problem::new(path.clone(), at, format!("the key '{path}' comes twice")));
    }
    if batch::is_batch(&object, &mut problems) {
        return batch::read(&object, protocols, strict, problems);
    }
    object.only_of(keys::WORKFLOW, &mut problems);
    let settings = settings(&object, protocols, &mut problems);
    let drafts = drafts(&object, &settings.defaults, protocols, &mut problems);
    let (edges, mut warnings) = relations(&drafts, protocols, &mut problems);
    check_params(&drafts, protocols, &mut problems);
    if strict || settings.strict {
        problems.list.append(&mut warnings);
    }
    if let Some(invalid) = problems.into_invalid() {
        return Err(invalid);
    }
    let steps = drafts.iter().zip(&edges).map(|(draft, needs)| {
        let mut step = draft.to_step();
        step.needs = references::to_needs(needs, &drafts);
        step
    });
    finish(Definition::new("workflow", steps.collect()), settings, warnings)
}

/// Makes a workflow of the steps and what else was read.
pub(super) fn finish(
    mut definition: Definition,
    settings: Settings,
    warnings: Vec<Problem>,
) -> Result<Loaded, Invalid> {
    definition.description = settings.description;
    definition.metadata = settings.metadata;
    definition.max_concurrent = settings.max_concurrent;
    definition.timeout_ms = settings.timeout_ms;
    definition.title = settings.name.clone().filter(|name| settings.id.as_ref().is_some_and(|id| id != name));
    let workflow = match settings.id.or(settings.name) {
        Some(name) => {
            definition.name = name;
            Workflow::new(definition)
        }
        None => Workflow::new(definition.clone()).and_then(|unnamed| {
            definition.name = format!("workflow-{}", &unnamed.version()[..8]);
            Workflow::new(definition)
        }),
    };
    match workflow {
        Ok(workflow) => Ok(Loaded { workflow, warnings, document: None }),
        Err(found) => Err(Invalid::of(found.iter().map(of_core).collect())),
    }
}

/// Carries over what only the whole definition shows.
fn of_core(problem: &CoreProblem) -> Problem {
    let mut path = Path::root();
    path.push(problem.path.as_str());
    let told =
        Problem::new(path, None, problem.message.clone()).code(problem.code).maybe_hint(problem.hint.clone());
    match &problem.step {
        Some(step) => told.step(step.as_str()),
        None => told,
    }
}

/// What a file says about the workflow as a whole.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) description: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) max_concurrent: Option<u32>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) defaults: Defaults,
    pub(super) strict: bool,
}

pub(super) fn settings(object: &Object, registered: &dyn Protocols, problems: &mut Problems) -> Settings {
    let id = object.read(&keys::ID, problems).map(str::to_owned);
    let name = object.read(&keys::NAME, problems).map(str::to_owned);
    let description = object.read(&keys::DESCRIPTION, problems).unwrap_or_default().to_owned();
    let metadata = step::metadata(object, &keys::METADATA, &keys::TAGGED, problems);
    providers(object, registered, problems);
    Settings {
        id,
        name,
        description,
        metadata,
        max_concurrent: object.read(&keys::MAX_CONCURRENT, problems),
        timeout_ms: object.read(&keys::TIMEOUT, problems),
        defaults: Defaults {
            priority: object.read(&keys::PRIORITY, problems).unwrap_or_default(),
            on_failure: object.read(&keys::FAILURE, problems).unwrap_or_default(),
        },
        strict: object.read(&keys::STRICT, problems).unwrap_or_default(),
    }
}

/// Checks that every listed protocol is registered.
fn providers(object: &Object, registered: &dyn Protocols, problems: &mut Problems) {
    let Some(field) = object.field(&keys::PROVIDERS, problems) else { return };
    for (i, node) in field.list(problems).unwrap_or_default().iter().enumerate() {
        let path = field.path.join(i);
        match node.as_str() {
            Some(name) if protocols::is_protocol(name) => {
                if let Err(problem) = protocols::find(registered, name, &path, node.at) {
                    problems.push(*problem);
                }
            }
            _ => {
                let message = "'providers' lists protocols such as 'python/v1'";
                problems.push(Problem::new(path, node.at, message));
            }
        }
    }
}

fn drafts<'a>(
    object: &Object<'a>,
    defaults: &Defaults,
    protocols: &dyn Protocols,
    problems: &mut Problems,
) -> Vec<Draft<'a>> {
    let Some(field) = object.field(&keys::STEPS, problems) else {
        let message = "a workflow needs 'steps', a list of at least one";
        problems.push(Problem::new(Path::root(), object.at, message));
        return Vec::new();
    };
    let Some(nodes) = field.list_or(as_items, problems) else { return Vec::new() };
    if nodes.is_empty() {
        problems.at(&field, "is empty; a workflow needs at least one step");
    }
    let read = |(i, node)| step::read(node, &field.path.join(i), i, defaults, protocols, problems);
    nodes.iter().enumerate().filter_map(read).collect()
}

/// Returns how steps are written that stand as an object.
fn as_items(steps: &Node) -> Option<String> {
    let Kind::Object(members) = &steps.kind else { return None };
    let first = members.first()?;
    let key = first.key.trim_start_matches('-');
    let item = match first.value.as_str() {
        Some(text) if names(STEP).any(|name| name == key) => format!("{key}: {text}"),
        _ => format!("id: {key}"),
    };
    Some(format!("each step is an item of a list, with a dash and a blank before it: `- {item}`"))
}

/// Checks what steps say about each other. Returns their needs and the warnings.
fn relations(
    drafts: &[Draft],
    protocols: &dyn Protocols,
    problems: &mut Problems,
) -> (references::Edges, Vec<Problem>) {
    let index = Index::new(drafts, problems);
    let mut warnings = shadowed(drafts, &index, problems);
    let mut edges = references::declared_needs(drafts, &index, problems);
    let uses: Vec<_> =
        drafts.iter().map(|draft| references::read(draft, &index, protocols, problems)).collect();
    warnings.extend(references::unknown_keys(drafts, &uses, protocols));
    warnings.extend(references::infer_needs(drafts, &mut edges, &uses));
    references::cycles(drafts, &edges, problems);
    (edges, warnings)
}

/// Warns of steps that are called like a fixed root of references, and refuses those that would hide an element.
fn shadowed(drafts: &[Draft], index: &Index, problems: &mut Problems) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let loops = drafts.iter().any(|draft| draft.for_each.is_some());
    for word in ["input", "item", "index", "context", "run", "env"] {
        let Some(id) = index.step(word) else { continue };
        let Some(draft) = drafts.iter().find(|draft| *draft.id == *id) else { continue };
        let told = |message: String| Problem::new(draft.path.clone(), draft.at, message).step(&draft.id);
        if loops && matches!(word, "item" | "index") {
            problems.push(told(format!("a step called '{word}' would hide '${{{word}}}' of 'for_each'")));
        } else {
            warnings.push(told(format!("a step called '{word}' hides what '${{{word}}}' means elsewhere")));
        }
    }
    warnings
}

/// Lets providers judge parameters.
pub(super) fn check_params(drafts: &[Draft], protocols: &dyn Protocols, problems: &mut Problems) {
    let empty = Node { at: None, kind: Kind::Object(Vec::new()) };
    for draft in drafts {
        let Some(protocol) = &draft.protocol else { continue };
        let node = draft.params.as_ref().map_or(&empty, |field| field.node);
        let path =
            draft.params.as_ref().map_or_else(|| draft.path.join("params"), |field| field.path.clone());
        let params = node.to_value();
        for found in protocols.check(protocol, &draft.method, &params) {
            let known = protocols.params(protocol, &draft.method);
            let is_known = known.is_empty() || known.contains(&found.parameter.as_str());
            let at = match node.member(&[&found.parameter]) {
                Some(member) if is_known => member.value.at,
                Some(member) => member.key_at,
                None => node.at,
            };
            let at = at.or(draft.at);
            let message = format!("step '{}': {}", draft.id, found.message);
            problems.push(
                Problem::new(path.join(found.parameter.as_str()), at, message)
                    .code(Code::INVALID_PARAMS)
                    .step(&draft.id)
                    .maybe_hint(found.hint)
                    .with("parameter", found.parameter.as_str())
                    .with("reason", found.reason),
            );
        }
    }
}
