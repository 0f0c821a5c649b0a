//! The picture as SVG: one file without scripts, fonts or links, readable on light and on dark.

use std::fmt::Write;

use stepwell_core::status::ExecutionStatus;

use super::layout::{Layout, layout};
use super::mermaid::colour;
use super::{Edge, EdgeKind, Graph, Node, columns, cut};

/// The width of a letter of 12 px in one width, rounded up.
const LETTER: f64 = 7.4;
const LINE: f64 = 16.0;
const PAD: f64 = 10.0;
const BETWEEN: f64 = 56.0;
const MARGIN: f64 = 24.0;

/// The longest line in a box, in letters; the whole of it shows when it is pointed at.
const LONGEST: usize = 44;

const STYLE: &str = "text{font:12px ui-monospace,monospace;fill:#1f2328}.name{font-weight:700}.said{fill:#57606a}\
    .box{fill:#f6f8fa;stroke:#8a8a8a;stroke-width:1.2}.edge{fill:none;stroke:#6e7781;stroke-width:1.2}\
    .dashed{stroke-dasharray:5 4}.bold{stroke-width:2.2}.tip{fill:#6e7781}.caption{font-size:10px;fill:#57606a}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.said,.caption{fill:#9ea7b3}.box{fill:#22272e}\
    .edge{stroke:#9ea7b3}.tip{fill:#9ea7b3}}";

/// A box with its lines.
struct Drawn {
    lines: Vec<String>,
    width: f64,
    height: f64,
}

/// Returns the text of the picture.
pub(crate) fn svg(graph: &Graph) -> String {
    let boxes: Vec<Drawn> = graph.nodes.iter().map(drawn).collect();
    let widths: Vec<f64> = boxes.iter().map(|drawn| drawn.width).collect();
    let layout = layout(graph, &widths);
    let tops = tops(&layout, &boxes);
    let height = tops.last().copied().unwrap_or_default() - BETWEEN + MARGIN;
    // Ways back run on the right of all boxes.
    let width = layout.width + MARGIN * 2.0 + 40.0;
    let title = match &graph.run {
        None => graph.name.clone(),
        Some((run, standing)) => format!("{run} of {}: {standing}", graph.name),
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs><marker id=\"tip\" \
         viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path \
         class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
        escaped(&title)
    );
    for (at, edge) in graph.edges.iter().enumerate() {
        text += &line(edge, &layout, &layout.bends[at], &tops, &boxes);
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        text += &drawing(node, &boxes[at], layout.x[at] + MARGIN, tops[layout.layer[at]]);
    }
    text + "</svg>\n"
}

fn drawn(node: &Node) -> Drawn {
    let lines: Vec<String> = [node.name.clone(), node.method.clone()]
        .into_iter()
        .chain(node.said())
        .map(|line| cut(&line, LONGEST))
        .collect();
    let letters = lines.iter().map(|line| columns(line)).max().unwrap_or_default();
    let height = lines.len() as f64 * LINE + PAD * 2.0 - 4.0;
    Drawn { width: letters as f64 * LETTER + PAD * 2.0, height, lines }
}

/// Returns where each layer begins, and behind them where a further one would.
fn tops(layout: &Layout, boxes: &[Drawn]) -> Vec<f64> {
    let deepest = layout.layer.iter().max().copied().unwrap_or_default();
    let mut heights = vec![0.0_f64; deepest + 1];
    for (layer, drawn) in layout.layer.iter().zip(boxes) {
        heights[*layer] = heights[*layer].max(drawn.height);
    }
    let mut tops = vec![MARGIN];
    for height in heights {
        tops.push(tops[tops.len() - 1] + height + BETWEEN);
    }
    tops
}

fn drawing(node: &Node, drawn: &Drawn, middle: f64, top: f64) -> String {
    let left = middle - drawn.width / 2.0;
    let (width, height) = (drawn.width, drawn.height);
    let whole: Vec<&str> = [&node.name, &node.method].into_iter().map(String::as_str).collect();
    let title = node.title.iter().map(String::as_str).chain(whole).collect::<Vec<_>>().join("\n");
    let title = [title].into_iter().chain(node.said()).collect::<Vec<_>>().join("\n");
    let edge = node.status.map_or_else(String::new, |status| {
        let dashed = if is_unreached(status) { ";stroke-dasharray:3 3" } else { "" };
        format!(" style=\"stroke:{};stroke-width:2{dashed}\"", colour(status))
    });
    let mut text = format!(
        "<g><title>{}</title><rect class=\"box\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\" rx=\"7\"{edge}/>",
        escaped(&title)
    );
    for (number, said) in drawn.lines.iter().enumerate() {
        let y = top + PAD + LINE * (number as f64 + 0.7);
        let class = if number == 0 { "name" } else { "said" };
        write!(
            text,
            "<text class=\"{class}\" x=\"{middle:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
            escaped(said)
        )
        .expect("a String takes all");
    }
    text + "</g>\n"
}

fn is_unreached(status: ExecutionStatus) -> bool {
    matches!(status, ExecutionStatus::Skipped | ExecutionStatus::Cancelled)
}

/// Draws an edge from the bottom of a box to the top of another, past the boxes of the layers between; a way back leaves
/// and comes in on the right.
fn line(edge: &Edge, layout: &Layout, bends: &[(usize, f64)], tops: &[f64], boxes: &[Drawn]) -> String {
    let (from, to) = (edge.from, edge.to);
    let right = |at: usize| layout.x[at] + MARGIN + boxes[at].width / 2.0;
    let top = |at: usize| tops[layout.layer[at]];
    let (path, caption) = if layout.layer[from] < layout.layer[to] {
        let begin = (layout.x[from] + MARGIN, top(from) + boxes[from].height);
        let mut points = vec![begin];
        for (layer, x) in bends {
            let x = x + MARGIN;
            points.extend([(x, tops[*layer]), (x, tops[layer + 1] - BETWEEN)]);
        }
        points.push((layout.x[to] + MARGIN, top(to)));
        let mut path = format!("M{:.1} {:.1}", begin.0, begin.1);
        for pair in points.windows(2) {
            let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
            let half = f64::midpoint(y, to_y);
            write!(path, "C{x:.1} {half:.1} {to_x:.1} {half:.1} {to_x:.1} {to_y:.1}")
                .expect("a String takes all");
        }
        let last = points[points.len() - 2];
        let end = points[points.len() - 1];
        (path, (f64::midpoint(last.0, end.0) + 4.0, f64::midpoint(last.1, end.1)))
    } else {
        let (x, y) = (right(from), top(from) + boxes[from].height * 0.7);
        let (to_x, to_y) = (right(to), top(to) + boxes[to].height * 0.3);
        let far = x.max(to_x) + 34.0;
        let path = format!("M{x:.1} {y:.1}C{far:.1} {y:.1} {far:.1} {to_y:.1} {to_x:.1} {to_y:.1}");
        (path, (far - 6.0, f64::midpoint(y, to_y)))
    };
    let style = match edge.kind {
        EdgeKind::Need if edge.is_firm() => "",
        EdgeKind::Next => " bold",
        EdgeKind::Need | EdgeKind::Failure | EdgeKind::Compensation => " dashed",
    };
    let mut text = format!("<path class=\"edge{style}\" d=\"{path}\" marker-end=\"url(#tip)\"/>\n");
    // That a step may lead to another is told by its line; a word at each would hide the picture.
    let said = if edge.kind == EdgeKind::Next { edge.label.clone() } else { edge.caption() };
    if !said.is_empty() {
        let (x, y) = caption;
        writeln!(text, "<text class=\"caption\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(&said))
            .expect("a String takes all");
    }
    text
}

/// Returns a text for an XML document, which cannot hold every character.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\n' | '\t' => shown.push(c),
            // No letters of XML, or turning the direction of the text around.
            '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.push('\u{fffd}');
            }
            _ if c.is_control() => shown.push('\u{fffd}'),
            _ => shown.push(c),
        }
    }
    shown
}
