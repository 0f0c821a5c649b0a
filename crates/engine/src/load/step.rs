//! The keys of a step (spec/gleitzeit.md §1.2–1.4), without what needs the other steps.

use serde_json::{Map, Value};
use stepwell_core::policy::retry::{Backoff, RetryPolicy};
use stepwell_core::workflow::bad_name;
use stepwell_core::workflow::definition::{Effect, ForEach, NeedKind, OnFailure, Priority, Step};
use stepwell_core::workflow::path::Path;

use super::fields::{Field, Object, Problems};
use super::node::{Kind, Node, Position, to_map};
use super::problem::Problem;
use super::protocols::{self, Protocols};

const KEYS: [&str; 19] = [
    "id",
    "name",
    "protocol",
    "method",
    "params",
    "parameters",
    "dependencies",
    "needs",
    "depends_on",
    "timeout",
    "retry",
    "priority",
    "when",
    "for_each",
    "max_concurrent",
    "on_failure",
    "effect",
    "metadata",
    "tags",
];

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
    object.only(&KEYS, problems);
    let (protocol, method) = action(&object, protocols, problems);
    let draft = Draft {
        params: object
            .get(&["params", "parameters"], problems)
            .filter(|field| field.object(problems).is_some()),
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
    let read = |key: &'static str, problems: &mut Problems| {
        let field = object.get(&[key], problems)?;
        let text = field.text(problems)?;
        if let Some(reason) = bad_name(text) {
            problems.at(&field, reason);
        }
        Some((text.to_owned(), field.node.at))
    };
    let (id, name) = (read("id", problems), read("name", problems));
    if !object.has("id") && !object.has("name") {
        let message = format!("step {} has neither 'id' nor 'name'", number + 1);
        problems.push(Problem::new(object.path.clone(), object.at, message).hint("give it one of them"));
    }
    let (title, title_at) = match (&id, &name) {
        (Some((id, _)), Some((name, at))) if name != id => (Some(name.clone()), *at),
        _ => (None, None),
    };
    let (id, at) = id.or(name).unwrap_or_else(|| (format!("#{}", number + 1), object.at));
    Called { id, at, title, title_at }
}

/// Reads `protocol` and `method`; the protocol is `None` if it is not known, which is then reported.
fn action(object: &Object, registered: &dyn Protocols, problems: &mut Problems) -> (Option<String>, String) {
    let protocol = object.get(&["protocol"], problems).and_then(|field| {
        let text = field.text(problems)?;
        if !protocols::is_protocol(text) {
            problems.at(&field, format!("is no protocol such as 'python/v1', but {text:?}"));
            return None;
        }
        Some((text, field))
    });
    let Some(field) = object.get(&["method"], problems) else {
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
        None if object.get(&["protocol"], problems).is_some() => return (None, String::new()),
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

/// A file's `optional` is met by any end of the step (spec/gleitzeit.md §1.4) and so waits for one: the core's word
/// for that is `sequential`. What the core calls `optional` does not wait for a step that has not begun.
const NEED_KINDS: [(&str, NeedKind); 7] = [
    ("required", NeedKind::Required),
    ("optional", NeedKind::Sequential),
    ("and", NeedKind::And),
    ("or", NeedKind::Or),
    ("xor", NeedKind::Xor),
    ("sequential", NeedKind::Sequential),
    ("parallel", NeedKind::Parallel),
];

fn needs(object: &Object, problems: &mut Problems) -> Vec<Named> {
    let Some(field) = object.get(&["dependencies", "needs", "depends_on"], problems) else {
        return Vec::new();
    };
    let Some(nodes) = field.list(problems) else { return Vec::new() };
    let mut needs: Vec<Named> = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.iter().enumerate() {
        let path = field.path.join(i);
        let (name, kind) = if let Some(name) = node.as_str() {
            (Some(name), Some(NeedKind::Required))
        } else if let Some(entry) = Object::new(node, path.clone()) {
            entry.only(&["step", "kind"], problems);
            let kind = entry
                .get(&["kind"], problems)
                .map_or(Some(NeedKind::Required), |kind| kind.choice(&NEED_KINDS, problems));
            let step = entry.get(&["step"], problems);
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
    let Some(field) = object.get(&["when"], problems) else { return Vec::new() };
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
    let field = object.get(&["for_each"], problems);
    let mut max_concurrent = None;
    if let Some(limit) = object.get(&["max_concurrent"], problems) {
        max_concurrent = limit.integer(1, u32::MAX, problems);
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

pub(super) const PRIORITIES: [(&str, Priority); 5] = [
    ("low", Priority::Low),
    ("normal", Priority::Normal),
    ("high", Priority::High),
    ("urgent", Priority::Critical),
    ("critical", Priority::Critical),
];

/// Reads a priority as a word or as 1 high, 2 normal, 3 low.
pub(super) fn priority(field: &Field, problems: &mut Problems) -> Option<Priority> {
    if let Kind::Scalar(Value::Number(number)) = &field.node.kind {
        let known = [Priority::High, Priority::Normal, Priority::Low];
        let found = number.as_u64().and_then(|n| known.get((n as usize).checked_sub(1)?).copied());
        if found.is_none() {
            problems.at(field, format!("as a number is 1 (high), 2 (normal) or 3 (low), not {number}"));
        }
        return found;
    }
    field.choice(&PRIORITIES, problems)
}

pub(super) fn on_failure(field: &Field, problems: &mut Problems) -> Option<OnFailure> {
    let words = [("fail", OnFailure::Fail), ("continue", OnFailure::Continue), ("stop", OnFailure::Stop)];
    field.choice(&words, problems)
}

fn settings(
    object: &Object,
    protocol: Option<&str>,
    defaults: &Defaults,
    problems: &mut Problems,
) -> Settings {
    let effects = [("at_least_once", Effect::AtLeastOnce), ("at_most_once", Effect::AtMostOnce)];
    let mut read = Settings {
        priority: defaults.priority,
        on_failure: defaults.on_failure.clone(),
        ..Settings::default()
    };
    if let Some(field) = object.get(&["timeout"], problems) {
        refuse_on_waits(&field, protocol, problems);
        read.timeout_ms = field.limit(problems);
    }
    if let Some(field) = object.get(&["retry"], problems) {
        refuse_on_waits(&field, protocol, problems);
        read.retry = retry(&field, problems);
    }
    if let Some(field) = object.get(&["priority"], problems) {
        read.priority = priority(&field, problems).unwrap_or_default();
    }
    if let Some(field) = object.get(&["on_failure"], problems) {
        read.on_failure = on_failure(&field, problems).unwrap_or_default();
    }
    if let Some(field) = object.get(&["effect"], problems) {
        read.effect = field.choice(&effects, problems).unwrap_or_default();
    }
    read.metadata = metadata(object, problems);
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

fn retry(field: &Field, problems: &mut Problems) -> Option<RetryPolicy> {
    let object = field.object(problems)?;
    object.only(
        &[
            "max_attempts",
            "backoff",
            "backoff_strategy",
            "base_delay",
            "initial_delay",
            "max_delay",
            "jitter",
        ],
        problems,
    );
    let strategies =
        [("fixed", Backoff::Fixed), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)];
    let attempts = object.get(&["max_attempts"], problems).map_or(Some(3), |f| f.integer(1, 10, problems));
    let backoff = object
        .get(&["backoff", "backoff_strategy"], problems)
        .map_or(Some(Backoff::Exponential), |f| f.choice(&strategies, problems));
    let base = object
        .get(&["base_delay", "initial_delay"], problems)
        .map_or(Some(1_000), |f| f.seconds(0.1, 60.0, problems));
    let max =
        object.get(&["max_delay"], problems).map_or(Some(300_000), |f| f.seconds(1.0, 3600.0, problems));
    let jitter = object.get(&["jitter"], problems).map_or(Some(true), |f| f.boolean(problems));
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

/// Reads `metadata` and merges `tags`, an object of scalars, into it.
pub(super) fn metadata(object: &Object, problems: &mut Problems) -> Map<String, Value> {
    let field = object.get(&["metadata"], problems);
    let mut merged = field.and_then(|field| field.members(problems)).map(to_map).unwrap_or_default();
    let Some(tags) = object.get(&["tags"], problems) else { return merged };
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
