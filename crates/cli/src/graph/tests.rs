use serde_json::json;
use stepwell_core::workflow::definition::{Definition, Need};

use super::*;

const HOSTILE: &str =
    "a\"]; --> b %%{init}%% <script>alert('1')</script>\n#quot; \\\" \u{1b}[2J \u{202e}`end`";

fn hostile() -> Graph {
    let step = |name: &str| Step::provided(name, "timer/v1", "timer/sleep", json!({}));
    let mut graph =
        Graph::of(&Workflow::new(Definition::new("w", vec![step("a"), step("b").needs(&["a"])])).unwrap());
    graph.name = HOSTILE.into();
    graph.nodes[0].name = HOSTILE.into();
    graph.nodes[1].notes = vec![format!("when {HOSTILE}")];
    graph.edges[0].label = HOSTILE.into();
    graph
}

#[test]
fn what_others_wrote_cannot_leave_its_place_in_any_format() {
    let graph = hostile();
    for line in text(&graph) {
        assert!(!line.contains(['\u{1b}', '\n', '\u{202e}']), "{line}");
    }
    let mermaid = mermaid(&graph);
    assert_eq!(mermaid.lines().count(), 4, "a line for the head, each step and the edge: {mermaid}");
    for line in mermaid.lines().skip(1) {
        let quotes = line.matches('"').count();
        assert_eq!(quotes, 2, "{line}");
        let inside = line.split('"').nth(1).unwrap().replace("<br/>", "");
        assert!(!inside.contains(['<', '>', '`', '\\', '%']), "{line}");
        // A number sign begins the number of a letter, and a semicolon ends it.
        for number in inside.split('#').skip(1) {
            let (digits, _) = number.split_once(';').unwrap();
            assert!(digits.bytes().all(|digit| digit.is_ascii_digit()), "{line}");
        }
    }
    let dot = dot(&graph);
    assert_eq!(dot.lines().count(), 8, "{dot}");
    for line in dot.lines() {
        assert!(strings_are_closed(line), "{line}");
        assert!(!line.contains(['\u{1b}', '\r']));
    }
    let svg = svg(&graph);
    let document = roxmltree::Document::parse(&svg).unwrap();
    let names: Vec<&str> = document.descendants().map(|node| node.tag_name().name()).collect();
    assert!(!names.contains(&"script"), "{names:?}");
    assert!(document.descendants().any(|node| node.text().is_some_and(|text| text.contains("<script>"))));
}

/// Reads a line of DOT as Graphviz does: a string ends at a quote that no backslash precedes.
fn strings_are_closed(line: &str) -> bool {
    let (mut inside, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            '"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = inside && c == '\\' && !escaped;
    }
    !inside
}

fn layered(count: usize, wide: usize) -> Graph {
    let name = |at: usize| format!("step-{at}");
    let steps = (0..count).map(|at| {
        let mut step = Step::provided(&name(at), "timer/v1", "timer/sleep", json!({}));
        if at >= wide {
            step.needs = vec![Need::required(&name(at - wide)), Need::required(&name((at - wide) / 2))];
        }
        step
    });
    Graph::of(&Workflow::new(Definition::new("w", steps.collect())).unwrap())
}

#[test]
fn boxes_of_a_layer_do_not_overlap_and_what_is_needed_is_above() {
    for (count, wide) in [(1, 1), (3, 1), (60, 5), (200, 40)] {
        let graph = layered(count, wide);
        let widths: Vec<f64> = (0..count).map(|at| 40.0 + (at % 7) as f64 * 30.0).collect();
        let layout = layout::layout(&graph, &widths);
        for edge in &graph.edges {
            assert!(layout.layer[edge.from] < layout.layer[edge.to]);
        }
        for one in 0..count {
            for other in one + 1..count {
                let apart =
                    (layout.x[one] - layout.x[other]).abs() - f64::midpoint(widths[one], widths[other]);
                assert!(layout.layer[one] != layout.layer[other] || apart > -0.01, "{one} {other}: {apart}");
            }
            assert!(
                layout.x[one] - widths[one] / 2.0 > -0.01
                    && layout.x[one] + widths[one] / 2.0 < layout.width + 0.01
            );
        }
    }
}

#[test]
fn loops_are_drawn_back_and_very_large_workflows_at_all() {
    let step = |name: &str, next: &[&str]| Step::function(name).next(next);
    let steps = vec![step("a", &["b"]), step("b", &["c", "b"]), step("c", &["a", END])];
    let graph = Graph::of(&Workflow::new(Definition::new("w", steps)).unwrap());
    let (layer, back) = layout::layers(&graph);
    assert_eq!(layer, [0, 1, 2]);
    assert_eq!(back, [false, false, true, true]);
    assert!(roxmltree::Document::parse(&svg(&graph)).is_ok());
    let chain = layered(2_000, 1);
    assert!(roxmltree::Document::parse(&svg(&chain)).is_ok());
    assert_eq!(layout::layers(&chain).0[1_999], 1_999);
}
