//! The picture as Mermaid, for places that render Markdown.

use std::fmt::Write;

use stepwell_core::status::ExecutionStatus;

use super::{Edge, EdgeKind, Graph, cut};

/// Returns the text of the picture.
pub(crate) fn mermaid(graph: &Graph) -> String {
    let mut text = "flowchart TD\n".to_owned();
    for (at, node) in graph.nodes.iter().enumerate() {
        let mut said = String::new();
        for line in node.said() {
            said.extend(["<br/>", &escaped(&cut(&line, 60))]);
        }
        let class = node.status.map_or_else(String::new, |status| format!(":::{status}"));
        let (name, method) = (escaped(&node.name), escaped(&node.method));
        writeln!(text, "    s{at}[\"{name}<br/>{method}{said}\"]{class}").expect("a String takes all");
    }
    for edge in &graph.edges {
        let caption = edge.caption();
        let caption = if caption.is_empty() { String::new() } else { format!("|\"{}\"|", escaped(&caption)) };
        writeln!(text, "    s{} {}{caption} s{}", edge.from, arrow(edge), edge.to)
            .expect("a String takes all");
    }
    if graph.run.is_some() {
        for status in ExecutionStatus::ALL {
            let colour = colour(*status);
            writeln!(text, "    classDef {status} stroke:{colour},stroke-width:2px")
                .expect("a String takes all");
        }
    }
    text
}

fn arrow(edge: &Edge) -> &'static str {
    match edge.kind {
        EdgeKind::Need if edge.is_firm() => "-->",
        EdgeKind::Next => "==>",
        EdgeKind::Need | EdgeKind::Failure | EdgeKind::Compensation => "-.->",
    }
}

/// Returns a colour that is seen on light and dark.
pub(super) fn colour(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Pending | ExecutionStatus::Blocked | ExecutionStatus::Ready => "#8a8a8a",
        ExecutionStatus::Running | ExecutionStatus::Retrying => "#2f81f7",
        ExecutionStatus::Waiting => "#c69026",
        ExecutionStatus::Completed => "#2da44e",
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => "#d1434b",
        ExecutionStatus::Cancelled | ExecutionStatus::Skipped => "#8a8a8a",
    }
}

/// Returns a text for a place between quotes: whatever Mermaid or the page around it could take for its own becomes the
/// number of its letter.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_control() => shown.push(' '),
            _ if c.is_alphanumeric() || " _-.,:/()[]{}$=+*?!'“”…×".contains(c) => shown.push(c),
            _ => write!(shown, "#{};", u32::from(c)).expect("a String takes all"),
        }
    }
    shown
}
