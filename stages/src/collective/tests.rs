//! The laws of a group of threads, against sums that are written out here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Shape, Tensor};

use super::*;

const SIZES: [usize; 3] = [23, 4, 40];

fn team(members: usize) -> Team {
    team_of(members, LIMIT)
}

fn team_of(members: usize, limit: Duration) -> Team {
    let devices: Vec<_> = (0..members).map(|n| (format!("place {n}"), Device::Cpu)).collect();
    Team::local(&devices, limit)
}

fn cut(slices: usize) -> Cut {
    Cut::with_pieces(SIZES.map(Shape::from), slices, 6)
}

/// The gradients of a shard: numbers of very different sizes, so that another order of a sum gives another sum.
fn values(shard: usize, tensor: usize) -> Vec<f32> {
    let value = |i: usize| {
        let scale = [1e-4, 1.0, 3e5, 7e1][(i * 5 + shard * 3 + tensor) % 4];
        scale * ((i * 13 + shard * 29 + tensor * 7) as f32).sin()
    };
    (0..SIZES[tensor]).map(value).collect()
}

fn shard(shard: usize, weight: f64) -> ShardTensors {
    let tensor = |index| Tensor::from_vec(values(shard, index), SIZES[index], &Device::Cpu).unwrap();
    ShardTensors { shard, weight, tensors: (0..SIZES.len()).map(tensor).collect() }
}

fn bits(tensors: &[Tensor]) -> Vec<u32> {
    let values = tensors.iter().flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}

/// The sums of `shards` shards, one number at a time.
fn sums(weights: &[f64]) -> Vec<u32> {
    let mut all = Vec::new();
    for (tensor, size) in SIZES.iter().enumerate() {
        for i in 0..*size {
            let parts = weights.iter().enumerate().map(|(shard, w)| values(shard, tensor)[i] * *w as f32);
            all.push(parts.fold(0f32, |sum, part| sum + part).to_bits());
        }
    }
    all
}

#[test]
fn shards_are_added_in_their_order_wherever_they_lie() {
    let weights = [0.3, 0.25, 0.2, 0.15, 0.1];
    let expected = sums(&weights);
    let mut reversed = weights;
    reversed.reverse();
    assert_ne!(expected, sums(&reversed), "the order of the sum must show");
    for members in [1, 2, 3, 4, 7] {
        // Shards in runs, shards in turn, and all shards with the last member, backwards.
        let places: [&dyn Fn(usize) -> usize; 3] =
            [&|s| s * members / 5, &|s| (s * 2 + 1) % members, &|_| members - 1];
        for place in places {
            let (team, cut) = (team(members), cut(members));
            let mut held: Vec<Vec<ShardTensors>> = vec![Vec::new(); members];
            for number in (0..5).rev() {
                held[place(number)].push(shard(number, weights[number]));
            }
            let counts: Vec<usize> = held.iter().map(Vec::len).collect();
            let slices = team.each(held, |m, held| m.communicator.reduce_scatter_in_order(&cut, &held));
            let slices = slices.unwrap();
            assert_eq!(bits(&slices.concat()), expected, "{members} members");
            for (slice, tensors) in slices.iter().enumerate() {
                assert_eq!(bits(tensors).len(), cut.elements(slice));
                let taken = (5 - counts[slice]) * cut.elements(slice) * 4;
                assert_eq!(team.members()[slice].communicator.received(), taken as u64);
            }
        }
    }
}

#[test]
fn the_only_shard_is_its_own_sum_bit_for_bit() {
    let mut only = shard(3, 1.0);
    only.tensors[1] = Tensor::new(&[-0.0f32, 0.0, -1.5, 2.0], &Device::Cpu).unwrap();
    for members in [1, 3] {
        let (team, cut) = (team(members), cut(members));
        let held = (0..members).map(|m| if m == 0 { vec![only.clone()] } else { vec![] }).collect();
        let slices = team.each(held, |m, held| m.communicator.reduce_scatter_in_order(&cut, &held));
        assert_eq!(bits(&slices.unwrap().concat()), bits(&only.tensors));
    }
}

#[test]
fn shards_that_do_not_fit_are_errors() {
    let alone = Local::alone(&Device::Cpu);
    let sum =
        |shards: &[ShardTensors]| alone.reduce_scatter_in_order(&cut(1), shards).unwrap_err().to_string();
    assert!(sum(&[]).contains("no shards"));
    assert!(sum(&[shard(1, 0.5), shard(1, 0.5)]).contains("twice"));
    let mut wrong = shard(2, 1.0);
    wrong.tensors.swap(0, 2);
    assert!(sum(&[wrong.clone()]).contains("shard 2 gives gradient 0"));
    assert!(alone.reduce_scatter_in_order(&cut(2), &[wrong.clone()]).is_err());
    assert!(alone.all_gather(&cut(2), &wrong.tensors).is_err());
    wrong.tensors.pop();
    assert!(sum(&[wrong]).contains("2 gradients where there are 3"));
}

fn zeros() -> Vec<Tensor> {
    SIZES.map(|size| Tensor::zeros(size, candle_core::DType::F32, &Device::Cpu).unwrap()).to_vec()
}

#[test]
fn a_replica_is_complete_once_it_was_gathered() {
    let whole = shard(0, 1.0).tensors;
    for members in [1, 2, 4] {
        for shares in [false, true] {
            let (team, cut, shared) = (team(members), cut(members), zeros());
            let replicas = (0..members).map(|_| if shares { shared.clone() } else { zeros() }).collect();
            let gathered = team.each(replicas, |member, replica| {
                for span in cut.spans(member.communicator.rank()) {
                    let own = span.view(&whole[span.tensor])?.force_contiguous()?;
                    replica[span.tensor].slice_set(&own, 0, span.elements.start)?;
                }
                member.communicator.all_gather(&cut, &replica)?;
                Ok(bits(&replica))
            });
            for replica in gathered.unwrap() {
                assert_eq!(replica, bits(&whole), "{members} members, shared: {shares}");
            }
            for (rank, member) in team.members().iter().enumerate() {
                let others = cut.total() - cut.elements(rank);
                assert_eq!(member.communicator.received(), 4 * others as u64);
            }
        }
    }
}

#[test]
fn numbers_and_tensors_reach_every_member_in_the_order_of_ranks() {
    let team = team(3);
    let seen = team.each(vec![vec![1.0], vec![], vec![5.0, 4.0]], |member, own| {
        let communicator = &member.communicator;
        let all = communicator.agree(&own)?;
        let own = [Tensor::new(&[communicator.rank() as f32], &Device::Cpu)?];
        let given = communicator.broadcast(1, &own)?;
        Ok((communicator.rank(), communicator.size(), all, bits(&given)))
    });
    for (index, (rank, size, all, given)) in seen.unwrap().into_iter().enumerate() {
        assert_eq!((rank, size), (index, 3));
        assert_eq!(all, [1.0, 5.0, 4.0]);
        assert_eq!(given, [1f32.to_bits()]);
    }
    let error = team.each(vec![(); 3], |m, ()| m.communicator.broadcast(9, &[])).unwrap_err();
    assert!(error.to_string().contains("no rank 9"), "{error}");
}

#[test]
fn nobody_passes_a_barrier_before_all_have_come() {
    let (team, before) = (team(4), AtomicUsize::new(0));
    for round in 1..=50 {
        let seen = team.each(vec![(); 4], |member, ()| {
            before.fetch_add(1, Ordering::SeqCst);
            member.communicator.barrier()?;
            let seen = before.load(Ordering::SeqCst);
            member.communicator.barrier()?;
            Ok(seen)
        });
        assert_eq!(seen.unwrap(), [4 * round; 4]);
    }
}

#[test]
fn who_does_not_come_in_time_is_named() {
    let team = team_of(4, Duration::from_millis(200));
    let start = Instant::now();
    let error = team.each(vec![(); 4], |member, ()| match member.communicator.rank() {
        0 | 2 => member.communicator.agree(&[1.0]).map(|_| ()),
        _ => {
            // These members are stuck until the others have given up.
            std::thread::sleep(Duration::from_millis(900));
            member.communicator.agree(&[1.0]).map(|_| ())
        }
    });
    let error = error.unwrap_err();
    let CollectiveError::Missing { missing, .. } = &error else { panic!("{error}") };
    let names = |rank: usize| Peer { rank, place: format!("place {rank}") };
    assert_eq!(*missing, [names(1), names(3)]);
    assert_eq!(
        error.to_string(),
        "agree: waited 0.2 s, and rank 1 (place 1) and rank 3 (place 3) did not come"
    );
    // Who came too late did not wait for the others.
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(matches!(team.members()[0].communicator.barrier(), Err(CollectiveError::Left { .. })));
}

#[test]
fn a_member_that_fails_or_panics_ends_the_wait_of_the_others() {
    let start = Instant::now();
    let error = team(3).each(vec![(); 3], |member, ()| {
        if member.communicator.rank() == 1 {
            return Err(candle_core::Error::msg("no memory left").into());
        }
        member.communicator.barrier()
    });
    let error = error.unwrap_err().to_string();
    // Where RUST_BACKTRACE is set, candle's message ends with a backtrace.
    assert!(error.starts_with("no memory left"), "{error}");
    let panicked = std::panic::catch_unwind(|| {
        let _ = team(3).each(vec![(); 3], |member, ()| {
            assert_ne!(member.communicator.rank(), 2, "a planted panic");
            member.communicator.barrier()
        });
    });
    assert!(panicked.is_err());
    assert!(team(3).each(vec![(); 2], |member, ()| member.communicator.barrier()).is_err());
    assert!(start.elapsed() < LIMIT / 4);
}

#[test]
fn members_that_call_different_operations_are_told_apart() {
    let error = team(2).each(vec![(); 2], |member, ()| match member.communicator.rank() {
        0 => member.communicator.barrier(),
        _ => member.communicator.agree(&[]).map(|_| ()),
    });
    assert_eq!(error.unwrap_err().to_string(), "barrier: rank 1 (place 1) called agree in its place");
}
