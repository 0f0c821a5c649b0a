//! Runs that wait for runs, over generations: what they tell each other comes late, twice and out of order. Once all
//! of it has come, every run is paused for input exactly if only input can move it (DESIGN §3, Waits).

use std::collections::BTreeMap;

use serde_json::json;
use stepwell_core::ids::RunId;
use stepwell_core::run::command::{Command, Create, Suspend};
use stepwell_core::run::wait::{WaitKind, WaitSpec};
use stepwell_core::run::{Message, MessageBody};
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::definition::{Definition, Step};

use crate::support::{Rng, World, answer, child, complete, question, seeds, wait_for};

/// Children have children no deeper than this.
const GENERATIONS: u32 = 3;

struct Family {
    seed: u64,
    rng: Rng,
    runs: BTreeMap<RunId, World>,
    /// On their way, in no order.
    post: Vec<Message>,
    /// Nobody asks anything new.
    winding_up: bool,
}

impl Family {
    fn begin(seed: u64) -> Self {
        let mut family =
            Self { seed, rng: Rng::new(seed), runs: BTreeMap::new(), post: Vec::new(), winding_up: false };
        let world = World::named("run_root", definition());
        let create = Create::new(world.run.id().clone(), world.run.workflow().clone());
        family.runs.insert(world.run.id().clone(), world);
        family.submit(&"run_root".into(), &Command::Create(Box::new(create)));
        family
    }

    /// Submits a command; a refusal is nothing to these stories.
    fn submit(&mut self, run: &RunId, command: &Command) {
        let world = self.runs.get_mut(run).expect("the run is known");
        if let Ok(decision) = world.submit(command) {
            self.post.extend(decision.messages);
        }
    }

    /// Lets a step of a run do something: ask, sleep, start child runs, end.
    fn work(&mut self, run: &RunId) {
        let world = self.runs.get_mut(run).expect("the run is known");
        if world.ready().is_empty() || world.status() == RunStatus::Paused {
            return;
        }
        let depth = world.run.parent().map_or(0, |parent| parent.depth);
        let attempt = world.take("a");
        let position = world.run.all_waits().count() as u32;
        if self.winding_up || self.rng.chance(20) {
            self.submit(run, &complete(&attempt, json!(1), Vec::new()));
            return;
        }
        let count = 1 + self.rng.below(2) as u32;
        let deadline = Some(world.now.plus_ms(50));
        let rng = &mut self.rng;
        let waits = (position..position + count).map(|position| match rng.below(5) {
            0 => WaitSpec { deadline, ..wait_for(position, WaitKind::Timer) },
            1 | 2 if depth < GENERATIONS => child(position),
            _ => question(position),
        });
        let waits = waits.collect();
        self.submit(run, &Command::Suspend(Suspend { attempt, waits }));
    }

    /// Delivers a message, and keeps it for a second time now and then.
    fn deliver(&mut self) {
        if self.post.is_empty() {
            return;
        }
        let at = self.rng.below(self.post.len());
        let message = self.post[at].clone();
        let is_start = matches!(message.body, MessageBody::StartChild { .. });
        if !is_start && !self.runs.contains_key(&message.target) {
            return;
        }
        if self.winding_up || self.rng.chance(75) {
            self.post.remove(at);
        }
        let command = match message.body {
            MessageBody::StartChild { parent, .. } => {
                let world = self
                    .runs
                    .entry(message.target.clone())
                    .or_insert_with(|| World::named(message.target.as_str(), definition()));
                let create = Create::new(message.target.clone(), world.run.workflow().clone());
                Command::Create(Box::new(Create { parent: Some(parent), ..create }))
            }
            MessageBody::CancelChild => Command::Cancel { reason: None },
            MessageBody::EndChild { wait, output, error } => {
                let outcome = output.ok_or_else(|| error.expect("a child that did not complete says why"));
                Command::EndChild { wait, outcome }
            }
            MessageBody::NoteChild { wait, turn, paused } => Command::NoteChild { wait, turn, paused },
        };
        self.submit(&message.target, &command);
    }

    fn any_run(&mut self) -> RunId {
        let ids: Vec<RunId> = self.runs.keys().cloned().collect();
        self.rng.pick(&ids).clone()
    }

    fn turn(&mut self) {
        let run = self.any_run();
        match self.rng.below(10) {
            0..=3 => self.deliver(),
            4..=6 => self.work(&run),
            7 => self.answer(&run),
            8 => self.fire(&run),
            _ => match self.rng.below(6) {
                0 => self.submit(&run, &Command::Pause { reason: None }),
                1 if self.rng.chance(20) => self.submit(&run, &Command::Cancel { reason: None }),
                _ => self.submit(&run, &Command::Resume { reason: None, answer: None }),
            },
        }
    }

    fn answer(&mut self, run: &RunId) {
        let open = self.runs[run].run.open_waits();
        let question = open.iter().find(|wait| matches!(wait.spec.kind, WaitKind::Human(_)));
        if let Some(wait) = question.map(|wait| wait.id.clone()) {
            self.submit(run, &answer(&wait, json!("yes")));
        }
    }

    fn fire(&mut self, run: &RunId) {
        let world = self.runs.get_mut(run).expect("the run is known");
        if let Some((timer, at)) = world.run.due().timers.first().cloned() {
            world.now = world.now.max(at);
            self.submit(run, &Command::FireTimer { timer });
        }
    }

    fn deliver_all(&mut self) {
        while !self.post.is_empty() {
            self.deliver();
        }
    }

    /// Every word has come: each run knows how its children stand, and so how it stands itself.
    fn all_know(&self) {
        for (id, world) in &self.runs {
            let run = &world.run;
            if run.status().is_terminal() || run.pause_reason() == Some(PauseReason::Operator) {
                continue;
            }
            let open = run.open_waits();
            let asks = open.iter().all(|wait| match &wait.spec.kind {
                WaitKind::Human(_) | WaitKind::Signal { .. } => true,
                WaitKind::Timer => false,
                WaitKind::Child(child) => {
                    self.runs[&child.run].run.pause_reason() == Some(PauseReason::Input)
                }
            });
            let only_input = asks && !open.is_empty() && run.due().work.is_empty();
            assert_eq!(
                run.pause_reason() == Some(PauseReason::Input),
                only_input,
                "seed {}: run {id} is {}; it waits for {open:?}",
                self.seed,
                run.status()
            );
        }
    }

    /// Lets everything go on until nothing is left to do.
    fn wind_up(&mut self) {
        self.winding_up = true;
        while self.runs.values().any(|world| !world.run.status().is_terminal()) {
            self.deliver_all();
            for run in self.runs.keys().cloned().collect::<Vec<_>>() {
                self.submit(&run, &Command::Resume { reason: None, answer: None });
                self.answer(&run);
                self.fire(&run);
                self.work(&run);
            }
        }
    }
}

fn definition() -> Definition {
    Definition::new("member", vec![Step::function("a").next(&[])])
}

fn play(seed: u64) {
    let mut family = Family::begin(seed);
    for _ in 0..8 {
        for _ in 0..15 {
            family.turn();
        }
        family.deliver_all();
        family.all_know();
    }
    family.wind_up();
}

#[test]
fn a_parent_is_paused_for_input_exactly_while_its_children_are() {
    for seed in seeds(400) {
        play(seed);
    }
}
