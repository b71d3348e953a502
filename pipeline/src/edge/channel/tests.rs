//! Laws: an edge gives what was sent in order, ends once, and loses no wake-up; a receiver that is gone is told.

use std::thread;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    value: u64,
    bytes: usize,
}

impl Payload for Token {
    const NAME: &'static str = "tokens";

    fn byte_len(&self) -> usize {
        self.bytes
    }
}

fn item(value: u64, bytes: usize) -> Packet<Token> {
    Packet::Item(Token { value, bytes })
}

fn never() {
    panic!("nothing to wait for");
}

#[test]
fn an_ended_edge_gives_what_is_in_it_and_then_the_end() {
    let stop = StopToken::new();
    let (sender, receiver, gauge) = bounded(EdgeLimits { items: 2, bytes: 10 }, None);
    sender.send(item(0, 5), &stop, never).unwrap();
    sender.send(item(1, 5), &stop, never).unwrap();
    // The engine's copy ends the edge after the stage's own copy is gone. It does not matter that the edge is full.
    let engines = sender.clone();
    drop(sender);
    engines.end();
    assert_eq!((gauge.items(), gauge.bytes()), (2, 10));
    assert_eq!(receiver.recv(&stop, never), Ok(item(0, 5)));
    assert_eq!(receiver.recv(&stop, never), Ok(item(1, 5)));
    assert_eq!(receiver.recv(&stop, never), Ok(Packet::End));
    assert_eq!(receiver.recv(&stop, never), Ok(Packet::End));
    assert_eq!((gauge.items(), gauge.bytes()), (0, 0));
}

#[test]
fn a_disconnect_without_an_end_is_no_end() {
    let stop = StopToken::new();
    let (sender, receiver, _) = bounded(EdgeLimits { items: 2, bytes: 10 }, None);
    sender.send(item(0, 0), &stop, never).unwrap();
    drop(sender);
    assert_eq!(receiver.recv(&stop, never), Ok(item(0, 0)));
    assert_eq!(receiver.recv(&stop, never), Err(Interrupted::Disconnected));
}

#[test]
fn an_end_found_after_the_trip_is_no_end() {
    // This is the case where the token trips after `recv` asked for it and before `recv` looks into the channel.
    let stop = StopToken::new();
    let (sender, receiver, _) = bounded::<Token>(EdgeLimits { items: 1, bytes: 1 }, None);
    sender.end();
    assert_eq!(receiver.disconnected(&stop), Ok(Packet::End));
    stop.trip();
    assert_eq!(receiver.disconnected(&stop), Err(Interrupted::Stopped));
    assert_eq!(receiver.recv(&stop, never), Err(Interrupted::Stopped));
}

#[test]
fn a_sender_that_waits_for_bytes_learns_that_the_receiver_is_gone() {
    let stop = StopToken::new();
    let (sender, receiver, _) = bounded(EdgeLimits { items: 5, bytes: 10 }, None);
    sender.send(item(0, 8), &stop, never).unwrap();
    thread::scope(|scope| {
        let (waits, waiting) = crossbeam_channel::bounded(1);
        let send = scope.spawn({
            let stop = &stop;
            move || sender.send(item(1, 8), stop, || waits.send(()).unwrap())
        });
        waiting.recv().unwrap();
        drop(receiver);
        assert_eq!(send.join().unwrap(), Err(Interrupted::Disconnected));
    });
}

#[test]
fn no_wake_up_is_lost_at_full_speed() {
    // Bytes are scarce and places are not, so nearly every send waits for a token. A lost token would hang the
    // test.
    const COUNT: u64 = 100_000;
    let limits = EdgeLimits { items: 4, bytes: 10 };
    let stop = StopToken::new();
    let (sender, receiver, gauge) = bounded(limits, None);
    thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            for value in 0..COUNT {
                sender.send(item(value, (value % 7) as usize), stop, || ()).unwrap();
            }
            sender.end();
        });
        for value in 0..COUNT {
            assert_eq!(receiver.recv(stop, || ()), Ok(item(value, (value % 7) as usize)));
            // A packet that is moving may be missing from the count, or may still be in it.
            assert!(gauge.items() <= limits.items);
            assert!(gauge.bytes() <= limits.bytes);
        }
        assert_eq!(receiver.recv(stop, || ()), Ok(Packet::End));
    });
    assert_eq!((gauge.items(), gauge.bytes()), (0, 0));
}
