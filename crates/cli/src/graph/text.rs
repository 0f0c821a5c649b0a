//! The picture for a terminal: layer by layer, each step with what it needs and what it leads to by its own choice.

use stepwell_core::status::ExecutionStatus;

use super::layout::layers;
use super::{EdgeKind, Graph, Node, columns};
use crate::text::line;
use crate::values::counted;

/// Names are lined up to this width.
const NAMES: usize = 32;

/// Returns the lines of the picture.
pub(crate) fn text(graph: &Graph) -> Vec<String> {
    let (layer, _) = layers(graph);
    let deepest = layer.iter().max().copied().unwrap_or_default();
    let width = graph.nodes.iter().map(|node| columns(&line(&node.name))).max().unwrap_or_default();
    let mut lines = vec![head(graph)];
    for at in 0..=deepest {
        let corner = if at == 0 { '┌' } else { '├' };
        lines.push(format!("{corner}─ {} {}", at + 1, "─".repeat(40)));
        for (step, node) in graph.nodes.iter().enumerate().filter(|(step, _)| layer[*step] == at) {
            lines.push(step_line(node, width.min(NAMES)));
            lines.extend(below(graph, step).into_iter().map(|said| format!("│     {}", line(&said))));
        }
    }
    lines.push("└─".into());
    lines
}

fn head(graph: &Graph) -> String {
    let steps = counted(graph.nodes.len(), "step");
    match &graph.run {
        None => format!("{}: {steps}", line(&graph.name)),
        Some((run, standing)) => format!("{} of {}: {steps}, {standing}", line(run), line(&graph.name)),
    }
}

fn step_line(node: &Node, width: usize) -> String {
    let name = line(&node.name);
    let room = " ".repeat(width.saturating_sub(columns(&name)));
    let title = node.title.as_ref().map_or_else(String::new, |title| format!("  “{}”", line(title)));
    let status = node.status.map_or_else(String::new, |status| {
        let progress = node.progress.as_ref().map_or_else(String::new, |said| format!(" ({said})"));
        format!("  {status}{progress}")
    });
    format!("│ {} {name}{room}  {}{status}{title}", mark(node.status), line(&node.method))
}

fn mark(status: Option<ExecutionStatus>) -> char {
    match status {
        None | Some(ExecutionStatus::Pending | ExecutionStatus::Blocked | ExecutionStatus::Ready) => '○',
        Some(ExecutionStatus::Running | ExecutionStatus::Waiting | ExecutionStatus::Retrying) => '◐',
        Some(ExecutionStatus::Completed) => '●',
        Some(ExecutionStatus::Failed | ExecutionStatus::TimedOut) => '✗',
        Some(ExecutionStatus::Cancelled | ExecutionStatus::Skipped) => '–',
    }
}

/// Returns what stands below a step.
fn below(graph: &Graph, step: usize) -> Vec<String> {
    let qualified = |name: &str, label: &str| {
        if label.is_empty() { name.to_owned() } else { format!("{name} ({label})") }
    };
    let needs: Vec<String> = graph
        .edges
        .iter()
        .filter(|edge| edge.to == step && edge.kind == EdgeKind::Need)
        .map(|edge| qualified(&graph.nodes[edge.from].name, &edge.label))
        .collect();
    let to = |kind: EdgeKind| -> Vec<&str> {
        let out = graph.edges.iter().filter(|edge| edge.from == step && edge.kind == kind);
        out.map(|edge| graph.nodes[edge.to].name.as_str()).collect()
    };
    let mut said = Vec::new();
    if !needs.is_empty() {
        said.push(format!("needs {}", needs.join(", ")));
    }
    said.extend(graph.nodes[step].notes.iter().cloned());
    for (kind, word) in [
        (EdgeKind::Next, "may lead to"),
        (EdgeKind::Failure, "on failure"),
        (EdgeKind::Compensation, "compensated by"),
    ] {
        let names = to(kind);
        if !names.is_empty() {
            said.push(format!("{word} {}", names.join(", ")));
        }
    }
    said
}
