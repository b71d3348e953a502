//! Work on the shards of a step, with one thread for each device.
//!
//! Law: results come back in shard order, and each result is computed the same way wherever its shard is placed.

use std::thread;

/// Calls `work(shard, item)` for every shard's item, on one thread for each device, and returns the results in shard
/// order. `items` holds (device, item) in shard order, with ascending devices. A panic in `work` is passed on.
pub(crate) fn per_device<T: Send, R: Send>(
    items: Vec<(usize, T)>,
    work: impl Fn(usize, T) -> R + Sync,
) -> Vec<R> {
    let mut groups: Vec<(usize, Vec<(usize, T)>)> = Vec::new();
    for (shard, (device, item)) in items.into_iter().enumerate() {
        match groups.last_mut() {
            Some((last, group)) if *last == device => group.push((shard, item)),
            _ => groups.push((device, vec![(shard, item)])),
        }
    }
    let run =
        |group: Vec<(usize, T)>| group.into_iter().map(|(shard, item)| work(shard, item)).collect::<Vec<R>>();
    if groups.len() <= 1 {
        return groups.into_iter().flat_map(|(_, group)| run(group)).collect();
    }
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = groups.into_iter().map(|(_, group)| scope.spawn(move || run(group))).collect();
        // Groups are contiguous and in order, so joining in order is shard order.
        let joined =
            threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        joined.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::place;

    #[test]
    fn results_come_in_shard_order_on_any_number_of_devices() {
        for devices in 1..6 {
            let items = (0..4).map(|shard| (place(shard, 4, devices), shard)).collect();
            let results = per_device(items, |shard, item| {
                assert_eq!(shard, item);
                shard
            });
            assert_eq!(results, [0, 1, 2, 3]);
        }
    }
}
