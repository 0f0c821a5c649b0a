//! The keys of a step (spec/gleitzeit.md §1.2–1.4), without what needs the other steps.

use serde_json::{Map, Value};
use stepwell_core::policy::retry::{Backoff, RetryPolicy};
use stepwell_core::workflow::definition::{Effect, ForEach, NeedKind, OnFailure, Priority, Step};
use stepwell_core::workflow::path::Path;

use super::fields::{Field, Object, Problems};
use super::keys::types::{Name, Read, Shape};
use super::keys::{Key, step as keys};
use super::node::{Kind, Node, Position, to_map};
use super::problem::Problem;
use super::protocols::{self, Protocols};

/// What a workflow sets for steps that do not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    pub(super) priority: Priority,
    pub(super) on_failure: OnFailure,
}

/// What `for_each` says.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    pub(super) items: Field<'a>,
    pub(super) max_concurrent: Option<u32>,
}

/// A step as read: all but its needs, which are still names.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) path: Path,
    /// Where it is given its id.
    pub(super) at: Option<Position>,
    /// The id, or something to call the step by in messages.
    pub(super) id: String,
    /// The `name` beside the id, if it differs.
    pub(super) title: Option<String>,
    pub(super) title_at: Option<Position>,
    pub(super) protocol: Option<String>,
    pub(super) method: String,
    pub(super) params: Option<Field<'a>>,
    pub(super) needs: Vec<Named>,
    pub(super) when: Vec<Condition<'a>>,
    pub(super) for_each: Option<Elements<'a>>,
    /// Everything else.
    pub(super) settings: Settings,
}

/// A need that names its step.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) kind: NeedKind,
    pub(super) path: Path,
    pub(super) at: Option<Position>,
}

/// A condition as written.
#[derive(Clone, Debug)]
pub(super) struct Condition<'a> {
    pub(super) text: &'a str,
    pub(super) path: Path,
    pub(super) node: &'a Node,
}

/// What is carried over as it is.
#[derive(Debug, Default)]
pub(super) struct Settings {
    retry: Option<RetryPolicy>,
    timeout_ms: Option<u64>,
    priority: Priority,
    on_failure: OnFailure,
    effect: Effect,
    metadata: Map<String, Value>,
}

impl Draft<'_> {
    /// Returns the step of a definition, without its needs.
    pub(super) fn to_step(&self) -> Step {
        let params =
            self.params.as_ref().map_or_else(|| Value::Object(Map::new()), |field| field.node.to_value());
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let mut step = Step::provided(&self.id, protocol, &self.method, params);
        let Settings { retry, timeout_ms, priority, on_failure, effect, metadata } = &self.settings;
        step.title.clone_from(&self.title);
        step.retry.clone_from(retry);
        step.timeout_ms = *timeout_ms;
        step.priority = *priority;
        step.on_failure.clone_from(on_failure);
        step.effect = *effect;
        step.metadata.clone_from(metadata);
        step.for_each = self.for_each.as_ref().map(|elements| ForEach {
            items: elements.items.node.to_value(),
            max_concurrent: elements.max_concurrent,
        });
        step.when = self.when.iter().map(|condition| condition.text.to_owned()).collect();
        step
    }
}

/// Reads one step. `None` if it is no object.
pub(super) fn read<'a>(
    node: &'a Node,
    path: &Path,
    number: usize,
    defaults: &Defaults,
    protocols: &dyn Protocols,
    problems: &mut Problems,
) -> Option<Draft<'a>> {
    problems.step = None;
    let Some(object) = Object::new(node, path.clone()) else {
        let message = format!("a step must be an object, not {}", node.kind_name());
        problems.push(Problem::new(path.clone(), node.at, message));
        return None;
    };
    let Called { id, at, title, title_at } = names(&object, number, problems);
    problems.step = Some(id.clone());
    let (protocol, method) = action(&object, protocols, problems);
    let misplaced = |key: &str| {
        let is_param = protocols.params(protocol.as_deref()?, &method).contains(&key);
        is_param.then(|| format!("it is a parameter of {method}: write it under 'params'"))
    };
    object.only_of_or(keys::STEP, misplaced, problems);
    let draft = Draft {
        params: object.field(&keys::PARAMS, problems).filter(|field| field.object(problems).is_some()),
        needs: needs(&object, problems),
        when: when(&object, problems),
        for_each: for_each(&object, problems),
        settings: settings(&object, protocol.as_deref(), defaults, problems),
        path: path.clone(),
        at: at.or(object.at),
        id,
        title,
        title_at,
        protocol,
        method,
    };
    problems.step = None;
    Some(draft)
}

/// What a step is called, and where that is said.
struct Called {
    id: String,
    at: Option<Position>,
    title: Option<String>,
    title_at: Option<Position>,
}

/// Reads `id` and `name`, each of which stands in for the other.
fn names(object: &Object, number: usize, problems: &mut Problems) -> Called {
    let read = |key: &Key<Name>, problems: &mut Problems| {
        let field = object.field(key, problems)?;
        let text = key.value.read(&field, problems).map(str::to_owned);
        Some((text, field.node.at))
    };
    let (id, name) = (read(&keys::ID, problems), read(&keys::NAME, problems));
    if id.is_none() && name.is_none() {
        let message = format!("step {} has neither 'id' nor 'name'", number + 1);
        problems.push(Problem::new(object.path.clone(), object.at, message).hint("give it one of them"));
    }
    let known = |(text, at): (Option<String>, _)| Some((text?, at));
    let (id, name) = (id.and_then(known), name.and_then(known));
    let (title, title_at) = match (&id, &name) {
        (Some((id, _)), Some((name, at))) if name != id => (Some(name.clone()), *at),
        _ => (None, None),
    };
    let (id, at) = id.or(name).unwrap_or_else(|| (format!("#{}", number + 1), object.at));
    Called { id, at, title, title_at }
}

/// Reads `protocol` and `method`; the protocol is `None` if it is not known, which is then reported.
fn action(object: &Object, registered: &dyn Protocols, problems: &mut Problems) -> (Option<String>, String) {
    let protocol = object.field(&keys::PROTOCOL, problems).and_then(|field| {
        let text = field.text(problems)?;
        if !protocols::is_protocol(text) {
            problems.at(&field, format!("is no protocol such as 'python/v1', but {text:?}"));
            return None;
        }
        Some((text, field))
    });
    let Some(field) = object.field(&keys::METHOD, problems) else {
        let message = format!("{}'method' is missing", problems.subject());
        let problem = Problem::new(object.path.clone(), object.at, message);
        problems.push(problem.hint("such as 'python/execute'"));
        return (None, String::new());
    };
    let Some(method) = field.text(problems) else { return (None, String::new()) };
    if !protocols::is_method(method) {
        problems.at(&field, format!("is no method such as 'python/execute', but {method:?}"));
        return (None, String::new());
    }
    let (asked, asked_field) = match &protocol {
        Some((text, protocol_field)) => (*text, protocol_field),
        None if object.field(&keys::PROTOCOL, problems).is_some() => return (None, String::new()),
        None => (method.split_once('/').map_or("python", |(name, _)| name), &field),
    };
    let method = if method.contains('/') {
        method.to_owned()
    } else {
        format!("{}/{method}", protocols::split_version(asked).0)
    };
    match protocols::find(registered, asked, &asked_field.path, asked_field.node.at) {
        Ok(found) => {
            if let Some(mut problem) =
                protocols::check_method(registered, &found, &method, &field.path, field.node.at)
            {
                problem.message.insert_str(0, &problems.subject());
                problems.push(problem);
                return (None, method);
            }
            (Some(found), method)
        }
        Err(mut problem) => {
            problem.message.insert_str(0, &problems.subject());
            problems.push(*problem);
            (None, method)
        }
    }
}

fn needs(object: &Object, problems: &mut Problems) -> Vec<Named> {
    let Some(field) = object.field(&keys::NEEDS, problems) else {
        return Vec::new();
    };
    let Some(nodes) = field.list(problems) else { return Vec::new() };
    let mut needs: Vec<Named> = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.iter().enumerate() {
        let path = field.path.join(i);
        let (name, kind) = if let Some(name) = node.as_str() {
            (Some(name), Some(NeedKind::Required))
        } else if let Some(entry) = Object::new(node, path.clone()) {
            entry.only_of(keys::NEED, problems);
            let kind = or_default(&entry, &keys::KIND, NeedKind::Required, problems);
            let step = entry.field(&keys::NEEDED, problems);
            if step.is_none() {
                let message = format!("{}a dependency without 'step'", problems.subject());
                problems.push(Problem::new(path.clone(), node.at, message));
            }
            (step.and_then(|step| step.text(problems)), kind)
        } else {
            let message = format!(
                "{}a dependency is a name or {{step, kind}}, not {}",
                problems.subject(),
                node.kind_name()
            );
            problems.push(Problem::new(path.clone(), node.at, message));
            (None, None)
        };
        if let (Some(name), Some(kind)) = (name, kind) {
            needs.push(Named { name: name.to_owned(), kind, path, at: node.at });
        }
    }
    needs
}

fn when<'a>(object: &Object<'a>, problems: &mut Problems) -> Vec<Condition<'a>> {
    let Some(field) = object.field(&keys::WHEN, problems) else { return Vec::new() };
    match &field.node.kind {
        Kind::List(nodes) => {
            let mut conditions = Vec::with_capacity(nodes.len());
            for (i, node) in nodes.iter().enumerate() {
                let path = field.path.join(i);
                if let Some(text) = node.as_str() {
                    conditions.push(Condition { text, path, node });
                } else {
                    let message =
                        format!("{}a condition is a text, not {}", problems.subject(), node.kind_name());
                    problems.push(Problem::new(path, node.at, message));
                }
            }
            conditions
        }
        _ => match field.text(problems) {
            Some(text) => vec![Condition { text, path: field.path.clone(), node: field.node }],
            None => Vec::new(),
        },
    }
}

fn for_each<'a>(object: &Object<'a>, problems: &mut Problems) -> Option<Elements<'a>> {
    let field = object.field(&keys::FOR_EACH, problems);
    let mut max_concurrent = None;
    if let Some(limit) = object.field(&keys::MAX_CONCURRENT, problems) {
        max_concurrent = keys::MAX_CONCURRENT.value.read(&limit, problems);
        if field.is_none() {
            problems.at(&limit, "needs 'for_each' beside it: a step without it has one execution");
        }
    }
    let field = field?;
    if matches!(field.node.kind, Kind::Object(_))
        || (matches!(field.node.kind, Kind::Scalar(_)) && field.node.as_str().is_none())
    {
        problems.at(&field, format!("must be a reference or a list, not {}", field.node.kind_name()));
        return None;
    }
    Some(Elements { items: field, max_concurrent })
}

fn settings(
    object: &Object,
    protocol: Option<&str>,
    defaults: &Defaults,
    problems: &mut Problems,
) -> Settings {
    let mut read = Settings {
        priority: defaults.priority,
        on_failure: defaults.on_failure.clone(),
        ..Settings::default()
    };
    if let Some(field) = object.field(&keys::TIMEOUT, problems) {
        refuse_on_waits(&field, protocol, problems);
        read.timeout_ms = keys::TIMEOUT.value.read(&field, problems);
    }
    if let Some(field) = object.field(&keys::ATTEMPTS, problems) {
        refuse_on_waits(&field, protocol, problems);
        read.retry = retry(&field, problems);
    }
    if let Some(priority) = object.read(&keys::PRIORITY, problems) {
        read.priority = priority;
    }
    if let Some(on_failure) = object.read(&keys::FAILURE, problems) {
        read.on_failure = on_failure;
    }
    read.effect = object.read(&keys::EFFECTS, problems).unwrap_or_default();
    read.metadata = metadata(object, &keys::METADATA, &keys::TAGGED, problems);
    read
}

/// A wait has neither attempts to repeat nor an attempt to limit.
fn refuse_on_waits(field: &Field, protocol: Option<&str>, problems: &mut Problems) {
    let name = protocol.map(|protocol| protocols::split_version(protocol).0);
    let instead = match name {
        Some("human") => "; use 'deadline' in its params",
        Some("signal") => "; use 'timeout' in its params",
        Some("workflow") => "; give it to the child run, or to its steps",
        Some("timer") => "",
        _ => return,
    };
    let name = name.unwrap_or_default();
    problems.at(field, format!("means nothing on a {name} step{instead}"));
}

/// Returns the value of a key, or what holds without it; `None` if something else is there.
fn or_default<'a, T: Read>(
    object: &Object<'a>,
    key: &Key<T>,
    default: T::Output<'a>,
    problems: &mut Problems,
) -> Option<T::Output<'a>> {
    match object.field(key, problems) {
        Some(field) => key.value.read(&field, problems),
        None => Some(default),
    }
}

fn retry(field: &Field, problems: &mut Problems) -> Option<RetryPolicy> {
    let attempts = |node: &Node| match &node.kind {
        Kind::Scalar(Value::Number(count)) => Some(format!("write `{{\"max_attempts\": {count}}}`")),
        _ => None,
    };
    let object = field.object_or(attempts, problems)?;
    object.only_of(keys::RETRY, problems);
    let attempts = or_default(&object, &keys::MAX_ATTEMPTS, 3, problems);
    let backoff = or_default(&object, &keys::GROWTH, Backoff::Exponential, problems);
    let base = or_default(&object, &keys::BASE_DELAY, 1_000, problems);
    let max = or_default(&object, &keys::MAX_DELAY, 300_000, problems);
    let jitter = or_default(&object, &keys::JITTER, true, problems);
    Some(RetryPolicy {
        max_retries: attempts? - 1,
        backoff: backoff?,
        initial_ms: base?,
        max_ms: max?,
        base: 2.0,
        jitter_from: 1.0,
        jitter_span: if jitter? { 0.3 } else { 0.0 },
        non_retryable: Vec::new(),
    })
}

/// Reads metadata and merges tags, an object of scalars, into it.
pub(super) fn metadata(
    object: &Object,
    metadata: &Key<Shape>,
    tags: &Key<Shape>,
    problems: &mut Problems,
) -> Map<String, Value> {
    let field = object.field(metadata, problems);
    let mut merged = field.and_then(|field| field.members(problems)).map(to_map).unwrap_or_default();
    let Some(tags) = object.field(tags, problems) else { return merged };
    for member in tags.members(problems).unwrap_or_default() {
        let path = tags.path.join(member.key.as_str());
        if !matches!(member.value.kind, Kind::Scalar(_)) {
            let message = format!(
                "{}the tag '{}' must be a text, number or truth value, not {}",
                problems.subject(),
                member.key,
                member.value.kind_name()
            );
            problems.push(Problem::new(path, member.value.at, message));
        } else if merged.contains_key(&member.key) {
            let message = format!("{}'{}' is in 'metadata' and in 'tags'", problems.subject(), member.key);
            problems.push(Problem::new(path, member.key_at, message));
        } else {
            merged.insert(member.key.clone(), member.value.to_value());
        }
    }
    merged
}
