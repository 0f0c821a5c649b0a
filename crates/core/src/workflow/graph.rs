//! What can lead to what in a workflow: edges, entries, loops, and who can reach whom.
//!
//! Edges are built once. Reachability is computed the first time a join asks for it and kept, since most
//! workflows never have two tokens that could meet.

use foldhash::{HashMap, HashSet};
use std::cmp::Reverse;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::definition::{Definition, Lifecycle, Need, NeedKind, OnFailure, Step};
use super::{is_pattern, matches};
use crate::ids::StepName;

/// Index of a step in its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIx(pub u32);

impl StepIx {
    /// Marks the place of a token that a child run has, which the step named.
    const CHILD: u32 = 1 << 31;

    /// Returns the place of a token whose branch a child run goes: this step has named it.
    pub(crate) fn child(self) -> Self {
        Self(self.0 | Self::CHILD)
    }

    /// Returns the step that named the child run whose place this is; none: it is the place of a step.
    pub(crate) fn named_by(self) -> Option<Self> {
        (self.0 & Self::CHILD != 0).then_some(Self(self.0 & !Self::CHILD))
    }

    /// Returns the index as a position in a list.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// How a step comes to have a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// At the start of the run.
    Entry,
    /// Once, when its needs are met.
    ByNeeds,
    /// When a route names it.
    ByRoute,
    /// Once per element of a step with `for_each`; without a token.
    Element,
}

/// The edges of a workflow and what follows from them.
#[derive(Debug)]
pub struct Graph {
    /// What a completion, a failure or a need can lead to; `None`: anything.
    out: Vec<Option<Vec<StepIx>>>,
    /// Where a failure route of a step leads.
    failure_routes: HashMap<StepIx, StepIx>,
    dependents: Vec<Vec<StepIx>>,
    /// Dependents that a completion cannot activate, only let go on.
    gates_only: Vec<Vec<StepIx>>,
    routed_needs: Vec<StepIx>,
    /// Whether each need of a step is settled once and for all, whatever the others do.
    steady: Vec<bool>,
    roles: Vec<Role>,
    /// Place of each step among all, by priority and then in order of definition.
    ranks: Vec<u32>,
    /// The other way round.
    by_rank: Vec<StepIx>,
    sink: Option<StepIx>,
    /// Steps whose successors are unknown.
    opaque: Vec<StepIx>,
    loops: Vec<Option<u32>>,
    leaves_loop: Vec<bool>,
    reach: Mutex<Reach>,
}

#[derive(Debug, Default)]
struct Reach {
    backward: Option<Vec<Vec<StepIx>>>,
    /// For a target: the steps from which a token can come to it.
    sources: HashMap<StepIx, std::sync::Arc<Sources>>,
    /// (from, to, without passing) → is there a way, of length 0 or more.
    around: HashMap<(StepIx, StepIx, StepIx), bool>,
    /// For a target: the steps from which a token can come to it, gating needs not counted.
    ways: HashMap<StepIx, std::sync::Arc<[bool]>>,
}

/// Where a token must stand to be able to come to a target.
#[derive(Debug)]
pub struct Sources {
    /// Only the steps from which it can; true: also if the token is held there.
    from: HashMap<StepIx, bool>,
}

impl Sources {
    /// Returns whether a live token at `step` can come to the target; `held`: it is held there.
    pub fn contains(&self, step: StepIx, held: bool) -> bool {
        self.from.get(&step).is_some_and(|held_too| *held_too || !held)
    }

    /// Returns the steps from which a token can come.
    pub(crate) fn steps(&self) -> impl ExactSizeIterator<Item = StepIx> + '_ {
        self.from.keys().copied()
    }
}

impl Graph {
    /// Makes the graph of the declared steps, followed by so many element steps, which lead nowhere.
    pub(super) fn new(definition: &Definition, index: &HashMap<StepName, StepIx>, elements: usize) -> Self {
        let count = definition.steps.len();
        let mut dependents = vec![Vec::new(); count];
        for (i, step) in definition.steps.iter().enumerate() {
            let mut seen = HashSet::default();
            for need in &step.needs {
                let of = index[&need.step];
                if need.kind != NeedKind::Parallel && seen.insert(of) {
                    dependents[of.at()].push(StepIx(i as u32));
                }
            }
        }
        let next: Vec<_> = definition.steps.iter().map(|step| successors(step, definition, index)).collect();
        let mut out = Vec::with_capacity(count);
        for (i, step) in definition.steps.iter().enumerate() {
            out.push(next[i].as_ref().map(|names| {
                let mut list = names.clone();
                if let OnFailure::Route(name) = &step.on_failure {
                    list.push(index[name]);
                }
                list.extend(step.compensation.as_ref().map(|name| index[name]));
                list.extend(&dependents[i]);
                list.sort_unstable();
                list.dedup();
                list
            }));
        }
        let opaque: Vec<StepIx> =
            (0..count).filter(|i| out[*i].is_none()).map(|i| StepIx(i as u32)).collect();
        let named = named_by_any(definition, &next, index);
        let is_steady = |need: &Need| {
            matches!(
                need.kind,
                NeedKind::Required | NeedKind::And | NeedKind::Optional | NeedKind::Sequential
            ) && need.lifecycle == Lifecycle::Once
                && opaque.is_empty()
                && !named[index[&need.step].at()]
        };
        let steady = definition.steps.iter().map(|step| step.needs.iter().all(is_steady)).collect();
        let roles = roles(definition, &next, index);
        let gates_only = (0..count)
            .map(|i| {
                let step = &definition.steps[i];
                let next = next[i].as_deref().unwrap_or_default();
                let leads_to = |to: &StepIx| {
                    let name = &definition.steps[to.at()].name;
                    let on_failure = matches!(&step.on_failure, OnFailure::Route(route) if route == name);
                    next.contains(to) || on_failure || step.compensation.as_ref() == Some(name)
                };
                let gated =
                    dependents[i].iter().filter(|to| roles[to.at()] != Role::ByNeeds && !leads_to(to));
                gated.copied().collect()
            })
            .collect();
        let may_get_lost = |i: &StepIx| {
            let lost = |need: &Need| {
                roles[index[&need.step].at()] == Role::ByRoute || need.lifecycle != Lifecycle::Once
            };
            roles[i.at()] == Role::ByNeeds && definition.steps[i.at()].needs.iter().any(lost)
        };
        let routed_needs = (0..count).map(|i| StepIx(i as u32)).filter(may_get_lost).collect();
        let by_rank = by_rank(definition);
        let mut ranks = vec![0; count];
        for (rank, step) in by_rank.iter().enumerate() {
            ranks[step.at()] = rank as u32;
        }
        for list in &mut dependents {
            list.sort_by_key(|step| ranks[step.at()]);
        }
        let sinks: Vec<usize> = (0..count).filter(|i| out[*i].as_ref().is_some_and(Vec::is_empty)).collect();
        let sink = if let [only] = sinks[..] { Some(StepIx(only as u32)) } else { None };
        let loops = loops(&out);
        let leaves_loop = (0..count).map(|i| leaves(definition, index, &loops, i)).collect();
        let routed = |(i, step): (usize, &Step)| match &step.on_failure {
            OnFailure::Route(name) => Some((StepIx(i as u32), index[name])),
            OnFailure::Fail | OnFailure::Continue | OnFailure::Stop => None,
        };
        let failure_routes = definition.steps.iter().enumerate().filter_map(routed).collect();
        let mut graph = Self {
            out,
            failure_routes,
            dependents,
            gates_only,
            routed_needs,
            steady,
            roles,
            ranks,
            by_rank,
            sink,
            opaque,
            loops,
            leaves_loop,
            reach: Mutex::default(),
        };
        for _ in 0..elements {
            graph.add_element();
        }
        graph
    }

    fn add_element(&mut self) {
        self.out.push(Some(Vec::new()));
        self.dependents.push(Vec::new());
        self.gates_only.push(Vec::new());
        self.steady.push(true);
        self.roles.push(Role::Element);
        self.by_rank.push(StepIx(self.ranks.len() as u32));
        self.ranks.push(self.ranks.len() as u32);
        self.loops.push(None);
        self.leaves_loop.push(true);
    }

    /// Returns how a step comes to have a token.
    pub fn role(&self, step: StepIx) -> Role {
        self.roles[step.at()]
    }

    /// Returns the place of a step among all: those of a higher priority first, equal ones in order of definition. What
    /// begins in one turn begins in this order, so that a place under `max_concurrent` goes to whom it is due.
    pub fn rank(&self, step: StepIx) -> u32 {
        self.ranks[step.at()]
    }

    /// Returns the entries, by rank.
    pub fn entries(&self) -> impl Iterator<Item = StepIx> + '_ {
        self.steps_of(Role::Entry)
    }

    /// Returns the steps with that role, by rank.
    pub fn steps_of(&self, role: Role) -> impl Iterator<Item = StepIx> + '_ {
        self.by_rank.iter().copied().filter(move |step| self.role(*step) == role)
    }

    /// Returns the steps that need `step`, except those that only draw it (`parallel`).
    pub fn dependents(&self, step: StepIx) -> &[StepIx] {
        &self.dependents[step.at()]
    }

    /// Returns the steps activated by needs that a routed step, or more than its first completion, is among: what
    /// they wait for may get lost on the way.
    pub fn steps_with_routed_needs(&self) -> impl Iterator<Item = StepIx> + '_ {
        self.routed_needs.iter().copied()
    }

    /// Returns whether each need of the step is settled once and for all, whatever the others do: then they can
    /// be asked one after the other.
    pub fn has_steady_needs(&self, step: StepIx) -> bool {
        self.steady[step.at()]
    }

    /// Returns the only step that leads nowhere, if there is exactly one: its output is the run's.
    pub fn sink(&self) -> Option<StepIx> {
        self.sink
    }

    /// Returns the number of the loop that the step lies on: steps of one number can all come to each other.
    pub fn loop_of(&self, step: StepIx) -> Option<u32> {
        self.loops[step.at()]
    }

    /// Returns whether the step lies on a loop that it cannot leave by itself.
    pub fn is_bound_to_loop(&self, step: StepIx) -> bool {
        self.loops[step.at()].is_some() && !self.leaves_loop[step.at()]
    }

    /// Returns where a token must stand to be able to come to `target`, with the *way out* exception of
    /// spec/fluffy.md §2.3: for a target that cannot leave its loop, ways through a step of the loop that
    /// can leave it do not count, nor does a token held there. Needs that merely gate a step bring no token
    /// to it: an execution that waits for them is blocked, not held (§2.2).
    pub fn sources(&self, target: StepIx) -> std::sync::Arc<Sources> {
        let mut reach = self.reach.lock().expect("no panic happens under this lock");
        if let Some(known) = reach.sources.get(&target) {
            return known.clone();
        }
        let backward = reach.backward.get_or_insert_with(|| self.reversed());
        let sources = std::sync::Arc::new(self.search_sources(target, backward));
        reach.sources.insert(target, sources.clone());
        sources
    }

    /// Returns for each step those whose token can go on to it.
    fn reversed(&self) -> Vec<Vec<StepIx>> {
        let mut backward = vec![Vec::new(); self.out.len()];
        for (i, targets) in self.out.iter().enumerate() {
            for target in targets.iter().flatten().filter(|to| !self.gates_only[i].contains(to)) {
                backward[target.at()].push(StepIx(i as u32));
            }
        }
        backward
    }

    fn search_sources(&self, target: StepIx, backward: &[Vec<StepIx>]) -> Sources {
        let bound = self.is_bound_to_loop(target);
        let is_exit = |step: StepIx| {
            bound && self.loops[step.at()] == self.loops[target.at()] && self.leaves_loop[step.at()]
        };
        let mut from = HashMap::default();
        let mut todo = vec![target];
        // Opaque steps lead anywhere, so each is a source of everything.
        for step in &self.opaque {
            from.insert(*step, !is_exit(*step));
            todo.push(*step);
        }
        while let Some(step) = todo.pop() {
            if step != target && is_exit(step) {
                continue;
            }
            for before in &backward[step.at()] {
                if from.insert(*before, !is_exit(*before)).is_none() {
                    todo.push(*before);
                }
            }
        }
        // A child run that a step named brings a token only when it fails.
        for (step, to) in &self.failure_routes {
            let can_pass = |to| from.contains_key(to) && !is_exit(*to);
            if *to == target || can_pass(to) {
                from.insert(step.child(), true);
            }
        }
        Sources { from }
    }

    /// Returns where a token goes on that stands there: at the step itself, or, where a child run has it, at the step that
    /// takes its failure.
    pub(crate) fn goes_on_at(&self, place: StepIx) -> Option<StepIx> {
        match place.named_by() {
            Some(step) => self.failure_routes.get(&step).copied(),
            None => Some(place),
        }
    }

    /// Returns from which steps a token can come to `target` by a way of any length, 0 included. Of needs only
    /// those count that activate a step; those that merely gate one bring no token.
    pub fn ways_to(&self, target: StepIx) -> std::sync::Arc<[bool]> {
        let mut reach = self.reach.lock().expect("no panic happens under this lock");
        if let Some(known) = reach.ways.get(&target) {
            return known.clone();
        }
        let backward = reach.backward.get_or_insert_with(|| self.reversed());
        let mut from = vec![false; self.out.len()];
        let mut todo: Vec<StepIx> = self.opaque.iter().copied().chain([target]).collect();
        while let Some(step) = todo.pop() {
            if !std::mem::replace(&mut from[step.at()], true) {
                todo.extend(&backward[step.at()]);
            }
        }
        let ways: std::sync::Arc<[bool]> = from.into();
        reach.ways.insert(target, ways.clone());
        ways
    }

    /// Returns whether a way of length 0 or more leads from `from` to `to` that does not pass `avoiding`.
    /// Standing on `avoiding` at the start counts as passing it, arriving at it does not.
    pub fn leads_around(&self, from: StepIx, to: StepIx, avoiding: StepIx) -> bool {
        let Some(from) = self.goes_on_at(from) else { return false };
        if from == to {
            return true;
        }
        let mut reach = self.reach.lock().expect("no panic happens under this lock");
        if let Some(known) = reach.around.get(&(from, to, avoiding)) {
            return *known;
        }
        let found = self.search_around(from, to, avoiding);
        reach.around.insert((from, to, avoiding), found);
        found
    }

    fn search_around(&self, from: StepIx, to: StepIx, avoiding: StepIx) -> bool {
        let mut seen = vec![false; self.out.len()];
        let mut todo = vec![from];
        seen[from.at()] = true;
        while let Some(step) = todo.pop() {
            if step == avoiding {
                continue;
            }
            let Some(targets) = &self.out[step.at()] else { return true };
            for target in targets {
                if *target == to {
                    return true;
                }
                if !seen[target.at()] {
                    seen[target.at()] = true;
                    todo.push(*target);
                }
            }
        }
        false
    }

    /// Returns whether any step's successors are unknown.
    pub fn is_opaque(&self) -> bool {
        !self.opaque.is_empty()
    }

    /// Returns what a step can lead to by route, failure route, compensation or need; `None`: anything.
    pub fn out(&self, step: StepIx) -> Option<&[StepIx]> {
        self.out[step.at()].as_deref()
    }
}

/// Returns the steps that a step names as what it can lead to, in that order; none: it may be anything.
fn successors(
    step: &Step,
    definition: &Definition,
    index: &HashMap<StepName, StepIx>,
) -> Option<Vec<StepIx>> {
    let names = step.next.known()?;
    Some(names.iter().flat_map(|name| standing_for(name, definition, index)).collect())
}

/// Returns the steps that a successor stands for: the one of that name, or all that a pattern matches.
fn standing_for<'d>(
    name: &'d StepName,
    definition: &'d Definition,
    index: &HashMap<StepName, StepIx>,
) -> impl Iterator<Item = StepIx> + 'd {
    let exact = index.get(name).copied();
    let pattern = exact.is_none() && is_pattern(name);
    let all = if pattern { &definition.steps[..] } else { &[] };
    let matching = all.iter().enumerate().filter(move |(_, step)| matches(name, &step.name));
    exact.into_iter().chain(matching.map(|(i, _)| StepIx(i as u32)))
}

/// Returns the steps by priority, equal ones in order of definition.
fn by_rank(definition: &Definition) -> Vec<StepIx> {
    let mut steps: Vec<StepIx> = (0..definition.steps.len() as u32).map(StepIx).collect();
    steps.sort_by_key(|step| Reverse(definition.steps[step.at()].priority));
    steps
}

/// Returns the cycles among needs, first and last equal, each beginning at the step defined first. Of those whose steps are all in
/// others, only a step that needs itself is returned: there could be very many.
pub(super) fn needs_cycles(definition: &Definition, index: &HashMap<StepName, StepIx>) -> Vec<Vec<StepIx>> {
    // A step that needs itself is a cycle of any kind; a need that is only drawn closes no other.
    let closes = |i: usize, need: &Need| {
        need.kind != NeedKind::Parallel || index.get(&need.step) == Some(&StepIx(i as u32))
    };
    let of = |(i, step): (usize, &super::definition::Step)| {
        let needs = step.needs.iter().filter(|need| closes(i, need));
        needs.filter_map(|need| index.get(&need.step).copied()).collect()
    };
    let needs: Vec<Vec<StepIx>> = definition.steps.iter().enumerate().map(of).collect();
    // 0 unseen, 1 on the path, 2 done. A path of (step, next need to look at), so no recursion.
    let mut colour = vec![0u8; needs.len()];
    let mut cycles = Vec::new();
    let mut is_told = vec![false; needs.len()];
    for start in 0..needs.len() {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if colour[start] == 0 {
            colour[start] = 1;
            path.push((start, 0));
        }
        while let Some((step, next)) = path.last_mut() {
            let Some(need) = needs[*step].get(*next).map(|ix| ix.at()) else {
                colour[*step] = 2;
                path.pop();
                continue;
            };
            *next += 1;
            match colour[need] {
                0 => {
                    colour[need] = 1;
                    path.push((need, 0));
                }
                1 => {
                    let from = path.iter().position(|(s, _)| *s == need).expect("it is on the path");
                    let cycle: Vec<usize> = path[from..].iter().map(|(s, _)| *s).collect();
                    if cycle.len() == 1 || cycle.iter().any(|step| !is_told[*step]) {
                        for step in &cycle {
                            is_told[*step] = true;
                        }
                        cycles.push(rotate(cycle));
                    }
                }
                _ => {}
            }
        }
    }
    cycles
}

/// Turns a cycle so that it begins and ends with the step defined first.
fn rotate(mut cycle: Vec<usize>) -> Vec<StepIx> {
    let least = (0..cycle.len()).min_by_key(|i| cycle[*i]).unwrap_or(0);
    cycle.rotate_left(least);
    cycle.push(cycle[0]);
    cycle.into_iter().map(|i| StepIx(i as u32)).collect()
}

/// Returns which steps a route, a failure or a compensation can lead to, and so perhaps again.
fn named_by_any(
    definition: &Definition,
    next: &[Option<Vec<StepIx>>],
    index: &HashMap<StepName, StepIx>,
) -> Vec<bool> {
    let mut named = vec![false; definition.steps.len()];
    for target in next.iter().flatten().flatten() {
        named[target.at()] = true;
    }
    for step in &definition.steps {
        let failure = match &step.on_failure {
            OnFailure::Route(name) => Some(name),
            OnFailure::Fail | OnFailure::Continue | OnFailure::Stop => None,
        };
        for target in failure.into_iter().chain(&step.compensation).filter_map(|name| index.get(name)) {
            named[target.at()] = true;
        }
    }
    named
}

fn roles(
    definition: &Definition,
    next: &[Option<Vec<StepIx>>],
    index: &HashMap<StepName, StepIx>,
) -> Vec<Role> {
    let count = definition.steps.len();
    // How many *other* steps name this one: as a successor, as a failure route or compensation.
    let mut named_by_next = vec![false; count];
    let mut named = vec![false; count];
    let mut compensations = vec![false; count];
    let mut opaque = Vec::new();
    for (i, step) in definition.steps.iter().enumerate() {
        match &next[i] {
            Some(next) => {
                // A pattern that matches nothing is for steps that will be added, which may lead anywhere.
                let is_open = |name: &StepName| {
                    is_pattern(name) && standing_for(name, definition, index).next().is_none()
                };
                if step.next.known().unwrap_or_default().iter().any(is_open) {
                    opaque.push(i);
                }
                for target in next.iter().filter(|t| t.at() != i) {
                    named_by_next[target.at()] = true;
                    named[target.at()] = true;
                }
            }
            None => opaque.push(i),
        }
        if let OnFailure::Route(name) = &step.on_failure
            && index[name].at() != i
        {
            named[index[name].at()] = true;
        }
        if let Some(name) = &step.compensation {
            named[index[name].at()] = true;
            compensations[index[name].at()] = true;
        }
    }
    let anything_leads_to = |i: usize| opaque.iter().any(|o| *o != i);
    let has_entry = definition.steps.iter().any(|step| step.entry);
    let mut roles: Vec<Role> = definition
        .steps
        .iter()
        .enumerate()
        .map(|(i, step)| {
            let needs_nothing = step.needs.is_empty();
            if step.entry || (!has_entry && needs_nothing && !named[i] && !anything_leads_to(i)) {
                Role::Entry
            } else if !needs_nothing && !named_by_next[i] && !compensations[i] {
                Role::ByNeeds
            } else {
                Role::ByRoute
            }
        })
        .collect();
    if !roles.contains(&Role::Entry) && !has_entry {
        let first = (0..count).find(|i| !compensations[*i]).unwrap_or(0);
        if let Some(role) = roles.get_mut(first) {
            *role = Role::Entry;
        }
    }
    roles
}

/// Returns for each step the number of its strongly connected part, if that part is a loop.
fn loops(out: &[Option<Vec<StepIx>>]) -> Vec<Option<u32>> {
    let count = out.len();
    // With an opaque step, an edge to everything: one virtual node stands for "anything" so that the graph stays small.
    let anything = count;
    let edges = |node: usize| -> Box<dyn Iterator<Item = usize> + '_> {
        if node == anything {
            Box::new(0..count)
        } else {
            match &out[node] {
                Some(list) => Box::new(list.iter().map(|ix| ix.at())),
                None => Box::new(std::iter::once(anything)),
            }
        }
    };
    let parts = strongly_connected(count + 1, edges);
    let mut size = HashMap::default();
    for part in &parts[..count] {
        *size.entry(*part).or_insert(0u32) += 1;
    }
    (0..count)
        .map(|i| {
            let own_loop = out[i].as_ref().is_none_or(|list| list.iter().any(|t| t.at() == i));
            (size[&parts[i]] > 1 || own_loop).then_some(parts[i])
        })
        .collect()
}

/// Tarjan's algorithm without recursion; returns the number of each node's part.
fn strongly_connected<'a>(
    count: usize,
    edges: impl Fn(usize) -> Box<dyn Iterator<Item = usize> + 'a>,
) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let mut order = vec![UNSEEN; count];
    let mut low = vec![0u32; count];
    let mut on_stack = vec![false; count];
    let mut part = vec![UNSEEN; count];
    let (mut stack, mut next_order, mut next_part) = (Vec::new(), 0u32, 0u32);
    for start in 0..count {
        if order[start] != UNSEEN {
            continue;
        }
        let mut path = vec![(start, edges(start))];
        order[start] = next_order;
        low[start] = next_order;
        next_order += 1;
        stack.push(start);
        on_stack[start] = true;
        while let Some((node, iter)) = path.last_mut() {
            let node = *node;
            if let Some(to) = iter.next() {
                if order[to] == UNSEEN {
                    order[to] = next_order;
                    low[to] = next_order;
                    next_order += 1;
                    stack.push(to);
                    on_stack[to] = true;
                    path.push((to, edges(to)));
                } else if on_stack[to] {
                    low[node] = low[node].min(order[to]);
                }
                continue;
            }
            path.pop();
            if let Some((before, _)) = path.last() {
                low[*before] = low[*before].min(low[node]);
            }
            if low[node] == order[node] {
                loop {
                    let member = stack.pop().expect("the root of a part is on the stack");
                    on_stack[member] = false;
                    part[member] = next_part;
                    if member == node {
                        break;
                    }
                }
                next_part += 1;
            }
        }
    }
    part
}

/// Returns whether a step on a loop can leave it: by a successor outside, by ending, or because its
/// successors are unknown.
fn leaves(
    definition: &Definition,
    index: &HashMap<StepName, StepIx>,
    loops: &[Option<u32>],
    i: usize,
) -> bool {
    let outside = |name: &StepName| {
        let mut targets = standing_for(name, definition, index).peekable();
        // END is a name that no step has, so it counts as outside.
        targets.peek().is_none() || targets.any(|target| loops[target.at()] != loops[i])
    };
    definition.steps[i].next.known().is_none_or(|names| names.is_empty() || names.iter().any(outside))
}
