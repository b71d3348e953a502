//! A layered layout of a graph: boxes stand in rows, and every edge leads from a row to a later row.
//!
//! Law: everything that has an extent has a slot of its own in some row, so nothing overlaps. Such things are the
//! stages, the labels of edges, and the places where long edges pass a row. The label of an edge takes a row between
//! those of the edge's ends.

/// The space between the slots of a row.
const GAP: f64 = 24.0;
/// The space between rows, where edges bend.
const ROW_GAP: f64 = 26.0;
/// The number of sweeps over the rows that order their slots. Twice as many sweeps place the slots.
const SWEEPS: usize = 8;

/// A graph that is to be laid out. It has neither cycles nor edges from a box to itself.
#[derive(Debug)]
pub(super) struct Problem {
    /// The width and height of each box.
    pub(super) boxes: Vec<(f64, f64)>,
    /// For each edge: the box it comes from, the box it leads to, and the width and height of its label.
    pub(super) edges: Vec<(usize, usize, f64, f64)>,
}

/// A layout: the centers of boxes and labels, and the way of each edge.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) boxes: Vec<(f64, f64)>,
    pub(super) labels: Vec<(f64, f64)>,
    /// For each edge, the slots that it passes between its ends, as (x, top, bottom).
    pub(super) ways: Vec<Vec<(f64, f64, f64)>>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A slot in a row.
#[derive(Debug, Clone)]
struct Slot {
    row: usize,
    width: f64,
    height: f64,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Lays out a graph.
pub(super) fn lay_out(problem: &Problem) -> Layout {
    let rows = rows(problem);
    let mut slots: Vec<Slot> = problem.boxes.iter().zip(&rows).map(|(size, row)| slot(*row, *size)).collect();
    let mut labels = Vec::new();
    let mut chains = Vec::new();
    for &(from, to, width, height) in &problem.edges {
        let mut chain = vec![from];
        for row in rows[from] + 1..rows[to] {
            // The label stands right below its producer.
            let is_label = row == rows[from] + 1;
            slots.push(slot(row, if is_label { (width, height) } else { (2.0, 0.0) }));
            chain.push(slots.len() - 1);
        }
        labels.push(chain[1]);
        chain.push(to);
        for pair in chain.windows(2) {
            slots[pair[0]].below.push(pair[1]);
            slots[pair[1]].above.push(pair[0]);
        }
        chains.push(chain);
    }
    let mut order = first_order(&slots);
    sort_rows(&mut order, &slots);
    place(&order, &mut slots);
    finish(problem, &order, &slots, &labels, &chains)
}

fn slot(row: usize, (width, height): (f64, f64)) -> Slot {
    Slot { row, width, height, x: 0.0, above: Vec::new(), below: Vec::new() }
}

/// The row of each box: the length of the longest way from a source. Each edge counts two rows, so that its label has
/// one.
fn rows(problem: &Problem) -> Vec<usize> {
    let count = problem.boxes.len();
    let mut rows = vec![0; count];
    let mut waiting = vec![0; count];
    let mut after = vec![Vec::new(); count];
    for &(from, to, ..) in &problem.edges {
        waiting[to] += 1;
        after[from].push(to);
    }
    let mut ready: Vec<usize> = (0..count).filter(|&i| waiting[i] == 0).collect();
    while let Some(stage) = ready.pop() {
        for &next in &after[stage] {
            rows[next] = rows[next].max(rows[stage] + 2);
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push(next);
            }
        }
    }
    rows
}

fn first_order(slots: &[Slot]) -> Vec<Vec<usize>> {
    let count = slots.iter().map(|s| s.row + 1).max().unwrap_or(0);
    let mut order = vec![Vec::new(); count];
    for (index, slot) in slots.iter().enumerate() {
        order[slot.row].push(index);
    }
    order
}

/// Orders the slots of each row by the mean place of their neighbours, downwards and upwards in turn. The order with
/// the fewest crossings is kept.
fn sort_rows(order: &mut Vec<Vec<usize>>, slots: &[Slot]) {
    let mut best = order.clone();
    let mut fewest = crossings(order, slots);
    let mut position = vec![0.0; slots.len()];
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let count = order.len();
        for step in 0..count {
            let row = if down { step } else { count - 1 - step };
            let neighbours = |i: usize| if down { &slots[i].above } else { &slots[i].below };
            let key = |i: usize, at: usize| {
                let n = neighbours(i);
                if n.is_empty() {
                    at as f64
                } else {
                    n.iter().map(|&j| position[j]).sum::<f64>() / n.len() as f64
                }
            };
            let mut keyed: Vec<(f64, usize)> =
                order[row].iter().enumerate().map(|(at, &i)| (key(i, at), i)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            order[row] = keyed.into_iter().map(|(_, i)| i).collect();
            for (at, &i) in order[row].iter().enumerate() {
                position[i] = at as f64;
            }
        }
        let now = crossings(order, slots);
        if now < fewest {
            fewest = now;
            best.clone_from(order);
        }
    }
    *order = best;
}

fn crossings(order: &[Vec<usize>], slots: &[Slot]) -> usize {
    let mut position = vec![0; slots.len()];
    for row in order {
        for (at, &i) in row.iter().enumerate() {
            position[i] = at;
        }
    }
    let mut count = 0;
    for row in order {
        let mut ends: Vec<usize> = Vec::new();
        for &i in row {
            let mut below: Vec<usize> = slots[i].below.iter().map(|&j| position[j]).collect();
            below.sort_unstable();
            for &end in &below {
                // `ends` is sorted. The edges whose ends lie beyond `end` cross this edge.
                count += ends.len() - ends.partition_point(|&e| e <= end);
            }
            for end in below {
                let at = ends.partition_point(|&e| e <= end);
                ends.insert(at, end);
            }
        }
    }
    count
}

/// Gives the slots their places, as near to the mean of their neighbours as order and widths allow.
fn place(order: &[Vec<usize>], slots: &mut [Slot]) {
    for row in order {
        let wished = vec![0.0; row.len()];
        spread(row, &wished, slots);
    }
    for sweep in 0..2 * SWEEPS {
        let down = sweep % 2 == 0;
        let count = order.len();
        for step in 0..count {
            let row = &order[if down { step } else { count - 1 - step }];
            let wish = |i: usize| {
                let (above, below) = (&slots[i].above, &slots[i].below);
                let preferred = if down { above } else { below };
                let mean = |n: &[usize]| n.iter().map(|&j| slots[j].x).sum::<f64>() / n.len() as f64;
                if preferred.is_empty() { slots[i].x } else { mean(preferred) }
            };
            let wished: Vec<f64> = row.iter().map(|&i| wish(i)).collect();
            spread(row, &wished, slots);
        }
    }
}

/// Gives the slots of a row the places that are nearest to the wished ones (in the sense of least squares), and at
/// which they keep their order and distances. The method is "pool adjacent violators", applied to the places minus the
/// distances.
fn spread(row: &[usize], wished: &[f64], slots: &mut [Slot]) {
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (at, &i) in row.iter().enumerate() {
        if at > 0 {
            offset += (slots[row[at - 1]].width + slots[i].width) / 2.0 + GAP;
        }
        offsets.push(offset);
    }
    // The groups of slots that move together, as (sum of wishes, count).
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (wish, offset) in wished.iter().zip(&offsets) {
        let mut group = (wish - offset, 1);
        while let Some(last) = groups.pop_if(|last| last.0 / last.1 as f64 >= group.0 / group.1 as f64) {
            group = (last.0 + group.0, last.1 + group.1);
        }
        groups.push(group);
    }
    let places = groups.iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / *count as f64, *count));
    for ((&i, offset), place) in row.iter().zip(&offsets).zip(places) {
        slots[i].x = place + offset;
    }
}

fn finish(
    problem: &Problem,
    order: &[Vec<usize>],
    slots: &[Slot],
    labels: &[usize],
    chains: &[Vec<usize>],
) -> Layout {
    let left = slots.iter().map(|s| s.x - s.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = slots.iter().map(|s| s.x + s.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let mut tops = Vec::with_capacity(order.len());
    let mut top = GAP;
    for row in order {
        let height = row.iter().map(|&i| slots[i].height).fold(0.0, f64::max);
        tops.push((top, height));
        top += height + ROW_GAP;
    }
    let x = |i: usize| slots[i].x - left + GAP;
    let middle = |i: usize| tops[slots[i].row].0 + tops[slots[i].row].1 / 2.0;
    let pass = |&i: &usize| {
        // A way passes the whole height of a row, so that it bends only between rows.
        let (top, height) = tops[slots[i].row];
        (x(i), top, top + height)
    };
    Layout {
        boxes: (0..problem.boxes.len()).map(|i| (x(i), middle(i))).collect(),
        labels: labels.iter().map(|&i| (x(i), middle(i))).collect(),
        ways: chains.iter().map(|chain| chain[1..chain.len() - 1].iter().map(pass).collect()).collect(),
        width: if slots.is_empty() { 2.0 * GAP } else { right - left + 2.0 * GAP },
        height: (top - ROW_GAP).max(0.0) + GAP,
    }
}
