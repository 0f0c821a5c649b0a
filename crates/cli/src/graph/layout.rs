//! Where the steps of a picture go: in layers, each below all that lead to it, with few crossings and no line through a
//! box. Ways back, as of a loop, lead upward and move nothing.

use super::Graph;

/// A drawing has at most so many bends; one with more draws its long lines straight.
const BENDS: usize = 20_000;

/// Room between two boxes of a layer.
const GAP: f64 = 28.0;

/// The width of a line that passes a layer.
const LINE: f64 = 12.0;

/// Rounds of ordering and of straightening.
const ROUNDS: usize = 8;

/// Returns the layer of each step, from 0, and whether each edge leads back.
pub(super) fn layers(graph: &Graph) -> (Vec<usize>, Vec<bool>) {
    let back = ways_back(graph);
    let count = graph.nodes.len();
    let mut open = vec![0_usize; count];
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (edge, _) in graph.edges.iter().zip(&back).filter(|(_, back)| !**back) {
        open[edge.to] += 1;
        out[edge.from].push(edge.to);
    }
    let mut layer = vec![0; count];
    let mut ready: Vec<usize> = (0..count).filter(|at| open[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for &to in &out[at] {
            layer[to] = layer[to].max(layer[at] + 1);
            open[to] -= 1;
            if open[to] == 0 {
                ready.push(to);
            }
        }
    }
    (layer, back)
}

/// Returns which edges lead to a step that leads to them: what a search from the first steps on meets on its own path.
fn ways_back(graph: &Graph) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        OnPath,
        Done,
    }
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for (at, edge) in graph.edges.iter().enumerate() {
        out[edge.from].push(at);
    }
    let mut back = vec![false; graph.edges.len()];
    let mut seen = vec![Seen::No; graph.nodes.len()];
    for root in 0..graph.nodes.len() {
        if seen[root] != Seen::No {
            continue;
        }
        seen[root] = Seen::OnPath;
        let mut path = vec![(root, 0)];
        while let Some((at, next)) = path.last_mut() {
            let Some(&edge) = out[*at].get(*next) else {
                seen[*at] = Seen::Done;
                path.pop();
                continue;
            };
            *next += 1;
            let to = graph.edges[edge].to;
            match seen[to] {
                Seen::No => {
                    seen[to] = Seen::OnPath;
                    path.push((to, 0));
                }
                Seen::OnPath => back[edge] = true,
                Seen::Done => {}
            }
        }
    }
    back
}

/// Places in the plane.
#[derive(Debug)]
pub(super) struct Layout {
    /// The middle of each step's box, from the left edge of the drawing.
    pub(super) x: Vec<f64>,
    /// Its layer.
    pub(super) layer: Vec<usize>,
    /// Of each edge where it passes the layers between its ends: layer and place.
    pub(super) bends: Vec<Vec<(usize, f64)>>,
    /// The width of the whole.
    pub(super) width: f64,
}

/// What takes room in a layer: a box, or a line that passes.
#[derive(Debug)]
struct Slot {
    layer: usize,
    width: f64,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Returns where boxes of these widths go.
pub(super) fn layout(graph: &Graph, widths: &[f64]) -> Layout {
    let (layer, _) = layers(graph);
    let slot = |layer, width| Slot { layer, width, x: 0.0, above: Vec::new(), below: Vec::new() };
    let mut slots: Vec<Slot> = layer.iter().zip(widths).map(|(layer, width)| slot(*layer, *width)).collect();
    let passed = |from: usize, to: usize| layer[from].abs_diff(layer[to]).saturating_sub(1);
    let is_bent = graph.edges.iter().map(|edge| passed(edge.from, edge.to)).sum::<usize>() <= BENDS;
    let mut passing: Vec<Vec<usize>> = vec![Vec::new(); graph.edges.len()];
    for (at, edge) in graph.edges.iter().enumerate() {
        let downward = layer[edge.from] <= layer[edge.to];
        let (top, bottom) = if downward { (edge.from, edge.to) } else { (edge.to, edge.from) };
        let mut last = top;
        if is_bent {
            for between in layer[top] + 1..layer[bottom] {
                slots.push(slot(between, LINE));
                let new = slots.len() - 1;
                link(&mut slots, last, new);
                passing[at].push(new);
                last = new;
            }
        }
        if layer[top] < layer[bottom] {
            link(&mut slots, last, bottom);
        }
        if !downward {
            passing[at].reverse();
        }
    }
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); layer.iter().max().map_or(0, |deepest| deepest + 1)];
    for (at, slot) in slots.iter().enumerate() {
        rows[slot.layer].push(at);
    }
    order(&mut rows, &slots);
    let width = place(&rows, &mut slots);
    Layout {
        x: slots[..layer.len()].iter().map(|slot| slot.x).collect(),
        bends: passing
            .into_iter()
            .map(|bends| bends.into_iter().map(|at| (slots[at].layer, slots[at].x)).collect())
            .collect(),
        layer,
        width,
    }
}

fn link(slots: &mut [Slot], top: usize, bottom: usize) {
    slots[top].below.push(bottom);
    slots[bottom].above.push(top);
}

/// Orders each layer by where its neighbours are, down and up in turn, so that few lines cross.
fn order(rows: &mut [Vec<usize>], slots: &[Slot]) {
    let mut rank = vec![0.0; slots.len()];
    for row in &*rows {
        number(row, &mut rank);
    }
    for round in 0..ROUNDS {
        for row in in_turn(rows, round) {
            let wish = |at: usize| {
                let near = neighbours(&slots[at], round);
                mean(near.iter().map(|other| rank[*other])).unwrap_or(rank[at])
            };
            let mut wished: Vec<(f64, usize)> = row.iter().map(|at| (wish(*at), *at)).collect();
            wished.sort_by(|a, b| a.0.total_cmp(&b.0));
            *row = wished.into_iter().map(|(_, at)| at).collect();
            number(row, &mut rank);
        }
    }
}

fn number(row: &[usize], rank: &mut [f64]) {
    for (place, at) in row.iter().enumerate() {
        rank[*at] = place as f64;
    }
}

/// Returns the layers from the top, or from the bottom in every other round.
fn in_turn(rows: &mut [Vec<usize>], round: usize) -> Box<dyn Iterator<Item = &mut Vec<usize>> + '_> {
    if round.is_multiple_of(2) { Box::new(rows.iter_mut()) } else { Box::new(rows.iter_mut().rev()) }
}

/// Returns those that were placed before in that round.
fn neighbours(slot: &Slot, round: usize) -> &[usize] {
    if round.is_multiple_of(2) { &slot.above } else { &slot.below }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

/// Gives each slot its place: in the order of its layer, as near to the middle of its neighbours as there is room.
/// Returns the width of the whole.
fn place(rows: &[Vec<usize>], slots: &mut [Slot]) -> f64 {
    let mut rows = rows.to_vec();
    for row in &rows {
        let mut right = 0.0;
        for at in row {
            slots[*at].x = right + slots[*at].width / 2.0;
            right += slots[*at].width + GAP;
        }
        for at in row {
            slots[*at].x -= right / 2.0;
        }
    }
    for round in 0..ROUNDS {
        for row in in_turn(&mut rows, round) {
            let wish = |at: &usize| {
                let near = neighbours(&slots[*at], round);
                mean(near.iter().map(|other| slots[*other].x)).unwrap_or(slots[*at].x)
            };
            let wished: Vec<f64> = row.iter().map(wish).collect();
            for (at, x) in row.iter().zip(apart(row, &wished, slots)) {
                slots[*at].x = x;
            }
        }
    }
    let left = slots.iter().map(|slot| slot.x - slot.width / 2.0).fold(f64::INFINITY, f64::min);
    for slot in slots.iter_mut() {
        slot.x -= left;
    }
    slots.iter().map(|slot| slot.x + slot.width / 2.0).fold(0.0, f64::max)
}

/// Moves wished places apart so that boxes do not overlap: halfway between what pushing to the right alone and pushing to
/// the left alone would give, each of which keeps the distances.
fn apart(row: &[usize], wished: &[f64], slots: &[Slot]) -> Vec<f64> {
    let distance = |a: usize, b: usize| f64::midpoint(slots[row[a]].width, slots[row[b]].width) + GAP;
    let mut right = wished.to_vec();
    for i in 1..row.len() {
        right[i] = right[i].max(right[i - 1] + distance(i - 1, i));
    }
    let mut left = wished.to_vec();
    for i in (1..row.len()).rev() {
        left[i - 1] = left[i - 1].min(left[i] - distance(i - 1, i));
    }
    right.iter().zip(left).map(|(right, left)| f64::midpoint(*right, left)).collect()
}
