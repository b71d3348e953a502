//! Runs with `--metrics`, and the questions that their clients ask.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use serde_json::Value;

use crate::support::child::{end_within, start, wait_until};
use crate::support::cli::{Desk, Said, copy_graph};
use crate::support::files::make_pipe;
use crate::support::records::Records;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const VIDEOS: usize = 40;

/// The address at which a run in the directory `run` is served, once it is.
pub(crate) fn address(desk: &Desk, child: &Child) -> String {
    let live = desk.path("run/live.json");
    wait_until("live.json", || live.exists());
    let live: Value = serde_json::from_str(&desk.read("run/live.json")).unwrap();
    assert_eq!((&live["version"], &live["process"]), (&1.into(), &child.id().into()));
    live["address"].as_str().unwrap().to_owned()
}

/// A run that copies videos from a pipe, so that it lives until the pipe is closed.
pub(crate) struct Watched {
    pub(crate) desk: Desk,
    pub(crate) child: Child,
    pipe: std::fs::File,
    pub(crate) address: String,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let desk = Desk::new();
        make_pipe(&desk.path("pipe"));
        desk.write("copy.toml", &copy_graph("pipe", 16, 4, 10));
        let child = start(&desk, &["run", "copy.toml", "--run-dir", "run", "--metrics", "127.0.0.1:0"]);
        // Opened for reading too, a pipe does not wait for its reader, which never comes if the run fails.
        let pipe = std::fs::OpenOptions::new().read(true).write(true).open(desk.path("pipe")).unwrap();
        let address = address(&desk, &child);
        Self { desk, child, pipe, address }
    }

    /// Gives the run its videos, and waits until the last stage has them.
    pub(crate) fn feed(&mut self) {
        self.pipe.write_all(&Records::frame_level(VIDEOS).bytes()).unwrap();
        wait_until("the videos", || self.json("/api/reading")["stages"][2]["items_in"] == VIDEOS);
    }

    /// Gives the run so many videos, `video-0` and so on, and does not wait for them.
    pub(crate) fn give(&mut self, videos: usize) {
        self.pipe.write_all(&Records::frame_level(videos).bytes()).unwrap();
    }

    /// Closes the pipe. The run must end well.
    pub(crate) fn finish(self) -> (Desk, Said) {
        let Self { desk, child, pipe, .. } = self;
        drop(pipe);
        (desk, end_within(LIMIT, child).expect(0))
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (code, body) = self.get(path);
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Sends a request as [`ask`] does.
    pub(crate) fn send(&self, request: &str) -> (u16, String) {
        ask(&self.address, request)
    }
}

/// Sends a request to a server. Returns the code and the body of the answer, or 0 if the server does not listen or hangs
/// up without an answer.
pub(crate) fn ask(address: &str, request: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(address) else { return (0, String::new()) };
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let answer = String::from_utf8(bytes).unwrap();
    let code = answer.split(' ').nth(1).map_or(0, |code| code.parse().unwrap());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(!head.contains("chunked"), "the body has a length: {head}");
    (code, body.to_owned())
}
