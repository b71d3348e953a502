//! Law: whatever a client of `--metrics` does, the run goes on and writes the same bytes. A client that hangs loses its
//! place to others.
#![cfg(unix)]

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::child::wait_until;
use crate::support::cli::{copy_graph, names};
use crate::support::records::Records;
use crate::support::watched::{VIDEOS, Watched};

#[test]
fn silent_and_slow_clients_lose_their_places() {
    let mut watched = Watched::start();
    // Clients that say nothing take every place. Those that come later are turned away at once.
    let silent: Vec<TcpStream> = (0..200).map(|_| watched.connect()).collect();
    let begin = Instant::now();
    wait_until("a place", || watched.get("/api/reading").0 == 200);
    assert!(begin.elapsed() < Duration::from_secs(30), "silent clients lose their places");
    drop(silent);
    wait_until("all places", || watched.get("/api/reading").0 == 200);

    // A client that says one more letter of its headers every now and then.
    let begin = Instant::now();
    let mut slow = watched.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
    while slow.write_all(b"x").is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(30), "a slow client loses its place");
        std::thread::sleep(Duration::from_millis(100));
    }
    watched.feed();
    watched.finish();
}

#[test]
fn ten_thousand_connections_leave_the_run_untouched() {
    let mut watched = Watched::start();
    let begin = Instant::now();
    // The system lets a client wait for a second where connections come faster than they are accepted, so there are
    // clients beside each other. Each holds its newest connections.
    let client = || {
        let mut open = VecDeque::new();
        for _ in 0..500 {
            open.push_back(watched.connect());
            if open.len() > 15 {
                open.pop_front();
            }
        }
        open
    };
    let open: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    #[cfg(target_os = "linux")]
    {
        let files = names(std::path::Path::new(&format!("/proc/{}/fd", watched.child.id())));
        assert!(files.len() < 100, "{} files are open in the run", files.len());
    }
    drop(open);
    wait_until("a place", || watched.get("/api/reading").0 == 200);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    watched.feed();
    let (_, said) = watched.finish();
    assert!(!said.err.contains("warning") && !said.err.contains("panicked"), "{}", said.err);
}

#[test]
fn clients_of_all_kinds_leave_the_run_untouched() {
    let mut watched = Watched::start();
    // Headers that never end, in one long line and in many lines.
    let line = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nX: {}", watched.address, "x".repeat(1 << 20));
    assert!([0, 431].contains(&watched.send(&line).0));
    let lines = "A: b\r\n".repeat(10_000);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", watched.address);
    assert!([0, 431].contains(&watched.send(&request).0));
    assert!([0, 400].contains(&watched.send("\x16\x03\x01 this is no request\r\n\r\n").0));

    let host = format!("Host: {}\r\nConnection: close", watched.address);
    for path in ["/etc/passwd", "/../../etc/passwd", "//", "/%2e%2e/%2e%2e/etc/passwd", "/api/", "/metrics/x"]
    {
        assert_eq!(watched.send(&format!("GET {path} HTTP/1.1\r\n{host}\r\n\r\n")).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let request = format!("{method} /api/reading HTTP/1.1\r\n{host}\r\n\r\n");
        assert_eq!(watched.send(&request).0, 405, "{method}");
    }
    for body in ["Content-Length: 5\r\n\r\nhello", "Content-Length: 99999999999\r\n\r\nx"] {
        assert_eq!(watched.send(&format!("GET /metrics HTTP/1.1\r\n{host}\r\n{body}")).0, 413, "{body}");
    }
    let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    assert_eq!(watched.send(&format!("POST /metrics HTTP/1.1\r\n{host}\r\n{chunks}")).0, 413);
    // A page in a browser that gave its own name this address.
    assert_eq!(
        watched.send("GET /api/log HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").0,
        421
    );

    // A client that asks for much and reads nothing.
    let mut deaf = watched.connect();
    let request = format!("GET /api/history HTTP/1.1\r\nHost: {}\r\n\r\n", watched.address);
    let _ = deaf.write_all(request.repeat(1000).as_bytes());

    watched.feed();
    let (desk, said) = watched.finish();
    drop(deaf);
    assert!(!said.err.contains("warning") && !said.err.contains("panicked"), "{}", said.err);
    desk.write("pipe.tfrecord", "");
    std::fs::write(desk.path("pipe.tfrecord"), Records::frame_level(VIDEOS).bytes()).unwrap();
    desk.write("calm.toml", &copy_graph("pipe.tfrecord", 16, 4, 10));
    desk.framewise(&["run", "calm.toml", "--run-dir", "calm"]).expect(0);
    let read = |run: &str| std::fs::read(desk.path(run).join("copy.tfrecord")).unwrap();
    assert!(read("run") == read("calm"), "the copy is the same as that of a run that nobody watches");
}
