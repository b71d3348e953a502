//! What watching a run costs: runs that nobody watches and runs that are watched in every way, in turns.
//!
//! ```sh
//! cargo bench --bench watching -- --pairs 7
//! ```
//!
//! A watched run has `--metrics` and a client that asks for everything once a second. No run shows progress. For each
//! graph the program prints the ratios of neighbours and their medians: of the seconds that the stages took, and of the
//! seconds that all threads of the process spent on cores. Where a run keeps all cores busy, the second ratio is what
//! watching costs, and it depends far less on what else the machine does.

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
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = {data:?}\nepochs = 6000\n\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nrgb_size = 12\naudio_size = 12\nclasses = 9\n\n\
         [stages.shuffle]\ntype = \"shuffle\"\nfrom = \"decode\"\nbuffer = 64\n\n\
         [stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"shuffle\"\npath = \"copy.tfrecord\"\n"
    );
    std::fs::write(&chain, text).unwrap();
    // Ten times as long as the quickstart, so that the beginning and the end of a run hardly count.
    let training = root.join("graphs/quickstart.toml");
    let longer = ["--set", "stages.videos.epochs=600"];
    for (name, graph, set) in [
        ("a chain that passes items on", &chain, &[][..]),
        ("training, graphs/quickstart.toml", &training, &longer[..]),
    ] {
        println!("{name}: seconds alone, ratio watched; seconds on cores alone, ratio watched");
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            // Every second pair is turned round, so that a drift of the machine hits both alike.
            let first = pair % 2 == 0;
            let one = run(graph, set, desk.path(), !first);
            let other = run(graph, set, desk.path(), first);
            let (alone, watched) = if first { (one, other) } else { (other, one) };
            wall.push(watched.0 / alone.0);
            cpu.push(watched.1 / alone.1);
            println!(
                "  {:.3}  {:.4}  {:.3}  {:.4}",
                alone.0,
                watched.0 / alone.0,
                alone.1,
                watched.1 / alone.1
            );
        }
        println!("  medians of {pairs} pairs: {}, {}", spread(wall), spread(cpu));
    }
}

/// The median with the quartiles.
fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let at = |part: usize| ratios[(ratios.len() - 1) * part / 4];
    format!("{:.4} ({:.4} to {:.4})", at(2), at(1), at(3))
}

/// Runs a graph. Returns the seconds that its stages took, and those that the process spent on cores meanwhile.
fn run(graph: &Path, set: &[&str], desk: &Path, watched: bool) -> (f64, f64) {
    let directory = tempfile::tempdir_in(desk).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewise"));
    command
        .arg("run")
        .arg(graph)
        .args(set)
        .args(["--quiet", "--format", "json", "--run-dir"])
        .arg(directory.path());
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
    let wall = serde_json::from_str::<Value>(&answer).unwrap()["wall_seconds"].as_f64().unwrap();
    let table = std::fs::read_to_string(directory.path().join("stages.json")).unwrap();
    let table: Value = serde_json::from_str(&table).unwrap();
    (wall, table["cpu_seconds"].as_f64().expect("the system tells the time on cores"))
}

/// Asks for a page. At the end of a run the server is gone, which is no failure.
fn ask(address: &str, path: &str) {
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}
