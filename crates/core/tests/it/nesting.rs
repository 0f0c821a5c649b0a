//! Random nestings of sequence, fork with join, and loop, as a structured program would run them: each step
//! exactly as often as the structure says, under any order of completions (spec/fluffy.md §2.3, A10).

use std::collections::BTreeMap;

use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, END, Step};

use crate::support::{Rng, World, seeds};

/// A structured program.
enum Program {
    Step,
    Sequence(Vec<Program>),
    /// Branches between a fork and a join; none: the fork leads to the join at once.
    Fork(Vec<Option<Program>>),
    /// The body, so many rounds; `own_check`: a step of its own decides, else the last step of the body.
    Loop {
        body: Box<Program>,
        rounds: u32,
        own_check: bool,
    },
}

fn program(rng: &mut Rng, depth: usize) -> Program {
    if depth == 0 {
        return Program::Step;
    }
    match rng.below(4) {
        0 => Program::Step,
        1 => Program::Sequence((0..2 + rng.below(2)).map(|_| program(rng, depth - 1)).collect()),
        2 => {
            let mut branches: Vec<Option<Program>> =
                (0..2 + rng.below(2)).map(|_| Some(program(rng, depth - 1))).collect();
            if rng.chance(15) {
                branches[0] = None;
            }
            Program::Fork(branches)
        }
        _ => Program::Loop {
            body: Box::new(program(rng, depth - 1)),
            rounds: 1 + rng.below(3) as u32,
            own_check: rng.chance(60),
        },
    }
}

/// A step of the lowered program.
struct Node {
    next: Vec<usize>,
    /// Ways back: after each execution but every so manyth, inner loops first.
    backs: Vec<(u32, usize)>,
    expected: u32,
}

#[derive(Default)]
struct Lowered {
    nodes: Vec<Node>,
}

impl Lowered {
    fn node(&mut self, next: Vec<usize>, times: u32) -> usize {
        self.nodes.push(Node { next, backs: Vec::new(), expected: times });
        self.nodes.len() - 1
    }

    /// Lowers a program that goes on to `next`; returns its first and its last step.
    fn lower(&mut self, program: &Program, next: Option<usize>, times: u32) -> (usize, usize) {
        match program {
            Program::Step => {
                let step = self.node(next.into_iter().collect(), times);
                (step, step)
            }
            Program::Sequence(parts) => {
                let (mut first, mut last) = (next, None);
                for part in parts.iter().rev() {
                    let (begin, end) = self.lower(part, first, times);
                    first = Some(begin);
                    last.get_or_insert(end);
                }
                (first.expect("a sequence has parts"), last.expect("a sequence has parts"))
            }
            Program::Fork(branches) => {
                let join = self.node(next.into_iter().collect(), times);
                let lowered = branches
                    .iter()
                    .map(|branch| {
                        branch.as_ref().map_or(join, |branch| self.lower(branch, Some(join), times).0)
                    })
                    .collect();
                (self.node(lowered, times), join)
            }
            Program::Loop { body, rounds, own_check } => {
                let times = times * rounds;
                let check = own_check.then(|| self.node(next.into_iter().collect(), times));
                let (first, last) = self.lower(body, check.or(next), times);
                let decides = check.unwrap_or(last);
                self.nodes[decides].backs.push((*rounds, first));
                (first, decides)
            }
        }
    }

    /// Where a step leads on its execution with that ordinal, counted from 1.
    fn route(&self, step: usize, ordinal: u32) -> Vec<usize> {
        let mut round = ordinal;
        for (rounds, back) in &self.nodes[step].backs {
            if !round.is_multiple_of(*rounds) {
                return vec![*back];
            }
            round /= rounds;
        }
        self.nodes[step].next.clone()
    }

    fn definition(&self, entry: usize, rng: &mut Rng) -> Definition {
        let step = |(i, node): (usize, &Node)| {
            let mut next: Vec<String> =
                node.next.iter().chain(node.backs.iter().map(|b| &b.1)).map(|step| name(*step)).collect();
            if node.next.is_empty() {
                next.push(END.to_owned());
            }
            let names: Vec<&str> = next.iter().map(String::as_str).collect();
            let mut step = Step::function(&name(i)).next(&names);
            step.entry = i == entry;
            step
        };
        let mut steps: Vec<Step> = self.nodes.iter().enumerate().map(step).collect();
        // The order of definition must not matter.
        for i in (1..steps.len()).rev() {
            steps.swap(i, rng.below(i + 1));
        }
        Definition::new("nesting", steps)
    }
}

fn name(step: usize) -> String {
    format!("n{step}")
}

fn play(seed: u64) {
    let mut rng = Rng::new(seed);
    let depth = 2 + rng.below(4);
    let program = program(&mut rng, depth);
    let mut lowered = Lowered::default();
    let (entry, _) = lowered.lower(&program, None, 1);
    if lowered.nodes.iter().map(|node| node.expected).sum::<u32>() > 2_000 {
        return;
    }
    let mut world = World::of(lowered.definition(entry, &mut rng));
    while !world.run.status().is_terminal() {
        let ready = world.ready();
        assert!(!ready.is_empty(), "seed {seed}: nothing can move; held: {:?}", world.run.held());
        let work = rng.pick(&ready).clone();
        let step: usize = work.execution.step.as_str()[1..].parse().expect("named by its number");
        let attempt = world.lease(&work.execution, work.attempt);
        let route = lowered.route(step, work.execution.ordinal.0);
        let to = route.iter().map(|step| stepwell_core::run::event::Target::to(&name(*step))).collect();
        world.ok(crate::support::complete(&attempt, serde_json::Value::Null, to));
    }
    assert_eq!(world.status(), RunStatus::Completed, "seed {seed}");
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for execution in world.run.executions() {
        *counts.entry(execution.step.as_str()).or_default() += 1;
    }
    for (i, node) in lowered.nodes.iter().enumerate() {
        let count = counts.get(name(i).as_str()).copied().unwrap_or(0);
        let shape: Vec<_> = lowered.nodes.iter().enumerate().map(|(i, n)| (i, &n.next, &n.backs)).collect();
        assert_eq!(count, node.expected, "seed {seed}: step {i} of entry {entry} in {shape:?}");
    }
}

#[test]
fn a10_every_step_of_a_random_nesting_runs_as_often_as_the_structure_says() {
    for seed in seeds(400) {
        play(seed);
    }
}
