//! Tokens: the live positions of a run, where they came from, and which of them a join must wait for.
//!
//! The rule (spec/fluffy.md §2.3): a token held at a step waits while another live token can still come
//! there. Asked naively that is a question to every pair of tokens after every move. Here tokens that stand
//! at the same step with the same lineage are one *group*, and every join remembers one group that holds it,
//! its *witness*: nothing is looked at again before the witness is empty, and the search then goes on where
//! it stopped. So a move costs about constant time, however wide the fork.
//!
//! The naive rule stays in the tests as the oracle (`tests/join_oracle.rs`).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use super::event::{Payload, present};
use crate::workflow::definition::Join;
use crate::workflow::{Graph, StepIx, Workflow};

/// Where a token was separated from others: one entry a fork, outermost first.
pub(crate) type Lineage = Arc<[Branch]>;

/// The branches of one fork that a token stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Branch {
    /// The execution that forked.
    pub(crate) fork: u32,
    /// Its step.
    pub(crate) at: StepIx,
    /// First steps of the branches, ascending; several after a join.
    pub(crate) targets: Vec<StepIx>,
}

/// A token on its way: arrived at a step, not yet part of an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) step: StepIx,
    pub(crate) lineage: Lineage,
    /// Steps with `join: any` that have gone without it.
    pub(crate) late: Vec<StepIx>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(crate) payload: Option<Payload>,
    /// The failed execution that a `route:` policy sent it from.
    pub(crate) failure_of: Option<u32>,
}

impl Token {
    /// Returns whether it may have to wait for others where it arrives.
    fn is_held(&self, workflow: &Workflow) -> bool {
        self.payload.is_none() && workflow.step(self.step).join == Join::All
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    step: StepIx,
    lineage: Lineage,
    held: bool,
}

/// A step with tokens held at it.
#[derive(Clone, Debug, Default)]
struct Watch {
    /// Plain tokens held here, in order of arrival.
    held: Vec<u32>,
    /// Their different lineages.
    lineages: BTreeSet<Lineage>,
    /// Groups with a smaller number hold none of them.
    cursor: u64,
    /// The group that holds one of them, as far as is known.
    witness: Option<u64>,
    /// The place of the step among all ([`Graph::rank`]).
    rank: u32,
}

/// All tokens of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    arrived: BTreeMap<u32, Token>,
    /// How many of them at each step, by its index.
    arrived_at: Vec<u32>,
    next_token: u32,
    groups: BTreeMap<u64, (GroupKey, u32)>,
    group_of: HashMap<GroupKey, u64>,
    /// The groups at each step, by its index; ascending.
    groups_at: Vec<Vec<u64>>,
    /// How many steps have groups.
    occupied: usize,
    next_group: u64,
    /// How many live tokens carry a branch of a fork.
    forks: HashMap<u32, u32>,
    joins: BTreeMap<StepIx, Watch>,
    witnesses: HashMap<u64, Vec<StepIx>>,
    /// Joins whose witness is gone, or that have none yet, by rank.
    unsettled: BTreeSet<(u32, StepIx)>,
    /// For a step and one that it needs: a group that can still bring that one about.
    feeders: HashMap<(StepIx, StepIx), u64>,
}

impl Tokens {
    /// Lets the tokens that had arrived in another life of the run arrive again, under their numbers.
    pub(crate) fn arrived_again(tokens: Vec<(u32, Token)>, next: u32, workflow: &Workflow) -> Self {
        let mut all = Self::default();
        for (id, token) in tokens {
            all.next_token = id;
            all.arrive(token, workflow);
        }
        all.next_token = next;
        all
    }

    /// Returns the tokens that have arrived and are not part of an execution, and the number of the next.
    pub(crate) fn arrived(&self) -> (Vec<(u32, Token)>, u32) {
        (self.arrived.iter().map(|(id, token)| (*id, token.clone())).collect(), self.next_token)
    }

    /// Lets a token arrive at a step, where it may have to wait for others.
    pub(crate) fn arrive(&mut self, token: Token, workflow: &Workflow) -> u32 {
        let id = self.next_token;
        self.next_token += 1;
        self.enter(token.step, &token.lineage, true);
        *at_step(&mut self.arrived_at, token.step) += 1;
        if token.is_held(workflow) {
            let watch = self.joins.entry(token.step).or_default();
            watch.rank = workflow.graph().rank(token.step);
            watch.held.push(id);
            if watch.lineages.insert(token.lineage.clone()) {
                watch.cursor = 0;
            }
            if watch.witness.is_none() {
                self.unsettled.insert((watch.rank, token.step));
            }
        }
        self.arrived.insert(id, token);
        id
    }

    /// Returns an arrived token.
    pub(crate) fn get(&self, id: u32) -> Option<&Token> {
        self.arrived.get(&id)
    }

    /// Returns the arrived tokens that wait for no others: what they arrived at can begin.
    pub(crate) fn not_held(&self, workflow: &Workflow) -> Vec<u32> {
        let all = self.arrived.iter();
        all.filter(|(_, token)| !token.is_held(workflow)).map(|(id, _)| *id).collect()
    }

    /// Takes one arrived token away.
    pub(crate) fn take(&mut self, id: u32) -> Option<Token> {
        let token = self.remove(id)?;
        if let Some(watch) = self.joins.get_mut(&token.step) {
            watch.held.retain(|held| *held != id);
            if watch.held.is_empty() {
                self.drop_watch(token.step);
            }
        }
        Some(token)
    }

    /// Takes all tokens held at a step, in order of arrival.
    pub(crate) fn take_held(&mut self, step: StepIx) -> Vec<Token> {
        let Some(watch) = self.drop_watch(step) else { return Vec::new() };
        watch.held.iter().filter_map(|id| self.remove(*id)).collect()
    }

    fn remove(&mut self, id: u32) -> Option<Token> {
        let token = self.arrived.remove(&id)?;
        self.leave(token.step, &token.lineage, true);
        *at_step(&mut self.arrived_at, token.step) -= 1;
        Some(token)
    }

    fn drop_watch(&mut self, step: StepIx) -> Option<Watch> {
        let watch = self.joins.remove(&step)?;
        self.unsettled.remove(&(watch.rank, step));
        if let Some(group) = watch.witness
            && let Some(list) = self.witnesses.get_mut(&group)
        {
            list.retain(|s| *s != step);
        }
        Some(watch)
    }

    /// Puts a token into an execution at `step`.
    pub(crate) fn occupy(&mut self, step: StepIx, lineage: &Lineage) {
        self.enter(step, lineage, false);
    }

    /// Takes the token of an execution at `step` away.
    pub(crate) fn vacate(&mut self, step: StepIx, lineage: &Lineage) {
        self.leave(step, lineage, false);
    }

    fn enter(&mut self, step: StepIx, lineage: &Lineage, held: bool) {
        for branch in lineage.iter() {
            *self.forks.entry(branch.fork).or_insert(0) += 1;
        }
        let key = GroupKey { step, lineage: lineage.clone(), held };
        match self.group_of.entry(key) {
            Entry::Occupied(known) => {
                self.groups.get_mut(known.get()).expect("every known group is in the list").1 += 1;
            }
            Entry::Vacant(new) => {
                let id = self.next_group;
                self.next_group += 1;
                self.groups.insert(id, (new.key().clone(), 1));
                let here = at_step(&mut self.groups_at, step);
                self.occupied += usize::from(here.is_empty());
                here.push(id);
                new.insert(id);
            }
        }
    }

    fn leave(&mut self, step: StepIx, lineage: &Lineage, held: bool) {
        for branch in lineage.iter() {
            if let Some(count) = self.forks.get_mut(&branch.fork) {
                *count -= 1;
                if *count == 0 {
                    self.forks.remove(&branch.fork);
                }
            }
        }
        let key = GroupKey { step, lineage: lineage.clone(), held };
        let Entry::Occupied(known) = self.group_of.entry(key) else { return };
        let id = *known.get();
        let (_, count) = self.groups.get_mut(&id).expect("every known group is in the list");
        *count -= 1;
        if *count > 0 {
            return;
        }
        known.remove();
        self.groups.remove(&id);
        let here = at_step(&mut self.groups_at, step);
        if let Ok(place) = here.binary_search(&id) {
            here.remove(place);
        }
        self.occupied -= usize::from(here.is_empty());
        for step in self.witnesses.remove(&id).unwrap_or_default() {
            if let Some(watch) = self.joins.get_mut(&step) {
                watch.witness = None;
                self.unsettled.insert((watch.rank, step));
            }
        }
    }

    /// Returns a lineage without the forks that no other live token shares any more. Its own token must have
    /// left already.
    pub(crate) fn trimmed(&self, lineage: &Lineage) -> Lineage {
        if lineage.iter().all(|branch| self.forks.contains_key(&branch.fork)) {
            return lineage.clone();
        }
        lineage.iter().filter(|branch| self.forks.contains_key(&branch.fork)).cloned().collect()
    }

    /// Returns a step whose held tokens nothing holds any more, if there is one; in order of rank. It stays the next
    /// until its tokens are taken.
    pub(crate) fn next_to_fire(&mut self, graph: &Graph) -> Option<StepIx> {
        while let Some((rank, step)) = self.unsettled.first().copied() {
            if self.find_witness(step, graph).is_none() {
                return Some(step);
            }
            self.unsettled.remove(&(rank, step));
        }
        None
    }

    fn find_witness(&mut self, step: StepIx, graph: &Graph) -> Option<u64> {
        let watch = self.joins.get_mut(&step)?;
        let groups_at = |step: StepIx| self.groups_at.get(slot(step)).into_iter().flatten();
        if self.occupied <= 1 && groups_at(step).all(|id| self.groups[id].0.held) {
            // Nobody else is under way: no need to know who could come.
            return None;
        }
        let sources = graph.sources(step);
        let holds = |key: &GroupKey| {
            !(key.held && key.step == step)
                && sources.contains(key.step, key.held)
                && watch.lineages.iter().any(|waiting| is_held_by(waiting, &key.lineage, step, graph))
        };
        let found = if sources.steps().len() < self.occupied {
            let groups = sources.steps().flat_map(groups_at);
            groups.copied().find(|id| holds(&self.groups[id].0))
        } else {
            let found = self.groups.range(watch.cursor..).find(|(_, (key, _))| holds(key)).map(|(id, _)| *id);
            watch.cursor = found.unwrap_or(self.next_group);
            found
        };
        watch.witness = found;
        if let Some(id) = found {
            self.witnesses.entry(id).or_default().push(step);
        }
        found
    }

    /// Returns the step that goes first when every live token is held: one that cannot leave its loop, among
    /// equals the one with the earliest arrival.
    pub(crate) fn first_of_stuck(&self, graph: &Graph) -> Option<StepIx> {
        self.joins
            .iter()
            .filter_map(|(step, watch)| Some((!graph.is_bound_to_loop(*step), *watch.held.first()?, *step)))
            .min()
            .map(|(_, _, step)| step)
    }

    /// Forgets what was found out about who can come where: there are new ways.
    pub(crate) fn forget_ways(&mut self, graph: &Graph) {
        self.feeders.clear();
        self.witnesses.clear();
        self.unsettled.clear();
        for (step, watch) in &mut self.joins {
            watch.cursor = 0;
            watch.witness = None;
            watch.rank = graph.rank(*step);
            self.unsettled.insert((watch.rank, *step));
        }
    }

    /// Returns whether tokens stand at the step, not yet part of an execution.
    pub(crate) fn has_arrived_at(&self, step: StepIx) -> bool {
        self.arrived_at.get(slot(step)).is_some_and(|count| *count > 0)
    }

    /// Returns whether a live token, other than those held or blocked at `waiting` itself, can still come to
    /// `needed`. `others_here`: executions of `waiting` are under way.
    ///
    /// The group that was found is remembered, so that asking again costs nothing while it lives.
    pub(crate) fn can_come(
        &mut self,
        waiting: StepIx,
        others_here: bool,
        needed: StepIx,
        graph: &Graph,
    ) -> bool {
        let pair = (waiting, needed);
        let known = self.feeders.get(&pair).and_then(|group| self.groups.get(group));
        if known.is_some_and(|(key, _)| key.step != waiting) {
            return true;
        }
        let ways = graph.ways_to(needed);
        let counts = |key: &GroupKey| key.step != waiting || (others_here && !key.held);
        let feeds =
            |key: &GroupKey| counts(key) && graph.goes_on_at(key.step).is_some_and(|step| ways[step.at()]);
        let found = self.groups.iter().find(|(_, (key, _))| feeds(key)).map(|(id, _)| *id);
        match found {
            Some(group) => self.feeders.insert(pair, group),
            None => self.feeders.remove(&pair),
        };
        found.is_some()
    }

    /// Returns the steps with held tokens, and how many.
    pub(crate) fn held(&self) -> impl Iterator<Item = (StepIx, usize)> + '_ {
        self.joins.iter().map(|(step, watch)| (*step, watch.held.len()))
    }

    /// Marks arrived tokens that can still come to `step` as late for it.
    pub(crate) fn mark_late(&mut self, step: StepIx, graph: &Graph) {
        let sources = graph.sources(step);
        for token in self.arrived.values_mut() {
            if sources.contains(token.step, true) && !token.late.contains(&step) {
                token.late.push(step);
            }
        }
    }
}

/// Returns what a table by step has for one.
fn at_step<T: Default>(table: &mut Vec<T>, step: StepIx) -> &mut T {
    let slot = slot(step);
    if table.len() <= slot {
        table.resize_with(slot + 1, T::default);
    }
    &mut table[slot]
}

/// Returns the place of a step, or of the child runs that it names, in a table by step.
fn slot(step: StepIx) -> usize {
    match step.named_by() {
        Some(step) => 2 * step.at() + 1,
        None => 2 * step.at(),
    }
}

/// Returns whether a token with lineage `other` that can reach `step` holds one with lineage `waiting` there:
/// always, unless they parted at a fork and the other's branch leads to `step` only through that fork again
/// (the *next round*).
fn is_held_by(waiting: &Lineage, other: &Lineage, step: StepIx, graph: &Graph) -> bool {
    match parted_at(waiting, other) {
        None => true,
        Some(branch) => branch.targets.iter().any(|target| graph.leads_around(*target, step, branch.at)),
    }
}

/// Returns the other's branch at the fork where two tokens parted: the outermost fork at which they share no
/// branch, else the innermost they have in common (branches to one step with different payloads).
fn parted_at<'a>(waiting: &Lineage, other: &'a Lineage) -> Option<&'a Branch> {
    let mut common = None;
    for theirs in other.iter() {
        let Ok(at) = waiting.binary_search_by_key(&theirs.fork, |branch| branch.fork) else { continue };
        common = Some(theirs);
        if !waiting[at].targets.iter().any(|target| theirs.targets.contains(target)) {
            break;
        }
    }
    common
}

/// Returns the lineage of a token that goes one branch of a fork.
pub(crate) fn branch_off(lineage: &Lineage, fork: u32, at: StepIx, target: StepIx) -> Lineage {
    let branch = Branch { fork, at, targets: vec![target] };
    let place = lineage.partition_point(|b| b.fork < fork);
    let mut list = lineage.to_vec();
    list.insert(place, branch);
    list.into()
}

/// Returns the lineage of several tokens that became one.
pub(crate) fn unite(tokens: &[Token]) -> Lineage {
    let Some((first, rest)) = tokens.split_first() else { return Lineage::default() };
    if rest.iter().all(|token| token.lineage == first.lineage) {
        return first.lineage.clone();
    }
    let mut forks: BTreeMap<u32, (StepIx, BTreeSet<StepIx>)> = BTreeMap::new();
    for branch in tokens.iter().flat_map(|token| token.lineage.iter()) {
        forks.entry(branch.fork).or_insert((branch.at, BTreeSet::new())).1.extend(&branch.targets);
    }
    forks
        .into_iter()
        .map(|(fork, (at, targets))| Branch { fork, at, targets: targets.into_iter().collect() })
        .collect()
}
