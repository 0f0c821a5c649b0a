//! A workflow as a picture: steps, and what leads from one to another. The value that is drawn; each way of drawing has
//! a file of its own and escapes what others wrote as its format wants it.

mod dot;
mod layout;
mod mermaid;
mod svg;
mod text;

use std::collections::HashMap;

use serde_json::{Value, json};
use stepwell_core::run::Run;
use stepwell_core::status::ExecutionStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{
    Action, END, Effect, Join, Lifecycle, Need, NeedKind, OnFailure, Step,
};

pub(crate) use dot::dot;
pub(crate) use mermaid::mermaid;
pub(crate) use svg::svg;
pub(crate) use text::text;

/// A workflow, or a run of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph {
    /// Name of the workflow.
    pub(crate) name: String,
    /// The run and how it stands.
    pub(crate) run: Option<(String, String)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// A name for people, if it differs.
    pub(crate) title: Option<String>,
    /// What carries it out.
    pub(crate) method: String,
    /// What else is declared of it: conditions, elements, how it joins and fails.
    pub(crate) notes: Vec<String>,
    /// How it stands in the run; none: it was not activated, or there is no run.
    pub(crate) status: Option<ExecutionStatus>,
    /// What there is to say of that: executions, elements.
    pub(crate) progress: Option<String>,
}

/// What leads from one step to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) kind: EdgeKind,
    /// What qualifies it; empty: nothing does.
    pub(crate) label: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// The second needs the first.
    Need,
    /// The first may name the second as what follows.
    Next,
    /// The second follows if the first fails.
    Failure,
    /// The second undoes the first.
    Compensation,
}

impl EdgeKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Need => "need",
            Self::Next => "next",
            Self::Failure => "failure",
            Self::Compensation => "compensation",
        }
    }

    /// Returns what an edge of that kind says in a drawing without a legend.
    fn word(self) -> &'static str {
        match self {
            Self::Need => "",
            Self::Next => "may lead to",
            Self::Failure => "on failure",
            Self::Compensation => "compensation",
        }
    }
}

impl Edge {
    /// Returns what is written beside it.
    fn caption(&self) -> String {
        match (self.kind.word(), self.label.as_str()) {
            (word, "") => word.to_owned(),
            ("", label) => label.to_owned(),
            (word, label) => format!("{word}, {label}"),
        }
    }

    /// Returns whether the second waits for the first, whatever comes.
    fn is_firm(&self) -> bool {
        self.kind == EdgeKind::Need && self.label.is_empty()
    }
}

impl Graph {
    /// Returns the picture of a definition.
    pub(crate) fn of(workflow: &Workflow) -> Self {
        let steps = &workflow.definition().steps;
        let index: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect();
        let mut edges = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let mut edge = |from: usize, to: &str, kind, label: String| {
                if let Some(to) = index.get(to) {
                    edges.push(Edge { from, to: *to, kind, label });
                }
            };
            for next in step.next.known().unwrap_or_default() {
                edge(at, next.as_str(), EdgeKind::Next, String::new());
            }
            if let OnFailure::Route(to) = &step.on_failure {
                edge(at, to.as_str(), EdgeKind::Failure, String::new());
            }
            if let Some(undo) = &step.compensation {
                edge(at, undo.as_str(), EdgeKind::Compensation, String::new());
            }
            for need in &step.needs {
                if let Some(from) = index.get(need.step.as_str()) {
                    edges.push(Edge { from: *from, to: at, kind: EdgeKind::Need, label: qualified(need) });
                }
            }
        }
        let nodes = steps.iter().map(Node::of).collect();
        Self { name: workflow.name().to_owned(), run: None, nodes, edges }
    }

    /// Returns the picture of a run: each step with how its last execution stands.
    pub(crate) fn of_run(run: &Run, standing: &str) -> Self {
        let workflow = run.workflow();
        let mut graph = Self::of(workflow);
        graph.run = Some((run.id().to_string(), standing.to_owned()));
        let mut executions = vec![0_usize; graph.nodes.len()];
        let mut elements = vec![(0_usize, 0_usize); graph.nodes.len()];
        for execution in run.executions() {
            let step = execution.step_ix();
            if let Some(of) = workflow.element_of(step) {
                let (done, all) = &mut elements[of.at()];
                *done += usize::from(execution.status == ExecutionStatus::Completed);
                *all += 1;
            } else {
                graph.nodes[step.at()].status = Some(execution.status);
                executions[step.at()] += 1;
            }
        }
        for (at, node) in graph.nodes.iter_mut().enumerate() {
            let mut said = Vec::new();
            if executions[at] > 1 {
                said.push(format!("{} executions", executions[at]));
            }
            if let (done, all @ 1..) = elements[at] {
                said.push(format!("{done} of {all} elements"));
            }
            node.progress = Some(said.join(", ")).filter(|said| !said.is_empty());
        }
        graph
    }

    /// Returns the picture as plain data.
    pub(crate) fn to_json(&self) -> Value {
        let name = |at: usize| &self.nodes[at].name;
        let nodes = self.nodes.iter().map(|node| {
            json!({
                "name": node.name, "title": node.title, "method": node.method, "notes": node.notes,
                "status": node.status.map(ExecutionStatus::as_str), "progress": node.progress,
            })
        });
        let edges = self.edges.iter().map(|edge| {
            json!({
                "from": name(edge.from), "to": name(edge.to), "kind": edge.kind.as_str(), "label": edge.label,
            })
        });
        json!({
            "workflow": self.name,
            "run_id": self.run.as_ref().map(|(id, _)| id),
            "nodes": nodes.collect::<Vec<_>>(),
            "edges": edges.collect::<Vec<_>>(),
        })
    }
}

impl Node {
    fn of(step: &Step) -> Self {
        let method = match &step.action {
            Action::Function | Action::VersionedFunction => "function".to_owned(),
            Action::Provider { method, .. } => method.clone(),
        };
        let mut notes: Vec<String> = step.when.iter().map(|when| format!("when {when}")).collect();
        if let Some(each) = &step.for_each {
            let items = match &each.items {
                Value::String(reference) => reference.clone(),
                Value::Array(list) => crate::values::counted(list.len(), "element"),
                other => other.to_string(),
            };
            let bound = each.max_concurrent.map_or_else(String::new, |most| format!(", {most} at once"));
            notes.push(format!("for each of {items}{bound}"));
        }
        notes.extend(match step.join {
            Join::All => None,
            Join::Each => Some("joins none: each arrival is an execution".to_owned()),
            Join::Any => Some("the first arrival is enough".to_owned()),
        });
        match step.next.known() {
            None => notes.push("may lead anywhere".into()),
            Some(next) if next.len() > 1 && next.iter().any(|name| name.as_str() == END) => {
                notes.push("may end".into());
            }
            Some(_) => {}
        }
        notes.extend(match &step.on_failure {
            OnFailure::Fail | OnFailure::Route(_) => None,
            OnFailure::Continue => Some("its failure is passed over".to_owned()),
            OnFailure::Stop => Some("its failure ends the run at once".to_owned()),
        });
        if step.effect == Effect::AtMostOnce {
            notes.push("at most once".into());
        }
        Self {
            name: step.name.to_string(),
            title: step.title.clone(),
            method,
            notes,
            status: None,
            progress: None,
        }
    }

    /// Returns what is said of it beside name and method, its status first.
    fn said(&self) -> Vec<String> {
        let status = self.status.map(|status| match &self.progress {
            Some(progress) => format!("{status}, {progress}"),
            None => status.to_string(),
        });
        status.into_iter().chain(self.notes.iter().cloned()).collect()
    }
}

/// Returns what a need says beside that it is one.
fn qualified(need: &Need) -> String {
    let kind = match need.kind {
        NeedKind::Required | NeedKind::And => String::new(),
        NeedKind::Optional => "optional".into(),
        NeedKind::Parallel => "parallel".into(),
        NeedKind::Sequential => "however it ends".into(),
        NeedKind::Conditional => "conditional".into(),
        NeedKind::Timeout { timeout_ms } => format!("or after {}", span(timeout_ms)),
        NeedKind::Or => "or".into(),
        NeedKind::Xor => "xor".into(),
    };
    let lifecycle = match need.lifecycle {
        Lifecycle::Once => String::new(),
        Lifecycle::Always => "anew each time".into(),
        Lifecycle::Session => "anew each session".into(),
        Lifecycle::Temporary { expiry_ms } => format!("for {}", span(expiry_ms)),
    };
    [kind, lifecycle].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

fn span(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

/// Returns a text of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// Returns the columns that a text takes in letters of one width. An estimate: East Asian letters and pictures take two.
fn columns(text: &str) -> usize {
    text.chars().map(|c| if c >= '\u{1100}' && !('\u{2000}'..'\u{2e80}').contains(&c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests;
