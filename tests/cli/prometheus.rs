//! Law: Prometheus' own checker finds nothing to say about the metrics of a run, and a Prometheus server that scrapes them
//! gives back the counts of the run. The gate installs both; elsewhere they may be missing.
#![cfg(unix)]

use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::child::wait_until;
use crate::support::cli::{Desk, Said};
use crate::support::watched::{VIDEOS, Watched, ask};

/// Starts a program of Prometheus, if it is there.
fn spawn(command: &mut Command) -> Option<Child> {
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            assert!(std::env::var_os("FRAMEWISE_REQUIRE_PROMETHEUS").is_none(), "{command:?}: {error}");
            None
        }
    }
}

#[test]
fn prometheus_takes_the_metrics() {
    let mut watched = Watched::start();
    watched.feed();
    wait_until("all metrics", || watched.get("/metrics").1.contains("framewise_edge_depth_items{"));
    let (_, text) = watched.get("/metrics");
    watched.finish();
    let mut types = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            types += 1;
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is not explained");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        }
    }
    assert!(types >= 14, "{text}");
    let mut checker = Command::new("promtool");
    checker.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(mut checker) = spawn(&mut checker) {
        checker.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let said = Said::of(checker.wait_with_output().unwrap()).expect(0);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    }
}

/// A Prometheus server that ends with the test.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Starts a server that scrapes `target` once a second.
    fn start(desk: &Desk, target: &str) -> Option<Self> {
        // The port is free when the listener is dropped. If another program takes it meanwhile, the test fails.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: framewise\n    \
             static_configs:\n      - targets: [\"{target}\"]\n"
        );
        let config = desk.write("prometheus.yml", &config);
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", desk.path("tsdb").display()));
        command.arg(format!("--web.listen-address={address}")).arg("--log.level=error");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self { child: spawn(&mut command)?, address })
    }

    /// The values of an expression by the label `by` of its series.
    fn query(&self, expression: &str, by: &str) -> Vec<(String, String)> {
        let Some(answer) = self.answer(&format!("/api/v1/query?query={expression}")) else {
            return Vec::new();
        };
        let series = answer["data"]["result"].as_array().unwrap().iter();
        let mut values: Vec<_> = series
            .map(|one| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (text(&one["metric"][by]), text(&one["value"][1]))
            })
            .collect();
        values.sort();
        values
    }

    /// The answer of the server; `None` while it does not answer yet.
    fn answer(&self, path: &str) -> Option<Value> {
        let (code, body) = ask(&self.address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_prometheus_server_scrapes_the_counts_of_a_run() {
    let mut watched = Watched::start();
    let desk = Desk::new();
    let Some(prometheus) = Prometheus::start(&desk, &watched.address) else {
        watched.feed();
        watched.finish();
        return;
    };
    watched.feed();
    let all = |counts: [usize; 3]| {
        ["decode", "out", "videos"]
            .iter()
            .zip(counts)
            .map(|(stage, n)| ((*stage).to_owned(), n.to_string()))
            .collect()
    };
    let (received, sent): (Vec<_>, Vec<_>) = (all([VIDEOS, VIDEOS, 0]), all([VIDEOS, 0, VIDEOS]));
    let query = |name: &str| prometheus.query(&format!("framewise_stage_{name}_items_total"), "stage");
    wait_until("the scrape", || query("received") == received && query("sent") == sent);
    assert_eq!(prometheus.query("up", "job"), [("framewise".to_owned(), "1".to_owned())]);
    // The server takes the sums of seconds for counters, so `rate` is right for them.
    let metadata = prometheus.answer("/api/v1/metadata?metric=framewise_stage_busy_seconds_total").unwrap();
    assert_eq!(metadata["data"]["framewise_stage_busy_seconds_total"][0]["type"], "counter");
    // The four shares of the run's time add up in the server as they do in every other view.
    let names = ["busy", "input_wait", "output_wait", "ended"];
    let sum = names.map(|name| format!("framewise_stage_{name}_seconds_total")).join("%2B");
    let sums = prometheus.query(&sum, "stage");
    let seconds: Vec<f64> = sums.iter().map(|(_, seconds)| seconds.parse().unwrap()).collect();
    assert!(seconds.len() == 3 && seconds[0] > 0.0, "{sums:?}");
    assert!(seconds.iter().all(|one| (one - seconds[0]).abs() < 1e-6), "{sums:?}");
    watched.finish();
}
