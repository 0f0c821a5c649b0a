//! The picture as DOT, for Graphviz.

use std::fmt::Write;

use super::mermaid::colour;
use super::{EdgeKind, Graph, cut};

/// Returns the text of the picture.
pub(crate) fn dot(graph: &Graph) -> String {
    let mut text = format!(
        "digraph {} {{\n    rankdir=TB;\n    node [shape=box, style=rounded, fontname=\"monospace\", fontsize=11];\n    \
         edge [fontname=\"monospace\", fontsize=9];\n",
        quoted(&[&graph.name])
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        let said: Vec<String> = node.said().iter().map(|said| cut(said, 60)).collect();
        let mut lines = vec![node.name.as_str(), node.method.as_str()];
        lines.extend(said.iter().map(String::as_str));
        let colour = node
            .status
            .map_or_else(String::new, |status| format!(", color=\"{}\", penwidth=2", colour(status)));
        writeln!(text, "    s{at} [label={}{colour}];", quoted(&lines)).expect("a String takes all");
    }
    for edge in &graph.edges {
        let style = match edge.kind {
            EdgeKind::Need if edge.is_firm() => "solid",
            EdgeKind::Next => "bold",
            EdgeKind::Need | EdgeKind::Failure | EdgeKind::Compensation => "dashed",
        };
        let caption = quoted(&[&edge.caption()]);
        writeln!(text, "    s{} -> s{} [style={style}, label={caption}];", edge.from, edge.to)
            .expect("a String takes all");
    }
    text.push_str("}\n");
    text
}

/// Returns lines as one string in quotes. A backslash would begin an escape of DOT's own.
fn quoted(lines: &[&str]) -> String {
    let escaped = |line: &&str| -> String {
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        plain.replace('\\', "\\\\").replace('"', "\\\"")
    };
    format!("\"{}\"", lines.iter().map(escaped).collect::<Vec<_>>().join("\\n"))
}
