//! What steps say about each other: names, needs, references, and the needs that references add.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::spelling::nearest;
use stepwell_core::workflow::condition::Condition;
use stepwell_core::workflow::definition::{Need, NeedKind};
use stepwell_core::workflow::path::Path;
use stepwell_core::workflow::python_source::PythonSource;
use stepwell_core::workflow::template::{
    Names, ProblemKind, Reference, Root, Segment, Template, TemplateProblem,
};

use super::fields::Problems;
use super::node::{Kind, Member, Node, Position};
use super::problem::Problem;
use super::protocols::{Protocols, split_version};
use super::step::{Draft, Elements, Named};

/// For so many unknown names the nearest known one is looked for.
const MAX_GUESSES: usize = 20;

/// Ids and names of all steps.
#[derive(Debug)]
pub(super) struct Index {
    by_name: HashMap<Arc<str>, usize>,
    ids: Vec<Arc<str>>,
}

impl Names for Index {
    fn step(&self, name: &str) -> Option<Arc<str>> {
        self.by_name.get(name).map(|index| self.ids[*index].clone())
    }
}

impl Index {
    /// Indexes steps; a name that two of them have is a problem.
    pub(super) fn new(drafts: &[Draft], problems: &mut Problems) -> Self {
        let ids: Vec<Arc<str>> = drafts.iter().map(|draft| draft.id.as_str().into()).collect();
        let mut by_name: HashMap<Arc<str>, usize> = HashMap::with_capacity(ids.len());
        for (i, draft) in drafts.iter().enumerate() {
            let title = draft.title.as_deref().map(|title| (title, draft.title_at));
            for (name, at) in [Some((draft.id.as_str(), draft.at)), title].into_iter().flatten() {
                match by_name.insert(name.into(), i) {
                    Some(first) if first != i => {
                        by_name.insert(name.into(), first);
                        let message = format!(
                            "two steps are called '{name}': {} and {}",
                            drafts[first].path, draft.path
                        );
                        let problem = Problem::new(draft.path.clone(), at, message).step(&draft.id);
                        problems.push(problem.hint("ids and names of steps share one space"));
                    }
                    _ => {}
                }
            }
        }
        Self { by_name, ids }
    }

    /// Returns the names of all steps but one.
    fn others(&self, own: Option<&str>) -> impl Iterator<Item = &str> {
        let own = own.and_then(|own| self.by_name.get(own)).copied();
        self.by_name.iter().filter(move |(_, step)| Some(**step) != own).map(|(name, _)| &**name)
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean '{name}'?")
}

/// The needs of every step, by index; kept beside the drafts until they are known to be free of cycles.
pub(super) type Edges = Vec<Vec<(usize, NeedKind)>>;

/// Resolves the declared needs.
pub(super) fn declared_needs(drafts: &[Draft], index: &Index, problems: &mut Problems) -> Edges {
    let mut guesses = 0;
    let mut edges = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let mut needs: Vec<(usize, NeedKind)> = Vec::with_capacity(draft.needs.len());
        for named in &draft.needs {
            let Some(step) = index.by_name.get(named.name.as_str()).copied() else {
                let message = format!("step '{}' needs '{}', which no step is called", draft.id, named.name);
                guesses += 1;
                let near = || nearest(&named.name, index.others(Some(&draft.id))).map(did_you_mean);
                let hint = (guesses <= MAX_GUESSES).then(near).flatten();
                problems.push(
                    Problem::new(named.path.clone(), named.at, message)
                        .step(&draft.id)
                        .maybe_hint(hint)
                        .with("dependency", named.name.as_str()),
                );
                continue;
            };
            match needs.iter().find(|(known, _)| *known == step) {
                None => needs.push((step, named.kind)),
                Some((_, kind)) if *kind == named.kind => {}
                Some(_) => {
                    let message = format!("step '{}' needs '{}' in two ways", draft.id, named.name);
                    problems.push(Problem::new(named.path.clone(), named.at, message).step(&draft.id));
                }
            }
        }
        edges.push(needs);
    }
    edges
}

/// A reference to a step.
#[derive(Debug)]
pub(super) struct StepUse<'a> {
    to: usize,
    /// The key of the step's view that it begins with.
    key: Option<String>,
    shown: String,
    place: Place<'a>,
}

/// A value that holds a reference somewhere.
#[derive(Clone, Debug)]
struct Place<'a> {
    path: Path,
    value: &'a Node,
}

impl Place<'_> {
    /// Returns a problem of a reference in the value.
    fn problem(&self, reference: &str, message: String) -> Problem {
        let mut path = self.path.clone();
        match self.value.holding(reference, &mut path) {
            Some(text) => Problem::new(path, text.at, message).about(reference),
            None => Problem::new(self.path.clone(), self.value.at, message),
        }
    }
}

/// A reference and where it stands.
struct Use<'a> {
    reference: Reference,
    place: Place<'a>,
}

/// Reads every reference of a step and reports what is wrong with it. Returns those to steps.
pub(super) fn read<'a>(
    draft: &Draft<'a>,
    index: &Index,
    protocols: &dyn Protocols,
    problems: &mut Problems,
) -> Vec<StepUse<'a>> {
    problems.step = Some(draft.id.clone());
    let mut uses = Vec::new();
    params(draft, index, protocols, problems, &mut uses);
    let in_params = uses.len();
    for condition in &draft.when {
        let place = Place { path: condition.path.clone(), value: condition.node };
        match Condition::parse(condition.text, index) {
            Ok(parsed) => uses.push(Use { reference: parsed.reference().clone(), place }),
            Err(problem) => report(&problem, &place, index, problems),
        }
    }
    for_each(draft, index, problems, &mut uses);
    for (i, found) in uses.iter().enumerate() {
        let is_bound = i < in_params && draft.for_each.is_some();
        if matches!(found.reference.root(), Root::Item | Root::Index) && !is_bound {
            let message = format!(
                "{}'{}' is bound only in the params of a step with 'for_each'",
                problems.subject(),
                found.reference
            );
            problems.push(found.place.problem(&found.reference.to_string(), message));
        }
    }
    problems.step = None;
    let to_step = |found: Use<'a>| match found.reference.root() {
        Root::Step(id) => {
            let to = index.by_name[id];
            let key = found.reference.segments().first().and_then(|segment| match segment {
                Segment::Field(key) | Segment::Key(key) => Some(key.to_string()),
                Segment::Index(_) => None,
            });
            Some(StepUse { to, key, shown: found.reference.to_string(), place: found.place })
        }
        Root::Input | Root::Item | Root::Index => None,
    };
    uses.into_iter().filter_map(to_step).collect()
}

fn params<'a>(
    draft: &Draft<'a>,
    index: &Index,
    protocols: &dyn Protocols,
    problems: &mut Problems,
    uses: &mut Vec<Use<'a>>,
) {
    let Some(field) = &draft.params else { return };
    let Kind::Object(members) = &field.node.kind else { return };
    let protocol = draft.protocol.as_deref().unwrap_or_default();
    let is_python = split_version(protocol).0 == "python";
    let raw = protocols.raw_params(protocol, &draft.method);
    for Member { key, key_at, value } in members {
        let place = Place { path: field.path.join(key.as_str()), value };
        match value.as_str() {
            Some(code) if is_python && key == "code" => match PythonSource::parse(code, index) {
                Ok(source) => add(uses, source.references(), &place),
                Err(found) => {
                    for problem in found {
                        report(&problem, &place, index, problems);
                    }
                }
            },
            _ if raw.contains(&key.as_str()) => {}
            _ => {
                key_template(key, *key_at, &place.path, index, problems);
                template(&place, index, problems, uses);
            }
        }
    }
}

fn add<'a, 'r>(uses: &mut Vec<Use<'a>>, references: impl Iterator<Item = &'r Reference>, place: &Place<'a>) {
    uses.extend(references.map(|reference| Use { reference: reference.clone(), place: place.clone() }));
}

/// Refuses references in the name of a parameter.
fn key_template(key: &str, at: Option<Position>, path: &Path, index: &Index, problems: &mut Problems) {
    if !key.contains("${") {
        return;
    }
    let object = Value::Object([(key.to_owned(), Value::Null)].into_iter().collect());
    let node = Node { at, kind: Kind::Scalar(key.into()) };
    for problem in Template::parse(&object, index).err().unwrap_or_default() {
        report(&problem, &Place { path: path.clone(), value: &node }, index, problems);
    }
}

/// Reads the template of one parameter.
fn template<'a>(place: &Place<'a>, index: &Index, problems: &mut Problems, uses: &mut Vec<Use<'a>>) {
    if !holds_reference(place.value) {
        return;
    }
    match Template::parse(&place.value.to_value(), index) {
        Ok(template) => add(uses, template.references(), place),
        Err(found) => {
            for problem in found {
                let value = place.value.nearest(problem.path.parts());
                report(&problem, &Place { path: place.path.concat(&problem.path), value }, index, problems);
            }
        }
    }
}

/// Returns whether a value must be looked at more closely; most hold no `${` at all.
fn holds_reference(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(value) => value.as_str().is_some_and(|text| text.contains("${")),
        Kind::List(nodes) => nodes.iter().any(holds_reference),
        Kind::Object(members) => members.iter().any(|m| m.key.contains("${") || holds_reference(&m.value)),
    }
}

/// Reads `for_each`: exactly one reference, or a list that may hold some.
fn for_each<'a>(draft: &Draft<'a>, index: &Index, problems: &mut Problems, uses: &mut Vec<Use<'a>>) {
    let Some(Elements { items: field, .. }) = &draft.for_each else { return };
    let place = Place { path: field.path.clone(), value: field.node };
    match Template::parse(&field.node.to_value(), index) {
        Ok(template) => {
            let is_whole = match field.node.as_str() {
                Some(text) => {
                    let text = text.trim();
                    template.references().len() == 1 && text.starts_with("${") && text.ends_with('}')
                }
                None => true,
            };
            if !is_whole {
                problems.at(field, "must be exactly one reference or a list");
            }
            add(uses, template.references(), &place);
        }
        Err(found) => {
            for problem in found {
                let value = place.value.nearest(problem.path.parts());
                report(&problem, &Place { path: place.path.concat(&problem.path), value }, index, problems);
            }
        }
    }
}

/// Reports what is wrong in the text at a place.
fn report(problem: &TemplateProblem, place: &Place, index: &Index, problems: &mut Problems) {
    if problems.are_enough() {
        return problems.count_one();
    }
    let message = format!("{}{}", problems.subject(), problem.message);
    let hint = match &problem.kind {
        ProblemKind::UnknownRoot(name) if problems.list.len() < MAX_GUESSES => {
            nearest(name, index.others(problems.step.as_deref()).chain(["input"])).map(did_you_mean)
        }
        ProblemKind::Reserved(name) if name == "env" => {
            Some("give it to the run, as with `--param NAME=…`, and write '${input.NAME}'".into())
        }
        _ => None,
    };
    let text = place.value.as_str().unwrap_or_default();
    let told = Problem::new(place.path.clone(), place.value.at, message).maybe_hint(hint);
    problems.push(told.about_reference(text, problem.at));
}

/// Warns of references to keys that the view of their step cannot have.
pub(super) fn unknown_keys(
    drafts: &[Draft],
    uses: &[Vec<StepUse>],
    protocols: &dyn Protocols,
) -> Vec<Problem> {
    const OF_ANY: [&str; 4] = ["result", "status", "success", "error"];
    const OF_LISTS: [&str; 2] = ["results", "count"];
    let mut warnings = Vec::new();
    for (draft, used) in
        drafts.iter().zip(uses).flat_map(|(draft, uses)| uses.iter().map(move |u| (draft, u)))
    {
        let (Some(key), to) = (&used.key, &drafts[used.to]) else { continue };
        let own = match (&to.for_each, &to.protocol) {
            (Some(_), _) => &OF_LISTS[..],
            (None, Some(protocol)) => protocols.result_keys(protocol, &to.method),
            (None, None) => &[],
        };
        if own.is_empty() || own.contains(&key.as_str()) || OF_ANY.contains(&key.as_str()) {
            continue;
        }
        let known: Vec<&str> =
            OF_ANY.iter().chain(own.iter().filter(|key| !OF_ANY.contains(key))).copied().collect();
        let hint = nearest(key, known.iter().copied())
            .map_or_else(|| format!("it has {}", known.join(", ")), |near| format!("did you mean '{near}'?"));
        let message =
            format!("step '{}' refers to '{}', but '{}' has no '{key}'", draft.id, used.shown, to.id);
        warnings.push(used.place.problem(&used.shown, message).step(&draft.id).hint(hint));
    }
    warnings
}

/// Adds a required need for every reference to a step that is no ancestor, and returns the warnings about it.
pub(super) fn infer_needs(drafts: &[Draft], edges: &mut Edges, uses: &[Vec<StepUse>]) -> Vec<Problem> {
    let mut seen = HashSet::new();
    let mut open: Vec<(usize, &StepUse)> = Vec::new();
    for (step, uses) in uses.iter().enumerate() {
        let new = |used: &&StepUse| !is_ordered_need(&edges[step], used.to) && seen.insert((step, used.to));
        open.extend(uses.iter().filter(new).map(|used| (step, used)));
    }
    let ordered = is_ancestor(edges, &open.iter().map(|(step, used)| (*step, used.to)).collect::<Vec<_>>());
    let mut warnings = Vec::new();
    for ((step, used), _) in open.into_iter().zip(ordered).filter(|(_, ordered)| !ordered) {
        edges[step].retain(|(known, _)| *known != used.to);
        edges[step].push((used.to, NeedKind::Required));
        let (from, to) = (&drafts[step].id, &drafts[used.to].id);
        let message = format!(
            "step '{from}' refers to '{to}' with '{}' without needing it; the need is added",
            used.shown
        );
        warnings.push(
            used.place
                .problem(&used.shown, message)
                .step(from)
                .hint(format!("add '{to}' to the dependencies of '{from}'"))
                .with("dependency", to.as_str()),
        );
    }
    warnings
}

/// Returns whether a step waits for another directly. A parallel need is drawn only.
fn is_ordered_need(needs: &[(usize, NeedKind)], to: usize) -> bool {
    needs.iter().any(|(known, kind)| *known == to && *kind != NeedKind::Parallel)
}

/// Answers for each (step, other) whether the step waits for the other, over any number of needs.
///
/// Going over all steps once answers the questions about 64 others, one bit for each.
fn is_ancestor(edges: &Edges, questions: &[(usize, usize)]) -> Vec<bool> {
    let mut others: Vec<usize> = questions.iter().map(|(_, other)| *other).collect();
    others.sort_unstable();
    others.dedup();
    let order = needs_first(edges);
    let mut by_other: HashMap<usize, Vec<usize>> = HashMap::new();
    for (number, (_, other)) in questions.iter().enumerate() {
        by_other.entry(*other).or_default().push(number);
    }
    let mut answers = vec![false; questions.len()];
    for chunk in others.chunks(64) {
        let mut bit = vec![0u64; edges.len()];
        for (i, other) in chunk.iter().enumerate() {
            bit[*other] = 1 << i;
        }
        let mut waits_for = vec![0u64; edges.len()];
        for step in &order {
            let ordered = edges[*step].iter().filter(|(_, kind)| *kind != NeedKind::Parallel);
            waits_for[*step] = ordered.fold(0, |mask, (need, _)| mask | bit[*need] | waits_for[*need]);
        }
        for number in chunk.iter().flat_map(|other| &by_other[other]) {
            let (step, other) = questions[*number];
            answers[*number] = waits_for[step] & bit[other] != 0;
        }
    }
    answers
}

/// Returns the steps so that each comes after what it needs. Steps on cycles come last; cycles are reported anyway.
fn needs_first(edges: &Edges) -> Vec<usize> {
    let mut missing: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut dependents = vec![Vec::new(); edges.len()];
    for (step, needs) in edges.iter().enumerate() {
        for (need, _) in needs {
            dependents[*need].push(step);
        }
    }
    let mut order: Vec<usize> = (0..edges.len()).filter(|step| missing[*step] == 0).collect();
    let mut next = 0;
    while let Some(step) = order.get(next).copied() {
        next += 1;
        for dependent in &dependents[step] {
            missing[*dependent] -= 1;
            if missing[*dependent] == 0 {
                order.push(*dependent);
            }
        }
    }
    order.extend((0..edges.len()).filter(|step| missing[*step] > 0));
    order
}

/// Reports cycles, each with the names along it. A step that is on one already reported is on no other.
pub(super) fn cycles(drafts: &[Draft], edges: &Edges, problems: &mut Problems) {
    // 0 unseen, 1 on the path, 2 done.
    let mut colour = vec![0u8; edges.len()];
    let mut reported = vec![false; edges.len()];
    for start in 0..edges.len() {
        if colour[start] != 0 {
            continue;
        }
        let mut path = vec![(start, 0)];
        colour[start] = 1;
        while let Some((step, next)) = path.last_mut() {
            let Some((need, kind)) = edges[*step].get(*next).copied() else {
                colour[*step] = 2;
                path.pop();
                continue;
            };
            *next += 1;
            if kind == NeedKind::Parallel {
                continue;
            }
            match colour[need] {
                0 => {
                    colour[need] = 1;
                    path.push((need, 0));
                }
                1 => {
                    let from = path.iter().position(|(s, _)| *s == need).expect("it is on the path");
                    let cycle: Vec<usize> = path[from..].iter().map(|(s, _)| *s).collect();
                    if !cycle.iter().any(|s| reported[*s]) {
                        for member in &cycle {
                            reported[*member] = true;
                        }
                        problems.push(cycle_problem(drafts, cycle));
                    }
                }
                _ => {}
            }
        }
    }
}

fn cycle_problem(drafts: &[Draft], mut cycle: Vec<usize>) -> Problem {
    let least = (0..cycle.len()).min_by_key(|i| cycle[*i]).unwrap_or(0);
    cycle.rotate_left(least);
    let first = &drafts[cycle[0]];
    if cycle.len() == 1 {
        return self_need(first);
    }
    cycle.push(cycle[0]);
    let names: Vec<&str> = cycle.iter().map(|step| drafts[*step].id.as_str()).collect();
    Problem::new(
        first.path.clone(),
        first.at,
        format!("steps need each other in a circle: {}", names.join(" → ")),
    )
    .code(Code::WORKFLOW_CIRCULAR_DEPENDENCY)
    .step(&first.id)
    .hint("a reference counts as a need; remove one of them")
    .with("dependency_cycle", names)
}

/// A circle of one step: it names itself among its needs, or refers to itself.
fn self_need(draft: &Draft) -> Problem {
    let is_own = |named: &&Named| named.name == draft.id || Some(&named.name) == draft.title.as_ref();
    let (place, hint) = match draft.needs.iter().find(is_own) {
        Some(named) => ((named.path.clone(), named.at), "name another step, or leave it out"),
        None => {
            ((draft.path.clone(), draft.at), "a reference counts as a need; its own result comes after it")
        }
    };
    Problem::new(place.0, place.1, format!("step '{}' cannot need itself", draft.id))
        .code(Code::WORKFLOW_CIRCULAR_DEPENDENCY)
        .step(&draft.id)
        .hint(hint)
        .with("dependency_cycle", vec![draft.id.as_str(); 2])
}

/// Returns the needs of a step as a definition has them.
pub(super) fn to_needs(needs: &[(usize, NeedKind)], drafts: &[Draft]) -> Vec<Need> {
    needs.iter().map(|(step, kind)| Need::of_kind(&drafts[*step].id, *kind)).collect()
}
