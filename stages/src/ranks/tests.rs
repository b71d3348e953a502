use std::sync::Arc;
use std::thread;

use super::*;

/// What `work` returns on each of `size` ranks.
fn on_each<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let hosts: Vec<String> = (0..size).map(|rank| format!("host-{rank}")).collect();
    let (hosts, work) = (&hosts, &work);
    thread::scope(|scope| {
        let ends = Threads::link(size).into_iter();
        let threads: Vec<_> = ends
            .map(|end| scope.spawn(move || work(Ranks::linked(Arc::new(end), hosts.clone(), Split::Records))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn bytes_of_different_lengths_are_gathered_in_the_order_of_the_ranks() {
    let own = |rank: usize| vec![rank as u8; 3 * rank];
    let expected: Vec<Vec<u8>> = vec![vec![], vec![1; 3], vec![2; 6], vec![3; 9]];
    let all = on_each(4, |ranks| {
        let channel = ranks.channel("test").unwrap().unwrap();
        let all = channel.all_gather(&own(ranks.rank())).unwrap();
        let at_2 = channel.gather(2, &own(ranks.rank())).unwrap();
        (all, at_2, channel.broadcast(3, &own(ranks.rank())).unwrap())
    });
    for (rank, (all, at_2, of_3)) in all.into_iter().enumerate() {
        assert_eq!(all, expected);
        assert_eq!(at_2, (rank == 2).then(|| expected.clone()));
        assert_eq!(of_3, [3; 9]);
    }
}

#[test]
fn channels_do_not_mix_whatever_their_order() {
    on_each(2, |ranks| {
        let [one, two] = ["one", "two"].map(|name| ranks.channel(name).unwrap().unwrap());
        let other = 1 - ranks.rank();
        let send = |channel: &Channel, bytes: &[u8]| {
            channel.exchange(&[Outgoing { to: other, bytes }], &mut []).unwrap();
        };
        let mut place = [0];
        let mut receive = |channel: &Channel| {
            channel.exchange(&[], &mut [Incoming { from: other, bytes: &mut place }]).unwrap();
            place[0]
        };
        send(&one, &[1]);
        send(&two, &[2]);
        send(&one, &[3]);
        assert_eq!((receive(&two), receive(&one), receive(&one)), (2, 1, 3));
    });
}

#[test]
fn what_runs_inside_a_stage_has_channels_of_its_own() {
    on_each(2, |ranks| {
        let outer = ranks.channel("metrics").unwrap().unwrap();
        let inner = ranks.split_by(Split::Records).within("evaluate").channel("metrics").unwrap().unwrap();
        let named = ranks.channel("evaluate/metrics").unwrap().unwrap();
        let own = ranks.rank() as u8;
        if own == 0 {
            outer.gather(1, &[1]).unwrap();
            assert_eq!(inner.all_gather(&[2]).unwrap(), [[2], [3]]);
        } else {
            assert_eq!(named.all_gather(&[3]).unwrap(), [[2], [3]]);
            assert_eq!(outer.gather(1, &[4]).unwrap(), Some(vec![vec![1], vec![4]]));
        }
    });
}

#[test]
fn a_rank_that_has_ended_is_named_to_those_that_wait_for_it() {
    let errors = on_each(3, |ranks| {
        let channel = ranks.channel("test").unwrap().unwrap();
        if ranks.rank() == 1 {
            return None;
        }
        Some(channel.all_gather(&[]).unwrap_err().to_string())
    });
    for error in errors.into_iter().flatten() {
        assert!(error.starts_with("rank 1 (thread 1) has ended"), "{error}");
    }
}

#[test]
fn a_message_of_another_length_is_refused() {
    let errors = on_each(2, |ranks| {
        let channel = ranks.channel("test").unwrap().unwrap();
        let (mut place, bytes) = ([0; 4], [7; 5]);
        let other = 1 - ranks.rank();
        let incoming = &mut [Incoming { from: other, bytes: &mut place }];
        channel.exchange(&[Outgoing { to: other, bytes: &bytes }], incoming)
    });
    assert_eq!(errors[0], Err(LinkError::Length { rank: 1, found: 5, expected: 4 }));
}

#[test]
fn one_rank_needs_no_channel() {
    assert!(Ranks::alone().channel("test").unwrap().is_none());
    assert!(Ranks::apart(1, vec![String::new(); 3], Split::Records).channel("test").unwrap().is_none());
}
