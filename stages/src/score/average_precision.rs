//! Average precision over a ranked list, in which a group of equal scores has no order of its own.

/// The running sum of an average precision. Its groups of equal scores come in with the best group first.
///
/// The plain definition is that of `average_precision_calculator.py` of google/youtube-8m: for each positive at rank i
/// (from 1), add (positives up to and including i) / i, and at the end divide by the number of positives. Within a
/// group of equal scores the starter code shuffles first, so its value depends on chance.
///
/// Here, a group adds the **mean over all orders of the group**. Take a group of m pairs with p positives, behind r
/// earlier pairs with c positives. A pair at place i of the group is a positive with probability p/m. The positives
/// before it in the group then number (i-1)(p-1)/(m-1) on average. The group therefore adds
///
/// ```text
/// Σ_{i=1..m}  p/m · (c + 1 + (i-1)(p-1)/(m-1)) / (r + i)
/// ```
///
/// A constant predictor thus earns what chance earns, neither 1 (all positives first) nor 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RankedSum {
    rank: u64,
    positives: u64,
    sum: f64,
}

impl RankedSum {
    /// Adds the next group: `pairs` pairs of equal score, of which `positives` are labels.
    pub(super) fn tie(&mut self, pairs: u64, positives: u64) {
        if positives == 1 && pairs == 1 {
            self.sum += (self.positives + 1) as f64 / (self.rank + 1) as f64;
        } else if positives > 0 {
            let share = positives as f64 / pairs as f64;
            // pairs > 1 here. The product stays an exact integer below 2^53 up to 94 million equal pairs.
            let per_place = |place: u64| ((place - 1) as f64 * (positives - 1) as f64) / (pairs - 1) as f64;
            let mut group = 0.0;
            for place in 1..=pairs {
                group += ((self.positives + 1) as f64 + per_place(place)) / (self.rank + place) as f64;
            }
            self.sum += share * group;
        }
        self.rank += pairs;
        self.positives += positives;
    }

    /// The average precision for this total number of positives, whether they were ranked or not. 0 when there is none.
    pub(super) fn over(&self, total_positives: u64) -> f64 {
        if total_positives == 0 { 0.0 } else { self.sum / total_positives as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain definition, for one order.
    fn plain(order: &[bool]) -> f64 {
        let mut seen = 0.0;
        let mut sum = 0.0;
        for (place, &positive) in order.iter().enumerate() {
            if positive {
                seen += 1.0;
                sum += seen / (place + 1) as f64;
            }
        }
        sum
    }

    /// Every subset of `m` places with `p` positives, each equally likely.
    fn orders(m: usize, p: usize) -> Vec<Vec<bool>> {
        (0u32..1 << m)
            .filter(|mask| mask.count_ones() as usize == p)
            .map(|mask| (0..m).map(|bit| mask >> bit & 1 == 1).collect())
            .collect()
    }

    #[test]
    fn a_tie_counts_as_the_mean_over_its_orders() {
        for (first, second) in
            [((1, 1), (1, 0)), ((3, 1), (2, 2)), ((5, 0), (4, 3)), ((6, 6), (7, 1)), ((4, 2), (8, 5))]
        {
            let mut ranked = RankedSum::default();
            ranked.tie(first.0 as u64, first.1 as u64);
            ranked.tie(second.0 as u64, second.1 as u64);
            let mut values = Vec::new();
            for head in orders(first.0, first.1) {
                for tail in orders(second.0, second.1) {
                    values.push(plain(&[head.clone(), tail].concat()));
                }
            }
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!((ranked.over(1) - mean).abs() < 1e-12, "{first:?} {second:?}: {} {mean}", ranked.over(1));
        }
    }

    #[test]
    fn a_perfect_ranking_is_exactly_one() {
        let mut ranked = RankedSum::default();
        for group in [1, 5, 3, 1, 1000] {
            ranked.tie(group, group);
        }
        ranked.tie(77, 0);
        assert_eq!(ranked.over(1010), 1.0);
        assert_eq!(ranked.over(2020), 0.5);
        assert_eq!(RankedSum::default().over(0), 0.0);
    }
}
