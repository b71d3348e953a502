//! Law: of a run of real stages in which one cause of slowness is planted, the result names the stage and the reason.
//!
//! A planted cause takes many times as long as all other work, so others that share the machine do not change what is
//! limiting. Whether a thread computes or waits for a core depends on them, so both words are right for work on a core.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::cli::{Desk, Said};
use crate::support::files::make_pipe;
use crate::support::limited::{copying, inflating, videos};

/// The bytes that a pipe takes before its writer waits, on Linux.
const PIPE: usize = 64 << 10;
/// The pause of the slow end of a pipe.
const PAUSE: Duration = Duration::from_millis(10);

/// What the result of a run says of its limit: the stage and the reason.
fn limit(mut command: Command) -> (String, String) {
    let said = Said::of(command.output().unwrap()).expect(0);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    let of = |key: &str| result["bottleneck"][key].as_str().unwrap_or_default().to_owned();
    let found = (of("stage"), of("reason"));
    assert!(!found.0.is_empty(), "{:#}", result["bottleneck"]);
    found
}

fn run(desk: &Desk, graph: &str) -> Command {
    desk.command(&["run", graph, "--format", "json", "--run-dir", "run"])
}

#[test]
fn a_pipe_that_is_filled_slowly_makes_its_reader_the_limit() {
    let desk = Desk::new();
    make_pipe(&desk.path("in"));
    desk.write("copy.toml", &copying("in"));
    let (path, bytes) = (desk.path("in"), videos(100).bytes());
    let writer = thread::spawn(move || {
        let mut pipe = File::options().write(true).open(path).unwrap();
        for part in bytes.chunks(PIPE) {
            pipe.write_all(part).unwrap();
            thread::sleep(PAUSE);
        }
    });
    let found = limit(run(&desk, "copy.toml"));
    writer.join().unwrap();
    assert_eq!(found, ("videos".into(), "reads".into()));
}

#[test]
fn a_pipe_that_is_emptied_slowly_makes_its_writer_the_limit() {
    let desk = Desk::new();
    let input = videos(100).write(&desk.path("in.tfrecord"));
    make_pipe(&desk.path("out"));
    let graph = copying(&input).replace("copy.tfrecord", desk.path("out").to_str().unwrap());
    desk.write("copy.toml", &graph);
    let path = desk.path("out");
    let reader = thread::spawn(move || {
        let mut pipe = File::open(path).unwrap();
        let mut part = vec![0; PIPE];
        while pipe.read(&mut part).unwrap() > 0 {
            thread::sleep(PAUSE);
        }
    });
    let found = limit(run(&desk, "copy.toml"));
    reader.join().unwrap();
    assert_eq!(found, ("out".into(), "writes".into()));
}

#[test]
fn packed_files_make_their_reader_the_limit() {
    let desk = Desk::new();
    desk.write("copy.toml", &inflating(&desk, 10));
    let (stage, reason) = limit(run(&desk, "copy.toml"));
    assert_eq!(stage, "videos");
    assert!(["computes", "too_few_cores"].contains(&reason.as_str()), "{reason}");
}

/// Two stages that pack files want a core each, and the program has one.
#[cfg(target_os = "linux")]
#[test]
fn stages_that_share_one_core_are_limited_by_it() {
    let desk = Desk::new();
    let input = videos(300).write(&desk.path("in.tfrecord"));
    let graph = copying(&input).replace("copy.tfrecord\"", "one.tfrecord.gz\"\ngzip = true");
    let second = graph[graph.find("[stages.out]").unwrap()..].replace("stages.out", "stages.two");
    desk.write("copy.toml", &format!("{graph}\n{}", second.replace("one.", "two.")));
    let run = run(&desk, "copy.toml");
    let mut command = Command::new("taskset");
    command.args(["-c", first_core(Path::new("/proc/self/status")).as_str()]).arg(run.get_program());
    command.args(run.get_args()).current_dir(desk.path(""));
    let (stage, reason) = limit(command);
    assert!(["out", "two"].contains(&stage.as_str()), "{stage}");
    assert_eq!(reason, "too_few_cores");
}

/// The first core that a process may use, which the line `Cpus_allowed_list` of its status names.
#[cfg(target_os = "linux")]
fn first_core(status: &Path) -> String {
    let status = std::fs::read_to_string(status).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    list.split([',', '-']).next().unwrap().to_owned()
}
