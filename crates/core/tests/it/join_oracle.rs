//! The join rule of spec/fluffy.md §2.3 asked naively, as the oracle: branches by index, lineages never
//! trimmed, every pair of live tokens looked at after every move. Random routed graphs are driven through it and
//! through the engine; after each completion both must have activated, held and absorbed the same.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_core::run::event::{Activation, Event, Target};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, END, Join, Step, Successors};

use crate::support::{Rng, World, complete, seeds};

/// A routed graph; `next: None` is opaque.
struct Shape {
    next: Vec<Option<Vec<usize>>>,
    /// `END` is among the declared successors.
    ends: Vec<bool>,
    join: Vec<Join>,
    entry: Vec<bool>,
}

impl Shape {
    fn random(rng: &mut Rng) -> Self {
        let count = 2 + rng.below(8);
        let plain = rng.chance(50);
        let mut shape = Self { next: Vec::new(), ends: Vec::new(), join: Vec::new(), entry: Vec::new() };
        for i in 0..count {
            let opaque = !plain && rng.chance(6);
            let wanted = 1 + rng.below(3);
            // Mostly forward, so that branches meet; sometimes back, so that there are loops.
            let target = |rng: &mut Rng| {
                if rng.chance(70) { (i + 1 + rng.below(3)).min(count - 1) } else { rng.below(count) }
            };
            let mut next: Vec<usize> = (0..wanted).map(|_| target(rng)).collect();
            next.sort_unstable();
            next.dedup();
            shape.next.push((!opaque).then_some(next));
            shape.ends.push(rng.chance(40));
            shape.join.push(match rng.below(if plain { 1 } else { 12 }) {
                10 => Join::Each,
                11 => Join::Any,
                _ => Join::All,
            });
            shape.entry.push(i == 0 || (!plain && rng.chance(8)));
        }
        shape
    }

    fn definition(&self) -> Definition {
        let step = |i: usize| {
            let mut step = Step::function(&name(i));
            if let Some(next) = &self.next[i] {
                let mut names: Vec<String> = next.iter().map(|i| name(*i)).collect();
                if self.ends[i] {
                    names.push(END.into());
                }
                step = step.next(&names.iter().map(String::as_str).collect::<Vec<_>>());
            } else {
                step.next = Successors::Unknown;
            }
            step.join = self.join[i];
            step.entry = self.entry[i];
            step
        };
        let mut definition = Definition::new("graph", (0..self.next.len()).map(step).collect());
        definition.max_steps = 500;
        definition
    }

    fn count(&self) -> usize {
        self.next.len()
    }

    fn out(&self, step: usize) -> Vec<usize> {
        self.next[step].clone().unwrap_or_else(|| (0..self.count()).collect())
    }

    /// Returns whether a way of at least one move leads from one step to another, through no step that is barred.
    fn leads(&self, from: usize, to: usize, barred: impl Fn(usize) -> bool) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from];
        while let Some(step) = todo.pop() {
            if step != from && barred(step) {
                continue;
            }
            for next in self.out(step) {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        false
    }

    fn share_a_loop(&self, a: usize, b: usize) -> bool {
        (a == b && self.leads(a, a, |_| false))
            || (a != b && self.leads(a, b, |_| false) && self.leads(b, a, |_| false))
    }

    fn is_on_loop(&self, step: usize) -> bool {
        self.leads(step, step, |_| false)
    }

    /// Returns whether a step on a loop can leave it.
    fn can_leave(&self, step: usize) -> bool {
        match &self.next[step] {
            None => true,
            Some(next) => {
                self.ends[step] || next.is_empty() || next.iter().any(|to| !self.share_a_loop(step, *to))
            }
        }
    }

    fn is_bound(&self, step: usize) -> bool {
        self.is_on_loop(step) && !self.can_leave(step)
    }

    /// Returns whether a token at `from` can come to `target`, with the exception of the way out.
    fn can_reach(&self, from: usize, is_held: bool, target: usize) -> bool {
        let bound = self.is_bound(target);
        let is_exit = |step: usize| bound && self.share_a_loop(step, target) && self.can_leave(step);
        if is_held && is_exit(from) {
            return false;
        }
        self.leads(from, target, is_exit)
    }

    /// Returns whether the branch that begins at `from` leads to `to` without passing the fork.
    fn leads_around(&self, from: usize, to: usize, fork: usize) -> bool {
        from == to || (from != fork && self.leads(from, to, |step| step == fork))
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    /// Arrived, part of no execution.
    Held,
    /// In that execution.
    In(u32),
}

#[derive(Clone, Debug)]
struct Token {
    id: u32,
    step: usize,
    place: Place,
    /// Fork execution → branches (index, first step) taken there.
    lineage: BTreeMap<u32, BTreeSet<(usize, usize)>>,
    late: BTreeSet<usize>,
    has_payload: bool,
}

struct Oracle<'s> {
    shape: &'s Shape,
    tokens: Vec<Token>,
    /// Step of each execution, in order of activation.
    executions: Vec<usize>,
    next_token: u32,
    /// What has happened since last asked: activated and absorbed steps.
    activated: Vec<usize>,
    absorbed: Vec<usize>,
}

impl<'s> Oracle<'s> {
    fn start(shape: &'s Shape) -> Self {
        let mut oracle = Self {
            shape,
            tokens: Vec::new(),
            executions: Vec::new(),
            next_token: 0,
            activated: Vec::new(),
            absorbed: Vec::new(),
        };
        for step in (0..shape.count()).filter(|step| shape.entry[*step]) {
            let token = Token {
                id: u32::MAX,
                step,
                place: Place::Held,
                lineage: BTreeMap::new(),
                late: BTreeSet::new(),
                has_payload: false,
            };
            oracle.activate(step, &[token], false);
        }
        oracle
    }

    fn activate(&mut self, step: usize, united: &[Token], is_routed: bool) {
        let execution = self.executions.len() as u32;
        self.executions.push(step);
        self.activated.push(step);
        let mut lineage: BTreeMap<u32, BTreeSet<(usize, usize)>> = BTreeMap::new();
        for (fork, branches) in united.iter().flat_map(|token| &token.lineage) {
            lineage.entry(*fork).or_default().extend(branches);
        }
        let late = united.iter().map(|token| token.late.clone()).reduce(|a, b| &a & &b).unwrap_or_default();
        if is_routed && self.shape.join[step] == Join::Any {
            for token in &mut self.tokens {
                if self.shape.can_reach(token.step, token.place == Place::Held, step) {
                    token.late.insert(step);
                }
            }
        }
        let place = Place::In(execution);
        self.tokens.push(Token { id: u32::MAX, step, place, lineage, late, has_payload: false });
    }

    fn complete(&mut self, execution: u32, to: &[(usize, bool)]) {
        let at = self.tokens.iter().position(|t| t.place == Place::In(execution)).expect("it is live");
        let gone = self.tokens.remove(at);
        let mut arrived = Vec::new();
        for (index, (target, has_payload)) in to.iter().enumerate() {
            let mut lineage = gone.lineage.clone();
            if to.len() > 1 {
                lineage.insert(execution, BTreeSet::from([(index, *target)]));
            }
            let id = self.next_token;
            self.next_token += 1;
            arrived.push(id);
            let late = gone.late.clone();
            self.tokens.push(Token {
                id,
                step: *target,
                place: Place::Held,
                lineage,
                late,
                has_payload: *has_payload,
            });
        }
        for id in arrived {
            let Some(at) = self.tokens.iter().position(|t| t.id == id) else { continue };
            let token = self.tokens[at].clone();
            if token.late.contains(&token.step) {
                self.tokens.remove(at);
                self.absorbed.push(token.step);
            } else if token.has_payload || self.shape.join[token.step] != Join::All {
                self.tokens.remove(at);
                self.activate(token.step, &[token], true);
            }
        }
        self.fire();
    }

    fn held_at(&self, step: usize) -> Vec<Token> {
        self.tokens.iter().filter(|t| t.step == step && t.place == Place::Held).cloned().collect()
    }

    fn holds(&self, waiting: &Token, other: &Token) -> bool {
        let target = waiting.step;
        if other.step == target && other.place == Place::Held {
            return false;
        }
        if !self.shape.can_reach(other.step, other.place == Place::Held, target) {
            return false;
        }
        let parted = waiting.lineage.iter().find_map(|(fork, ours)| {
            let theirs = other.lineage.get(fork)?;
            ours.is_disjoint(theirs).then_some((fork, theirs))
        });
        let Some((fork, theirs)) = parted else { return true };
        let fork = self.executions[*fork as usize];
        theirs.iter().any(|(_, first)| self.shape.leads_around(*first, target, fork))
    }

    fn fire(&mut self) {
        loop {
            let free = (0..self.shape.count()).find(|step| {
                let held = self.held_at(*step);
                !held.is_empty()
                    && !held.iter().any(|waiting| self.tokens.iter().any(|other| self.holds(waiting, other)))
            });
            let all_held = self.tokens.iter().all(|t| t.place == Place::Held);
            let stuck = || {
                let held = self.tokens.iter().filter(|t| t.place == Place::Held && all_held);
                held.map(|t| (!self.shape.is_bound(t.step), t.id, t.step)).min().map(|(_, _, step)| step)
            };
            let Some(step) = free.or_else(stuck) else { return };
            let united = self.held_at(step);
            self.tokens.retain(|t| !(t.step == step && t.place == Place::Held));
            self.activate(step, &united, true);
        }
    }

    fn held(&self) -> BTreeMap<String, usize> {
        let mut held = BTreeMap::new();
        for token in self.tokens.iter().filter(|t| t.place == Place::Held) {
            *held.entry(name(token.step)).or_default() += 1;
        }
        held
    }
}

fn name(step: usize) -> String {
    format!("n{step}")
}

fn index(name: &str) -> usize {
    name[1..].parse().expect("named by its number")
}

fn play(seed: u64) {
    let mut rng = Rng::new(seed);
    let shape = Shape::random(&mut rng);
    let mut oracle = Oracle::start(&shape);
    let mut world = World::of(shape.definition());
    let turns = 10 + rng.below(40);
    for turn in 0.. {
        let activated = std::mem::take(&mut oracle.activated);
        let absorbed = std::mem::take(&mut oracle.absorbed);
        let told = |event: &Event| match event {
            Event::StepActivated { step, .. } => Some(index(step.as_str())),
            _ => None,
        };
        let late = |event: &Event| match event {
            Event::TokenAbsorbed { step, .. } => Some(index(step.as_str())),
            _ => None,
        };
        let events = &world.last.events;
        let context = || {
            let edges: Vec<_> =
                (0..shape.count()).map(|i| (i, &shape.next[i], shape.ends[i], shape.join[i])).collect();
            format!("seed {seed}, turn {turn}: {edges:?}\n tokens {:#?}", oracle.tokens)
        };
        assert_eq!(events.iter().filter_map(told).collect::<Vec<_>>(), activated, "activated, {}", context());
        assert_eq!(events.iter().filter_map(late).collect::<Vec<_>>(), absorbed, "absorbed, {}", context());
        let held: BTreeMap<String, usize> =
            world.run.held().into_iter().map(|(s, n)| (s.to_owned(), n)).collect();
        assert_eq!(held, oracle.held(), "held, {}", context());
        assert!(!events.iter().any(|e| matches!(e, Event::StepActivated { by: Activation::Needs(_), .. })));

        let ready = world.ready();
        if ready.is_empty() || oracle.executions.len() > 120 {
            assert!(world.status() == RunStatus::Completed || !ready.is_empty(), "{}", context());
            return;
        }
        let work = rng.pick(&ready).clone();
        let step = index(work.execution.step.as_str());
        let to = if turn < turns { route(&shape, step, &mut rng) } else { Vec::new() };
        let ix = world
            .run
            .executions()
            .iter()
            .position(|e| e.step == work.execution.step && e.ordinal == work.execution.ordinal);
        oracle.complete(ix.expect("it exists") as u32, &to);
        let targets = to.iter().map(|(step, has_payload)| {
            if *has_payload { Target::with_payload(&name(*step), 1) } else { Target::to(&name(*step)) }
        });
        let attempt = world.lease(&work.execution, work.attempt);
        world.ok(complete(&attempt, serde_json::Value::Null, targets.collect()));
    }
}

/// Chooses where a step leads: nothing, one, several; some with a payload, some of these to one step.
fn route(shape: &Shape, step: usize, rng: &mut Rng) -> Vec<(usize, bool)> {
    if rng.chance(if shape.ends[step] { 25 } else { 4 }) {
        return Vec::new();
    }
    let choices = shape.out(step);
    let wanted = if rng.chance(55) { choices.len() } else { 1 };
    let with_payload = rng.chance(8);
    let mut to: Vec<(usize, bool)> = Vec::new();
    for _ in 0..wanted.min(4) {
        let target = *rng.pick(&choices);
        let has_payload = with_payload && rng.chance(70);
        if has_payload || !to.contains(&(target, false)) {
            to.push((target, has_payload));
        }
    }
    to
}

#[test]
fn joins_fire_exactly_when_the_naive_rule_says() {
    for seed in seeds(1_500) {
        play(seed);
    }
}
