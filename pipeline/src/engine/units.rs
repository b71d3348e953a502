//! The units of a graph: what works at the same time as the rest.
//!
//! A stage is a unit by itself, except that the stages on one cycle are a unit together. They hand one thing round, so
//! they work in turn by nature, and the share of time in which any of them works says how busy the cycle is.

use crate::graph::ResolvedGraph;

/// The units of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    /// The stages of each unit, ascending. Units stand in the order of their first stages.
    pub stages: Vec<Vec<usize>>,
    /// The unit of each stage.
    pub of_stage: Vec<usize>,
}

impl Units {
    /// The units of a graph.
    pub fn of_graph(graph: &ResolvedGraph) -> Self {
        let edges = graph.edges.iter();
        let edges = edges.map(|edge| UnitEdge { from: edge.from.0, to: edge.to.0, delayed: edge.delayed });
        Self::of(graph.stages.len(), &edges.collect::<Vec<_>>())
    }

    /// The units of a graph with `stages` stages and these edges, each from a stage to a stage. `delayed` edges are
    /// those that may close a cycle.
    pub(crate) fn of(stages: usize, edges: &[UnitEdge]) -> Self {
        let ways = |forward: bool| {
            let mut next = vec![Vec::new(); stages];
            for edge in edges {
                let (from, to) = if forward { (edge.from, edge.to) } else { (edge.to, edge.from) };
                next[from].push(to);
            }
            next
        };
        let (after, before) = (ways(true), ways(false));
        let mut cycle_of: Vec<Option<usize>> = vec![None; stages];
        for (cycle, edge) in edges.iter().filter(|edge| edge.delayed).enumerate() {
            if cycle_of[edge.from].is_some() && cycle_of[edge.from] == cycle_of[edge.to] {
                continue;
            }
            let (behind, ahead) = (reached(&after, edge.to), reached(&before, edge.from));
            // The two sets have the same stages in common for every edge of one cycle, so no cycle is split.
            for stage in (0..stages).filter(|&stage| behind[stage] && ahead[stage]) {
                cycle_of[stage] = Some(cycle);
            }
        }
        let mut units: Vec<Vec<usize>> = Vec::new();
        let mut of_stage = Vec::with_capacity(stages);
        for stage in 0..stages {
            let cycle = cycle_of[stage];
            let unit = match cycle.and_then(|_| (0..stage).find(|&earlier| cycle_of[earlier] == cycle)) {
                Some(earlier) => of_stage[earlier],
                None => {
                    units.push(Vec::new());
                    units.len() - 1
                }
            };
            units[unit].push(stage);
            of_stage.push(unit);
        }
        Self { stages: units, of_stage }
    }
}

/// An edge, for finding cycles.
pub(crate) struct UnitEdge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) delayed: bool,
}

/// The stages that can be reached from `start`, which is itself one of them.
fn reached(next: &[Vec<usize>], start: usize) -> Vec<bool> {
    let mut seen = vec![false; next.len()];
    let mut waiting = vec![start];
    while let Some(stage) = waiting.pop() {
        if !std::mem::replace(&mut seen[stage], true) {
            waiting.extend(&next[stage]);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(stages: usize, edges: &[(usize, usize, bool)]) -> Vec<Vec<usize>> {
        let edges = edges.iter().map(|&(from, to, delayed)| UnitEdge { from, to, delayed });
        Units::of(stages, &edges.collect::<Vec<_>>()).stages
    }

    #[test]
    fn stages_on_a_cycle_are_one_unit_and_their_neighbours_are_not() {
        // 0 feeds the loop 1 → 2 → 3 → 1, of which 4 takes results.
        let edges = [(0, 1, false), (1, 2, false), (2, 3, false), (3, 1, true), (2, 4, false), (3, 4, false)];
        assert_eq!(units(5, &edges), [vec![0], vec![1, 2, 3], vec![4]]);
    }

    #[test]
    fn cycles_that_share_a_stage_are_one_unit_and_others_are_two() {
        let two = [(0, 1, false), (1, 0, true), (1, 2, false), (2, 3, false), (3, 2, true)];
        assert_eq!(units(4, &two), [vec![0, 1], vec![2, 3]]);
        let joined = [(0, 1, false), (1, 0, true), (1, 2, false), (2, 1, true)];
        assert_eq!(units(3, &joined), [vec![0, 1, 2]]);
        // A delayed edge that nothing leads back from closes no cycle.
        assert_eq!(units(2, &[(0, 1, true)]), [vec![0], vec![1]]);
    }
}
