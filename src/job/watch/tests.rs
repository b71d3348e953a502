use framewise_stages::ranks::{Ranks, Split, Threads};

use super::*;

/// The watch of each of some ranks, and where each tells what it has lost.
fn watches(size: usize) -> Vec<(Watch, mpsc::Receiver<Lost>)> {
    let hosts: Vec<String> = (0..size).map(|rank| format!("host-{rank}")).collect();
    let hosts = &hosts;
    thread::scope(|scope| {
        let begin = |end: Threads| {
            let ranks = Ranks::linked(Arc::new(end), hosts.clone(), Split::Records);
            let channel = ranks.channel("watch").unwrap().unwrap();
            let (tell, told) = mpsc::channel();
            let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
            let tell = Mutex::new(tell);
            let on_lost = move |lost: &Lost| lock(&tell).send(lost.clone()).unwrap();
            (Watch::begin(&channel, hosts, addresses, on_lost).unwrap(), told)
        };
        let threads: Vec<_> =
            Threads::link(size).into_iter().map(|end| scope.spawn(move || begin(end))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn heard(told: &mpsc::Receiver<Lost>) -> Lost {
    told.recv_timeout(SILENCE + 2 * BEAT).unwrap()
}

#[test]
fn a_rank_whose_connection_ends_is_lost_to_all_others_with_its_step() {
    let mut all = watches(3);
    all[2].0.signs_from(|| Sign { step: 12, ..Sign::default() });
    thread::sleep(2 * BEAT);
    // This is what the death of a process does to its connections.
    let (dead, _) = all.remove(2);
    for stream in lock(&dead.shared.peers).values() {
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    for (_, told) in &all {
        let lost = heard(told);
        assert_eq!((lost.rank, lost.step), (2, 12), "{lost:?}");
        let hosts: Vec<String> = (0..3).map(|rank| format!("host-{rank}")).collect();
        assert!(lost.told(&hosts).starts_with("rank 2 (host-2) is lost after step 12: "), "{lost:?}");
    }
}

#[test]
fn a_rank_that_says_nothing_is_lost() {
    let all = watches(3);
    all[1].0.shared.is_over.store(true, Ordering::SeqCst);
    for (index, (_, told)) in all.iter().enumerate() {
        if index != 1 {
            let lost = heard(told);
            assert!(lost.rank == 1 && lost.why.contains("nothing was heard"), "{lost:?}");
        }
    }
}

#[test]
fn the_rank_that_waits_least_is_the_slowest() {
    let all = watches(3);
    for (index, waited) in [3.0, 0.25, 2.5].into_iter().enumerate() {
        all[index].0.signs_from(move || Sign { step: 1, waited, limiting: None });
    }
    thread::sleep(2 * BEAT + BEAT / 2);
    let hosts: Vec<String> = (0..3).map(|rank| format!("host-{rank}")).collect();
    let told = all[0].0.told(&hosts).unwrap();
    assert!(told.contains("3.0, 0.2, 2.5 s: rank 1 (host-1)"), "{told}");
    assert!(all[1].0.told(&hosts).is_none());
}

#[test]
fn a_run_that_ends_by_itself_ends_the_others_and_one_that_is_done_does_not() {
    let all = watches(3);
    all[1].0.shared.ended();
    for index in [0, 2] {
        assert_eq!(heard(&all[index].1).rank, 1);
    }
    let done = watches(3);
    done.iter().for_each(|(watch, _)| watch.bye());
    for (_, told) in &done {
        assert!(told.recv_timeout(2 * BEAT).is_err());
    }
}

#[test]
fn what_a_rank_says_right_behind_its_greeting_is_heard() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut rank = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let hello = serde_json::to_string(&Line::Hello { token: 7, rank: 3 }).unwrap();
    let alive = serde_json::to_string(&Line::Alive(Sign { step: 5, ..Sign::default() })).unwrap();
    rank.write_all(format!("{hello}\n{}", format!("{alive}\n").repeat(20)).as_bytes()).unwrap();
    drop(rank);
    let (number, stream) = greeted(listener.accept().unwrap().0, 7).unwrap();
    assert_eq!(number, 3);
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    assert_eq!(lines, vec![alive; 20]);
}
