//! What watching a run costs: runs that nobody watches and runs that are watched in every way, in turns.
//!
//! ```sh
//! cargo bench --bench watching -- --pairs 7
//! ```
//!
//! A watched run has `--metrics` and a client that asks for everything once a second. No run shows progress. For each
//! graph the program prints the seconds of all runs, and the median of the ratios of neighbours.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends there")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The pause of the client between two rounds. Prometheus asks less often.
const EVERY: Duration = Duration::from_secs(1);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let pairs = args.iter().position(|arg| arg == "--pairs").map_or(5, |at| args[at + 1].parse().unwrap());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let desk = tempfile::tempdir().unwrap();
    let chain = desk.path().join("chain.toml");
    let data = root.join("tests/data/japanese_vowels/train.tfrecord");
    // Stages that do next to nothing for each item, so that the engine's own work shows.
    let text = format!(
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = {data:?}\nepochs = 600\n\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nrgb_size = 12\naudio_size = 12\nclasses = 9\n\n\
         [stages.shuffle]\ntype = \"shuffle\"\nfrom = \"decode\"\nbuffer = 64\n\n\
         [stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"shuffle\"\npath = \"copy.tfrecord\"\n"
    );
    std::fs::write(&chain, text).unwrap();
    let quickstart = root.join("graphs/quickstart.toml");
    for (name, graph) in
        [("a chain that passes items on", &chain), ("training, graphs/quickstart.toml", &quickstart)]
    {
        println!("{name}: seconds alone, seconds watched, ratio");
        let mut ratios = Vec::new();
        for pair in 0..pairs {
            // Every second pair is turned round, so that a drift of the machine hits both alike.
            let first = pair % 2 == 0;
            let one = run(graph, desk.path(), !first);
            let other = run(graph, desk.path(), first);
            let (alone, watched) = if first { (one, other) } else { (other, one) };
            println!("  {alone:.3}  {watched:.3}  {:.4}", watched / alone);
            ratios.push(watched / alone);
        }
        ratios.sort_by(f64::total_cmp);
        println!("  median ratio {:.4} of {pairs} pairs", ratios[ratios.len() / 2]);
    }
}

/// Runs a graph and returns the seconds that its stages took.
fn run(graph: &Path, desk: &Path, watched: bool) -> f64 {
    let directory = tempfile::tempdir_in(desk).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewise"));
    command.arg("run").arg(graph).args(["--quiet", "--format", "json", "--run-dir"]).arg(directory.path());
    if watched {
        command.args(["--metrics", "127.0.0.1:0"]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let live = directory.path().join("live.json");
    let mut out = child.stdout.take().unwrap();
    let answer = std::thread::scope(|scope| {
        let result = scope.spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        while watched && !result.is_finished() {
            std::thread::sleep(EVERY);
            let address = std::fs::read_to_string(&live).ok();
            let address = address.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(address) = address.as_ref().and_then(|live| live["address"].as_str()) {
                for path in ["/metrics", "/api/reading", "/api/history", "/api/log"] {
                    ask(address, path);
                }
            }
        }
        result.join().unwrap()
    });
    assert!(child.wait().unwrap().success());
    serde_json::from_str::<Value>(&answer).unwrap()["wall_seconds"].as_f64().unwrap()
}

/// Asks for a page. At the end of a run the server is gone, which is no failure.
fn ask(address: &str, path: &str) {
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}
