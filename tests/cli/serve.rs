//! Laws: a run with `--metrics` shows its readings while it lives, and only to this machine. What a client does never
//! changes the run.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::child::{ENDLESS, end_within, send, start, wait_until};
use crate::support::cli::{Desk, copy_graph, graph, names, vowels_graph};
use crate::support::records::Records;
use crate::support::watched::{LIMIT, VIDEOS, Watched, address};

#[test]
fn a_run_shows_one_reading_in_every_form_while_it_lives() {
    let mut watched = Watched::start();
    watched.feed();
    let reading = watched.json("/api/reading");
    assert_eq!((&reading["version"], &reading["graph"]), (&1.into(), &"copy".into()));
    for stage in reading["stages"].as_array().unwrap() {
        let shares = ["busy", "input_wait", "output_wait", "ended"].map(|key| stage[key].as_f64().unwrap());
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{stage}");
    }
    assert!(reading["bottleneck"]["reason"].is_string());

    // Nothing moves any more, so Prometheus is told the same counts as soon as they are published.
    let series = |name: &str, stage: &str| {
        let (code, text) = watched.get("/metrics");
        assert_eq!(code, 200);
        let prefix = format!("framewise_{name}{{graph=\"copy\",stage=\"{stage}\"");
        let line = text.lines().find(|line| line.starts_with(&prefix));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    wait_until("the metrics", || series("stage_received_items_total", "out") == Some(VIDEOS as f64));
    for (index, stage) in ["videos", "decode", "out"].into_iter().enumerate() {
        for key in ["items_in", "items_out", "bytes_in", "bytes_out"] {
            let (unit, way) = key.split_once('_').unwrap();
            let way = if way == "in" { "received" } else { "sent" };
            let shown = series(&format!("stage_{way}_{unit}_total"), stage);
            assert_eq!(shown, reading["stages"][index][key].as_f64(), "{key} of {stage}");
        }
    }

    let readings = |history: &Value| history["readings"].as_array().unwrap().len();
    wait_until("some readings", || readings(&watched.json("/api/history")) > 5);
    let history = watched.json("/api/history");
    assert_eq!(history["stages"], serde_json::json!(["videos", "decode", "out"]));
    let readings = history["readings"].as_array().unwrap();
    let seconds: Vec<f64> = readings.iter().map(|reading| reading["seconds"].as_f64().unwrap()).collect();
    assert!(seconds.is_sorted(), "{seconds:?}");
    assert_eq!(readings.last().unwrap()["items_out"][1], VIDEOS);
    let log = watched.json("/api/log");
    assert!(log["lines"].as_array().unwrap().iter().any(|line| line["level"] == "info"), "{log}");

    let (desk, said) = watched.finish();
    assert!(said.err.contains("this run is served at http://127.0.0.1:"), "{}", said.err);
    assert!(!desk.path("run/live.json").exists(), "the run is over");
}

#[test]
fn an_address_that_cannot_be_served_is_refused_before_the_run() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let run = |more: &[&str]| desk.framewise(&[&["run", "copy.toml", "--metrics"], more].concat());
    let said = run(&["0.0.0.0:0"]).expect(64);
    assert!(said.err.contains("--metrics-allow-remote"), "{}", said.err);
    let said = run(&["nowhere"]).expect(64);
    assert!(said.err.contains("HOST:PORT"), "{}", said.err);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let said = run(&[&taken.local_addr().unwrap().to_string()]).expect(69);
    assert!(said.err.contains("choose another port"), "{}", said.err);
    assert!(!desk.path("runs").exists());
    run(&["0.0.0.0:0", "--metrics-allow-remote"]).expect(0);
    desk.framewise(&["run", "copy.toml", "--metrics-allow-remote"]).expect(64);
}

#[test]
fn live_json_goes_however_the_run_ends() {
    let serves = ["--metrics", "127.0.0.1:0"];
    // Ctrl-C ends a training run in order.
    let desk = Desk::new();
    let quickstart = graph("quickstart.toml");
    let train = ["run", &quickstart, "--run-dir", "run", "--set", ENDLESS];
    let child = start(&desk, &[&train[..], &serves].concat());
    let address_of_run = address(&desk, &child);
    send(&child, "-INT");
    end_within(LIMIT, child).expect(130);
    assert!(!desk.path("run/live.json").exists());
    assert!(TcpStream::connect(address_of_run).is_err(), "nothing is served any more");

    // A run that fails.
    let desk = Desk::new();
    let mut bytes = Records::frame_level(VIDEOS).bytes();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(desk.path("bad.tfrecord"), bytes).unwrap();
    desk.write("copy.toml", &copy_graph("bad.tfrecord", 16, 4, 10));
    let said = desk.framewise(&[&["run", "copy.toml", "--run-dir", "run"], &serves[..]].concat()).expect(65);
    assert!(said.err.contains("this run is served at"), "{}", said.err);
    assert!(!desk.path("run/live.json").exists());

    // The third Ctrl-C leaves without waiting. The reader hangs in a pipe that never has data.
    let watched = Watched::start();
    let stays = |child: &std::process::Child| {
        send(child, "-INT");
        std::thread::sleep(Duration::from_millis(50));
    };
    stays(&watched.child);
    stays(&watched.child);
    end_within(LIMIT, watched.child).expect(130);
    assert!(!watched.desk.path("run/live.json").exists());
}

#[test]
fn the_live_json_of_a_killed_run_goes_when_the_run_is_resumed() {
    let desk = Desk::new();
    let quickstart = graph("quickstart.toml");
    let often = ["--set", "stages.checkpoint.every_steps=3", "--set", "stages.evaluate.every_epochs=0"];
    let train =
        [&["run", &quickstart, "--run-dir", "run", "--metrics", "127.0.0.1:0", "--set", ENDLESS], &often[..]];
    let child = start(&desk, &train.concat());
    let old = address(&desk, &child);
    let checkpoints = desk.path("run/checkpoints");
    wait_until("a checkpoint", || {
        checkpoints.is_dir() && names(&checkpoints).iter().any(|n| n.starts_with("step-"))
    });
    send(&child, "-KILL");
    end_within(LIMIT, child);
    assert!(desk.path("run/live.json").exists() && TcpStream::connect(&old).is_err());

    // Nobody can watch the run that goes on, and so no file says where.
    let go_on = ["run", &quickstart, "--resume", "run", "--set", ENDLESS];
    let child = start(&desk, &[&go_on[..], &often].concat());
    wait_until("the run goes on", || desk.read("run/log.jsonl").contains("resumed from"));
    assert!(!desk.path("run/live.json").exists());
    send(&child, "-INT");
    end_within(LIMIT, child).expect(130);
}

#[test]
fn a_run_that_cannot_be_served_leaves_nothing() {
    let desk = Desk::new();
    let graph = vowels_graph().replace("copy.tfrecord", "live.json");
    desk.write("copy.toml", &graph);
    let said = desk.framewise(&["run", "copy.toml", "--metrics", "127.0.0.1:0"]).expect(78);
    assert!(said.err.contains("the run keeps its live.json there"), "{}", said.err);
    assert_eq!(names(&desk.path("")), ["copy.toml"]);
}

#[test]
fn the_page_asks_for_nothing_that_is_not_there() {
    let mut watched = Watched::start();
    watched.feed();
    let mut left = vec!["/".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = left.pop() {
        let (code, body) = watched.get(&path);
        assert_eq!(code, 200, "{path}");
        if path.starts_with("/api/") {
            seen.push(path);
            continue;
        }
        // Paths are the quoted texts that begin with a stroke, in the page and in its scripts.
        let quoted = body.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
        let new: Vec<_> =
            quoted.map(str::to_owned).filter(|text| !seen.contains(text) && *text != path).collect();
        seen.push(path);
        left.extend(new.into_iter().filter(|text| !text.contains(' ')));
        left.sort();
        left.dedup();
    }
    for path in [
        "/page.js",
        "/graph.js",
        "/page.css",
        "/api/reading",
        "/api/history",
        "/api/graph",
        "/api/checkpoints",
    ] {
        assert!(seen.iter().any(|one| one == path), "{path} is not asked for: {seen:?}");
    }
    let request = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", watched.address);
    let mut stream = watched.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let policy = answer.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(answer.contains("content-type: text/html"), "{answer}");

    let drawing = watched.get("/api/graph").1;
    assert_eq!(drawing, watched.desk.framewise(&["graph", "copy.toml", "--format", "svg"]).expect(0).out);
    assert_eq!(watched.get("/api/resolved").1, watched.desk.read("run/graph.resolved.toml"));
    let edges = watched.json("/api/reading")["edges"].clone();
    for edge in edges.as_array().unwrap() {
        let (from, to) = (edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap());
        assert!(drawing.contains(&format!("data-from=\"{from}\" data-to=\"{to}\"")), "{edge}");
    }
    let checkpoints = watched.json("/api/checkpoints");
    assert_eq!(checkpoints, serde_json::json!({"version": 1, "directory": null, "checkpoints": []}));
    watched.finish();
}
