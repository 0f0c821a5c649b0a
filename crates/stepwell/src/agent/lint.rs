//! What an agent can do and was hardly meant to: read from its definition, changing nothing.
//!
//! One function a finding. Functions cannot be read, so what a state without a declared `next` leads to is not known, nor
//! what it does before a question.

use std::collections::HashMap;
use std::fmt;

use stepwell_core::workflow::definition::{Join, Lifecycle, NeedKind, OnFailure, Step};
use stepwell_core::workflow::{Graph, Role, StepIx, Workflow};
use stepwell_engine::Engine;

/// Something that an agent can do and was hardly meant to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintFinding {
    /// What kind it is, for programs.
    pub code: &'static str,
    /// The state it is about.
    pub step: String,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl fmt::Display for LintFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.code, self.message, self.hint)
    }
}

/// Returns all findings, in order of definition within each kind.
pub(super) fn lint(workflow: &Workflow, engine: &Engine) -> Vec<LintFinding> {
    let linter = Linter { steps: &workflow.definition().steps, graph: workflow.graph(), engine };
    let kinds = [
        Linter::unreachable,
        Linter::first_added_is_entry,
        Linter::entry_hidden,
        Linter::opaque_join,
        Linter::shared_handler,
        Linter::loop_entered_twice,
        Linter::needs_outside_loop,
        Linter::needs_and_route,
        Linter::advisory_resource,
    ];
    kinds.iter().flat_map(|kind| kind(&linter)).collect()
}

struct Linter<'a> {
    steps: &'a [Step],
    graph: &'a Graph,
    engine: &'a Engine,
}

impl Linter<'_> {
    fn unreachable(&self) -> Vec<LintFinding> {
        let begins = |step: &StepIx| match self.graph.role(*step) {
            Role::Entry => true,
            Role::ByNeeds => self.step(*step).needs.iter().all(|need| is_met_by_nothing(need.kind)),
            Role::ByRoute | Role::Element => false,
        };
        let reached = self.reached_from(self.all().filter(begins));
        let none = self.all().filter(|step| !reached[step.at()]);
        none.map(|step| LintFinding {
            code: "unreachable",
            step: self.name(step),
            message: format!("nothing that begins with the run leads to state '{}'", self.name(step)),
            hint: "name it in the `next` of a state, mark it with `entry`, or remove it",
        })
        .collect()
    }

    fn first_added_is_entry(&self) -> Vec<LintFinding> {
        let is_natural =
            |step: StepIx| self.step(step).needs.is_empty() && self.leading_to(step).next().is_none();
        let fallback = self.graph.entries().filter(|step| !self.step(*step).entry && !is_natural(*step));
        fallback
            .map(|step| LintFinding {
                code: "first_added_is_entry",
                step: self.name(step),
                message: format!("state '{}' begins because it was added first", self.name(step)),
                hint: "mark it with `entry`, or declare the `next` of the others",
            })
            .collect()
    }

    fn entry_hidden(&self) -> Vec<LintFinding> {
        if self.steps.iter().any(|step| step.entry) {
            return Vec::new();
        }
        let hiding = |step: StepIx| {
            let mut leading = self.leading_to(step);
            let first = leading.next().filter(|_| self.step(step).needs.is_empty())?;
            (self.is_opaque(first) && leading.all(|other| self.is_opaque(other))).then_some(first)
        };
        let hidden = self.all().filter(|step| self.graph.role(*step) != Role::Entry);
        hidden
            .filter_map(|step| Some((step, hiding(step)?)))
            .map(|(step, by)| LintFinding {
                code: "entry_hidden",
                step: self.name(step),
                message: format!(
                    "state '{}' does not begin with the run, since '{}' may lead to it",
                    self.name(step),
                    self.name(by)
                ),
                hint: "mark it with `entry` if it is one, or declare the `next` of the other",
            })
            .collect()
    }

    fn opaque_join(&self) -> Vec<LintFinding> {
        let forks = |step: &StepIx| self.graph.out(*step).is_some_and(|out| out.len() > 1);
        let behind_a_fork = self.reached_from(self.all().filter(forks));
        let opaque = self.all().filter(|step| self.is_opaque(*step) && behind_a_fork[step.at()]);
        opaque
            .map(|step| LintFinding {
                code: "opaque_join",
                step: self.name(step),
                message: format!(
                    "every merge beside state '{}' waits until it has ended, since it may lead anywhere",
                    self.name(step)
                ),
                hint: "declare its `next`",
            })
            .collect()
    }

    fn shared_handler(&self) -> Vec<LintFinding> {
        let mut failing: HashMap<&str, usize> = HashMap::new();
        for step in self.steps {
            if let OnFailure::Route(handler) = &step.on_failure {
                *failing.entry(handler.as_str()).or_default() += 1;
            }
        }
        let is_shared = |step: &StepIx| {
            let step = self.step(*step);
            step.join == Join::All && failing.get(step.name.as_str()).is_some_and(|count| *count > 1)
        };
        self.all()
            .filter(is_shared)
            .map(|step| LintFinding {
                code: "shared_handler",
                step: self.name(step),
                message: format!("state '{}' takes failures of several branches together", self.name(step)),
                hint: "`join(Join::Each)` lets it take each one at once",
            })
            .collect()
    }

    fn loop_entered_twice(&self) -> Vec<LintFinding> {
        // What may lead anywhere makes a loop of everything.
        if self.graph.is_opaque() {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut way_in: HashMap<u32, StepIx> = HashMap::new();
        for step in self.all() {
            let Some(number) = self.graph.loop_of(step) else { continue };
            let outside = |other: StepIx| self.graph.loop_of(other) != Some(number);
            let is_way_in = self.graph.role(step) == Role::Entry || self.leading_to(step).any(outside);
            if !is_way_in {
                continue;
            }
            let Some(first) = way_in.get(&number) else {
                way_in.insert(number, step);
                continue;
            };
            findings.push(LintFinding {
                code: "loop_entered_twice",
                step: self.name(step),
                message: format!(
                    "the loop of state '{}' is entered there and at '{}'; what its merges wait for depends on who comes first",
                    self.name(step),
                    self.name(*first)
                ),
                hint: "lead every way in to one state of the loop",
            });
        }
        findings
    }

    fn needs_outside_loop(&self) -> Vec<LintFinding> {
        let mut findings = Vec::new();
        for step in self.steps {
            for need in step.needs.iter().filter(|need| need.lifecycle == Lifecycle::Always) {
                let needed = self.all().find(|ix| self.step(*ix).name == need.step);
                if needed.is_some_and(|needed| self.is_repeated(needed)) {
                    continue;
                }
                findings.push(LintFinding {
                    code: "needs_outside_loop",
                    step: step.name.to_string(),
                    message: format!(
                        "state '{}' needs '{}' anew each time, which no round repeats",
                        step.name, need.step
                    ),
                    hint: "`Lifecycle::Once` is met by what happened once",
                });
            }
        }
        findings
    }

    fn needs_and_route(&self) -> Vec<LintFinding> {
        let both = self
            .all()
            .filter(|step| !self.step(*step).needs.is_empty() && self.graph.role(*step) == Role::ByRoute);
        both.map(|step| LintFinding {
            code: "needs_and_route",
            step: self.name(step),
            message: format!(
                "state '{}' begins by a route; its needs only hold it up there",
                self.name(step)
            ),
            hint: "take it out of every `next` if its needs are to begin it",
        })
        .collect()
    }

    fn advisory_resource(&self) -> Vec<LintFinding> {
        let mut findings = Vec::new();
        for step in self.steps {
            let uncounted = self.engine.uncounted(step);
            if uncounted.is_empty() {
                continue;
            }
            findings.push(LintFinding {
                code: "advisory_resource",
                step: step.name.to_string(),
                message: format!(
                    "state '{}' asks for {}, which this engine does not count",
                    step.name,
                    uncounted.join(", ")
                ),
                hint: "say how much there is in `Options::pool`",
            });
        }
        findings
    }

    fn all(&self) -> impl Iterator<Item = StepIx> + use<> {
        (0..self.steps.len() as u32).map(StepIx)
    }

    fn step(&self, step: StepIx) -> &Step {
        &self.steps[step.at()]
    }

    fn name(&self, step: StepIx) -> String {
        self.step(step).name.to_string()
    }

    fn is_opaque(&self, step: StepIx) -> bool {
        self.graph.out(step).is_none()
    }

    /// Returns the other states that can lead to this one, not counting those that it needs.
    fn leading_to(&self, step: StepIx) -> impl Iterator<Item = StepIx> + '_ {
        self.all().filter(move |other| {
            *other != step
                && self
                    .graph
                    .out(*other)
                    .is_none_or(|out| out.contains(&step) && !self.graph.dependents(*other).contains(&step))
        })
    }

    /// Returns whether a way leads from the state back to it.
    fn is_repeated(&self, step: StepIx) -> bool {
        let after = self.graph.out(step).unwrap_or(&[]).iter().copied();
        self.is_opaque(step) || self.reached_from(after)[step.at()]
    }

    /// Returns for each state whether a way leads to it from one of those, which count themselves.
    fn reached_from(&self, from: impl Iterator<Item = StepIx>) -> Vec<bool> {
        let mut reached = vec![false; self.steps.len()];
        let mut todo: Vec<StepIx> = from.collect();
        while let Some(step) = todo.pop() {
            if std::mem::replace(&mut reached[step.at()], true) {
                continue;
            }
            match self.graph.out(step) {
                Some(out) => todo.extend(out),
                None => return vec![true; self.steps.len()],
            }
        }
        reached
    }
}

/// Returns whether a need of that kind is met although the other state never begins.
fn is_met_by_nothing(kind: NeedKind) -> bool {
    match kind {
        NeedKind::Optional | NeedKind::Parallel | NeedKind::Timeout { .. } => true,
        NeedKind::Required | NeedKind::And | NeedKind::Sequential => false,
        NeedKind::Conditional | NeedKind::Or | NeedKind::Xor => false,
    }
}
